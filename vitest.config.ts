import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

// Where the counts go as JSON, beside the readable report.
const resultsFile = process.env.POLYLORA_TEST_RESULTS

/** The whole product first: as small files they would come last, and the longest of them would have one core to itself. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const { first = [], rest = [] } = Object.groupBy(await super.sort(files), ({ moduleId }) =>
      moduleId.includes('/test/e2e/') ? 'first' : 'rest',
    )
    return [...first, ...rest]
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/build-console.ts',
    // Two cores, which others may share: the engine's threads and the test files would only fight for them.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    // For what hangs, not for what is slow: on a busy machine everything takes ten times as long. What is waited for within a
    // test may take nearly as long as that.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 280_000 } },
    reporters: resultsFile ? ['default', 'json'] : ['default'],
    ...(resultsFile ? { outputFile: { json: resultsFile } } : {}),
  },
})
