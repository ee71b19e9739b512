#!/usr/bin/env node
// npm run install-system -- --prefix DIR: what `npm run build` made, and manual pages and completions, where programs that
// start passt and pasta look. Programs are links: the launcher finds its engine from its own real path.
import { chmodSync, copyFileSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const [option, value, ...more] = process.argv.slice(2)
if (option !== '--prefix' || value === undefined || more.length > 0) {
  console.error('usage: npm run install-system -- --prefix DIR')
  process.exit(1)
}
const prefix = resolve(process.env.INIT_CWD ?? process.cwd(), value)

/** Removed first: what runs keeps its old file. */
const copy = (from, to, mode) => {
  const target = join(prefix, to)
  mkdirSync(dirname(target), { recursive: true })
  rmSync(target, { force: true })
  copyFileSync(join(root, from), target)
  chmodSync(target, mode)
}
const link = (from, to) => {
  const target = join(prefix, to)
  mkdirSync(dirname(target), { recursive: true })
  rmSync(target, { force: true })
  symlinkSync(from, target)
}

const home = 'lib/passt-ts'
// not what else may be there: pages of `npm run api-docs`, what a build has not finished
for (const { name } of readdirSync(join(root, 'dist'), { withFileTypes: true }).filter((e) => e.isFile()))
  if (!name.endsWith('.tmp')) copy(`dist/${name}`, `${home}/dist/${name}`, 0o644)
copy('build/Release/passt.node', `${home}/build/Release/passt.node`, 0o755)
for (const name of readdirSync(join(root, 'bin'))) {
  if (name.endsWith('.tmp')) continue
  copy(`bin/${name}`, `${home}/bin/${name}`, 0o755)
  link(`../${home}/bin/${name}`, `bin/${name}`)
}
for (const page of readdirSync(join(root, 'man')))
  if (page.endsWith('.1')) copy(`man/${page}`, `share/man/man1/${page}`, 0o644)
for (const [shell, dir] of Object.entries({
  bash: 'share/bash-completion/completions',
  zsh: 'share/zsh/site-functions',
  fish: 'share/fish/vendor_completions.d'
}))
  for (const file of readdirSync(join(root, 'completions', shell)))
    copy(`completions/${shell}/${file}`, `${dir}/${file}`, 0o644)
copy('LICENSE', 'share/doc/passt-ts/LICENSE', 0o644)
