// What the operator is answered about the base model for browsers.
import * as z from 'zod/mini'
import { BrowserModel } from '../../gpu-backend/browser/manifest.ts'
import { BackendInfo, Digest } from '../../gpu-backend/protocol.ts'

/** The base that the backends serve, and what browsers may download of it. */
export const BrowserModelState = z.object({ base: BackendInfo.shape.base, model: z.nullable(BrowserModel) })
export type BrowserModelState = z.infer<typeof BrowserModelState>

export const StoredFile = z.object({ digest: Digest, bytes: z.int() })
export type StoredFile = z.infer<typeof StoredFile>
