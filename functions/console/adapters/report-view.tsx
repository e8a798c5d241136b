// A publishing report: what was found, what to know about it, and where the adapter changes the base most.
import { describeReport, type Report } from './report.ts'

export function ReportView({ report }: { readonly report: Report }) {
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
      <details>
        <summary>Change by layer</summary>
        <div class="scroll">
          <table class="layers">
            <thead>
              <tr>
                <th scope="col">Layer</th>
                <th scope="col">Frobenius norm of B·A</th>
                <th scope="col" class="number">
                  Norm
                </th>
              </tr>
            </thead>
            <tbody>
              {report.layers.map(({ layer, norm }) => (
                <tr key={layer}>
                  <th scope="row">{layer}</th>
                  <td>
                    <meter min={0} max={largest} value={norm} aria-label={`Layer ${layer}`} />
                  </td>
                  <td class="number">{norm.toPrecision(4)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </div>
  )
}
