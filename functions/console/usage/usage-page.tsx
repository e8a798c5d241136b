// What was used and how long answers took: the tenant's own, or everybody's for the operator.
import { useMemo, useState } from 'preact/hooks'
import { LatencyRow, listOf, UsageRow } from '../api/answers.ts'
import { callEdge, readEdge } from '../api/edge.ts'
import { useLoaded, useTask } from '../loading.ts'
import { useSession } from '../session.ts'
import { Button } from '../ui/button.tsx'
import { Select } from '../ui/field.tsx'
import { count, percent, price } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { Plot } from '../ui/plot.tsx'
import { Empty, Failure, WhenLoaded } from '../ui/states.tsx'
import { daySeconds, lastDays } from './days.ts'
import { LatencyCard } from './latency-card.tsx'
import { type GroupBy, groupName, type Metric, seriesOf, sumGroups } from './stack.ts'

const METRICS: Record<Metric, string> = { requests: 'Requests', tokens: 'Tokens', price: 'Cost' }
const RANGES = { 7: 'Last 7 days', 30: 'Last 30 days', 90: 'Last 90 days' }
const GROUPS: Record<GroupBy, string> = { adapter: 'Adapter', tenant: 'Tenant', key: 'Key', outcome: 'Outcome' }
const FORMATS: Record<Metric, (value: number) => string> = {
  requests: count,
  tokens: count,
  price: (value) => price(value * 1e9),
}

export function UsagePage() {
  const { keys } = useSession()
  return <Usage root="/v1/usage" apiKey={keys.apiKey} title="Usage" groups={['adapter', 'key', 'outcome']} />
}

export function EverybodysUsagePage() {
  const { keys } = useSession()
  return (
    <Usage
      root="/admin/v1/usage"
      apiKey={keys.adminKey}
      title="Everybody’s usage"
      groups={['tenant', 'adapter', 'key', 'outcome']}
    />
  )
}

interface UsageProps {
  readonly root: string
  readonly apiKey: string
  readonly title: string
  readonly groups: readonly GroupBy[]
}

function Usage({ root, apiKey, title, groups }: UsageProps) {
  const [range, setRange] = useState('30')
  const [by, setBy] = useState<GroupBy>(groups[0]!)
  const [metric, setMetric] = useState<Metric>('requests')
  const days = useMemo(() => lastDays(Number(range), Date.now()), [range])
  const query = (groupBy: string) =>
    new URLSearchParams({ from: days[0]!, to: days.at(-1)!, group_by: groupBy }).toString()
  const usage = useLoaded(
    async (signal) => (await readEdge(apiKey, `${root}?${query(`day,${by}`)}`, listOf(UsageRow), { signal })).data,
    [root, apiKey, range, by],
  )
  const latency = useLoaded(
    async (signal) => {
      const read = async (groupBy: string) =>
        (await readEdge(apiKey, `${root}/latency?${query(groupBy)}`, listOf(LatencyRow), { signal })).data
      const [byDay, byGroup] = await Promise.all([read('day'), read(by)])
      return { byDay, byGroup: byGroup.map((row) => ({ name: groupName(by, row), row })) }
    },
    [root, apiKey, range, by],
  )
  const download = useTask()
  const save = () => {
    void download.run(async () => {
      const response = await callEdge(apiKey, `${root}?${query(`day,${by}`)}&format=csv`)
      saveFile(await response.blob(), `usage-${days[0]}-${days.at(-1)}.csv`)
    })
  }
  return (
    <Page
      title={title}
      about="Days are in UTC. What failed costs nothing."
      actions={
        <Button isBusy={download.isBusy} onClick={save}>
          Download CSV
        </Button>
      }
    >
      {download.error && <Failure error={download.error} />}
      <div class="filters">
        <Select label="Days" value={range} options={RANGES} onChange={setRange} />
        <Select
          label="By"
          value={by}
          options={Object.fromEntries(groups.map((group) => [group, GROUPS[group]]))}
          onChange={(value) => setBy(value as GroupBy)}
        />
        <Select label="Plot" value={metric} options={METRICS} onChange={(value) => setMetric(value as Metric)} />
      </div>
      <WhenLoaded loaded={usage}>{(rows) => <UsageCards rows={rows} days={days} by={by} metric={metric} />}</WhenLoaded>
      <Card title="Latency" about="Complete answers, from the request’s arrival at the edge.">
        <WhenLoaded loaded={latency}>{(value) => <LatencyCard days={days} {...value} />}</WhenLoaded>
      </Card>
    </Page>
  )
}

interface UsageCardsProps {
  readonly rows: readonly UsageRow[]
  readonly days: readonly string[]
  readonly by: GroupBy
  readonly metric: Metric
}

function UsageCards({ rows, days, by, metric }: UsageCardsProps) {
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
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">{GROUPS[by]}</th>
                {['Requests', 'Cold', 'Prompt tokens', 'Cached', 'Answer tokens', 'Cost'].map((name) => (
                  <th key={name} scope="col" class="number">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {groups.map((group) => (
                <tr key={group.name}>
                  <th scope="row">{group.name}</th>
                  <td class="number">{count(group.requests)}</td>
                  <td class="number">{count(group.coldRequests)}</td>
                  <td class="number">{count(group.promptTokens)}</td>
                  <td class="number">{count(group.cachedTokens)}</td>
                  <td class="number">{count(group.completionTokens)}</td>
                  <td class="number">{price(group.priceNano)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
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

function saveFile(file: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(file)
  link.download = name
  link.click()
  URL.revokeObjectURL(link.href)
}
