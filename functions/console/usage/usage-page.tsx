// What was used and how long answers took: the tenant's own, or everybody's for the operator.
import { useMemo, useState } from 'preact/hooks'
import { LatencyRow, UsageRow } from '../../registry/usage-rows.ts'
import { Tenant } from '../../routes/account-answers.ts'
import { listOf } from '../../routes/list-of.ts'
import { EdgeError, readEdge } from '../api/edge.ts'
import { useList } from '../api/use-edge.ts'
import { useLoaded } from '../loading.ts'
import { useSession } from '../session.ts'
import { Input, Select } from '../ui/field.tsx'
import { Card, Page } from '../ui/page.tsx'
import { WhenLoaded } from '../ui/states.tsx'
import { daysBetween, lastDays } from './days.ts'
import { ExportCard } from './export-card.tsx'
import { LatencyCard } from './latency-card.tsx'
import { GROUPS, type GroupBy, groupName, METRICS, type Metric } from './stack.ts'
import { type UsageByDay, UsageCards } from './usage-cards.tsx'

const CUSTOM = 'custom'
const RANGES = { 7: 'Last 7 days', 30: 'Last 30 days', 90: 'Last 90 days', [CUSTOM]: 'From … to …' }
const TENANTS_GROUPS: readonly GroupBy[] = ['adapter', 'digest', 'key', 'base', 'outcome']

export function UsagePage() {
  const { keys } = useSession()
  return <Usage root="/v1/usage" apiKey={keys.apiKey} title="Usage" groups={TENANTS_GROUPS} />
}

export function EverybodysUsagePage() {
  const { adminKey } = useSession().keys
  const tenants = useList(adminKey, '/admin/v1/tenants', Tenant)
  return (
    <Usage
      root="/admin/v1/usage"
      apiKey={adminKey}
      title="Everybody’s usage"
      groups={['tenant', ...TENANTS_GROUPS]}
      tenants={tenants.value?.map(({ id }) => id) ?? []}
    />
  )
}

interface UsageProps {
  readonly root: string
  readonly apiKey: string
  readonly title: string
  readonly groups: readonly GroupBy[]
  /** Those that one may choose among; absent where it is always the same. */
  readonly tenants?: readonly string[]
}

function Usage({ root, apiKey, title, groups, tenants }: UsageProps) {
  const [today] = useState(() => lastDays(1, Date.now())[0]!)
  const [range, setRange] = useState('30')
  const [[from, to], setBounds] = useState<readonly [string, string]>([today, today])
  const [tenant, setTenant] = useState('')
  const [by, setBy] = useState<GroupBy>(groups[0]!)
  const [metric, setMetric] = useState<Metric>('requests')
  const days = useMemo(
    () => (range === CUSTOM ? daysBetween(from, to) : lastDays(Number(range), Date.now())),
    [range, from, to],
  )
  const queryOf = (groupBy: string) =>
    new URLSearchParams({
      from: days[0]!,
      to: days.at(-1)!,
      group_by: groupBy,
      // Whoever may be chosen is there: what one that had the name before used is on no bill of this one.
      ...(tenant === '' ? {} : { tenant, since: 'creation' }),
    })
  // An adapter's name is its tenant's: two tenants may both have a `support`.
  const dimensions = by === 'adapter' && groups.includes('tenant') ? `tenant,${by}` : by
  // Together: what came later would move the rest from under the pointer.
  const loaded = useLoaded(
    async (signal) => {
      const usage = async (groupBy: string) =>
        (await readEdge(apiKey, `${root}?${queryOf(groupBy)}`, listOf(UsageRow), { signal })).data
      const latency = async (groupBy: string) =>
        (await readEdge(apiKey, `${root}/latency?${queryOf(groupBy)}`, listOf(LatencyRow), { signal })).data
      const [sums, usageByDay, byDay, latencies] = await Promise.all([
        usage(dimensions),
        readByDay(usage, dimensions),
        latency('day'),
        latency(dimensions),
      ])
      const byGroup = latencies.map((row) => ({ name: groupName(by, row), row }))
      return { usage: { sums, byDay: usageByDay }, latency: { byDay, byGroup } }
    },
    [root, apiKey, days, by, tenant],
  )
  return (
    <Page
      title={title}
      about="Days are in UTC. What failed costs nothing. What browsers generate themselves is not metered."
    >
      <div class="filters">
        <Select label="Days" value={range} options={RANGES} onChange={setRange} />
        {range === CUSTOM && (
          <>
            <Input
              label="From"
              type="date"
              value={from}
              max={to}
              hint={from < days[0]! && `Shown and saved from ${days[0]}: ${days.length} days at most.`}
              onInput={(day) => day && setBounds([day, to])}
            />
            <Input label="To" type="date" value={to} max={today} onInput={(day) => day && setBounds([from, day])} />
          </>
        )}
        {tenants && (
          <Select
            label="Whose"
            value={tenant}
            options={Object.fromEntries([['', 'All tenants'], ...tenants.map((id) => [id, id])])}
            hint={tenant !== '' && 'Since it was created: not what one that had its name before had used.'}
            onChange={setTenant}
          />
        )}
        <Select
          label="By"
          value={by}
          options={Object.fromEntries(groups.map((group) => [group, GROUPS[group]]))}
          onChange={setBy}
        />
        <Select label="Plot" value={metric} options={METRICS} onChange={setMetric} />
      </div>
      <ExportCard
        root={root}
        apiKey={apiKey}
        groupName={GROUPS[by].toLowerCase()}
        queryOf={(rows) => queryOf(rows === 'request' ? rows : `day,${dimensions}`)}
      />
      <WhenLoaded loaded={loaded}>
        {({ usage, latency }) => (
          <>
            <UsageCards {...usage} days={days} by={by} metric={metric} />
            <Card title="Latency" about="Complete answers, from the request’s arrival at the edge.">
              <LatencyCard days={days} {...latency} />
            </Card>
          </>
        )}
      </WhenLoaded>
    </Page>
  )
}

/** By day and group; by day alone where the edge finds the rows too many. */
async function readByDay(
  read: (groupBy: string) => Promise<readonly UsageRow[]>,
  dimensions: string,
): Promise<UsageByDay> {
  try {
    return { rows: await read(`day,${dimensions}`), hasGroups: true }
  } catch (error) {
    if (!(error instanceof EdgeError && error.code === 'too_many_rows')) throw error
    return { rows: await read('day'), hasGroups: false }
  }
}
