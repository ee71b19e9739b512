import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

// Files that are made from the sources and kept in the repository: written by a script, and held fresh by a test.

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..')

export interface Generated {
  /** Absolute. */
  readonly path: string
  readonly text: string
}

/** Files that are missing or differ from what their sources say. */
export const staleOf = (files: readonly Generated[]): readonly string[] =>
  files.flatMap(({ path, text }) => {
    try {
      return readFileSync(path, 'utf8') === text ? [] : [path]
    } catch {
      return [path]
    }
  })

/** For the script at `url`, if it is the one that was started: write the files, or with --check compare and exit with 1. */
export const mainOf = (url: string, files: () => readonly Generated[]): void => {
  if (url !== pathToFileURL(process.argv[1] ?? '').href) return
  if (process.argv.includes('--check')) {
    const old = staleOf(files())
    for (const path of old)
      console.error(`${path} is out of date: run 'npx tsx ${relative(ROOT, fileURLToPath(url))}'`)
    process.exitCode = old.length === 0 ? 0 : 1
    return
  }
  for (const { path, text } of files()) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
}
