// What was used: sums, a plot by day, and a table by group.
import { useMemo } from 'preact/hooks'
import type { UsageRow } from '../../registry/usage-rows.ts'
import { count, percent, price } from '../ui/format.ts'
import { Card } from '../ui/page.tsx'
import { Plot } from '../ui/plot.tsx'
import { Empty } from '../ui/states.tsx'
import { Table } from '../ui/table.tsx'
import { daySeconds } from './days.ts'
import { GROUPS, type GroupBy, METRICS, type Metric, seriesOf, sumGroups } from './stack.ts'

const FORMATS: Record<Metric, (value: number) => string> = { requests: count, tokens: count, price }

interface UsageCardsProps {
  readonly rows: readonly UsageRow[]
  readonly days: readonly string[]
  readonly by: GroupBy
  readonly metric: Metric
}

export function UsageCards({ rows, days, by, metric }: UsageCardsProps) {
  const groups = useMemo(() => sumGroups(rows, by), [rows, by])
  const series = useMemo(() => seriesOf(rows, days, by, metric), [rows, days, by, metric])
  const times = useMemo(() => days.map(daySeconds), [days])
  const total = (read: (group: (typeof groups)[number]) => number) =>
    groups.reduce((sum, group) => sum + read(group), 0)
  const requests = total((group) => group.requests)
  const promptTokens = total((group) => group.promptTokens)
  if (requests === 0) {
    return (
      <Card>
        <Empty icon="chart" title="Nothing was used in these days">
          <p>Ask something in the playground, or through the API, and it is counted here within seconds.</p>
        </Empty>
      </Card>
    )
  }
  return (
    <>
      <dl class="totals">
        <Total name="Requests" value={count(requests)} detail={`${count(total((group) => group.coldRequests))} cold`} />
        <Total
          name="Prompt tokens"
          value={count(promptTokens)}
          detail={`${percent(total((group) => group.cachedTokens) / Math.max(1, promptTokens))} cached`}
        />
        <Total name="Answer tokens" value={count(total((group) => group.completionTokens))} />
        <Total name="Cost" value={price(total((group) => group.priceNano))} />
      </dl>
      <Card title={`${METRICS[metric]} by day`}>
        <Plot
          label={`${METRICS[metric]} by day and ${GROUPS[by].toLowerCase()}; the table below has the sums.`}
          kind="bars"
          times={times}
          series={series}
          format={FORMATS[metric]}
        />
      </Card>
      <Card title={`By ${GROUPS[by].toLowerCase()}`}>
        <Table
          caption={`Usage by ${GROUPS[by].toLowerCase()}`}
          rows={groups}
          keyOf={({ name }) => name}
          columns={[
            { title: GROUPS[by], cell: ({ name }) => name },
            { title: 'Requests', kind: 'number', cell: (group) => count(group.requests) },
            { title: 'Cold', kind: 'number', cell: (group) => count(group.coldRequests) },
            { title: 'Prompt tokens', kind: 'number', cell: (group) => count(group.promptTokens) },
            { title: 'Cached', kind: 'number', cell: (group) => count(group.cachedTokens) },
            { title: 'Answer tokens', kind: 'number', cell: (group) => count(group.completionTokens) },
            { title: 'Cost', kind: 'number', cell: (group) => price(group.priceNano) },
          ]}
        />
      </Card>
    </>
  )
}

function Total({ name, value, detail }: { readonly name: string; readonly value: string; readonly detail?: string }) {
  return (
    <div class="card">
      <dt>{name}</dt>
      <dd>
        {value}
        {detail && <small>{detail}</small>}
      </dd>
    </div>
  )
}
