// One LoRA layer over several projections side by side (loralib's MergedLinear, PEFT 0.1's), taken apart into single ones.
// Knows which Hugging Face modules a fused name stands for. Invariant: each part gets its own rows of A and of B.
import { type ModuleSource, scaleInPlace } from '../delta-source.ts'
import { AdapterError, quote } from '../errors.ts'
import type { ModuleNames } from '../modules.ts'
import type { SourceTensor } from '../source-tensor.ts'

const QKV = ['q_proj', 'k_proj', 'v_proj']
/** Last names of fused projections and the parts of their output, in order. */
const PARTS: ReadonlyMap<string, readonly string[]> = new Map([
  ['qkv_proj', QKV],
  ['qkv', QKV],
  ['c_attn', QKV],
  ['W_pack', QKV],
  ['query_key_value', QKV],
  ['kv_proj', ['k_proj', 'v_proj']],
  ['gate_up_proj', ['gate_proj', 'up_proj']],
])

/**
 * Modules of a fused layer: A [r·n, in], B [n·out/len, r] with n enabled parts of `enabled.length`. Part i has rows
 * i·r.. of A and i·out/len.. of B, and belongs to the i-th enabled part (a convolution in n groups).
 * `fixedGroups`: where a project convolves in so many groups whatever n is, B is [n·out/len, r·n/groups, 1], and only n of
 * as many can be taken apart.
 * Throws AdapterError `mismatch` or `unsupported` with the tensor's name.
 */
export function unfuse(
  name: string,
  a: SourceTensor,
  b: SourceTensor,
  enabled: readonly boolean[],
  names: ModuleNames,
  scaleOf: (rank: number) => number,
  fixedGroups?: number,
): Map<string, ModuleSource> {
  const parts = partPaths(name, enabled, a.name, names)
  const count = parts.length
  if (fixedGroups !== undefined && count !== fixedGroups) {
    throw new AdapterError(
      'unsupported',
      `${quote(a.name)} has ${count} enabled parts, but its PEFT version convolves in ${fixedGroups} groups; train it with a current PEFT.`,
    )
  }
  const [aRows = 0, columns = 0] = a.shape
  const [bRows = 0, bColumns = 0] = b.shape
  const rank = aRows / count
  const block = bRows / count
  const flat = b.shape.length === 2 || (b.shape.length === 3 && b.shape[2] === 1)
  if (
    a.shape.length !== 2 ||
    !flat ||
    rank !== bColumns ||
    !Number.isInteger(rank) ||
    rank < 1 ||
    !Number.isInteger(block)
  ) {
    throw new AdapterError(
      'mismatch',
      `${quote(a.name)} [${a.shape.join(', ')}] and ${quote(b.name)} [${b.shape.join(', ')}] are no fused pair of ${count} enabled parts; check enable_lora.`,
    )
  }
  const scale = scaleOf(rank)
  const modules = new Map<string, ModuleSource>()
  parts.forEach((path, i) => {
    names.pairRank(path, { name: a.name, shape: [rank, columns] }, { name: b.name, shape: [block, rank] })
    const load = async () => ({
      a: (await a.load()).slice(i * rank * columns, (i + 1) * rank * columns),
      b: scaleInPlace((await b.load()).slice(i * block * rank, (i + 1) * block * rank), scale),
    })
    modules.set(path, { rank, in: columns, out: block, scale, load })
  })
  return modules
}

function partPaths(name: string, enabled: readonly boolean[], tensor: string, names: ModuleNames): string[] {
  const dot = name.lastIndexOf('.')
  const parts = PARTS.get(name.slice(dot + 1))
  if (parts === undefined || parts.length !== enabled.length) {
    throw new AdapterError(
      'unsupported',
      `${quote(tensor)} is a fused layer of ${enabled.length} parts that are not known by the name ${quote(name)}; publish unfused projections.`,
    )
  }
  return parts.filter((_part, i) => enabled[i]).map((part) => names.find(`${name.slice(0, dot)}.${part}`, tensor))
}
