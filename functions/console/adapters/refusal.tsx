// Why an adapter was not published: what kind of thing went wrong, and the sentence about it.
import { Icon } from '../ui/icon.tsx'
import type { RefusalFacts } from './publishing.ts'

export function Refusal({ refusal: { title, message, isStored } }: { readonly refusal: RefusalFacts }) {
  return (
    <div class="notice bad" role="alert">
      <Icon name="alert" />
      <div>
        <h2>{title}</h2>
        <p>{message}</p>
        <p class="muted">
          {isStored
            ? 'The version is stored: point the name at it on the adapter’s page if you still want to.'
            : 'Nothing was published: the name points where it pointed before.'}
        </p>
      </div>
    </div>
  )
}
