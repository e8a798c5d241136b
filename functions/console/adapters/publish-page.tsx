// Publishing by drag and drop: the files are read and converted in this browser, and only the canonical delta is uploaded.
import { useEffect, useRef, useState } from 'preact/hooks'
import type { PublishedAdapter, PublishPhase } from '../../client/publish-adapter.ts'
import { useTask } from '../loading.ts'
import { linkTo } from '../router.ts'
import { useTenant } from '../session.ts'
import { Button, ButtonLink } from '../ui/button.tsx'
import { Digest } from '../ui/digest.tsx'
import { Check, Input } from '../ui/field.tsx'
import { Form } from '../ui/form.tsx'
import { bytes } from '../ui/format.ts'
import { Icon } from '../ui/icon.tsx'
import { Card, Page } from '../ui/page.tsx'
import { Failure } from '../ui/states.tsx'
import type { ChosenFile } from './chosen-files.ts'
import { DropZone } from './drop-zone.tsx'
import { linkToAdapter } from './links.ts'
import { NO_OPTIONS, OptionFields, readOptions } from './publish-options.tsx'
import { type PublishProgress, PublishRefused, publishInWorker } from './publishing.ts'
import { Refusal } from './refusal.tsx'
import { ReportView } from './report-view.tsx'

const PHASES: Record<PublishPhase, string> = {
  reading: 'Finding out what the files are',
  shrinking: 'Finding the smaller rank',
  checking: 'Converting and checking every value',
  uploading: 'Uploading',
  probing: 'Testing its effect on the backend',
}

interface Published extends PublishedAdapter {
  readonly name: string
}

export function PublishPage({ name: givenName = '' }: { readonly name?: string | undefined }) {
  const { apiKey, own } = useTenant()
  const [files, setFiles] = useState<readonly ChosenFile[]>([])
  const [name, setName] = useState(givenName)
  const [isStaged, setStaged] = useState(false)
  const [options, setOptions] = useState(NO_OPTIONS)
  const [progress, setProgress] = useState<PublishProgress>()
  const [published, setPublished] = useState<Published>()
  const [isStopped, setStopped] = useState(false)
  const abort = useRef<AbortController>(undefined)
  const task = useTask()
  useEffect(() => () => abort.current?.abort(), [])

  const publish = () => {
    if (task.isBusy) return
    abort.current = new AbortController()
    const { signal } = abort.current
    void task.run(async () => {
      setPublished(undefined)
      setStopped(false)
      try {
        const order = { apiKey, files, tenant: own.tenant, name, stage: isStaged, ...readOptions(options) }
        setPublished({ name, ...(await publishInWorker(order, setProgress, signal)) })
        setFiles([])
      } catch (error) {
        if (!signal.aborted) throw error
        setStopped(true)
      } finally {
        setProgress(undefined)
      }
    })
  }

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
      <Form class="card" onSubmit={publish}>
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
          <Check label="Keep the name where it points: publish for a canary" checked={isStaged} onChange={setStaged} />
        </div>
        <details>
          <summary>What the files may lack</summary>
          <OptionFields options={options} onChange={setOptions} />
        </details>
        {progress && <ProgressLine progress={progress} />}
        {task.error &&
          (task.error instanceof PublishRefused ? (
            <Refusal refusal={task.error.refusal} />
          ) : (
            <Failure error={task.error} />
          ))}
        <div class="actions">
          <Button
            kind="primary"
            type="submit"
            icon="upload"
            isBusy={task.isBusy}
            disabled={files.length === 0 || name === ''}
          >
            Publish
          </Button>
          {task.isBusy && <Button onClick={() => abort.current?.abort()}>Stop</Button>}
        </div>
        {isStopped && (
          <p class="hint" role="status">
            Stopped. What has arrived by then stays; publish the same files again to go on from there.
          </p>
        )}
      </Form>
      {published && (
        <Card
          title={`${published.model} is ${published.isNamed ? 'served' : 'stored'}`}
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

function ProgressLine({ progress: { phase, done, total } }: { readonly progress: PublishProgress }) {
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
