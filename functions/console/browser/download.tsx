// How far a download to this browser is.
import type { Progress } from '../../../gpu-backend/browser/index.ts'
import { bytes } from '../ui/format.ts'

export function Download({ progress: { what, loadedBytes, totalBytes } }: { readonly progress: Progress }) {
  const label = what === 'base' ? 'The base model' : 'The adapter'
  return (
    <div class="field">
      <progress aria-label={label} value={loadedBytes} max={totalBytes} />
      <p class="hint">
        {label}: {bytes(loadedBytes)} of {bytes(totalBytes)}
      </p>
    </div>
  )
}
