// The processes of a group, as Linux lists them.
import { readdirSync, readFileSync } from 'node:fs'

interface Process {
  readonly id: number
  readonly parent: number
  readonly group: number
}

/** Ids of the living processes whose group is `group`. */
export function processesOf(group: number): number[] {
  return living().flatMap((found) => (found.group === group ? [found.id] : []))
}

/** Groups of the living processes whose parent is `parent` and that lead a group of their own. */
export function groupsBelow(parent: number): number[] {
  return living().flatMap((found) => (found.parent === parent && found.group === found.id ? [found.group] : []))
}

function living(): Process[] {
  const ids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return ids.flatMap((id) => tryRead(id) ?? [])
}

/** From /proc/<id>/stat; undefined when the process has ended, or waits only for its parent to hear of that. */
function tryRead(id: string): Process | undefined {
  try {
    const text = readFileSync(`/proc/${id}/stat`, 'utf8')
    const [state, parent, group] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' ? undefined : { id: Number(id), parent: Number(parent), group: Number(group) }
  } catch {
    return undefined
  }
}
