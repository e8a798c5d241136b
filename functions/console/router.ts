// The page shown is the part of the address after `#`: nothing is asked of the server, and no key is ever in it.
import { useEffect, useState } from 'preact/hooks'

/** The path after `#`, as decoded segments. */
export function useRoute(): readonly string[] {
  const [hash, setHash] = useState(location.hash)
  useEffect(() => {
    const follow = () => setHash(location.hash)
    addEventListener('hashchange', follow)
    // It may have changed since the first rendering, before anybody listened.
    follow()
    return () => removeEventListener('hashchange', follow)
  }, [])
  return segmentsOf(hash)
}

function segmentsOf(hash: string): string[] {
  const parts = hash.replace(/^#\/?/, '').split('/')
  return parts.filter((part) => part !== '').map(tryDecode)
}

export function linkTo(...segments: readonly string[]): string {
  return `#/${segments.map(encodeURIComponent).join('/')}`
}

export function goTo(...segments: readonly string[]): void {
  location.hash = linkTo(...segments)
}

function tryDecode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
