import { startupSnapshot } from 'node:v8'
import { exactArguments } from '../runtime/cli/arguments.js'
import { main } from '../runtime/engine/engine.js'

const run = (): void => {
  const [argv0 = 'pasta', ...args] = exactArguments(process.argv.slice(2))
  main(argv0, args)
}

// Built into a snapshot (scripts/run.mjs), everything above has been done when the program starts.
if (startupSnapshot.isBuildingSnapshot()) startupSnapshot.setDeserializeMainFunction(run)
else run()
