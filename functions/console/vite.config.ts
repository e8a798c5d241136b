import { defineConfig } from 'vite'

export default defineConfig({
  build: {
    target: 'es2024',
    // A data: URL would need a hole in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    emptyOutDir: true,
    // It would compress the WebAssembly that runs models, to print a number.
    reportCompressedSize: false,
    rolldownOptions: { checks: { bundlerTimings: false } },
  },
  worker: { format: 'es' },
})
