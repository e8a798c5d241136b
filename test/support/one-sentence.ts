// The house rule for every error that a user can cause: one sentence, no stack, no object, no path of our own sources.
import { expect } from 'vitest'

/** Fails unless `message` reads as one sentence. */
export function expectOneSentence(message: string): void {
  expect(message.trim()).toMatch(/^[^\n]+[.!?]$/)
  expect(message).not.toMatch(/\[object|(?<!received )undefined|\bat .*\.ts:\d+/)
}
