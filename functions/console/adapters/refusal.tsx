// Why an adapter was not published: what kind of thing went wrong, and the sentence about it.
import { AdapterError, type AdapterErrorCode } from '../../../adapters/errors.ts'
import { ProbeFailure } from '../../client/probe.ts'
import { EdgeError } from '../api/edge.ts'
import { Icon } from '../ui/icon.tsx'

const TITLES: Record<AdapterErrorCode, string> = {
  malformed: 'The files are damaged',
  unsupported: 'This kind of adapter cannot be served',
  missing: 'Something is missing',
  mismatch: 'It was made for another base model',
  ineffective: 'It would change nothing',
  too_large: 'It is larger than what can be served',
}

export function Refusal({ error }: { readonly error: Error }) {
  return (
    <div class="notice bad" role="alert">
      <Icon name="alert" />
      <div>
        <h2>{titleOf(error)}</h2>
        <p>{error.message}</p>
        <p class="muted">
          {isOvertaken(error)
            ? 'The version is stored: point the name at it on the adapter’s page if you still want to.'
            : 'Nothing was published: the name points where it pointed before.'}
        </p>
      </div>
    </div>
  )
}

/** Somebody else moved the name while this version was tested. */
function isOvertaken(error: Error): boolean {
  return error instanceof EdgeError && error.code === 'alias_moved'
}

function titleOf(error: Error): string {
  if (isOvertaken(error)) return 'The name was moved meanwhile'
  if (error instanceof AdapterError) return TITLES[error.code]
  return error instanceof ProbeFailure ? 'It did not pass the test on the backend' : 'The edge refused it'
}
