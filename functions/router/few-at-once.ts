// Many requests of one invocation, of which Cloudflare lets six wait for their answer's headers at once. The others wait for a
// place, and the timer of each would run meanwhile: what is slow would be given up, and then all the rest without being asked.

/** Leaves some of the six to whatever else the invocation does. */
const AT_ONCE = 4

/** As `Promise.all` of `work` on each of `items`, a few at a time, in their order. */
export async function fewAtOnce<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  const left = items.entries()
  const takeTurns = async () => {
    for (const [place, item] of left) results[place] = await work(item)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, takeTurns))
  return results
}
