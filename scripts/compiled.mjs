// The tests and what they import as plain JavaScript, made once for all files: tsx would take 0.6 s of a processor for each.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const out = join(root, '.cache/js')
const DIRS = ['src', 'test', 'property-tests', 'bench', 'fuzz', 'scripts', 'docs/lessons']

/** A file of TypeScript, from the root -> where its JavaScript is. */
export const compiledOf = (file) => join(out, relative(root, resolve(root, file)).replace(/\.ts$/, '.js'))
/** The other way round; what is not compiled is itself. */
export const sourceOf = (file) =>
  file.startsWith(`${out}/`) ? join(root, relative(out, file)).replace(/\.js$/, '.ts') : file

export const compile = async () => {
  const { transform } = await import('esbuild') // not there before run.mjs has installed it
  rmSync(out, { recursive: true, force: true })
  const files = DIRS.flatMap((dir) =>
    // What is below scripts/ are other people's packages, 16,000 files
    readdirSync(join(root, dir), { recursive: dir !== 'scripts' }).map((f) => join(dir, f))
  ).filter((f) => /\.(ts|json)$/.test(f))
  const one = async (file) => {
    const from = join(root, file)
    const text = readFileSync(from, 'utf8')
    const to = compiledOf(file)
    mkdirSync(dirname(to), { recursive: true })
    if (file.endsWith('.json')) return writeFileSync(to, text)
    const { code } = await transform(text, {
      loader: 'ts',
      target: 'node20',
      supported: { 'import-attributes': true },
      sourcefile: from,
      sourcemap: 'inline',
      sourcesContent: false,
      // What is found from there is found from the source
      define: { 'import.meta.url': JSON.stringify(pathToFileURL(from).href) }
    })
    writeFileSync(to, code)
  }
  await Promise.all(files.map(one))
}
