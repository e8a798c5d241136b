// The console: a page beside the API, served by the edge. Start reading at app.tsx.
// Knows nothing that the API does not tell it. Invariant: everything shown came from a route that any client can call.
import { render } from 'preact'
import * as z from 'zod/mini'
import { App } from './app.tsx'
import { applyStoredTheme } from './theme.ts'

// zod compiles schemas with `new Function` where it may; the content security policy says that it may not.
z.config({ jitless: true })

applyStoredTheme()
render(<App />, document.getElementById('app')!)
