// Where the scripts keep what they can make again, for this user and all checkouts.
import { homedir } from 'node:os'
import { join } from 'node:path'

export const USER_CACHE = join(homedir(), '.cache/polylora')
