// A Unix socket in front of another one, which a test can cut as a network or a machine that goes does.
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { afterAll } from 'vitest'

export interface CuttableSocket {
  readonly path: string
  /** Connections that are open. */
  readonly open: () => number
  /** Breaks every connection and takes no more. */
  cut(): Promise<void>
}

/** Listens at `path` and passes everything on to `target`, until the test file ends. */
export async function cuttableSocket(path: string, target: string): Promise<CuttableSocket> {
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(target)
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => {})
      one.once('close', () => other.destroy())
    }
    sockets.add(near)
    near.once('close', () => sockets.delete(near))
    near.pipe(far)
    far.pipe(near)
  })
  server.listen(path)
  await once(server, 'listening')
  const cut = async () => {
    for (const socket of sockets) socket.destroy()
    if (!server.listening) return
    server.close()
    await once(server, 'close')
    rmSync(path, { force: true })
  }
  afterAll(cut)
  return { path, open: () => sockets.size, cut }
}
