// A target as one file of plain JavaScript in which every statement, branch and function of src/ counts its visits.
import { readFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import { build, transformSync } from 'esbuild'
import { createInstrumenter } from 'istanbul-lib-instrument'

/** @param {string} root of the repository  @param {string} name of the target  @param {string} to: where the bundle goes */
export const bundle = async (root, name, to) => {
  const instrumenter = createInstrumenter({ esModules: true, compact: true, coverageVariable: 'COVERAGE' })
  const counted = {
    name: 'counted',
    setup: (b) =>
      b.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        if (!path.startsWith(join(root, 'src') + sep)) return null
        const { code } = transformSync(readFileSync(path, 'utf8'), { loader: 'ts', target: 'node20' })
        return { contents: instrumenter.instrumentSync(code, path), loader: 'js' }
      })
  }
  await build({
    entryPoints: [join(root, 'fuzz/targets', `${name}.ts`)],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    logLevel: 'warning',
    plugins: [counted],
    outfile: to
  })
}
