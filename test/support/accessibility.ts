// What axe-core has to say against a page as it is shown: WCAG 2.2 AA, and what is good practice besides.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Page } from 'playwright-core'
import { expect } from 'vitest'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

interface Finding {
  readonly id: string
  readonly nodes: { readonly html: string; readonly failureSummary: string }[]
}

/** `where` is said where something is found. */
export async function expectAccessible(page: Page, where: string): Promise<void> {
  // Not as a script of the page: its policy would refuse that.
  if (!(await page.evaluate<boolean>('"axe" in globalThis'))) await page.evaluate(AXE)
  const run = `axe.run({ runOnly: ${JSON.stringify(TAGS)}, resultTypes: ['violations'] }).then((found) => found.violations)`
  const findings = await page.evaluate<Finding[]>(run)
  const said = findings.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => [id, html, failureSummary]))
  expect(said, where).toEqual([])
}
