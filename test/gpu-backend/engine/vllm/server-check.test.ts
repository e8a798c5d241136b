// What is noted of a server's weights, with a server that answers everything alike.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkServer } from '../../../../gpu-backend/engine/vllm/server-check.ts'
import { VllmClient } from '../../../../gpu-backend/engine/vllm/vllm-client.ts'
import { Tokenizer } from '../../../../gpu-backend/model/tokenizer.ts'
import { closeServer, listenOnLoopback } from '../../../support/loopback.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'
import { tinyBase } from '../../../support/tiny-base.ts'
import { embeddedTokenizerFiles } from '../../../support/tiny-model.ts'

const CONTEXT = 128
const tokenizer = new Tokenizer(embeddedTokenizerFiles())
let likeliest = -1

async function answer(request: IncomingMessage): Promise<unknown> {
  switch (request.url) {
    case '/v1/models':
      return { data: [{ id: 'base', max_model_len: CONTEXT }] }
    case '/tokenize':
      return { tokens: Array.from(tokenizer.encode(((await json(request)) as { prompt: string }).prompt)) }
    case '/v1/completions':
      return { choices: [{ logprobs: { token_logprobs: [likeliest], top_logprobs: [{ 'token_id:5': likeliest }] } }] }
    default:
      return {}
  }
}

const http = createServer(async (request, response) => response.end(JSON.stringify(await answer(request))))
let client: VllmClient
beforeAll(async () => {
  client = new VllmClient({ url: await listenOnLoopback(http) }, undefined)
})
afterAll(() => closeServer(http))

test('a server with other weights than were noted is refused, and where what was noted is lost it is noted anew', async () => {
  const dataDir = temporaryDir()
  const shared = { tokenizer, contextTokens: CONTEXT, maxRank: 8, sharedDir: dataDir, dataDir, baseAsAdapter: false }
  const check = () => checkServer(client, 'tested', { base: tinyBase('gqa'), ...shared })
  await check()
  const [name] = readdirSync(join(dataDir, 'probes'))
  const file = join(dataDir, 'probes', name!)
  const noted = readFileSync(file, 'utf8')
  likeliest = -2
  await expect(check()).rejects.toThrow(`serves other weights than were noted in ${file}`)
  likeliest = -1
  for (const damaged of ['', noted.slice(0, 20), '{}']) {
    writeFileSync(file, damaged)
    await check()
    expect(readFileSync(file, 'utf8')).toBe(noted)
  }
})
