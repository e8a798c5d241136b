// A promise that is not waited for longer than some time.

/** What `promise` gives, or undefined where it takes longer than `ms`; it goes on by itself then. */
export function tryWithin<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), ms)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
