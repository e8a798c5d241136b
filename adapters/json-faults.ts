// Finds what JSON.parse passes over in silence: a key that occurs twice in one object (the last one wins), and nesting that no
// configuration has. Knows nothing of what the JSON means. Invariant: the text has already been accepted by JSON.parse.
import { quote } from './errors.ts'

/** Configurations and headers nest two or three deep; a deeper one only costs whoever walks it. */
const MAX_DEPTH = 64

/** What is wrong with `json`, to go after the file's name: `has "r" twice`, `nests too deeply`; undefined when nothing is. */
export function findJsonFault(json: string): string | undefined {
  const objects: (Set<string> | undefined)[] = []
  let expectKey = false
  for (let i = 0; i < json.length; i++) {
    switch (json[i]) {
      case '{':
        if (objects.push(new Set()) > MAX_DEPTH) return 'nests too deeply'
        expectKey = true
        break
      case '[':
        if (objects.push(undefined) > MAX_DEPTH) return 'nests too deeply'
        expectKey = false
        break
      case '}':
      case ']':
        objects.pop()
        expectKey = false
        break
      case ',':
        expectKey = objects.at(-1) !== undefined
        break
      case '"': {
        const start = i
        for (i++; json[i] !== '"'; i++) if (json[i] === '\\') i++
        if (!expectKey) break
        expectKey = false
        const key: string = JSON.parse(json.slice(start, i + 1))
        const seen = objects.at(-1)
        if (seen?.has(key)) return `has ${quote(key)} twice`
        seen?.add(key)
        break
      }
    }
  }
  return undefined
}
