// Why a vLLM server has ended, from what it wrote. Pure.
// Method: its processes each fail because the first one did, and say so one after the other: the first exception is the cause.

/** `(EngineCore pid=12) ERROR 11-24 17:07:41 [core.py:1510] `, before what was said. */
const PREFIX = /^(\(\w[^)]* pid=\d+\) )?((DEBUG|INFO|WARNING|ERROR|CRITICAL) [\d-]+ [\d:]+ \[[^\]]*\] )?/
/** `ValueError: …` of Python, `vllm: error: …` of its command line. */
const CAUSE = /^([\w.]+(Error|Exception)|[\w-]+: error): /
/** Where no exception is told, the last lines are. */
const LAST_LINES = 5
const MAX_LENGTH = 600

/** One line, without a full stop, of `lines` as they were written. */
export function exitReason(lines: readonly string[]): string {
  const plain = lines.map((line) => line.replace(PREFIX, '')).filter((line) => line.trim() !== '')
  const first = plain.findIndex((line) => CAUSE.test(line))
  if (first < 0) return short(plain.slice(-LAST_LINES)) || 'it said nothing'
  // A message may go on, indented.
  const after = plain.slice(first + 1, first + 2).filter((line) => /^\s/.test(line))
  return short([plain[first]!, ...after])
}

function short(lines: readonly string[]): string {
  const text = lines.map((line) => line.trim().replace(/\s+/g, ' ')).join(' | ')
  return (text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text).replace(/[.:]$/, '')
}
