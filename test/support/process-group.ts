// The processes of a group, as Linux lists them.
import { readdirSync, readFileSync } from 'node:fs'

/** Ids of the living processes whose group is `group`. */
export function processesOf(group: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const found = tryStat(name)
      return found?.group === group && found.state !== 'Z' ? [Number(name)] : []
    })
}

/** Groups of the living processes whose parent is `parent` and that lead a group of their own. */
export function groupsBelow(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const found = tryStat(name)
      return found?.parent === parent && found.group === Number(name) && found.state !== 'Z' ? [found.group] : []
    })
}

/** Fields of /proc/<id>/stat; undefined when the process has ended. */
function tryStat(id: string): { state: string; parent: number; group: number } | undefined {
  try {
    const text = readFileSync(`/proc/${id}/stat`, 'utf8')
    const [state, parent, group] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { state: state!, parent: Number(parent), group: Number(group) }
  } catch {
    return undefined
  }
}
