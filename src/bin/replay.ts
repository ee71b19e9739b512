import { main } from '../runtime/replay/main.js'

// Both by scripts/run.mjs, of src/page.
declare const PAGE_SCRIPT: string
declare const PAGE_STYLE: string

process.exitCode = main(process.argv.slice(2), { script: PAGE_SCRIPT, style: PAGE_STYLE })
