// Which cores the threads of a process may run on, as Linux tells it.
import { readdirSync, readFileSync } from 'node:fs'

/** Numbers of cores by thread. */
export function coresOfThreads(pid: number): Map<string, number[]> {
  return new Map(
    readdirSync(`/proc/${pid}/task`).map((thread) => {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8')
      const ranges = /^Cpus_allowed_list:\t(\S+)$/m.exec(status)![1]!.split(',')
      return [thread, ranges.flatMap((range) => inRange(range.split('-').map(Number)))]
    }),
  )
}

function inRange([first, last = first]: readonly number[]): number[] {
  return Array.from({ length: last! - first! + 1 }, (_, i) => first! + i)
}
