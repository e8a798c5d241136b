// A version's digest, short to look at and whole to copy.
import { CopyButton } from './copy-button.tsx'
import { shortDigest } from './format.ts'

export function Digest({ value }: { readonly value: string }) {
  return (
    <span class="digest">
      <code title={value}>{shortDigest(value)}</code>
      <CopyButton text={value} label={`Copy digest ${shortDigest(value)}`} />
    </span>
  )
}
