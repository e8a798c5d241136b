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
    reporters: resultsFile ? ['default', 'json'] : ['default'],
    ...(resultsFile ? { outputFile: { json: resultsFile } } : {}),
  },
})
