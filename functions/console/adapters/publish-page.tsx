// Publishing by drag and drop: the files are read and converted in this browser, and only the canonical delta is uploaded.
import { useState } from 'preact/hooks'
import type { FileSet } from '../../../adapters/file-set.ts'
import { type PublishPhase, publishAdapter } from '../../client/publish-adapter.ts'
import { useTask } from '../loading.ts'
import { linkTo } from '../router.ts'
import { useTenant } from '../session.ts'
import { Button, ButtonLink } from '../ui/button.tsx'
import { Digest } from '../ui/digest.tsx'
import { Check, Input, Select } from '../ui/field.tsx'
import { bytes } from '../ui/format.ts'
import { Icon } from '../ui/icon.tsx'
import { Card, Page } from '../ui/page.tsx'
import { browserHost } from './browser-host.ts'
import { DropZone } from './drop-zone.tsx'
import { linkToAdapter } from './links.ts'
import { Refusal } from './refusal.tsx'
import { Report } from './report.ts'
import { ReportView } from './report-view.tsx'

const PHASES: Record<PublishPhase, string> = {
  reading: 'Finding out what the files are',
  checking: 'Converting and checking every value',
  uploading: 'Uploading',
  probing: 'Testing its effect on the backend',
}

interface Progress {
  readonly phase: PublishPhase
  readonly done: number
  readonly total: number
}

interface Published {
  readonly name: string
  readonly digest: string
  readonly report: Report
  readonly isStaged: boolean
}

export function PublishPage({ name: givenName = '' }: { readonly name?: string | undefined }) {
  const { apiKey, own } = useTenant()
  const [files, setFiles] = useState<FileSet>()
  const [name, setName] = useState(givenName)
  const [options, setOptions] = useState(NO_OPTIONS)
  const [progress, setProgress] = useState<Progress>()
  const [published, setPublished] = useState<Published>()
  const task = useTask()

  const publish = () =>
    task.run(async () => {
      setPublished(undefined)
      try {
        const { digest, report } = await publishAdapter(browserHost(apiKey), {
          files: files!,
          tenant: own.tenant,
          name,
          ...parseOptions(options),
          onProgress: (phase, done, total) => setProgress({ phase, done, total }),
        })
        setPublished({ name, digest, report: Report.parse(report), isStaged: options.stage })
        setFiles(undefined)
      } finally {
        setProgress(undefined)
      }
    })

  return (
    <Page
      title="Publish an adapter"
      about="Files of PEFT, microsoft/LoRA, alpaca-lora, mistral-finetune, llama.cpp and mlx_lm are taken as they are. They are converted here, in your browser."
      actions={
        <ButtonLink href={linkTo('adapters')} icon="back">
          All adapters
        </ButtonLink>
      }
    >
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault()
          if (files) void publish()
        }}
      >
        <DropZone files={files} onFiles={setFiles} />
        <div class="columns">
          <Input
            label="Name"
            value={name}
            required
            pattern="[a-z0-9][a-z0-9._\-]*"
            hint={`Served as ${own.tenant}/${name || 'name'}. A name that exists gets a new version.`}
            onInput={setName}
          />
          <Check
            label="Keep the name where it points: publish for a canary"
            checked={options.stage}
            onChange={(stage) => setOptions({ ...options, stage })}
          />
        </div>
        <details>
          <summary>What the files may lack</summary>
          <OptionFields options={options} onChange={setOptions} />
        </details>
        {progress && <ProgressLine progress={progress} />}
        {task.error && <Refusal error={task.error} />}
        <div class="actions">
          <Button kind="primary" type="submit" icon="upload" isBusy={task.isBusy} disabled={!files || name === ''}>
            Publish
          </Button>
        </div>
      </form>
      {published && (
        <Card
          title={`${own.tenant}/${published.name} is ${published.isStaged ? 'stored' : 'served'}`}
          about={<Digest value={published.digest} />}
          actions={<ButtonLink href={linkToAdapter(published.name)}>Versions and canary</ButtonLink>}
        >
          <p class="notice good" role="status">
            <Icon name="check" /> <span>Published. This is what was found:</span>
          </p>
          <ReportView report={published.report} />
        </Card>
      )}
    </Page>
  )
}

function ProgressLine({ progress: { phase, done, total } }: { readonly progress: Progress }) {
  const isMeasured = total > 1
  return (
    <div class="field">
      <progress aria-label={PHASES[phase]} {...(isMeasured ? { value: done, max: total } : {})} />
      <p class="hint" role="status">
        {PHASES[phase]}
        {isMeasured && `: ${bytes(done)} of ${bytes(total)}`}
      </p>
    </div>
  )
}

const NO_OPTIONS = {
  dtype: 'f32' as 'f32' | 'f16',
  alpha: '',
  scaling: '',
  enableLora: '',
  shrinkRank: '',
  ignoreChatTemplate: false,
  stage: false,
}
type Options = typeof NO_OPTIONS

function parseOptions({ dtype, alpha, scaling, enableLora, shrinkRank, ignoreChatTemplate, stage }: Options) {
  return {
    dtype,
    stage,
    shrinkRank: shrinkRank === '' ? undefined : Number(shrinkRank),
    facts: {
      ...(alpha === '' ? {} : { alpha: Number(alpha) }),
      ...(scaling === '' ? {} : { scaling: Number(scaling) }),
      ...(enableLora === '' ? {} : { enableLora: enableLora.split(',').map((part) => part.trim() === 'true') }),
      ...(ignoreChatTemplate ? { ignoreChatTemplate } : {}),
    },
  }
}

interface OptionFieldsProps {
  readonly options: Options
  onChange(options: Options): void
}

function OptionFields({ options, onChange }: OptionFieldsProps) {
  const set = (change: Partial<Options>) => onChange({ ...options, ...change })
  return (
    <div class="options">
      <Input
        label="Alpha"
        type="number"
        step="any"
        value={options.alpha}
        hint="--alpha: microsoft/LoRA does not save it."
        onInput={(alpha) => set({ alpha })}
      />
      <Input
        label="Scaling"
        type="number"
        step="any"
        value={options.scaling}
        hint="--scaling: mistral-finetune and MLX, without their settings file."
        onInput={(scaling) => set({ scaling })}
      />
      <Input
        label="Parts of fused projections"
        value={options.enableLora}
        pattern="\s*(true|false)(\s*,\s*(true|false))*\s*"
        placeholder="true,false,true"
        hint="--enable-lora: microsoft/LoRA’s MergedLinear."
        onInput={(enableLora) => set({ enableLora })}
      />
      <Input
        label="Largest rank"
        type="number"
        min={1}
        step={1}
        value={options.shrinkRank}
        hint="--shrink-rank: larger ones are approximated."
        onInput={(shrinkRank) => set({ shrinkRank })}
      />
      <Select
        label="Stored as"
        value={options.dtype}
        options={{ f32: '32-bit floats', f16: '16-bit floats' }}
        hint="--dtype: 16 bits halve the file."
        onChange={(dtype) => set({ dtype: dtype === 'f16' ? 'f16' : 'f32' })}
      />
      <Check
        label="Leave out its chat template"
        checked={options.ignoreChatTemplate}
        onChange={(ignoreChatTemplate) => set({ ignoreChatTemplate })}
      />
    </div>
  )
}
