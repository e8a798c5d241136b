// The Worker with delta files in an S3-compatible store: set `main` to this file and the S3_ settings (see README.md).
import { s3Store } from './registry/s3-store.ts'
import { createWorker } from './worker.ts'

export default createWorker(s3Store)
export { TenantMeter } from './metering/tenant-meter.ts'
