// What was used: sums, a plot by day, and a table by group.
import { useMemo } from 'preact/hooks'
import type { UsageRow } from '../../registry/usage-rows.ts'
import { count, percent, price } from '../ui/format.ts'
import { Card } from '../ui/page.tsx'
import { Plot } from '../ui/plot.tsx'
import { Empty } from '../ui/states.tsx'
import { Table } from '../ui/table.tsx'
import { daySeconds } from './days.ts'
import { daySums, GROUPS, type GroupBy, METRICS, type Metric, seriesOf, sumGroups } from './stack.ts'

const FORMATS: Record<Metric, (value: number) => string> = { requests: count, tokens: count, price }

export interface UsageByDay {
  readonly rows: readonly UsageRow[]
  /** False: by day alone, since there are too many groups. */
  readonly hasGroups: boolean
}

interface UsageCardsProps {
  /** By group. */
  readonly sums: readonly UsageRow[]
  readonly byDay: UsageByDay
  readonly days: readonly string[]
  readonly by: GroupBy
  readonly metric: Metric
}

export function UsageCards({ sums, byDay: { rows, hasGroups }, days, by, metric }: UsageCardsProps) {
  const groups = useMemo(() => sumGroups(sums, by), [sums, by])
  const series = useMemo(
    () => (hasGroups ? seriesOf(rows, days, by, metric) : [daySums(rows, days, metric)]),
    [rows, hasGroups, days, by, metric],
  )
  const times = useMemo(() => days.map(daySeconds), [days])
  const total = (read: (group: (typeof groups)[number]) => number) =>
    groups.reduce((sum, group) => sum + read(group), 0)
  const kind = GROUPS[by].toLowerCase()
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
      <Card
        title={`${METRICS[metric]} by day`}
        about={!hasGroups && 'All together: there are too many groups to draw them apart over so many days.'}
      >
        <Plot
          label={`${METRICS[metric]} by day${hasGroups ? ` and ${kind}` : ''}; the table below has the sums.`}
          kind="bars"
          times={times}
          series={series}
          format={FORMATS[metric]}
        />
      </Card>
      <Card title={`By ${kind}`}>
        <Table
          caption={`Usage by ${kind}`}
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
