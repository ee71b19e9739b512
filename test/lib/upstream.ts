// Upstream's passt, passt-repair and pesto, of Debian's newest suite that has them: to move guests from and to them, to talk to. PEER_BIN names
// others.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { debianRoot } from './box.js'

const PROGRAMS = ['passt', 'passt-repair', 'pesto']

const run = (...argv: readonly [string, ...string[]]): void => {
  const [program, ...args] = argv
  const r = spawnSync(program, args, { encoding: 'utf8' })
  if (r.status !== 0) throw new Error(`${argv.join(' ')}: ${r.error?.message ?? r.stderr}`)
}

/** Beside the root that they come from, with that root's own libraries: this system's are older. */
const patched = (): string => {
  const root = debianRoot('forky', ['passt'])
  const bin = `${root}.programs`
  if (existsSync(bin)) return bin
  const work = mkdtempSync(join(dirname(root), 'bin-'))
  const libraries = join(root, 'usr/lib', `${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu`)
  const loader = process.arch === 'x64' ? 'ld-linux-x86-64.so.2' : 'ld-linux-aarch64.so.1'
  for (const name of PROGRAMS) {
    const to = join(work, name)
    run('install', '-m', '755', join(root, 'usr/bin', name), to)
    run('patchelf', '--set-interpreter', join(libraries, loader), '--set-rpath', libraries, to)
  }
  run('chmod', '755', work)
  try {
    renameSync(work, bin)
  } catch (e) {
    // Another test was first
    if (!existsSync(bin)) throw e
    rmSync(work, { recursive: true })
  }
  return bin
}

/** The directory that they are in, made now if it is not there yet. */
export const upstreamBin = (): string => process.env.PEER_BIN ?? patched()
