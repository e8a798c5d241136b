// The usage records as a file: sums, or every request, for a spreadsheet or for a program.
import { useState } from 'preact/hooks'
import { readFile } from '../api/edge.ts'
import { useTask } from '../loading.ts'
import { Button } from '../ui/button.tsx'
import { Select } from '../ui/field.tsx'
import { Card } from '../ui/page.tsx'
import { saveFile } from '../ui/save-file.ts'
import { Failure } from '../ui/states.tsx'

const FORMATS = { csv: 'CSV', jsonl: 'JSON lines', json: 'JSON' }
type Rows = 'sums' | 'request'

interface ExportCardProps {
  readonly root: string
  readonly apiKey: string
  /** What sums are made by, beside days. */
  readonly groupName: string
  queryOf(rows: Rows): URLSearchParams
}

export function ExportCard({ root, apiKey, groupName, queryOf }: ExportCardProps) {
  const [rows, setRows] = useState<Rows>('sums')
  const [format, setFormat] = useState('csv')
  const task = useTask()
  const save = () => {
    void task.run(async () => {
      const query = queryOf(rows)
      query.set('format', format)
      const file = await readFile(apiKey, `${root}?${query}`)
      saveFile(file, `usage-${query.get('from')}-${query.get('to')}.${format}`)
    })
  }
  return (
    <Card title="Export" about="The days and the choice above, as a file.">
      <div class="row">
        <Select
          label="Rows"
          value={rows}
          options={{ sums: `Sums by day and ${groupName}`, request: 'Every request' }}
          hint={rows === 'request' ? 'Up to 2,000,000; of more, choose fewer days.' : undefined}
          onChange={setRows}
        />
        <Select label="Format" value={format} options={FORMATS} onChange={setFormat} />
        <Button isBusy={task.isBusy} onClick={save}>
          Save the file
        </Button>
      </div>
      {task.error && <Failure error={task.error} />}
    </Card>
  )
}
