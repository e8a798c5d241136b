// How long answers took: percentiles by day, and by group.
import { useMemo, useState } from 'preact/hooks'
import type { LatencyRow } from '../../registry/usage-rows.ts'
import { Select } from '../ui/field.tsx'
import { count, milliseconds } from '../ui/format.ts'
import { Plot } from '../ui/plot.tsx'
import { Empty } from '../ui/states.tsx'
import { Table } from '../ui/table.tsx'
import { daySeconds } from './days.ts'

const TIMES = { ttft_ms: 'Time to the first text', latency_ms: 'Time to the end of the answer' }
const PERCENTILES = ['p50', 'p95', 'p99'] as const

interface Group {
  readonly name: string
  readonly row: LatencyRow
}

interface LatencyCardProps {
  readonly days: readonly string[]
  readonly byDay: readonly LatencyRow[]
  readonly byGroup: readonly Group[]
}

export function LatencyCard({ days, byDay, byGroup }: LatencyCardProps) {
  const [time, setTime] = useState<keyof typeof TIMES>('ttft_ms')
  const times = useMemo(() => days.map(daySeconds), [days])
  const series = useMemo(() => {
    const rows = new Map(byDay.map((row) => [row.day, row]))
    return PERCENTILES.map((name) => ({
      name: `${name.slice(1)}th percentile`,
      values: days.map((day) => rows.get(day)?.[`${time}_${name}`] ?? null),
    }))
  }, [byDay, days, time])
  if (byDay.length === 0) {
    return <Empty icon="chart" title="No complete answer in these days" />
  }
  return (
    <>
      <div class="filters">
        <Select label="Time" value={time} options={TIMES} onChange={setTime} />
      </div>
      <Plot
        label={`${TIMES[time]}: 50th, 95th and 99th percentile by day.`}
        kind="lines"
        times={times}
        series={series}
        format={milliseconds}
      />
      {byGroup.length > 0 && (
        <Table
          caption={`${TIMES[time]} by group`}
          rows={byGroup}
          keyOf={({ name }) => name}
          columns={[
            { title: 'Group', cell: ({ name }) => name },
            { title: 'Answers', kind: 'number', cell: ({ row }) => count(row.requests) },
            ...PERCENTILES.map((percentile) => ({
              title: percentile,
              kind: 'number' as const,
              cell: ({ row }: Group) => milliseconds(row[`${time}_${percentile}`]),
            })),
          ]}
        />
      )}
    </>
  )
}
