// vLLM's figures beside ours: the text of several servers' /metrics as one, each sample labelled with its server. Pure.
// Invariant: a family's samples stand together under one HELP and TYPE, as Prometheus' format asks.

/** Only vLLM's own; what its libraries count of a Python process is not ours to show. */
const PREFIX = 'vllm:'

export interface Exposition {
  readonly replica: string
  readonly text: string
}

interface Family {
  readonly comments: string[]
  readonly samples: string[]
}

export function mergeExpositions(expositions: readonly Exposition[]): string {
  const families = new Map<string, Family>()
  for (const { replica, text } of expositions) {
    let current: Family | undefined
    const seen = new Set<string>()
    for (const line of text.split('\n')) {
      const comment = /^# (?:HELP|TYPE) (\S+)/.exec(line)
      if (comment) {
        const name = comment[1]!
        current = name.startsWith(PREFIX) ? familyOf(families, name) : undefined
        const isNew = current && (current.samples.length === 0 || seen.has(name))
        if (isNew && !current?.comments.includes(line)) current?.comments.push(line)
        seen.add(name)
      } else if (current && line !== '' && !line.startsWith('#')) {
        current.samples.push(labelled(line, replica))
      }
    }
  }
  const lines = [...families.values()].flatMap(({ comments, samples }) => [...comments, ...samples])
  return lines.map((line) => `${line}\n`).join('')
}

function familyOf(families: Map<string, Family>, name: string): Family {
  const family = families.get(name) ?? { comments: [], samples: [] }
  families.set(name, family)
  return family
}

/** `name{a="b"} 1` and `name 1` with one more label. */
function labelled(line: string, replica: string): string {
  const label = `replica="${replica.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
  const brace = line.indexOf('{')
  const space = line.indexOf(' ')
  if (brace < 0 || brace > space) return `${line.slice(0, space)}{${label}}${line.slice(space)}`
  const rest = line.slice(brace + 1)
  return `${line.slice(0, brace)}{${label}${rest.startsWith('}') ? '' : ','}${rest}`
}
