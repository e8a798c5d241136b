// Random commands to two edges on one registry, store and backends, some of which meet a fault: after each, and when all has come
// to rest, what is there is what a model of the edge says. A run that fails is shrunk to its shortest sequence.
import { afterAll, beforeAll, test } from 'vitest'
import fc from '../support/properties.ts'
import { temporaryDir } from '../support/temporary-dir.ts'
import { audit } from './commands/audit.ts'
import { NAME_COMMANDS } from './commands/name-commands.ts'
import { QUESTION_COMMANDS } from './commands/question-commands.ts'
import { type Command, Run, type Step } from './commands/run.ts'
import { createTenant, TENANT_COMMANDS } from './commands/tenant-commands.ts'
import { ANSWER_FAULTS, STORAGE_FAULTS, startWorld, type World } from './commands/world.ts'

const RUNS = Number(process.env.POLYLORA_COMMAND_RUNS ?? 4)
const MAX_STEPS = 80
const COMMANDS: Readonly<Record<string, Command>> = { ...TENANT_COMMANDS, ...NAME_COMMANDS, ...QUESTION_COMMANDS }
const FAULTS = { ...STORAGE_FAULTS, ...ANSWER_FAULTS }

const storage = temporaryDir()
let world: World
beforeAll(async () => {
  world = await startWorld(storage)
})
afterAll(() => world?.close())

async function carryOut(run: Run, step: Step): Promise<void> {
  const tenant = run.tenants[step.tenant % Math.max(1, run.tenants.length)]
  if (!tenant && step.command !== 'createTenant') return
  const putRight = step.fault === null ? undefined : await FAULTS[step.fault]!(world, tenant?.id ?? '')
  let check: (() => Promise<void>) | undefined
  try {
    const isNew = step.command === 'createTenant'
    check = await (isNew ? createTenant(run, step) : COMMANDS[step.command]!(run.sceneOf(step, tenant!)))
  } finally {
    await putRight?.()
  }
  await check?.()
}

/** What a run that failed has left behind concerns no other one. */
async function forget(run: Run): Promise<void> {
  await Promise.allSettled(run.pending.map((each) => each.finish()))
  for (const table of ['tenants', 'erasures', 'deletions', 'uploads']) {
    await world.edges[0].db.prepare(`DELETE FROM ${table}`).run()
  }
  world.store.objects.clear()
  for (const { deltas } of world.backends) deltas.clear()
}

const first: Step = { command: 'createTenant', tenant: 0, pick: 0, edge: 0, fault: null }
/** Two tenants have money and two names each. */
const BEGINNING: readonly Step[] = [0, 1].flatMap((tenant) => [
  { ...first, command: 'credit', tenant },
  ...[1, 4].map((pick) => ({ ...first, command: 'publish', tenant, pick })),
])

/** One of these commands; of every three two meet one of these faults. */
const stepOf = (commands: readonly string[], faults: object) =>
  fc.record({
    command: fc.constantFrom(...commands),
    ...{ tenant: fc.nat(2), pick: fc.nat(29), edge: fc.nat(1) },
    fault: fc.option(fc.constantFrom(...Object.keys(faults)), { freq: 3 }),
  })
const changes = [...Object.keys(TENANT_COMMANDS), ...Object.keys(NAME_COMMANDS), 'createTenant', 'publish', 'publish']
const step = fc.oneof(
  stepOf(changes, STORAGE_FAULTS),
  stepOf([...Object.keys(QUESTION_COMMANDS), 'stream'], ANSWER_FAULTS),
)

test(
  'whatever commands come, and whatever fails meanwhile, edges and books are as the model says',
  {
    timeout: Math.max(300_000, RUNS * 60_000),
  },
  () =>
    fc.assert(
      fc.asyncProperty(fc.noBias(fc.array(step, { maxLength: MAX_STEPS, size: 'max' })), async (steps) => {
        const run = new Run(world)
        try {
          for (const pick of [0, 1]) await (await createTenant(run, { ...first, pick }))!()
          for (const each of [...BEGINNING, ...steps]) await carryOut(run, each)
          await audit(run)
        } catch (error) {
          await forget(run)
          throw error
        }
      }),
      // Enough for all of them, or to shrink one that fails.
      { numRuns: RUNS, interruptAfterTimeLimit: Math.max(240_000, RUNS * 30_000) },
    ),
)
