// A server on somebody's own machine, whose keys everybody knows, and the browser that runs beside it.
import { expect, test } from 'vitest'
import { requireLocal } from '../../functions/local-only.ts'

const refusal = (url: string, origin?: string) => {
  try {
    requireLocal(url, origin)
    return undefined
  } catch (error) {
    return error
  }
}
const NOT_LOCAL = { status: 403, code: 'not_local' }

test('this machine’s own programs, pages and apps are taken by all of its names', () => {
  for (const host of ['127.0.0.1:8787', 'localhost:8787', '[::1]:8787', 'app.localhost']) {
    const origins = [undefined, 'http://localhost:3000', 'http://127.0.0.1:8787', 'vscode-webview://x', 'app://local']
    for (const origin of origins) expect(refusal(`http://${host}/v1/models`, origin)).toBeUndefined()
  }
})

test('pages from elsewhere are refused, and so is every name that their own DNS may point here', () => {
  for (const origin of ['https://evil.example', 'http://localhost.evil.example', 'http://10.0.0.2', 'null', '']) {
    expect(refusal('http://127.0.0.1:8787/v1/models', origin)).toMatchObject(NOT_LOCAL)
  }
  for (const host of ['evil.example:8787', 'localhost.evil.example', '127.0.0.1.evil.example', '10.0.0.2']) {
    expect(refusal(`http://${host}/admin/v1/tenants`)).toMatchObject(NOT_LOCAL)
  }
})
