// What is checked of a delta's bytes before either engine takes it in: its form, its modules and how much it changes.
import type { BaseModel } from '../../adapters/base-model.ts'
import { decodeDelta } from '../../adapters/canonical.ts'
import type { Delta } from '../../adapters/delta.ts'
import { AdapterError } from '../../adapters/errors.ts'
import { checkModuleLimits, type ModuleLimits } from '../../adapters/limits.ts'
import { BackendError } from '../errors.ts'
import { checkChange } from './change-bound.ts'

/** The delta in the canonical file `bytes`. @throws BackendError `invalid_delta` where this base and these limits refuse it */
export function checkedDelta(bytes: Uint8Array, base: BaseModel, limits: ModuleLimits): Delta {
  try {
    const delta = decodeDelta(bytes, base)
    checkModuleLimits(delta.modules, limits)
    checkChange(delta)
    return delta
  } catch (error) {
    if (error instanceof AdapterError) throw new BackendError('invalid_delta', error.message)
    throw error
  }
}
