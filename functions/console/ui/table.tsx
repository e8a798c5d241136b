// A table: its head, its rows, and what becomes of both on a narrow screen, where each row is a list of named values.
// Knows nothing of what is in it. The first column names the row.
import type { ComponentChildren } from 'preact'

export interface Column<Row> {
  readonly title: string
  /** `actions`: buttons, whose column has a name for screen readers only. */
  readonly kind?: 'number' | 'actions'
  cell(row: Row): ComponentChildren
}

interface TableProps<Row> {
  /** What it lists, for those who do not see it. */
  readonly caption: string
  readonly rows: readonly Row[]
  readonly columns: readonly [Column<Row>, ...Column<Row>[]]
  keyOf(row: Row): string
}

export function Table<Row>({ caption, rows, columns, keyOf }: TableProps<Row>) {
  const [name, ...values] = columns
  return (
    <div class="scroll">
      <table>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ title, kind }) => (
              <th key={title} scope="col" class={kind === 'number' ? kind : undefined}>
                {kind === 'actions' ? <span class="unseen">{title}</span> : title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)}>
              <th scope="row">{name.cell(row)}</th>
              {values.map(({ title, kind, cell }) => (
                <td
                  key={title}
                  class={kind === 'number' ? kind : undefined}
                  data-title={kind === 'actions' ? undefined : title}
                >
                  {cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
