// Finds a key that occurs twice in one JSON object, which JSON.parse passes over in silence (the last one wins).
// Knows nothing of what the JSON means. Invariant: the text has already been accepted by JSON.parse.

/** The first key that is repeated within one object of `json`, or undefined. */
export function findDuplicateKey(json: string): string | undefined {
  const objects: (Set<string> | undefined)[] = []
  let expectKey = false
  for (let i = 0; i < json.length; i++) {
    switch (json[i]) {
      case '{':
        objects.push(new Set())
        expectKey = true
        break
      case '[':
        objects.push(undefined)
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
        if (seen?.has(key)) return key
        seen?.add(key)
        break
      }
    }
  }
  return undefined
}
