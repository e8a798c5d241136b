// The folders of the sample adapters, one a tenant.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

export const SAMPLES = join(import.meta.dirname, '../../adapters/samples')
export const SAMPLE_NAMES = readdirSync(SAMPLES, { withFileTypes: true }).flatMap((entry) =>
  entry.isDirectory() ? entry.name : [],
)
