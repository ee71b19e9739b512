import { main } from '../runtime/engine.js'

main(process.argv[2] ?? 'pasta', process.argv.slice(3))
