// `polylora list`: the adapters that a key may use.
import * as z from 'zod'
import { type Command, print } from '../command.ts'
import { callEdgeJson } from '../edge-client.ts'
import { EDGE_OPTIONS, edgeAddress } from '../edge-options.ts'
import { formatBytes } from '../format-bytes.ts'

const Adapters = z.looseObject({
  data: z.array(
    z.looseObject({
      id: z.string(),
      digest: z.string(),
      bytes: z.number(),
      rank: z.number(),
      source_format: z.string(),
      updated_ms: z.number(),
    }),
  ),
})

export const list: Command = {
  summary: 'Lists the adapters of your tenant.',
  operands: '',
  options: EDGE_OPTIONS,
  async run(args, terminal) {
    const { data } = await callEdgeJson(edgeAddress(args, terminal), '/v1/adapters', Adapters)
    const width = Math.max(4, ...data.map(({ id }) => id.length))
    const lines = data.map(({ id, digest, bytes, rank, source_format: format, updated_ms: updatedMs }) => {
      const date = new Date(updatedMs).toISOString().slice(0, 16).replace('T', ' ')
      return `${id.padEnd(width)}  ${digest.slice(0, 19)}…  ${`r ${rank}`.padEnd(5)}  ${formatBytes(bytes).padStart(8)}  ${format.padEnd(16)}  ${date}`
    })
    print(args, terminal, data, lines.join('\n') || 'No adapters yet; publish one with polylora publish.')
  },
}
