// The named property tests as one file for mocha, which runs them in one process for one mutant after the other.
// Run by Stryker in its copy of the tree, whose sources hold the mutants.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const [to, ...tests] = process.argv.slice(2)
const here = dirname(fileURLToPath(import.meta.url))

/** Each file has its own place, from which some name others. */
const ownPlace = {
  name: 'own-place',
  setup: (b) =>
    b.onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replaceAll(
        'import.meta.url',
        JSON.stringify(pathToFileURL(path).href)
      ),
      loader: 'ts'
    }))
}

await build({
  stdin: {
    contents: [
      // A failure is enough, its smallest example is not wanted.
      "import fc from 'fast-check'; fc.configureGlobal({ endOnFailure: true })",
      ...tests.map(
        (file) => `describe(${JSON.stringify(file)}, () => { require(${JSON.stringify(`./${file}`)}) })`
      )
    ].join('\n'),
    resolveDir: process.cwd()
  },
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  logLevel: 'error',
  plugins: [ownPlace],
  // The runner's functions have the same names in mocha.
  alias: { 'node:test': join(here, 'runner.cjs') },
  outfile: to
})
