// A server's life and death, with a shell script in the place of vLLM: nothing here speaks to it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { requireCommand, VllmProcess } from '../../../../gpu-backend/engine/vllm/vllm-process.ts'
import { StartupError } from '../../../../gpu-backend/errors.ts'
import { expectOneSentence } from '../../../support/one-sentence.ts'
import { groupsBelow, processesOf } from '../../../support/process-group.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'

const MODULE = new URL('../../../../gpu-backend/engine/vllm/vllm-process.ts', import.meta.url).href
const SOON = { timeout: 20_000, interval: 20 }
const root = temporaryDir()
const running: VllmProcess[] = []

afterEach(async () => {
  for (const one of running.splice(0)) await one.close()
})

/** An executable shell script. */
function script(name: string, text: string): string {
  const path = join(root, name)
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  return path
}

function launch(command: string, onExit = () => {}, env: Record<string, string> = {}): VllmProcess {
  const launched = new VllmProcess({ command, args: ['/models/llama'], env, onExit })
  running.push(launched)
  return launched
}

/** The group of the one server that this process has started. */
async function group(): Promise<number> {
  return vi.waitFor(() => {
    const [found] = groupsBelow(process.pid).filter((id) => processesOf(id).length >= 3)
    if (found === undefined) throw new Error('nothing runs yet')
    return found
  }, SOON)
}

describe('a vLLM server of our own', () => {
  test('is told its arguments, its socket and its key, and none of our secrets', async () => {
    const said = join(root, 'said')
    process.env.POLYLORA_BACKEND_SECRET = 'between the edge and us'
    const launched = launch(
      script('tell', `printf '%s\\n' "$@" "$VLLM_API_KEY" "$MORE" > ${said}; env >> ${said}`),
      undefined,
      {
        MORE: 'more',
      },
    )
    await launched.run()
    delete process.env.POLYLORA_BACKEND_SECRET
    const text = readFileSync(said, 'utf8')
    const { socketPath } = launched
    expect(text.split('\n').slice(0, 6)).toEqual([
      'serve',
      '/models/llama',
      '--uds',
      socketPath,
      launched.apiKey,
      'more',
    ])
    expect(text).not.toContain('between the edge and us')
  })

  test('that ends before it was found well is not started again, and its last words are kept', async () => {
    const lives = join(root, 'lives')
    let exits = 0
    const launched = launch(
      script('short', `echo alive >> ${lives}; echo 'ValueError: no such model' >&2; exit 3`),
      () => exits++,
    )
    await launched.run()
    expect(exits).toBe(1)
    expect(launched.exitReason).toBe('ValueError: no such model')
    expect(readFileSync(lives, 'utf8')).toBe('alive\n')
  })

  test('that was found well is started again when it ends by itself, until it is closed', async () => {
    const lives = join(root, 'more-lives')
    const launched = launch(script('again', `echo alive >> ${lives}`))
    const ended = launched.run()
    launched.foundWell()
    await vi.waitFor(() => expect(readFileSync(lives, 'utf8')).toBe('alive\nalive\n'), SOON)
    // It waits for its next life, or lives: either way closing ends it.
    await launched.close()
    await ended
  })

  test('that was found well and hangs is killed and started again, but not while it starts', async () => {
    const lives = join(root, 'hung-lives')
    const count = () => readFileSync(lives, 'utf8').split('\n').length - 1
    const launched = launch(script('hang', `echo alive >> ${lives}; exec sleep 1000`))
    void launched.run()
    const first = await group()
    await vi.waitFor(() => expect(count()).toBe(1), SOON)
    launched.hangs()
    launched.foundWell()
    process.kill(-first, 'SIGSTOP')
    expect(processesOf(first)).not.toEqual([])
    launched.hangs()
    await vi.waitFor(() => expect(count()).toBe(2), SOON)
    expect(processesOf(first)).toEqual([])
    launched.hangs()
    expect(await group()).not.toBe(first)
  })

  test('ends even where a process that has left its group keeps its output open', async () => {
    const daemon = join(root, 'daemon.pid')
    const text = `setsid sh -c 'echo $$ > ${daemon}; exec sleep 1000' & while [ ! -s ${daemon} ]; do sleep 0.1; done`
    const launched = launch(script('daemon', `${text}; echo 'ValueError: started' >&2; exit 1`))
    await launched.run()
    process.kill(Number(readFileSync(daemon, 'utf8')))
    expect(launched.exitReason).toBe('ValueError: started')
  })

  test('ends with everything that it started when it is closed', async () => {
    const launched = launch(script('family', 'sleep 1000 & sleep 1001 & wait'))
    void launched.run()
    const id = await group()
    await launched.close()
    // What was killed is gone a moment later.
    await vi.waitFor(() => expect(processesOf(id)).toEqual([]), SOON)
    expect(existsSync(launched.socketPath)).toBe(false)
  })

  test('does not outlive this process, even one that is killed', async () => {
    const command = script('orphan', 'sleep 1000 & sleep 1001 & wait')
    const code = `const { VllmProcess } = await import('${MODULE}')
      void new VllmProcess({ command: '${command}', args: [], env: {}, onExit() {} }).run()`
    const parent = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: 'ignore' })
    const id = await vi.waitFor(() => {
      const [found] = groupsBelow(parent.pid!).filter((one) => processesOf(one).length >= 4)
      if (found === undefined) throw new Error('nothing runs yet')
      return found
    }, SOON)
    parent.kill('SIGKILL')
    await once(parent, 'exit')
    await vi.waitFor(() => expect(processesOf(id)).toEqual([]), SOON)
  })

  test('that is not installed is named, with what to do', () => {
    try {
      requireCommand('vllm-that-nobody-has', '/usr/bin:/bin')
      expect.unreachable()
    } catch (error) {
      if (!(error instanceof StartupError)) throw error
      expectOneSentence(error.message)
      expect(error.message).toContain('vllm-that-nobody-has')
      expect(error.message).toContain('--vllm-url')
    }
    expect(() => requireCommand('sh', process.env.PATH)).not.toThrow()
  })
})
