// The same model in this browser: the base is downloaded once, then only an adapter for each customer, and no question
// leaves the machine. What runs it is a module of its own, fetched when somebody asks for it.
import { useEffect, useRef, useState } from 'preact/hooks'
import type { LocalModel, Progress } from '../../../gpu-backend/browser/index.ts'
import { useTask } from '../loading.ts'
import { useTenant } from '../session.ts'
import { Button } from '../ui/button.tsx'
import { Card, Page } from '../ui/page.tsx'
import { Empty, Failure } from '../ui/states.tsx'
import { Download } from './download.tsx'
import { FIRST_INPUT, LocalBench } from './local-bench.tsx'

export function BrowserPage() {
  const { apiKey } = useTenant()
  const [model, setModel] = useState<LocalModel>()
  const [progress, setProgress] = useState<Progress>()
  // Outlives a model that is lost and opened once more.
  const [input, setInput] = useState(FIRST_INPUT)
  const task = useTask()
  const life = useRef<AbortController>(undefined)
  useEffect(() => () => life.current?.abort(), [])
  const open = () => {
    life.current?.abort()
    life.current = new AbortController()
    const { signal } = life.current
    setModel(undefined)
    void task.run(async () => {
      // It is gone from the edge once another version of this page is there.
      const { openBrowserModel } = await import('../../../gpu-backend/browser/index.ts').catch(() => {
        throw new Error('What runs the model could not be fetched: check the connection, or load this page again.')
      })
      try {
        setModel(await openBrowserModel({ edge: location.origin, apiKey, signal, onProgress: setProgress }))
      } catch (error) {
        if (!signal.aborted) throw error
      } finally {
        setProgress(undefined)
      }
    })
  }
  return (
    <Page
      title="In this browser"
      about="The base model is downloaded once and stays on this machine; an adapter is a small file beside it. Questions and answers stay here."
    >
      {task.error && <Failure error={task.error} />}
      {model ? (
        <LocalBench model={model} input={input} onInput={setInput} onReopen={open} />
      ) : (
        <Card>
          <Empty icon="chip" title="Nothing is downloaded until you say so">
            <p>It runs on your GPU where the browser offers WebGPU, and as WebAssembly where it does not.</p>
            <div class="actions">
              <Button kind="primary" icon="chip" isBusy={task.isBusy} onClick={open}>
                Run the model here
              </Button>
              {task.isBusy && <Button onClick={() => life.current?.abort()}>Stop</Button>}
            </div>
          </Empty>
          {progress && <Download progress={progress} />}
        </Card>
      )}
      <Card title="How it differs from the API">
        <ul class="sentences">
          <li>
            An adapter runs here only where the operator lets its file leave. Your key is checked for each download.
          </li>
          <li>The version that the name points at answers; a canary gets no share here.</li>
          <li>Nothing is metered: no limit, no price, no usage record. The operator sees downloads only.</li>
          <li>What was downloaded stays in this browser until its data for this site is cleared, revoked or not.</li>
        </ul>
      </Card>
    </Page>
  )
}
