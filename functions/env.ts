// What the Worker is configured with: its bindings, and the settings checked once for each isolate.
// Invariant: past `readConfig` they are right. Beside it raw variables are read by an S3-compatible store alone, which checks its
// own, and for the meter, whose isolate may have no `Config`.
import * as z from 'zod/mini'
import { type CapabilityKey, importCapabilityKey } from '../gpu-backend/capability.ts'
import type { TenantMeter } from './metering/tenant-meter.ts'

export interface Bindings {
  /** Canonical delta files, by digest; absent where they are in an S3-compatible store. */
  readonly DELTAS?: R2Bucket
  /** Registry and usage. */
  readonly DB: D1Database
  /** One meter for each tenant. */
  readonly METER: DurableObjectNamespace<TenantMeter>
  /** URLs of the backends: an array, as text or as wrangler.toml writes it, or separated by commas. */
  readonly BACKENDS: string | readonly string[]
  readonly POLYLORA_BACKEND_SECRET: string
  /** Opens the admin API; without it there is none. */
  readonly POLYLORA_ADMIN_KEY?: string
  /** How long the meter waits for an edge that has gone silent, where not as `meterLeaseMs` says; milliseconds. */
  readonly METER_LEASE_MS?: string
  /** How long a backend may be silent; milliseconds. */
  readonly BACKEND_PATIENCE_MS?: string
  /** Anything: the server is for its own machine alone. */
  readonly LOCAL_ONLY?: string
  /** Days for which usage records are kept one by one; without it for ever. */
  readonly USAGE_RECORD_DAYS?: string
}

export interface Config {
  readonly backends: readonly string[]
  readonly capabilityKey: CapabilityKey
  readonly adminKey: string | undefined
  readonly backendPatienceMs: number
  readonly usageRecordDays: number | undefined
}

/** Its queue is part of a backend's silence, and so is a long prompt. */
const BACKEND_PATIENCE_MS = 120_000
/** Of a backend's patience: an edge that waits for its backend is silent as long, and must not be given up before. */
const LEASE_FACTOR = 1.5
/** A client that reads nothing for a while keeps its edge silent, too. */
const MIN_LEASE_MS = 180_000
/** A request that was given up as lost may be put right for a day. */
const MIN_USAGE_RECORD_DAYS = 2

/** A setting is missing or wrong: the message is one sentence for the operator. */
export class ConfigError extends Error {}

const Url = z.url({ protocol: /^https?$/ })

/**
 * The settings in `env`.
 * @throws ConfigError naming the first binding, variable or secret that is missing or wrong
 */
export async function readConfig(env: Bindings): Promise<Config> {
  for (const binding of ['DB', 'METER'] as const) {
    if (!env[binding]) throw new ConfigError(`The binding ${binding} is missing: add it to wrangler.toml.`)
  }
  if (!env.POLYLORA_BACKEND_SECRET) {
    throw new ConfigError(
      'The secret POLYLORA_BACKEND_SECRET is missing: run `wrangler secret put POLYLORA_BACKEND_SECRET`.',
    )
  }
  const backends = parseBackends(env.BACKENDS ?? '')
  const backendPatienceMs = parseWhole(env, 'BACKEND_PATIENCE_MS', 'milliseconds', 1) ?? BACKEND_PATIENCE_MS
  parseWhole(env, 'METER_LEASE_MS', 'milliseconds', 1)
  const usageRecordDays = parseWhole(env, 'USAGE_RECORD_DAYS', 'days', MIN_USAGE_RECORD_DAYS)
  try {
    const capabilityKey = await importCapabilityKey(env.POLYLORA_BACKEND_SECRET)
    const adminKey = env.POLYLORA_ADMIN_KEY
    return Object.freeze({ backends, capabilityKey, adminKey, backendPatienceMs, usageRecordDays })
  } catch (error) {
    throw new ConfigError(error instanceof Error ? error.message : String(error))
  }
}

export type LeaseSettings = Pick<Bindings, 'METER_LEASE_MS' | 'BACKEND_PATIENCE_MS'>

/** A request that runs, and of which its meter has heard nothing for so long, has lost its edge; milliseconds. */
export function meterLeaseMs({ METER_LEASE_MS: lease, BACKEND_PATIENCE_MS: patience }: LeaseSettings): number {
  return Number(lease || Math.max(MIN_LEASE_MS, LEASE_FACTOR * Number(patience || BACKEND_PATIENCE_MS)))
}

function parseBackends(setting: string | readonly string[]): readonly string[] {
  const parsed = z
    .array(Url)
    .check(z.minLength(1))
    .safeParse(typeof setting === 'string' ? listOf(setting.trim()) : setting)
  if (!parsed.success) {
    // By its place: callers read this sentence, and a backend's address is not for them.
    const place = parsed.error.issues[0]?.path[0]
    const fault = typeof place === 'number' ? `has no URL in place ${place + 1}` : 'is no list'
    throw new ConfigError(`BACKENDS ${fault}: set it to one or more http(s) URLs, separated by commas.`)
  }
  return parsed.data.map((url) => url.replace(/\/+$/, ''))
}

function listOf(text: string): unknown {
  return text.startsWith('[') ? tryParseJson(text) : text.split(',').map((url) => url.trim())
}

function parseWhole(
  env: Bindings,
  name: 'BACKEND_PATIENCE_MS' | 'METER_LEASE_MS' | 'USAGE_RECORD_DAYS',
  unit: string,
  least: number,
): number | undefined {
  const value = env[name]
  if (value === undefined || value === '') return undefined
  const parsed = Number(value)
  if (Number.isInteger(parsed) && parsed >= least) return parsed
  throw new ConfigError(`${name} is ${JSON.stringify(value)}: set it to a whole number of ${unit}, ${least} or more.`)
}

function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
