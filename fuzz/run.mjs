#!/usr/bin/env node
// npm run fuzz -- [--runs N | --seconds N] [--fresh] [TARGET…]
//
// Runs the named targets, or all, one after the other, each for so many inputs or seconds (60 unless told). Inputs come from
// fuzz/corpus/TARGET (seeds and found cases, kept in the tree) and build/fuzz/corpus/TARGET (what earlier runs met: --fresh
// empties it). What ends a run is written to fuzz/corpus/TARGET: with the mend it is committed, and every later run
// begins with it.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bundle } from './bundle.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const out = join(root, 'build/fuzz')
const named = (dir, ending) =>
  readdirSync(join(root, 'fuzz', dir))
    .filter((f) => f.endsWith(ending))
    .map((f) => basename(f, ending))
const scripts = named('targets', '.fuzz.ts')
const all = [...scripts, ...named('native', '.fuzz.cc')]

const fail = (message) => {
  console.error(`fuzz: ${message}`)
  process.exit(1)
}
const argumentsGiven = () => {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { runs: { type: 'string' }, seconds: { type: 'string' }, fresh: { type: 'boolean' } }
    })
  } catch (e) {
    return fail(e.message)
  }
}
const { values, positionals } = argumentsGiven()
for (const name of ['runs', 'seconds'])
  if (!/^[1-9]\d*$/.test(values[name] ?? '1')) fail(`--${name} ${values[name]}: not a number above 0`)
const unknown = positionals.filter((name) => !all.includes(name))
if (unknown.length > 0) fail(`no target ${unknown.join(', ')}; there are: ${all.join(' ')}`)
const bounds =
  values.runs === undefined ? [`-max_total_time=${values.seconds ?? 60}`] : [`-runs=${values.runs}`]

const must = (command, argv, options) => {
  const r = spawnSync(command, argv, { cwd: root, stdio: ['ignore', 2, 2], ...options })
  if (r.status === 0) return
  console.error(`${command} ${argv.join(' ')}: ${r.error?.message ?? `status ${r.status ?? r.signal}`}`)
  process.exit(1)
}

must('make', ['-s', '-j2', '-C', 'fuzz'])
for (const name of positionals.length > 0 ? positionals : all) {
  const kept = join(root, 'fuzz/corpus', name)
  const met = join(out, 'corpus', name)
  if (values.fresh) rmSync(met, { recursive: true, force: true })
  for (const dir of [kept, met]) mkdirSync(dir, { recursive: true })
  const args = [
    ...bounds,
    '-timeout=10',
    '-rss_limit_mb=2048',
    '-max_len=4096',
    '-print_final_stats=1',
    `-artifact_prefix=${kept}/`,
    met, // what is new goes to the first one
    kept
  ]
  console.error(`# ${name}`)
  if (scripts.includes(name)) {
    const file = join(out, `${name}.cjs`)
    await bundle(root, `${name}.fuzz`, file)
    must(process.execPath, [join(root, 'fuzz/drive.cjs'), file, ...args])
  } else must(join(out, name), args)
}
