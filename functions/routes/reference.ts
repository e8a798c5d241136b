// `/openapi.json` for machines and `/docs` for people. Open to everybody: neither knows any tenant.
import { Hono } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { openApiDocument } from '../openapi/document.ts'
import { OPERATIONS } from '../openapi/operations.ts'
import { referencePage } from '../openapi/page.ts'

export const reference = new Hono<EdgeEnv>()
  .get('/openapi.json', (c) => c.json(openApiDocument(OPERATIONS, new URL(c.req.url).origin)))
  .get('/docs', (c) => c.html(referencePage(OPERATIONS)))
