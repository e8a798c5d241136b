// Adapters and their versions as the API shows them.
import type { AdapterRow, VersionRow } from '../registry/adapters.ts'
import { type AdapterName, fullName } from '../registry/names.ts'
import { type AdapterSummary, DeltaSummary, type Version } from './adapter-answers.ts'

export function describeVersion(adapter: AdapterName, { digest, bytes, header, created_ms }: VersionRow): Version {
  const summary = DeltaSummary.parse(JSON.parse(header))
  return { id: fullName(adapter), object: 'adapter', digest, bytes, ...summary, created_ms }
}

/** As lists show it: the version that it points at, and whether its deltas may leave the edge. */
export function describeAdapter(tenant: string, row: AdapterRow): AdapterSummary {
  const version = describeVersion({ tenant, name: row.name }, row)
  return { ...version, updated_ms: row.updated_ms, may_leave: row.may_leave === 1 }
}
