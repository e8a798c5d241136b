// How long answers took: percentiles by day, and by group.
import { useMemo, useState } from 'preact/hooks'
import type { LatencyRow } from '../api/answers.ts'
import { Select } from '../ui/field.tsx'
import { count, milliseconds } from '../ui/format.ts'
import { Plot } from '../ui/plot.tsx'
import { Empty } from '../ui/states.tsx'
import { daySeconds } from './days.ts'

const TIMES = { ttft_ms: 'Time to the first text', latency_ms: 'Time to the end of the answer' }
const PERCENTILES = ['p50', 'p95', 'p99'] as const

interface LatencyCardProps {
  readonly days: readonly string[]
  readonly byDay: readonly LatencyRow[]
  readonly byGroup: readonly { readonly name: string; readonly row: LatencyRow }[]
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
        <Select label="Time" value={time} options={TIMES} onChange={(value) => setTime(value as keyof typeof TIMES)} />
      </div>
      <Plot
        label={`${TIMES[time]}: 50th, 95th and 99th percentile by day.`}
        kind="lines"
        times={times}
        series={series}
        format={milliseconds}
      />
      {byGroup.length > 0 && (
        <div class="scroll">
          <table>
            <caption class="unseen">{TIMES[time]} by group</caption>
            <thead>
              <tr>
                <th scope="col">Group</th>
                <th scope="col" class="number">
                  Answers
                </th>
                {PERCENTILES.map((name) => (
                  <th key={name} scope="col" class="number">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {byGroup.map(({ name, row }) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td class="number">{count(row.requests)}</td>
                  {PERCENTILES.map((percentile) => (
                    <td key={percentile} class="number">
                      {milliseconds(row[`${time}_${percentile}`])}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  )
}
