import { startupSnapshot } from 'node:v8'
import { main } from '../runtime/engine.js'

const run = (): void => main(process.argv[2] ?? 'pasta', process.argv.slice(3))

// Built into a snapshot (scripts/run.mjs), everything above has been done when the program starts.
if (startupSnapshot.isBuildingSnapshot()) startupSnapshot.setDeserializeMainFunction(run)
else run()
