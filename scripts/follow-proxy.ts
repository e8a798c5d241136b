// HTTPS_PROXY, HTTP_PROXY and NO_PROXY for this process: Node follows them only where it is told to.
import { setGlobalProxyFromEnv } from 'node:http'
import { CliError } from './cli-error.ts'

/** A server of this machine, as npm start brings up, is behind no proxy, whether NO_PROXY says so or not. */
const THIS_MACHINE = ['localhost', '127.0.0.1', '[::1]', '::1']

type Environment = Readonly<Record<string, string | undefined>>

/** Throws CliError where a variable names no proxy. */
export function followProxy(env: Environment): void {
  try {
    setGlobalProxyFromEnv({ ...env, no_proxy: behindNoProxy(env) })
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new CliError(`HTTPS_PROXY or HTTP_PROXY names no proxy (${reason}); give a URL such as http://proxy:3128.`, 2)
  }
}

/** What `no_proxy` is to be: what it says, and this machine. */
export function behindNoProxy(env: Environment): string {
  return [env.no_proxy ?? env.NO_PROXY, ...THIS_MACHINE].filter(Boolean).join()
}
