// Values that have to be fetched before they can be shown, and actions that take a while; with their failures.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'

export interface Loaded<Value> {
  /** What was fetched last; it stays while it is fetched again. */
  readonly value: Value | undefined
  readonly error: Error | undefined
  readonly isLoading: boolean
  reload(): void
}

/** Fetches when the component appears, when `inputs` change, and every `everyMs` while the page is visible. */
export function useLoaded<Value>(
  load: (signal: AbortSignal) => Promise<Value>,
  inputs: readonly unknown[],
  everyMs?: number,
): Loaded<Value> {
  const [state, setState] = useState<{ value?: Value; error?: Error; isLoading: boolean }>({ isLoading: true })
  const [round, setRound] = useState(0)
  const shown = useRef(inputs)
  useEffect(() => {
    const abort = new AbortController()
    const isSame = shown.current === inputs || shown.current.every((input, i) => input === inputs[i])
    shown.current = inputs
    setState((state) => ({ ...(isSame ? state : {}), isLoading: true }))
    load(abort.signal).then(
      (value) => !abort.signal.aborted && setState({ value, isLoading: false }),
      (error: unknown) => {
        if (!abort.signal.aborted) setState((state) => ({ ...state, error: toError(error), isLoading: false }))
      },
    )
    return () => abort.abort()
  }, [...inputs, round])
  useEffect(() => {
    if (everyMs === undefined) return
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') setRound((round) => round + 1)
    }, everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
  const reload = useCallback(() => setRound((round) => round + 1), [])
  return { value: state.value, error: state.error, isLoading: state.isLoading, reload }
}

export interface Task {
  readonly isBusy: boolean
  readonly error: Error | undefined
  /** Runs `work`; a failure is kept in `error`. Resolves to whether it succeeded. */
  run(work: () => Promise<void>): Promise<boolean>
}

/** One action at a time, with the failure of the last. */
export function useTask(): Task {
  const [state, setState] = useState<{ isBusy: boolean; error?: Error }>({ isBusy: false })
  const run = useCallback(async (work: () => Promise<void>) => {
    setState({ isBusy: true })
    try {
      await work()
      setState({ isBusy: false })
      return true
    } catch (error) {
      setState({ isBusy: false, error: toError(error) })
      return false
    }
  }, [])
  return { isBusy: state.isBusy, error: state.error, run }
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
