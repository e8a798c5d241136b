// The operations as a page for people: plain HTML without scripts, written from the same table as the document.
import { type JsonSchema, jsonSchema } from './document.ts'
import type { Answer, Operation } from './operation.ts'

const STYLE = `
:root { color-scheme: light dark; --faint: color-mix(in srgb, currentColor 14%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--faint); font: 600 1.1rem ui-monospace, monospace; overflow-wrap: anywhere; }
h3 { margin: 1.2rem 0 0.3rem; font-size: 0.95rem; }
nav { columns: 2; font-size: 0.85rem; }
nav a { display: flex; color: inherit; text-decoration: none; overflow-wrap: anywhere; }
nav a:hover { text-decoration: underline; }
b { display: inline-block; flex: none; min-width: 4.5rem; text-transform: uppercase; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
td { border-top: 1px solid var(--faint); padding: 0.25rem 1rem 0.25rem 0; vertical-align: top; }
td:first-child { width: 14rem; }
code, pre { font: 0.9em ui-monospace, monospace; }
pre { background: var(--faint); padding: 0.7rem 1rem; border-radius: 6px; overflow-x: auto; }
.required { font-weight: 600; }
@media (max-width: 40rem) { nav { columns: 1; } td:first-child { width: auto; } }
`
/** JSON Schema's bounds of any integer in JavaScript say nothing. */
const NO_BOUND = Number.MAX_SAFE_INTEGER

export function referencePage(operations: readonly Operation[]): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Polylora API</title><style>${STYLE}</style></head><body>
<h1>Polylora API</h1>
<p>Compatible with OpenAI’s API: set your client’s base URL to <code>/v1</code> here and <code>model</code> to
<code>tenant/adapter</code>. Send <code>Authorization: Bearer KEY</code>. Every answer has <code>x-request-id</code>; every refusal is
<code>{"error": {"message", "type", "param", "code"}}</code>. Machines read <a href="/openapi.json">openapi.json</a>.</p>
<pre>curl $EDGE/v1/chat/completions -H "Authorization: Bearer $KEY" \\
  -d '{"model": "acme/support", "messages": [{"role": "user", "content": "When are you open?"}]}'</pre>
<nav>${operations.map((operation) => `<a href="#${anchor(operation)}">${title(operation)}</a>`).join('\n')}</nav>
${operations.map(section).join('\n')}
</body></html>`
}

function section(operation: Operation): string {
  const { summary, scope, body, query, headers, file, answers } = operation
  const needs = scope === 'admin' ? 'the admin key' : scope ? `the scope <code>${scope}</code>` : 'any key'
  const bodyRows = file ? [row('(the file)', prose(file))] : fields(body && jsonSchema(body, 'input'))
  return [
    `<h2 id="${anchor(operation)}">${title(operation)}</h2><p>${prose(summary)} Needs ${needs}.</p>`,
    table(
      'Headers',
      Object.entries(headers ?? {}).map(([name, text]) => row(name, prose(text))),
    ),
    table('Query', fields(query && jsonSchema(query, 'input'))),
    table('Body', bodyRows),
    table(
      'Answers',
      Object.entries(answers).map(([status, answer]) => row(status, answerText(answer))),
    ),
  ].join('')
}

/** The sentence, and the fields of its JSON where it has any. */
function answerText(answer: Answer | string): string {
  if (typeof answer === 'string') return prose(answer)
  const schema = answer.content['application/json']
  if (schema === undefined || schema === 'file' || schema === 'text') return prose(answer.text)
  return `${prose(answer.text)} <code>${escapeHtml(typeName(jsonSchema(schema, 'output')))}</code>`
}

function table(heading: string, rows: readonly string[]): string {
  return rows.length > 0 ? `<h3>${heading}</h3><table>${rows.join('')}</table>` : ''
}

function title({ method, path }: Operation): string {
  return `<b>${method}</b> ${escapeHtml(path)}`
}

function anchor({ method, path }: Operation): string {
  return `${method}${path.replaceAll(/[^a-z0-9]+/gi, '-')}`
}

function fields(schema: JsonSchema | undefined): string[] {
  return Object.entries(schema?.properties ?? {}).map(([name, property]) => {
    const required = schema?.required?.includes(name) ? '<span class="required">required</span>, ' : ''
    const otherwise = property.default === undefined ? '' : `, default ${JSON.stringify(property.default)}`
    return row(name, `${required}${escapeHtml(typeName(property) + otherwise)}`)
  })
}

/** A schema in words. That null is the same as absent is said of no field: it is so for all. */
function typeName(schema: JsonSchema): string {
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ')
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  const members = schema.anyOf ?? schema.oneOf
  if (members) return [...new Set(members.filter(({ type }) => type !== 'null').map(typeName))].join(' | ')
  if (schema.type === 'array' && schema.items) return `array of ${typeName(schema.items)}`
  if (schema.type === 'object' && schema.properties) {
    const inside = Object.entries(schema.properties).map(([name, property]) => `${name}: ${typeName(property)}`)
    return `{ ${inside.join(', ')} }`
  }
  const types = [schema.type ?? 'any'].flat().filter((type) => type !== 'null')
  return types.join(' | ') + bounds(schema)
}

function bounds({ minimum, maximum, exclusiveMinimum, maxLength }: JsonSchema): string {
  const parts = [
    typeof minimum === 'number' && minimum > -NO_BOUND ? `from ${minimum}` : '',
    typeof exclusiveMinimum === 'number' ? `above ${exclusiveMinimum}` : '',
    typeof maximum === 'number' && maximum < NO_BOUND ? `to ${maximum}` : '',
    typeof maxLength === 'number' ? `to ${maxLength} characters` : '',
  ].filter(Boolean)
  return parts.length > 0 ? ` ${parts.join(' ')}` : ''
}

function row(name: string, html: string): string {
  return `<tr><td><code>${escapeHtml(name)}</code></td><td>${html}</td></tr>`
}

/** Text in which backquotes mark code. */
function prose(text: string): string {
  return escapeHtml(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>')
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
