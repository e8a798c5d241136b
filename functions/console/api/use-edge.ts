// What the edge answers at a path, for a component to show; what is fetched when, `useLoaded` says.
import type * as z from 'zod/mini'
import { listOf } from '../../routes/list-of.ts'
import { type Loaded, useLoaded } from '../loading.ts'
import { readEdge } from './edge.ts'

export function useAnswer<Value>(apiKey: string, path: string, schema: z.ZodMiniType<Value>): Loaded<Value> {
  return useLoaded((signal) => readEdge(apiKey, path, schema, { signal }), [apiKey, path])
}

/** The items of the list there. */
export function useList<Item>(
  apiKey: string,
  path: string,
  item: z.ZodMiniType<Item>,
  everyMs?: number,
): Loaded<Item[]> {
  const load = async (signal: AbortSignal) => (await readEdge(apiKey, path, listOf(item), { signal })).data
  return useLoaded(load, [apiKey, path], everyMs)
}
