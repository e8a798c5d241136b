// Values that have to be fetched before they can be shown, and actions that take a while; with their failures.
import { type StateUpdater, useCallback, useEffect, useRef, useState } from 'preact/hooks'

export interface Loaded<Value> {
  /** What was fetched last; it stays while it is fetched again. */
  readonly value: Value | undefined
  readonly error: Error | undefined
  readonly isLoading: boolean
  /** Resolves once what is fetched then, or its failure, is shown. */
  reload(): Promise<void>
}

interface State<Value> {
  readonly value?: Value
  readonly error?: Error
  readonly isLoading: boolean
}

/**
 * Fetches when the component appears, when `inputs` change, and `everyMs` after the last time while the page is visible:
 * what takes longer than that to fetch comes all the same.
 */
export function useLoaded<Value>(
  load: (signal: AbortSignal) => Promise<Value>,
  inputs: readonly unknown[],
  everyMs?: number,
): Loaded<Value> {
  const [state, setState] = useState<State<Value>>({ isLoading: true })
  const [round, setRound] = useState(0)
  const shown = useRef(inputs)
  const reloads = useRef<(() => void)[]>([])
  useEffect(() => {
    const abort = new AbortController()
    const isSame = shown.current === inputs || shown.current.every((input, i) => input === inputs[i])
    shown.current = inputs
    setState((state) => ({ ...(isSame ? state : {}), isLoading: true }))
    const waiting = reloads.current.splice(0)
    const settle = (next: StateUpdater<State<Value>>) => {
      if (abort.signal.aborted) return
      setState(next)
      for (const resolve of waiting.splice(0)) resolve()
    }
    load(abort.signal).then(
      (value) => settle({ value, isLoading: false }),
      (error: unknown) => settle((state) => ({ ...state, error: toError(error), isLoading: false })),
    )
    return () => {
      abort.abort()
      reloads.current.push(...waiting)
    }
  }, [...inputs, round])
  useEffect(() => {
    if (everyMs === undefined || state.isLoading) return
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') setRound((round) => round + 1)
    }, everyMs)
    return () => clearInterval(timer)
  }, [everyMs, state.isLoading])
  const reload = useCallback(() => {
    setRound((round) => round + 1)
    return new Promise<void>((resolve) => reloads.current.push(resolve))
  }, [])
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
