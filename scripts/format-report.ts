// An adapter's report as lines for a terminal. Knows no command.
import { UNKNOWN_FINGERPRINT } from '../adapters/infer-base.ts'
import type { ReadableReport } from '../functions/client/stored-report.ts'
import { formatBytes } from './format-bytes.ts'

const BAR_CELLS = 20

/** The lines that `publish`, `show`, `inspect` and `convert` print. */
export function formatReport(report: ReadableReport): string[] {
  const largest = Math.max(...report.layers.map((layer) => layer.norm))
  const scales = report.scales.map((scale) => Number(scale.toPrecision(6))).join(', ')
  return [
    `format    ${report.sourceFormat}`,
    `base      ${report.baseName}${report.base === UNKNOWN_FINGERPRINT ? '' : ` (${report.base.slice(0, 19)}…)`}`,
    `rank      ${report.rank}, scale ${scales} folded into B`,
    `modules   ${report.moduleCount}: ${report.modules.join(', ')}`,
    `size      ${formatBytes(report.bytes)} (${report.dtype})${report.hasChatTemplate ? ', with its own chat template' : ''}`,
    'change by layer (Frobenius norm of B·A)',
    ...report.layers.map(({ layer, norm }) => {
      return `  ${layer.padStart(18)}  ${norm.toPrecision(4).padStart(9)}  ${'#'.repeat(Math.round((norm / largest) * BAR_CELLS))}`
    }),
    ...(report.probe === undefined
      ? []
      : [`effect    a probe's log probabilities move by up to ${report.probe.difference.toPrecision(3)}`]),
    ...report.notices.map((notice) => `note      ${notice}`),
  ]
}
