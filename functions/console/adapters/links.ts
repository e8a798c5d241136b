// The addresses of the pages about adapters.
import { linkTo } from '../router.ts'

/** In place of a name; no adapter can have it, since names begin with a letter or a digit. */
export const PUBLISH = '+'

export function linkToAdapter(name: string): string {
  return linkTo('adapters', name)
}

/** To publish a new version of `name`, or a new adapter. */
export function linkToPublish(name?: string): string {
  return linkTo('adapters', PUBLISH, ...(name === undefined ? [] : [name]))
}
