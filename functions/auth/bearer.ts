// The key in an Authorization header, whosever it is.

/** What stands behind `Bearer`; undefined where the header is absent or something else. */
export function tryReadBearer(header: string | undefined): string | undefined {
  return /^Bearer +([^\s]+) *$/i.exec(header ?? '')?.[1]
}
