import { once } from 'node:events'
import { createServer } from 'node:net'

/** Below those that the system gives to whoever takes any: nobody gets one by chance before its server is up. */
let nextPort = 20_000 + (process.pid % 700) * 16

export async function freePort(): Promise<number> {
  const port = nextPort++
  const server = createServer().listen(port, '127.0.0.1')
  const isFree = await once(server, 'listening').then(
    () => true,
    () => false,
  )
  if (!isFree) return freePort()
  await new Promise((resolve) => server.close(resolve))
  return port
}
