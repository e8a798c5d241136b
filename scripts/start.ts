// `npm start`: the whole product on this machine. Reads as what happens: ports, local state, backend and edge, samples,
// one question to all, the base for browsers, then serving until Ctrl-C. Invariant: however it ends, neither server is left running.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BaseModel } from '../adapters/base-model.ts'
import { BROWSER_WEIGHTS } from '../gpu-backend/browser/manifest.ts'
import { EMBEDDED_MODEL, EMBEDDED_NAME } from '../gpu-backend/config.ts'
import { identify } from '../gpu-backend/model/identify.ts'
import { openModelSource } from '../gpu-backend/model/open-model.ts'
import { BackendInfo } from '../gpu-backend/protocol.ts'
import { callersFolder } from './callers-folder.ts'
import { CliError } from './cli-error.ts'
import { callEdgeJson } from './edge-client.ts'
import { behindNoProxy } from './follow-proxy.ts'
import { formatBytes } from './format-bytes.ts'
import { openToBrowsers } from './start/browsers.ts'
import { checkState } from './start/check-state.ts'
import { runDemo } from './start/demo.ts'
import { requireFreePort } from './start/free-port.ts'
import { HOST, LOCAL_ADMIN_KEY, launchBackend, launchEdge, makeFolder } from './start/launch.ts'
import { devKey, prepareRegistry } from './start/local-registry.ts'
import { lockState } from './start/lock-state.ts'
import { parseStartOptions, START_HELP, type StartOptions } from './start/options.ts'
import { SampleStamps } from './start/sample-stamps.ts'
import { ensurePublished, listSamples, type Sample } from './start/samples.ts'
import type { ServerProcess } from './start/server-process.ts'
import { step } from './start/step.ts'
import { stopOnSignal } from './start/stop-on-signal.ts'

const REPOSITORY = fileURLToPath(new URL('..', import.meta.url))
const SECRET_BYTES = 32
/** A tenant without samples, so that there is a key even where no sample is. */
const DEMO_TENANT = 'demo'

interface Running {
  readonly edge: ServerProcess
  readonly backend: ServerProcess
}

async function main(): Promise<void> {
  const options = parseStartOptions(process.argv.slice(2), callersFolder('start', process.env))
  if (!options) return void process.stdout.write(START_HELP)
  // Whoever reads our output may stop reading, as `head` does: the servers go on.
  process.stdout.on('error', () => undefined)
  // Wrangler sends whatever this process fetches to a proxy that the environment names, unless this says otherwise.
  process.env.no_proxy = behindNoProxy(process.env)
  const servers: ServerProcess[] = []
  const stop = stopOnSignal(servers)
  try {
    await Promise.race([run(options, servers, stop), once(stop, 'abort')])
  } finally {
    // The edge first, so that no request finds its backend gone.
    for (const server of servers.reverse()) await server.stop()
  }
}

/** Starts everything, shows it, and serves until a server dies. */
async function run(options: StartOptions, servers: ServerProcess[], stop: AbortSignal): Promise<void> {
  const running = await start(options, servers, stop)
  const died = [running.edge, running.backend].map(async (server) => {
    await server.ended
    if (!stop.aborted) throw server.failure('stopped')
  })
  await Promise.race([show(options), ...died])
  await Promise.all(died)
}

async function start(options: StartOptions, servers: ServerProcess[], stop: AbortSignal): Promise<Running> {
  const { port, backendPort } = options
  await requireFreePort(port, '--port')
  await requireFreePort(backendPort, '--backend-port')
  const state = resolve(REPOSITORY, options.state)
  makeFolder(state)
  lockState(state)
  checkState(state)
  const secret = randomBytes(SECRET_BYTES).toString('hex')
  const tenants = [...listSamples().map(({ tenant }) => tenant), DEMO_TENANT]

  const backend = launchBackend({ ...options, state, secret })
  servers.push(backend)
  await step(process.stdout, 'local state', async (remark) => {
    remark(options.state)
    await prepareLocalState(state, tenants)
  })
  // Asked to stop meanwhile: whatever is started now would be left behind.
  stop.throwIfAborted()
  const edge = launchEdge({ ...options, state, secret })
  servers.push(edge)
  await step(process.stdout, 'GPU backend', async (remark) => {
    const url = `http://${HOST}:${backendPort}`
    remark(url)
    await backend.untilReady(`${url}/readyz`, remark)
    remark(url)
  })
  await step(process.stdout, 'edge', async (remark) => {
    remark(`http://${HOST}:${port}`)
    await edge.untilReady(`http://${HOST}:${port}/healthz`)
  })
  return { edge, backend }
}

async function prepareLocalState(state: string, tenants: readonly string[]): Promise<void> {
  try {
    await prepareRegistry(join(state, 'edge'), tenants)
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).split('\n')[0]
    throw new CliError(`The local state in ${state} is damaged (${reason}): delete that folder and start again.`)
  }
}

/** Publishes the samples, asks them all one question, and says how to go on. */
async function show(options: StartOptions): Promise<void> {
  const url = `http://${HOST}:${options.port}`
  try {
    const { base } = await callEdgeJson({ url, apiKey: devKey(DEMO_TENANT) }, '/v1/base', BackendInfo)
    const samples = (await isEmbedded(base, modelCache(options))) ? listSamples() : []
    const stamps = new SampleStamps(resolve(REPOSITORY, options.state))
    await publishSamples(url, samples, base, stamps)
    if (options.demo) process.stdout.write(`\n${await demo(url, samples, base.name)}\n`)
    // Only the embedded model is small enough to be copied unasked; for another there is `polylora browser publish`.
    if (base.name === EMBEDDED_NAME) await publishForBrowsers(url, samples, stamps, options)
    process.stdout.write(`\n${invitation(url, samples, base.name)}\n`)
  } catch (error) {
    // Of what a server refuses, its log or its state may be the cause.
    if (!(error instanceof CliError) || error.exitCode !== 3) throw error
    const advice = `${options.state}/logs may say more; if it stays so, delete ${options.state} and start again.`
    throw new CliError(`${error.message} (${advice})`, error.exitCode)
  }
}

/** Whether it is the model that the samples were trained on, whatever it is called. */
async function isEmbedded(base: BaseModel, cacheDir: string): Promise<boolean> {
  const embedded = await identify(await openModelSource(EMBEDDED_MODEL), EMBEDDED_NAME, cacheDir)
  return base.fingerprint === embedded.fingerprint
}

/** Where the backend keeps what it has made of base models. */
function modelCache({ state }: StartOptions): string {
  return resolve(REPOSITORY, state, 'backend/models')
}

async function publishSamples(
  url: string,
  samples: readonly Sample[],
  base: BaseModel,
  stamps: SampleStamps,
): Promise<void> {
  await step(process.stdout, 'sample adapters', async (remark) => {
    const done: string[] = []
    for (const sample of samples) {
      await ensurePublished(url, sample, base, stamps)
      done.push(sample.model)
      remark(done.join(', '))
    }
    if (samples.length === 0) remark(`none for ${base.name}`)
  })
}

async function publishForBrowsers(
  url: string,
  samples: readonly Sample[],
  stamps: SampleStamps,
  options: StartOptions,
): Promise<void> {
  // Below the answers, away from the steps before them.
  if (options.demo) process.stdout.write('\n')
  await step(process.stdout, 'for browsers', async (remark) => {
    const { manifest, bytes } = await openToBrowsers(url, {
      weights: BROWSER_WEIGHTS.find((format) => format === options.weights) ?? 'f32',
      cacheDir: modelCache(options),
      samples,
      stamps,
      onProgress: (uploaded, total) => remark(`${formatBytes(uploaded)} of ${formatBytes(total)}`),
    })
    remark(`${manifest.base.name}, ${formatBytes(bytes)}: it runs in a browser as well`)
  })
}

async function demo(url: string, samples: readonly Sample[], base: string): Promise<string> {
  const models = [{ tenant: DEMO_TENANT, model: base }, ...samples]
  const asked = models.map(({ tenant, model }) => ({ model, apiKey: devKey(tenant) }))
  try {
    return await runDemo(url, asked, process.stdout.columns ?? 100)
  } catch (error) {
    // A base model without a chat template refuses every conversation.
    if (!(error instanceof CliError) || error.exitCode !== 1) throw error
    throw new CliError(`${error.message} (--no-demo starts without the question.)`)
  }
}

function invitation(url: string, samples: readonly Sample[], base: string): string {
  const { tenant, model } = samples[0] ?? { tenant: DEMO_TENANT, model: base }
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'When are you open on Saturday?' }] })
  return [
    `Serving at ${url} until Ctrl-C. Try it:`,
    '',
    `curl ${url}/v1/chat/completions -H 'Authorization: Bearer ${devKey(tenant)}' -H 'Content-Type: application/json' -d '${body}'`,
    '',
    `Or open ${url} in a browser and sign in with ${devKey(tenant)} (the operator's key is ${LOCAL_ADMIN_KEY}).`,
  ].join('\n')
}

main().then(
  () => process.exit(process.exitCode ?? 0),
  (error: unknown) => {
    const known = error instanceof CliError
    process.stderr.write(`${known ? error.message : `Something unforeseen happened: ${String(error)}`}\n`)
    process.exit(known ? error.exitCode : 1)
  },
)
