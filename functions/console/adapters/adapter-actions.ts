// What can be done with one adapter, through the edge.
import { readFile, sendEdge } from '../api/edge.ts'
import { type Task, useTask } from '../loading.ts'
import { useTenant } from '../session.ts'
import { shortDigest } from '../ui/format.ts'
import { saveFile } from '../ui/save-file.ts'

/** What can be done with an adapter; each shows the adapter as it is afterwards. */
export interface AdapterActions {
  readonly task: Task
  pointAt(digest: string, from: string): void
  setCanary(digest: string, weight: number): void
  endCanary(): void
  /** Saves the version's canonical file. */
  download(digest: string): void
}

/** `path` is the adapter's at the edge; `reload` shows it as it is by now. */
export function useAdapterActions(path: string, name: string, reload: () => Promise<void>): AdapterActions {
  const { apiKey, own } = useTenant()
  const task = useTask()
  const act = (method: 'PUT' | 'DELETE', at: string, body?: object) => {
    void task.run(async () => {
      try {
        await sendEdge(apiKey, method, path + at, body)
      } finally {
        // What is refused may be refused because somebody else was faster.
        await reload()
      }
    })
  }
  return {
    task,
    pointAt: (digest, from) => act('PUT', '/alias', { digest, from }),
    setCanary: (digest, weight) => act('PUT', '/canary', { digest, weight }),
    endCanary: () => act('DELETE', '/canary'),
    download: (digest) => {
      void task.run(async () => {
        const file = await readFile(apiKey, `${path}/versions/${digest}/delta`)
        saveFile(file, `${own.tenant}-${name}-${shortDigest(digest)}.safetensors`)
      })
    },
  }
}
