import { defineConfig } from 'vitest/config'

// Where the counts go as JSON, beside the readable report.
const resultsFile = process.env.POLYLORA_TEST_RESULTS

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/build-console.ts',
    // Two cores, which others may share: the engine's threads and the test files would only fight for them.
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 240_000,
    // What is waited for may take as long as its test: a second, which is the default, is short on a busy machine.
    expect: { poll: { timeout: 110_000 } },
    reporters: resultsFile ? ['default', 'json'] : ['default'],
    ...(resultsFile ? { outputFile: { json: resultsFile } } : {}),
  },
})
