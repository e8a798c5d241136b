import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')

/** Without it the collector's moods, tens of megabytes and more, would hide a leak or look like one. */
export const collectGarbage = runInNewContext('gc') as () => void
