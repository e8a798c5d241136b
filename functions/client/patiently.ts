// A call to the edge that is made again where the network, or a server that is failing, was in its way.

/** Attempts before it is given up. */
const MAX_ATTEMPTS = 5

/** Which failures pass, and how long each attempt waits for that. */
export interface Patience {
  /** Whether a later attempt can change it: the network, or a server that is failing. */
  isPassing(error: unknown): boolean
  /** After the n-th attempt in a row that brought nothing. */
  pause(attempt: number): Promise<void>
}

/** Throws what `call` throws at last, or what another attempt cannot change. */
export async function patiently<Value>(call: () => Promise<Value>, patience: Patience): Promise<Value> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call()
    } catch (error) {
      if (!patience.isPassing(error) || attempt === MAX_ATTEMPTS) throw error
      await patience.pause(attempt)
    }
  }
}
