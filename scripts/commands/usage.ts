// `polylora usage`: what a tenant has used, summed up as asked.
import * as z from 'zod'
import { type Command, print } from '../command.ts'
import { callEdgeJson } from '../edge-client.ts'
import { EDGE_OPTIONS, edgeAddress } from '../edge-options.ts'

const Usage = z.object({ data: z.array(z.record(z.string(), z.union([z.string(), z.number(), z.null()]))) })

export const usage: Command = {
  summary: 'Shows what your tenant has used.',
  operands: '',
  options: {
    from: { type: 'string', value: 'DAY', help: 'first day, YYYY-MM-DD (UTC)' },
    to: { type: 'string', value: 'DAY', help: 'last day' },
    'group-by': {
      type: 'string',
      value: 'LIST',
      help: 'some of day,adapter,digest,key,base,outcome; or request (default day,adapter)',
    },
    ...EDGE_OPTIONS,
  },
  async run(args, terminal) {
    const query = new URLSearchParams()
    for (const [option, parameter] of [
      ['from', 'from'],
      ['to', 'to'],
      ['group-by', 'group_by'],
    ] as const) {
      const value = args.text(option)
      if (value !== undefined) query.set(parameter, value)
    }
    const { data } = await callEdgeJson(edgeAddress(args, terminal), `/v1/usage?${query}`, Usage)
    print(args, terminal, data, table(data))
  },
}

/** Columns as wide as their widest cell; numbers to the right. */
function table(rows: readonly Record<string, string | number | null>[]): string {
  const columns = Object.keys(rows[0] ?? {})
  if (columns.length === 0) return 'Nothing was used in this time.'
  const cell = (value: string | number | null | undefined) => String(value ?? '')
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => cell(row[column]).length)))
  const line = (cells: readonly (string | number | null | undefined)[]) =>
    cells
      .map((value, i) =>
        typeof value === 'number' ? cell(value).padStart(widths[i]!) : cell(value).padEnd(widths[i]!),
      )
      .join('  ')
      .trimEnd()
  return [line(columns), ...rows.map((row) => line(columns.map((column) => row[column])))].join('\n')
}
