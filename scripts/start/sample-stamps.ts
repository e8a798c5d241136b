// Which sample files were published from this state folder, and which were let out to browsers: a sample that changes with the
// repository is published again, and what an operator decides of browsers stays.
// Knows nothing of the edge. Invariant: a stamp is written only after what it stands for was done.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'

const Stamps = z.record(z.string(), z.string())

export class SampleStamps {
  readonly #file: string
  readonly #stamps: Record<string, string>

  constructor(state: string) {
    this.#file = join(state, 'samples.json')
    this.#stamps = readStamps(this.#file)
  }

  isCurrent(folder: string, model: string): boolean {
    return this.#stamps[model] === stampOf(folder)
  }

  set(folder: string, model: string): void {
    this.#write(model, stampOf(folder))
  }

  isOut(model: string): boolean {
    return this.#stamps[outOf(model)] !== undefined
  }

  setOut(model: string): void {
    this.#write(outOf(model), new Date().toISOString())
  }

  #write(key: string, stamp: string): void {
    this.#stamps[key] = stamp
    writeFileSync(this.#file, JSON.stringify(this.#stamps))
  }
}

function outOf(model: string): string {
  return `${model} to browsers`
}

/** A damaged file costs one publishing more. */
function readStamps(file: string): Record<string, string> {
  try {
    return Stamps.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    return {}
  }
}

function stampOf(folder: string): string {
  const hash = createHash('sha256')
  for (const name of readdirSync(folder).sort()) hash.update(name).update(readFileSync(join(folder, name)))
  return hash.digest('hex')
}
