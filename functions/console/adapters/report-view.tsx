// A publishing report: what was found, what to know about it, and where the adapter changes the base most.
import type { ReadableReport } from '../../client/stored-report.ts'
import { Table } from '../ui/table.tsx'
import { describeReport } from './report.ts'

export function ReportView({ report }: { readonly report: ReadableReport }) {
  const largest = Math.max(...report.layers.map(({ norm }) => norm))
  return (
    <div class="report">
      <ul class="sentences">
        {describeReport(report).map((sentence) => (
          <li key={sentence}>{sentence}</li>
        ))}
        {report.notices.map((notice) => (
          <li key={notice} class="muted">
            {notice}
          </li>
        ))}
      </ul>
      <details class="layers">
        <summary>Change by layer</summary>
        <Table
          caption="Change by layer"
          rows={report.layers}
          keyOf={({ layer }) => layer}
          columns={[
            { title: 'Layer', cell: ({ layer }) => layer },
            {
              title: 'Frobenius norm of B·A',
              cell: ({ layer, norm }) => <meter min={0} max={largest} value={norm} aria-label={`Layer ${layer}`} />,
            },
            { title: 'Norm', kind: 'number', cell: ({ norm }) => norm.toPrecision(4) },
          ]}
        />
      </details>
    </div>
  )
}
