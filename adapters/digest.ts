// The identity of an adapter version: sha256 over the bytes of its canonical file.
// Knows nothing of the file's content. Invariant: uses WebCrypto only, so it is the same in workerd, Node and the browser.

/** `sha256:<64 lower-case hex digits>` of `bytes`. */
export async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  return `sha256:${Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
}
