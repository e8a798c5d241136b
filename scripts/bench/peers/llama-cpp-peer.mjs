// llama.cpp as a peer of the bench, through node-llama-cpp: node llama-cpp-peer.mjs NODE_MODULES_DIR GGUF WORK ROWS THREADS
// Requests and answers as in vllm_peer.py. It cannot put different adapters into one batch: a request that names any is
// answered row by row, each with an adapter; one without is answered as a batch.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [modules, gguf, work, rows, threads] = process.argv.slice(2)
const require = createRequire(`${modules}/node_modules/`)
const { getLlama, TokenBias } = await import(pathToFileURL(require.resolve('node-llama-cpp')).href)

const CONTEXT_TOKENS = 1024
const llama = await getLlama({
  gpu: false,
  build: 'never',
  progressLogs: false,
  logLevel: 'error',
  maxThreads: Number(threads),
})
const model = await llama.loadModel({ modelPath: gguf })
const options = { contextSize: CONTEXT_TOKENS, threads: Number(threads) }
const batched = await model.createContext({ ...options, sequences: Number(rows) })
const adapted = await model.createContext({ ...options, lora: `${work}/adapter.gguf` })
process.stdout.write(`${JSON.stringify({ ready: true })}\n`)

for await (const line of createInterface({ input: process.stdin })) {
  const { adapters, prompt, tokens } = JSON.parse(line)
  const sentMs = performance.now()
  const tokenTimesMs = []
  if (adapters.some((adapter) => adapter !== null)) {
    for (const _ of adapters) tokenTimesMs.push(await generate(adapted, prompt, tokens))
  } else {
    tokenTimesMs.push(...(await Promise.all(adapters.map(() => generate(batched, prompt, tokens)))))
  }
  process.stdout.write(`${JSON.stringify({ sentMs, tokenTimesMs })}\n`)
}

/** When each token of one answer came. */
async function generate(context, prompt, tokens) {
  const sequence = context.getSequence()
  const times = []
  try {
    const bias = TokenBias.for(model).set(model.tokens.eos, 'never')
    for await (const _ of sequence.evaluate(prompt, { temperature: 0, tokenBias: bias, yieldEogToken: true })) {
      times.push(performance.now())
      if (times.length === tokens) break
    }
  } finally {
    sequence.dispose()
  }
  return times
}
