// What is made or fetched for the tests and outlives them: small C++ programs, a guest's kernel. Git ignores it.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const repo = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
export const cache = join(repo, '.cache')
/** The same directory inside a world. */
export const cacheInside = '/mnt/repo/.cache'

const made = (file: string): number => (existsSync(file) ? statSync(file).mtimeMs : 0)

/** Has `make` write `name` into the cache unless that is newer than all `sources`. */
export const cached = (name: string, sources: ReadonlyArray<string>, make: (to: string) => void): void => {
  const file = join(cache, name)
  if (made(file) > Math.max(...sources.map(made))) return
  mkdirSync(cache, { recursive: true })
  // Two test files may do so at the same time.
  const own = `${file}.${process.pid}.tmp`
  make(own)
  renameSync(own, file)
}

/** Compiles `source`, a path in the repository, with the headers beside it; the path of the program, or whatever `flags` make it, inside a world. */
export const compiled = (source: string, flags: ReadonlyArray<string> = []): string => {
  const name = basename(source, '.cc')
  const from = join(repo, source)
  const headers = readdirSync(dirname(from)).filter((file) => file.endsWith('.h'))
  cached(name, [from, ...headers.map((file) => join(dirname(from), file))], (to) => {
    const argv = ['-std=gnu++17', '-O2', '-Wall', '-Wextra', '-pthread', ...flags, '-o', to, from]
    const r = spawnSync('g++', argv, { encoding: 'utf8' })
    if (r.status !== 0) throw new Error(`g++ ${argv.join(' ')}: ${r.error?.message ?? r.stderr}`)
  })
  return `${cacheInside}/${name}`
}
