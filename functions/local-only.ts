// What a server on somebody's own machine takes: `npm start` has keys that everybody knows, and a browser sends it whatever any
// page asks, or any name that a page's own DNS points at this machine.
import { ApiError } from './errors.ts'

const LOOPBACK = /^(?:(?:.+\.)?localhost|127(?:\.\d+){3}|\[::1\])$/

/** Pages of apps (vscode-webview:, app:) are this machine's own. @throws ApiError 403 for what a page from elsewhere sends */
export function requireLocal(url: string, origin: string | undefined): void {
  const { hostname } = new URL(url)
  if (!LOOPBACK.test(hostname)) throw notLocal(`by the name ${hostname}`)
  if (origin === undefined) return
  const page = URL.canParse(origin) ? new URL(origin) : undefined
  if (!page || (/^https?:$/.test(page.protocol) && !LOOPBACK.test(page.hostname))) {
    throw notLocal(`from pages of ${page?.hostname ?? 'an unknown origin'}`)
  }
}

function notLocal(what: string): ApiError {
  const message = `This server is for its own machine and takes nothing ${what}: ask http://127.0.0.1, or deploy it.`
  return new ApiError(403, 'not_local', message)
}
