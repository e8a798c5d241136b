// `polylora publish`: files in, a served adapter out.
import { ADAPTER_OPTIONS, readAdapterOptions } from '../adapter-options.ts'
import { type Command, onlyOperand, print, splitModel } from '../command.ts'
import { EDGE_OPTIONS, edgeAddress } from '../edge-options.ts'
import { formatReport } from '../format-report.ts'
import { openAdapter } from '../open-adapter.ts'
import { withProgress } from '../progress.ts'
import { publishAdapter } from '../publish.ts'

export const publish: Command = {
  summary: 'Converts an adapter that some LoRA project saved, checks it and publishes it under a name.',
  operands: '<dir|file|hf:owner/name> --as tenant/name',
  options: {
    as: { type: 'string', value: 'TENANT/NAME', help: 'the name to publish under' },
    stage: {
      type: 'boolean',
      help: 'store the version, for polylora canary: the name stays where it points, unless it is new',
    },
    via: {
      type: 'string',
      value: 's3://BUCKET',
      help: "upload to the edge's own bucket, with AWS credentials of yours",
    },
    'no-probe': { type: 'boolean', help: 'do not ask the backend whether the adapter has an effect' },
    ...EDGE_OPTIONS,
    ...ADAPTER_OPTIONS,
  },
  notes: [
    'Reads what PEFT, loralib, alpaca-lora, mistral-finetune, llama.cpp and mlx_lm save; adapters/README.md has the whole table.',
    'An upload that breaks off goes on where it stopped when the same command is run again.',
    'The name moves to the new version only after a probe has shown that the version has an effect.',
    '--via reads the variables and profiles that AWS defines: AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_S3, ...',
  ],
  async run(args, terminal) {
    const { tenant, name } = splitModel(args.required('as'))
    const operand = onlyOperand(args, 'folder or file')
    const options = readAdapterOptions(args)
    const edge = edgeAddress(args, terminal)
    const via = args.text('via')
    // Loaded only where it is wanted: the AWS SDK is large.
    const upload = via === undefined ? {} : { sendPart: (await import('../s3-parts.ts')).s3Parts(via, tenant) }
    const files = await openAdapter(operand, terminal)
    const request = {
      ...options,
      edge,
      files,
      tenant,
      name,
      probe: !args.flag('no-probe'),
      stage: args.flag('stage'),
      upload,
    }
    const published = await withProgress(terminal.stderr, (onProgress) => publishAdapter({ ...request, onProgress }))
    const lines = [
      ...formatReport(published.report),
      `${published.isNamed ? 'published' : 'stored   '} ${published.model}`,
      `digest    ${published.digest}`,
    ]
    print(args, terminal, published, lines.join('\n'))
  },
}
