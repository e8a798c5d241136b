// From a foreign project's name of a module to the base model's, with the check that it exists and has the right size.
// Knows no file format. Invariant: a path it returns is one of `targetModules(base)`.
import { type BaseModel, type TargetModule, targetModules } from './base-model.ts'
import { AdapterError, quote } from './errors.ts'

/** Wrappers that torch.compile, DataParallel and PEFT put in front of or inside a module's path. */
const WRAPPERS = /(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|module|base_model\.model)\./g

/** The base model's modules, to be looked up by names that training code gave them. */
export class ModuleNames {
  private readonly base: BaseModel
  private readonly targets: ReadonlyMap<string, TargetModule>

  constructor(base: BaseModel) {
    this.base = base
    this.targets = targetModules(base)
  }

  /** The path in the base model of a name such as `base_model.model.model.layers.0.mlp.up_proj`, or undefined. */
  tryFind(name: string): string | undefined {
    const bare = name.replace(WRAPPERS, '')
    // AutoModel saves without the outer `model.` that AutoModelForCausalLM has.
    return [bare, `model.${bare}`].find((path) => this.targets.has(path))
  }

  /** As `tryFind`; throws AdapterError `mismatch` when the base has no such module. */
  find(name: string, tensor: string): string {
    const path = this.tryFind(name)
    if (path !== undefined) return path
    const layer = /(?:^|\.)layers\.(\d+)\./.exec(name)?.[1]
    const why =
      layer !== undefined && Number(layer) >= this.base.layers
        ? `${this.base.name} has only ${this.base.layers} layers`
        : `${this.base.name} has no such module that an adapter can change`
    throw new AdapterError(
      'mismatch',
      `Tensor ${quote(tensor)}: ${why}; the adapter is for another base model or target.`,
    )
  }

  /** Input and output size of a path that `find` gave. */
  size(path: string): TargetModule {
    return this.targets.get(path)!
  }

  /**
   * Rank of a pair A [r, in], B [out, r] for this path. Throws AdapterError `mismatch` naming the tensor that doesn't fit.
   */
  pairRank(
    path: string,
    a: { name: string; shape: readonly number[] },
    b: { name: string; shape: readonly number[] },
  ): number {
    const target = this.size(path)
    const rank = a.shape[0] ?? 0
    if (rank < 1 || b.shape.length < 2) {
      throw new AdapterError(
        'malformed',
        `Tensor ${quote(a.name)} is [${a.shape.join(', ')}] and ${quote(b.name)} is [${b.shape.join(', ')}]: shards that were not gathered (DeepSpeed ZeRO-3, FSDP); save the adapter again with the weights gathered.`,
      )
    }
    checkShape(a, [rank, target.in], path, this.base)
    checkShape(b, [target.out, rank], path, this.base)
    return rank
  }
}

/** Throws AdapterError `mismatch` unless the tensor has the given shape. */
function checkShape(
  tensor: { name: string; shape: readonly number[] },
  expected: readonly number[],
  path: string,
  base: BaseModel,
): void {
  if (tensor.shape.length === expected.length && tensor.shape.every((size, i) => size === expected[i])) return
  throw new AdapterError(
    'mismatch',
    `Tensor ${quote(tensor.name)} is [${tensor.shape.join(', ')}] but ${path} of ${base.name} needs [${expected.join(', ')}]; the adapter is for another base model.`,
  )
}
