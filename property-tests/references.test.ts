// What comments, tests and pages point to is there: rules and regressions of docs/behaviour.md, files, links.
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { ROOT } from '../scripts/generated.js'

const ROOMS = ['src', 'native', 'property-tests', 'test', 'scripts', 'bench', 'fuzz', 'docs', 'man']
const TOP = ['README.md', 'CONTRIBUTING.md', 'binding.gyp', 'biome.json', 'package.json']
/** Data, and what was measured with an older tree. */
const LEFT_OUT = /^(fuzz\/corpus|bench\/results|scripts\/[a-z-]+\/node_modules)\/|\.(svg|png|gz|rec|pcap)$/

const below = (path: string): readonly string[] =>
  statSync(join(ROOT, path)).isDirectory()
    ? readdirSync(join(ROOT, path)).flatMap((name) => below(`${path}/${name}`))
    : [path]
const FILES = [...ROOMS.flatMap(below), ...TOP.filter((f) => existsSync(join(ROOT, f)))].filter(
  (f) => !LEFT_OUT.test(f)
)
const NAMES = new Set(FILES.map((f) => basename(f)))
const textOf = (file: string): string => readFileSync(join(ROOT, file), 'utf8')
/** This file has bad examples. */
const READ = FILES.filter((f) => f !== 'property-tests/references.test.ts')

/** `file:line: what` for each match that `wrong` finds wrong. */
const faults = (
  files: readonly string[],
  pattern: RegExp,
  wrong: (m: RegExpMatchArray, file: string, text: string) => boolean
): readonly string[] =>
  files.flatMap((file) => {
    const text = textOf(file)
    return [...text.matchAll(pattern)]
      .filter((m) => wrong(m, file, text))
      .map((m) => `${file}:${text.slice(0, m.index).split('\n').length}: ${m[0]}`)
  })

/** Anchors of a page: those written out, and the headings' as GitHub makes them. */
export const anchorsOf = (page: string): ReadonlySet<string> => {
  const anchors = new Set([...page.matchAll(/<a id="([^"]+)">/g)].map(([, id]) => id!))
  const prose = page.replace(/^```[\s\S]*?^```/gm, '')
  for (const [, heading] of prose.matchAll(/^#+ +(.+?) *$/gm)) {
    const slug = heading!
      .replace(/\]\([^)]*\)/g, '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
      .replace(/ /g, '-')
    let id = slug
    for (let i = 1; anchors.has(id); i++) id = `${slug}-${i}`
    anchors.add(id)
  }
  return anchors
}
const BEHAVIOUR = anchorsOf(textOf('docs/behaviour.md'))
const BEHAVIOUR_V = [...BEHAVIOUR].flatMap((id) => id.match(/(?<=^regression-)V\d+$/) ?? [])

describe('references', () => {
  test('to a rule: behaviour.md#anchor', () =>
    assert.deepEqual(
      faults(READ, /behaviour\.md#([\w-]+)/g, ([, anchor]) => !BEHAVIOUR.has(anchor!)),
      []
    ))
  test('to a regression: #regression-38, in the name of a test regression-38', () =>
    assert.deepEqual(
      faults(READ, /\bregression-(\w+)/gi, ([name]) => !BEHAVIOUR.has(name)),
      []
    ))
  test('every regression stands once, and has a rule', () => {
    const rows = [
      ...textOf('docs/behaviour.md').matchAll(/^\| <a id="regression-(\w+)"><\/a>(\w+) \|(.*)\|$/gm)
    ]
    assert.ok(rows.length > 100, `${rows.length}`)
    for (const [line, id, shown, cells] of rows) {
      assert.equal(id, shown)
      assert.equal(cells!.split('|').length, /^\d/.test(id!) ? 3 : 2, line)
    }
    assert.equal(new Set(rows.map(([, id]) => id)).size, rows.length)
  })
  test('every regression of vhost-user is named by a test', () => {
    const named = FILES.filter((f) => /^(property-tests|test|native\/test)\//.test(f)).flatMap(
      (f) => textOf(f).match(/(?<=regression-)V\d+/g) ?? []
    )
    assert.deepEqual(
      BEHAVIOUR_V.filter((id) => !named.includes(id)),
      []
    )
  })
  test('not to what is not in the tree: a row, a regression or an issue by its number, other notes', () => {
    const nowhere = [
      /\b[Rr](?:ow|egression)s? (?:\d|[A-O]\b)/g,
      /\b[Ii]ssue #?\d/g,
      /\b(?:flows|config-and-services|clients|newer-options|control-protocol|migration|vhost-user)(?:\.md| §)/g,
      /\bfacts?(?:\/| §| \d)/g,
      /\bSTYLE\.md|\bDESIGN\b/g
    ]
    assert.deepEqual(
      nowhere.flatMap((p) => faults(READ, p, () => true)),
      []
    )
  })
  test('a section is one of a document: an RFC, a draft, a standard that the file has named before', () =>
    assert.deepEqual(
      faults(READ, /§ ?\d[\d.]*/g, (m, _, text) => {
        const before = text.slice(0, m.index)
        return !/RFC \d|draft-|IEEE|virtio 1\./.test(before)
      }),
      []
    ))
  // In comments and pages, as a path or a name alone. The kernel's headers are not ours.
  test('to a file', () => {
    const path = /(?<![\w$}./<*-])(?:[\w-]+\/)*[\w-][\w.-]*\.(?:ts|mjs|cc|h|def|py|mdoc|gyp|md)\b(?!\()/g
    const exists = (file: string, name: string): boolean =>
      name.includes('/')
        ? ['', 'src', 'native', dirname(file)].some((from) => existsSync(join(ROOT, from, name))) ||
          FILES.some((f) => f.endsWith(`/${name}`))
        : NAMES.has(name)
    const kernel = /^(?:include\/)?(?:linux|net|sys)\//
    const comment = /^\s*(?:\/\*|\*|#(?!include))|\/\/|\/\*/
    assert.deepEqual(
      faults(READ, path, (m, file, text) => {
        const before = text.slice(text.lastIndexOf('\n', m.index) + 1, m.index)
        return (file.endsWith('.md') || comment.test(before)) && !kernel.test(m[0]) && !exists(file, m[0])
      }),
      []
    )
  })
})

describe('links', () => {
  const pages = READ.filter((f) => f.endsWith('.md'))
  for (const page of pages)
    test(page, () =>
      assert.deepEqual(
        faults([page], /\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g, ([, to, anchor]) => {
          const target = to === '' ? page : join(dirname(page), to!)
          if (!existsSync(join(ROOT, target))) return true
          return anchor !== undefined && !anchorsOf(textOf(target)).has(anchor)
        }),
        []
      )
    )
})
