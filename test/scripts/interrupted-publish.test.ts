import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { peftFiles, peftTensors } from '../support/peft-files.ts'
import { BASE_INFO } from '../support/protocol-backend.ts'
import { temporaryDir } from '../support/temporary-dir.ts'

const data = temporaryDir()

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  'publish that is ended by %s in the middle of an upload leaves no file behind',
  async (signal) => {
    const [adapter, spool] = [join(data, `${signal}-adapter`), join(data, `${signal}-spool`)]
    for (const folder of [adapter, spool]) mkdirSync(folder)
    for (const file of peftFiles(peftTensors(BASE_INFO.base, ['model.layers.0.self_attn.q_proj'])).values())
      writeFileSync(join(adapter, file.name), await file.read(0, file.size))
    let uploading = (_spooled: readonly string[]) => {}
    const begun = new Promise<readonly string[]>((resolve) => {
      uploading = resolve
    })
    // Answers everything but the upload itself.
    const server = createServer((request, response) => {
      if (request.url === '/v1/base') response.writeHead(200).end(JSON.stringify(BASE_INFO))
      else if (request.method === 'GET') response.writeHead(404).end('{}')
      else uploading(readdirSync(spool))
    })
    const edge = await listenOnLoopback(server)
    const command = ['scripts/polylora.ts', 'publish', adapter, '--as', 'acme/x', '--edge', edge, '--api-key', 'k']
    const child = spawn(process.execPath, command, { env: { ...process.env, TMPDIR: spool }, stdio: 'inherit' })
    try {
      expect(await begun).toHaveLength(1)
      child.kill(signal)
      expect(await once(child, 'exit')).toEqual([null, signal])
      expect(readdirSync(spool)).toEqual([])
    } finally {
      child.kill('SIGKILL')
      await closeServer(server)
    }
  },
)
