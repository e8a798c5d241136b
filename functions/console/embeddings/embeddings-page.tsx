// Texts as vectors, of the bare base model or an adapter: how alike they are, and the vectors as a file.
import { useState } from 'preact/hooks'
import * as z from 'zod/mini'
import { EmbeddingList, Model } from '../../openai/answer-schemas.ts'
import { readEdge } from '../api/edge.ts'
import { useList } from '../api/use-edge.ts'
import { useTask } from '../loading.ts'
import { useTenant } from '../session.ts'
import { Button } from '../ui/button.tsx'
import { CodeLine } from '../ui/code-line.tsx'
import { curlLine } from '../ui/curl-line.ts'
import { Field, Select } from '../ui/field.tsx'
import { Form } from '../ui/form.tsx'
import { count } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { saveFile } from '../ui/save-file.ts'
import { Failure, WhenLoaded } from '../ui/states.tsx'
import { Table } from '../ui/table.tsx'
import { similarity } from './similarity.ts'

const PATH = '/v1/embeddings'
/** More columns than that are no table to read. */
const MAX_COMPARED = 8
const FIRST_TEXTS = ['Can I return it?', 'What is your refund policy?', 'When do you open on Saturday?'].join('\n')

/** As they come where base64 was not asked for. */
const NumberVectors = z.object({ ...EmbeddingList.shape, data: z.array(z.object({ embedding: z.array(z.number()) })) })

interface Request {
  readonly model: string
  readonly input: readonly string[]
}

interface Embedded {
  readonly request: Request
  readonly answer: z.infer<typeof NumberVectors>
}

export function EmbeddingsPage() {
  const { apiKey } = useTenant()
  const models = useList(apiKey, '/v1/models', Model)
  return (
    <Page title="Embeddings" about="Texts as vectors of length 1, and how alike they are: 1 is the same direction.">
      <WhenLoaded loaded={models}>{(value) => <Embedder models={value.map(({ id }) => id)} />}</WhenLoaded>
    </Page>
  )
}

function Embedder({ models }: { readonly models: readonly string[] }) {
  const { apiKey } = useTenant()
  const [model, setModel] = useState(models[0]!)
  const [text, setText] = useState(FIRST_TEXTS)
  const [embedded, setEmbedded] = useState<Embedded>()
  const task = useTask()
  const input = text.split('\n').filter((line) => line.trim() !== '')
  const embed = () => {
    void task.run(async () => {
      const request = { model, input }
      const init = { method: 'POST', body: JSON.stringify(request) }
      setEmbedded({ request, answer: await readEdge(apiKey, PATH, NumberVectors, init) })
    })
  }
  return (
    <>
      <Form class="card" onSubmit={embed}>
        <Select
          label="Model"
          value={model}
          options={Object.fromEntries(models.map((id) => [id, id]))}
          onChange={setModel}
        />
        <Field label="Texts" hint="One on each line.">
          {({ id, describedBy }) => (
            <textarea
              id={id}
              rows={4}
              value={text}
              aria-describedby={describedBy}
              onInput={(event) => setText(event.currentTarget.value)}
            />
          )}
        </Field>
        <div class="actions">
          <Button kind="primary" type="submit" isBusy={task.isBusy} disabled={input.length === 0}>
            Embed
          </Button>
        </div>
        {task.error && <Failure error={task.error} />}
      </Form>
      {embedded && <Vectors {...embedded} />}
    </>
  )
}

function Vectors({ request, answer: { data, usage } }: Embedded) {
  const rows = data.map(({ embedding }, place) => ({ text: request.input[place]!, place, embedding }))
  const compared = rows.slice(0, MAX_COMPARED)
  const save = () => {
    const lines = rows.map(({ text, embedding }) => `${JSON.stringify({ text, embedding })}\n`)
    saveFile(new Blob(lines, { type: 'application/jsonl' }), 'embeddings.jsonl')
  }
  return (
    <Card
      title={request.model}
      about={`${count(rows.length)} vectors of ${count(rows[0]?.embedding.length ?? 0)}, from ${count(usage.prompt_tokens)} tokens.`}
      actions={<Button onClick={save}>Save the vectors</Button>}
    >
      <Table
        caption="Similarity of the texts"
        rows={compared}
        keyOf={({ place }) => String(place)}
        columns={[
          { title: 'Text', cell: ({ text, place }) => `${place + 1}. ${text}` },
          ...compared.map((other) => ({
            title: `${other.place + 1}`,
            kind: 'number' as const,
            cell: ({ embedding }: (typeof compared)[number]) => similarity(embedding, other.embedding).toFixed(3),
          })),
        ]}
      />
      <details class="curl">
        <summary>curl</summary>
        <CodeLine text={curlLine(location.origin + PATH, request)} label="Copy the curl line" />
      </details>
    </Card>
  )
}
