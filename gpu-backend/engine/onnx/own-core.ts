// A core for the engine's thread alone. Each token wakes the server's thread: where that takes the core of the thread that
// runs the graph, every operator that this one runs by itself waits as well.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import { coreCalls } from './libc.ts'

/** glibc's cpu_set_t: a bit for each of 1,024. */
const MASK_BYTES = 128
/** How long the thread has waited for its core is looked at this often, once it has wanted to run for half of that. */
const LOOK_MS = 1_000
const MIN_WANTED_NS = (LOOK_MS / 2) * 1e6
/** Of the time in which it wanted to run. With more than this, others need the core as well. */
const MAX_WAITED = 0.25
/** The core is left to them for so long, then tried again. */
const SHARED_MS = 60_000

/**
 * Keeps the calling thread on the core where it runs, and this process's other threads on the rest of those that the process
 * may use (Linux's sched_setaffinity(2)). A thread started later has the cores of the one that starts it. Other processes know
 * nothing of it: another backend may have chosen the same core, a container may have less time than cores. So the core is given
 * up for a while wherever the thread has to wait for it. Where no file can be opened at the time, things stay as they are.
 */
export class OwnCore {
  readonly #calls: Calls
  readonly #thread: string
  /** Cores that the process had at first. */
  readonly #allowed: Uint8Array
  #isHeld = false
  #nextLookMs = 0
  /** When last looked at. */
  #waits: Waits = { ranNs: 0, waitedNs: 0 }

  private constructor(calls: Calls, thread: string, allowed: Uint8Array) {
    this.#calls = calls
    this.#thread = thread
    this.#allowed = allowed
  }

  /** For the calling thread; undefined where there is one core only, or the system does not tell or do what it takes. */
  static ofThisThread(): OwnCore | undefined {
    const calls = coreCalls()
    const allowed = new Uint8Array(MASK_BYTES)
    if (!calls || !readWaits() || calls.sched_getaffinity(0, MASK_BYTES, allowed) !== 0) return undefined
    const cores = allowed.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)
    return cores > 1 ? new OwnCore(calls, basename(readlinkSync('/proc/thread-self')), allowed) : undefined
  }

  /** Takes the core, keeps it, or gives it up for now: to be called often, with `performance.now()`. */
  look(nowMs: number): void {
    if (nowMs < this.#nextLookMs) return
    this.#nextLookMs = nowMs + LOOK_MS
    const waits = readWaits()
    if (!waits) return
    if (!this.#isHeld) {
      this.#waits = waits
      this.#take()
      return
    }
    const waitedNs = waits.waitedNs - this.#waits.waitedNs
    const wantedNs = waits.ranNs - this.#waits.ranNs + waitedNs
    if (wantedNs < MIN_WANTED_NS) return
    this.#waits = waits
    if (waitedNs <= MAX_WAITED * wantedNs) return
    this.release()
    if (!this.#isHeld) this.#nextLookMs = nowMs + SHARED_MS
  }

  /** Lets every thread run on every core again. */
  release(): void {
    if (this.#isHeld && this.#keepAllOn(this.#allowed)) this.#isHeld = false
  }

  #take(): void {
    const core = this.#calls.sched_getcpu()
    const own = new Uint8Array(MASK_BYTES)
    own[core >> 3] = 1 << (core & 7)
    const others = this.#allowed.map((byte, at) => byte & ~own[at]!)
    if (!this.#keepOn(this.#thread, own)) return
    if (this.#keepAllOn(others, this.#thread)) this.#isHeld = true
    else this.#keepOn(this.#thread, this.#allowed)
  }

  /** Every thread but one, and those that these start meanwhile: a graph may be loading. False where they cannot be listed. */
  #keepAllOn(cores: Uint8Array, but?: string): boolean {
    const done = new Set([but])
    for (;;) {
      const threads = threadsOfProcess()?.filter((thread) => !done.has(thread))
      if (!threads) return false
      if (threads.length === 0) return true
      for (const thread of threads) {
        this.#keepOn(thread, cores)
        done.add(thread)
      }
    }
  }

  /** False where it cannot be: a thread that has ended meanwhile, or a system that does not allow it. */
  #keepOn(thread: string, cores: Uint8Array): boolean {
    return this.#calls.sched_setaffinity(Number(thread), MASK_BYTES, cores) === 0
  }
}

type Calls = NonNullable<ReturnType<typeof coreCalls>>

interface Waits {
  readonly ranNs: number
  readonly waitedNs: number
}

/** How long the calling thread has run, and waited for a core while it could have; undefined where the system does not count. */
function readWaits(): Waits | undefined {
  try {
    const [ranNs = 0, waitedNs = 0] = readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ').map(Number)
    return ranNs > 0 ? { ranNs, waitedNs } : undefined
  } catch {
    return undefined
  }
}

function threadsOfProcess(): string[] | undefined {
  try {
    return readdirSync('/proc/self/task')
  } catch {
    return undefined
  }
}
