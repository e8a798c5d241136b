// The addresses of the playground.
import { linkTo } from '../router.ts'

/** To ask one version of an adapter beside what its name serves. */
export function linkToPlayground(model: string, digest: string): string {
  return linkTo('playground', `${model}@${digest}`)
}
