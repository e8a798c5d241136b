// The Worker that is deployed, with delta files in R2. index-s3.ts is the same with any S3-compatible store.
import { r2Store } from './registry/r2-store.ts'
import { createWorker } from './worker.ts'

export default createWorker(r2Store)
export { TenantMeter } from './metering/tenant-meter.ts'
