// `polylora browser`: the operator decides what browsers may download, to run it themselves.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { BROWSER_WEIGHTS } from '../../gpu-backend/browser/manifest.ts'
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import { CliError } from '../cli-error.ts'
import { type Arguments, type Command, print, splitModel, type Terminal } from '../command.ts'
import { callEdge, callEdgeJson } from '../edge-client.ts'
import { ADMIN_OPTIONS, adminAddress } from '../edge-options.ts'
import { formatBytes } from '../format-bytes.ts'
import { withProgress } from '../progress.ts'
import { publishBrowserModel } from '../publish-browser-model.ts'

/** Where `npm start` keeps what the backend has built. */
const DATA_DIR = fileURLToPath(new URL('../../.polylora/backend', import.meta.url))

export const browser: Command = {
  summary:
    'Decides what browsers may download to run it themselves: the base model, and which adapters (operators only).',
  operands: 'publish|withdraw | allow|deny <tenant/name>',
  options: {
    ...ADMIN_OPTIONS,
    model: { type: 'string', value: 'PATH', help: "publish: the backends' model (default: the embedded one)" },
    weights: {
      type: 'string',
      value: 'W',
      help: 'publish: f32, int8 or int4 (default f32 for the embedded model, else int8)',
    },
    context: { type: 'string', value: 'N', help: "publish: tokens of context (default: the model's, at most 4096)" },
    'data-dir': {
      type: 'string',
      value: 'DIR',
      help: 'publish: where built graphs are kept (default .polylora/backend)',
    },
  },
  notes: ['What a browser has downloaded stays there: deny and withdraw end further downloads.'],
  async run(args, terminal) {
    const [action, model, ...rest] = args.positionals
    if (rest.length > 0) throw wrongOperands()
    if (action === 'publish' && model === undefined) return publish(args, terminal)
    if (action === 'withdraw' && model === undefined) {
      await callEdge(adminAddress(args, terminal), '/admin/v1/browser/model', { method: 'DELETE' })
      return print(args, terminal, { withdrawn: true }, 'withdrawn')
    }
    if ((action !== 'allow' && action !== 'deny') || model === undefined) throw wrongOperands()
    const { tenant, name } = splitModel(model)
    const path = `/admin/v1/tenants/${encodeURIComponent(tenant)}/adapters/${encodeURIComponent(name)}`
    const init = { method: 'PATCH', body: JSON.stringify({ may_leave: action === 'allow' }) }
    const decided = await callEdgeJson(adminAddress(args, terminal), path, z.looseObject({}), init)
    const sentence = `${model} ${action === 'allow' ? 'may be downloaded by its tenant' : 'may not be downloaded'}`
    print(args, terminal, decided, sentence)
  },
}

async function publish(args: Arguments, terminal: Terminal): Promise<void> {
  const modelPath = args.text('model') ?? EMBEDDED_MODEL
  const wanted = args.text('weights')
  const weights = BROWSER_WEIGHTS.find((format) => format === wanted)
  if (wanted !== undefined && !weights)
    throw new CliError(`--weights ${wanted} is none of ${BROWSER_WEIGHTS.join(', ')}.`, 2)
  const edge = adminAddress(args, terminal)
  const options = {
    modelPath,
    weights: weights ?? (modelPath === EMBEDDED_MODEL ? 'f32' : 'int8'),
    contextTokens: args.wholeNumber('context', 1),
    cacheDir: join(args.text('data-dir') ?? DATA_DIR, 'models'),
  }
  const published = await withProgress(terminal.stderr, (onProgress) => {
    onProgress('building', 0, 1)
    return publishBrowserModel(edge, options, { onProgress: (done, total) => onProgress('uploading', done, total) })
  })
  const { manifest, bytes, uploadedBytes } = published
  const lines = [
    `published ${manifest.base.name} for browsers: ${manifest.weights}, ${manifest.context_tokens} tokens of context`,
    `size      ${formatBytes(bytes)}, of which ${formatBytes(uploadedBytes)} were uploaded now`,
  ]
  print(args, terminal, published, lines.join('\n'))
}

function wrongOperands(): CliError {
  return new CliError('Give publish or withdraw, or allow or deny and a tenant/name; see polylora browser --help.', 2)
}
