// npm run api-docs: pages of what the package exports, by TypeDoc, in dist/api-docs.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
const { exports, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** The sources of `./lib/src/codecs/*.js`, where `*` may hold slashes. */
const sources = (built) =>
  join(root, built.replace('./lib/', '').replace('/*.js', '/**/*.ts').replace(/\.js$/, '.ts'))

export default {
  name: `passt-ts ${version}`,
  entryPoints: Object.values(exports).map(sources),
  tsconfig: join(root, 'tsconfig.library.json'),
  basePath: root,
  readme: join(root, 'docs/verification.md'),
  out: join(root, 'dist/api-docs'),
  // Links would need a server; a module has the name of its file
  disableSources: true,
  // Types of a module's own are shown where they are used
  validation: { notExported: false },
  treatWarningsAsErrors: true
}
