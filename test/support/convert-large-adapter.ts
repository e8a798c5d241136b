// A process of its own that checks and writes an adapter of some 107 MB, made up as it is read, and prints its peak memory
// in bytes. Run as `node convert-large-adapter.ts FILE`.
import type { BaseModel } from '../../adapters/base-model.ts'
import { encodeDeltaStream } from '../../adapters/canonical.ts'
import { type AdapterFile, fileSet, memoryFile } from '../../adapters/file-set.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import { writeHeader } from '../../adapters/safetensors.ts'
import { verifyAdapter } from '../../adapters/verify.ts'
import { writeDelta } from '../../scripts/write-delta.ts'
import { peftTensors } from './peft-files.ts'

const RANK = 24
const base: BaseModel = {
  fingerprint: `sha256:${'e'.repeat(64)}`,
  name: 'large',
  architecture: 'llama',
  layers: 24,
  hidden_size: 4096,
  intermediate_size: 11_008,
  heads: 32,
  kv_heads: 32,
  head_dim: 128,
  vocab_size: 32_000,
  tied_embeddings: false,
}
const paths = Array.from({ length: base.layers }, (_, layer) =>
  ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.up_proj', 'mlp.down_proj'].map(
    (name) => `model.layers.${layer}.${name}`,
  ),
).flat()

const header = writeHeader(
  peftTensors(base, paths, RANK).map(({ name, shape }) => ({ name, shape, dtype: 'F32' as const })),
  new Map(),
)
const size = header.byteLength + paths.reduce((sum, path) => sum + RANK * 4 * (path.includes('mlp') ? 15_104 : 8192), 0)

/** The header, then the same small number for ever. */
const weights: AdapterFile = {
  name: 'adapter_model.safetensors',
  size,
  async read(start, end) {
    if (end <= header.byteLength) return header.subarray(start, end)
    return new Uint8Array(new Float32Array((end - start) / 4).fill(0.01).buffer)
  },
}
const config = new TextEncoder().encode(JSON.stringify({ peft_type: 'LORA', r: RANK, lora_alpha: RANK }))
const source = await importAdapter(fileSet([memoryFile('adapter_config.json', config), weights]), { base })
const report = await verifyAdapter(source, base, 'f32', { maxRank: 64, maxBytes: 1e9 })
await writeDelta(process.argv[2]!, encodeDeltaStream(source, base, 'f32'))
process.stdout.write(JSON.stringify({ bytes: report.bytes, peakBytes: process.resourceUsage().maxRSS * 1024 }))
