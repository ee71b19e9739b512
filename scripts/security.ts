import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Generated, mainOf, ROOT } from './generated.js'

// docs/security.md: its tables of system calls, from the lists that the filters are made of (native/common/filter.h). `tsx
// scripts/security.ts` writes them, property-tests/security.test.ts holds them fresh.

interface Group {
  readonly title: string
  readonly calls: string[]
}

/** A list's groups, each under its comment: calls, `name*` where only some arguments will do, `name (errno)` where it is refused. */
export const groupsOf = (list: string): ReadonlyArray<Group> => {
  const groups: Group[] = []
  // The first comment is about the file. In C a string holds no comment and a comment no macro here
  const pieces = list
    .replace(/^\/\*.*?\*\//s, '')
    .matchAll(/\/\*\s*(.*?)\s*\*\/|\b(ALLOW|ALLOW_IF|REFUSE|KILL)\(\s*(\w+)\s*,\s*(\w*)/gs)
  for (const [, comment, macro, call, next] of pieces) {
    if (comment !== undefined) groups.push({ title: comment.replace(/\s+/g, ' '), calls: [] })
    if (macro === undefined || call === undefined) continue
    if (groups.length === 0) groups.push({ title: '', calls: [] })
    const shown = macro === 'ALLOW_IF' ? `${call}*` : macro === 'REFUSE' ? `${call} (${next})` : call
    const calls = groups.at(-1)!.calls
    if (!calls.includes(shown)) calls.push(shown)
  }
  return groups.filter((g) => g.calls.length > 0)
}

const table = (file: string): string => {
  const rows = groupsOf(readFileSync(join(ROOT, file), 'utf8')).map(
    ({ title, calls }) => `| ${title} | ${calls.map((c) => `\`${c}\``).join(' ')} |`
  )
  return [
    '',
    `From [${file}](../${file}), which says what each is for; \`*\`: with some arguments only.`,
    '',
    '| for | calls |',
    '|---|---|',
    ...rows,
    ''
  ].join('\n')
}

const path = join(ROOT, 'docs/security.md')
export const securityFiles = (): readonly Generated[] => [
  {
    path,
    text: readFileSync(path, 'utf8').replace(
      /(<!-- calls: (\S+) -->\n).*?(<!-- end -->)/gs,
      (_, head: string, file: string, end: string) => `${head}${table(file)}\n${end}`
    )
  }
]
mainOf(import.meta.url, securityFiles)
