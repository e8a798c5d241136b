// Why an adapter was not published: what kind of thing went wrong, and the sentence about it.
import { Icon } from '../ui/icon.tsx'
import type { RefusalFacts } from './publishing.ts'

const WHERE: Record<RefusalFacts['stored'], string> = {
  nowhere: 'Nothing was published: the name points where it pointed before.',
  beside: 'The version is stored: point the name at it on the adapter’s page if you still want to.',
  named: 'The name points at the version already: publish it again, or remove the adapter on its page.',
}

export function Refusal({ refusal: { title, message, stored } }: { readonly refusal: RefusalFacts }) {
  return (
    <div class="notice bad" role="alert">
      <Icon name="alert" />
      <div>
        <h2>{title}</h2>
        <p>{message}</p>
        <p class="muted">{WHERE[stored]}</p>
      </div>
    </div>
  )
}
