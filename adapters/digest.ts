// The identity of an adapter version: sha256 over the bytes of its canonical file.
// Knows nothing of the file's content. Invariant: uses WebCrypto only, so it is the same in workerd, Node and the browser.

/** `sha256:<64 lower-case hex digits>` of `bytes`. */
export async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return `sha256:${hexOf(await crypto.subtle.digest('SHA-256', bytes))}`
}

/** The same of a text's UTF-8, without the prefix. */
export async function sha256Hex(text: string): Promise<string> {
  return hexOf(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)))
}

/** Lower-case hex, two digits a byte. */
export function hexOf(hash: ArrayBuffer): string {
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
