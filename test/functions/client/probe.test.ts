import { createServer, type Server } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import { probeAdapter } from '../../../functions/client/probe.ts'
import { callEdge, type EdgeAddress } from '../../../scripts/edge-client.ts'
import { closeServer, listenOnLoopback } from '../../support/loopback.ts'

const DIGEST = `sha256:${'d'.repeat(64)}`
let server: Server

afterEach(() => closeServer(server))

/** An edge that answers completions with the given top log probabilities, by model. */
async function edgeAnswering(answers: Record<string, unknown>, digest = DIGEST): Promise<EdgeAddress> {
  server = createServer(async (request, response) => {
    let text = ''
    for await (const piece of request) text += piece
    const { model } = JSON.parse(text)
    response.setHeader('x-polylora-adapter', model === 'base' ? 'base' : digest)
    response.end(JSON.stringify({ choices: [{ index: 0, logprobs: { top_logprobs: [answers[model]] } }] }))
  })
  return { url: await listenOnLoopback(server), apiKey: 'k' }
}

describe('the probe of a published adapter', () => {
  const base = { ' a': -1, ' b': -2, ' c': -3 }
  const probe = (edge: EdgeAddress) =>
    probeAdapter((path, init) => callEdge(edge, path, init), 'acme/x', DIGEST, 'base')

  test('reports the largest difference of the likeliest tokens', async () => {
    const edge = await edgeAnswering({ base, 'acme/x': { ' a': -1.25, ' b': -2, ' d': -2.5 } })
    expect(await probe(edge)).toMatchObject({ difference: 0.5 })
  })

  test('refuses an adapter that changes nothing', async () => {
    const edge = await edgeAnswering({ base, 'acme/x': { ' a': -1.00001, ' b': -2, ' c': -3 } })
    await expect(probe(edge)).rejects.toThrow(/has no effect/)
  })

  test('refuses values that are not finite, which JSON writes as null', async () => {
    const edge = await edgeAnswering({ base, 'acme/x': { ' a': Number.NaN } })
    await expect(probe(edge)).rejects.toThrow(/not finite/)
  })

  test('notices that another version answered', async () => {
    const edge = await edgeAnswering({ base, 'acme/x': { ' a': -4 } }, `sha256:${'e'.repeat(64)}`)
    await expect(probe(edge)).rejects.toThrow(/not by the version just published/)
  })
})
