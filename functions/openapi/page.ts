// The operations as a page for people: plain HTML without scripts, written from the same table as the document.
import { type JsonSchema, jsonSchema } from './document.ts'
import type { Operation } from './operations.ts'

const STYLE = `
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; font: 600 1.1rem ui-monospace, monospace; }
h2 b { text-transform: uppercase; }
table { border-collapse: collapse; font-size: 0.9rem; }
td { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: 0.2rem 1rem 0.2rem 0; vertical-align: top; }
code { font-family: ui-monospace, monospace; }
:root { color-scheme: light dark; }
`

export function referencePage(operations: readonly Operation[]): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Polylora API</title><style>${STYLE}</style></head><body>
<h1>Polylora API</h1>
<p>Compatible with OpenAI’s API: set your client’s base URL to <code>/v1</code> here and <code>model</code> to
<code>tenant/adapter</code>. Send <code>Authorization: Bearer KEY</code>. Machines read <a href="/openapi.json">openapi.json</a>.</p>
${operations.map(section).join('\n')}
</body></html>`
}

function section({ method, path, summary, scope, body, query, headers, file, answers }: Operation): string {
  const rows = [
    ...Object.entries(headers ?? {}).map(([name, text]) => row(name, 'header', text)),
    ...fields(query && jsonSchema(query), 'query'),
    ...fields(body && jsonSchema(body), 'body'),
    ...(file ? [row('(body)', file, '')] : []),
    ...Object.entries(answers).map(([status, text]) => row(status, 'answer', text)),
  ]
  const needs = scope === 'admin' ? 'the admin key' : scope ? `the scope <code>${scope}</code>` : 'any key'
  return `<h2><b>${method}</b> ${escapeHtml(path)}</h2><p>${escapeHtml(summary)} Needs ${needs}.</p><table>${rows.join('')}</table>`
}

function fields(schema: JsonSchema | undefined, place: string): string[] {
  return Object.entries(schema?.properties ?? {}).map(([name, property]) => {
    const required = schema?.required?.includes(name) ? ', required' : ''
    return row(name, place, `${typeName(property)}${required}`)
  })
}

function typeName(schema: JsonSchema): string {
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ')
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.anyOf) return [...new Set(schema.anyOf.map(typeName))].join(' | ')
  if (schema.type === 'array' && schema.items) return `array of ${typeName(schema.items)}`
  return schema.type === undefined ? 'any' : String(schema.type)
}

function row(name: string, place: string, text: string): string {
  return `<tr><td><code>${escapeHtml(name)}</code></td><td>${escapeHtml(place)}</td><td>${escapeHtml(text)}</td></tr>`
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
