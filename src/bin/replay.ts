import { main } from '../runtime/replay/main.js'

process.exitCode = main(process.argv.slice(2))
