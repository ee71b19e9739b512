import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { shownIn } from '../src/runtime/cli/help.js'
import { OPTION_GROUPS, type OptionEntry } from '../src/runtime/cli/option-table.js'
import type { Mode } from '../src/runtime/cli/option-types.js'
import { type Generated, mainOf, ROOT } from './generated.js'

// man/passt.1 and man/pasta.1: pages in mdoc(7) from man/src, options and their order from the table. `tsx scripts/manual.ts`
// writes them, property-tests/generated.test.ts holds them fresh.

const source = (name: string): string => readFileSync(join(ROOT, 'man', 'src', name), 'utf8')

/** `id` or `id mode` -> lines of mdoc. Fails on what stands twice. */
export const readTexts = (text: string): ReadonlyMap<string, string> => {
  const texts = new Map<string, string>()
  for (const block of text.split(/^@ /m).slice(1)) {
    const end = block.indexOf('\n')
    const key = block.slice(0, end)
    if (texts.has(key)) throw new Error(`man/src/options.mdoc: '${key}' stands there twice`)
    texts.set(key, block.slice(end + 1).trimEnd())
  }
  return texts
}

/** `.It Fl d , Fl -debug Ar X`; a dash in the name is literal behind Fl. */
const heading = (e: OptionEntry): string => {
  const names = [...(e.short === null ? [] : [e.short]), ...e.long.map((l) => `-${l}`)]
  const argument = e.argument === null ? '' : ` Ar ${e.argument}`
  return `.It ${names.map((n) => `Fl ${n}`).join(' , ')}${argument}`
}

const textOf = (texts: ReadonlyMap<string, string>, e: OptionEntry, mode: Mode): string => {
  const text = texts.get(`${e.id} ${mode}`) ?? texts.get(e.id)
  if (text === undefined) throw new Error(`man/src/options.mdoc: nothing about '${e.id}' for ${mode}`)
  return text
}

const options = (texts: ReadonlyMap<string, string>, mode: Mode): string =>
  OPTION_GROUPS.map(({ title, entries }) => ({ title, shown: entries.filter((e) => shownIn(e, mode)) }))
    .filter(({ shown }) => shown.length > 0)
    .flatMap(({ title, shown }) => [
      `.Ss ${title}`,
      '.Bl -tag -width Ds',
      ...shown.flatMap((e) => [heading(e), textOf(texts, e, mode)]),
      '.El'
    ])
    .join('\n')

/** What stands between `@MODE@` and `@END@` is for that mode only. */
const forMode = (text: string, mode: Mode): string =>
  text.replace(/^@(PASST|PASTA)@\n(.*?)^@END@\n/gms, (_, m: string, inner: string) =>
    m.toLowerCase() === mode ? inner : ''
  )

const INTRO = `.Sh OPTIONS
Long names may be cut short as long as they are unique.
If an option is given more than once, the last one counts unless something else is said.
In what follows, the guest is the virtual machine or the namespace.`

export const page = (mode: Mode): string => {
  const texts = readTexts(source('options.mdoc'))
  const made = `.\\" Made from man/src and src/runtime/cli/option-table.ts by scripts/manual.ts; do not edit.\n`
  return `${made}${source(`${mode}.mdoc`)
    .replace('@OPTIONS@', () => `${INTRO}\n${options(texts, mode)}`)
    .replace('@NOTES@', () => forMode(source('notes.mdoc'), mode).trimEnd())
    .replace('@ENVIRONMENT@', () => forMode(source('environment.mdoc'), mode).trimEnd())}`
}

export const pages = (): readonly Generated[] =>
  (['passt', 'pasta'] as const).map((mode) => ({ path: join(ROOT, 'man', `${mode}.1`), text: page(mode) }))

mainOf(import.meta.url, pages)
