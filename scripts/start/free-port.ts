// Whether a port can be had, asked before anything is started. Knows nothing of who wants it.
import { once } from 'node:events'
import { createServer } from 'node:net'
import { CliError } from '../cli-error.ts'

/** @throws CliError naming the option that gives another port */
export async function requireFreePort(port: number, option: string): Promise<void> {
  const server = createServer()
  server.listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    const reason = code === 'EACCES' ? 'may not be used by you' : 'is in use'
    throw new CliError(`Port ${port} ${reason}: stop what listens there or choose another with ${option}.`)
  }
  await new Promise((resolve) => server.close(resolve))
  await refuseBadPort(port, option)
}

/** Some ports are other protocols', and fetch asks nothing there. By now nobody listens who could be asked by this. */
async function refuseBadPort(port: number, option: string): Promise<void> {
  const error: unknown = await fetch(`http://127.0.0.1:${port}`, { method: 'HEAD' }).catch((error: unknown) => error)
  if (!(error instanceof TypeError && error.cause instanceof Error && error.cause.message === 'bad port')) return
  throw new CliError(`Port ${port} is one that fetch and browsers refuse: choose another with ${option}.`, 2)
}
