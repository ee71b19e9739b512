import { OPTION_GROUPS, type OptionEntry } from './option-table.js'
import type { Mode } from './option-types.js'

export const VERSION = '0.1.0'

/** Line 1 is `<mode> <version>`: clients parse it. */
export const versionText = (mode: Mode): string =>
  [
    `${mode} ${VERSION}`,
    'Copyright (c) 2026 the passt-ts authors',
    'MIT License <https://opensource.org/license/mit>',
    'This is free software: you are free to change and redistribute it.',
    'There is NO WARRANTY, to the extent permitted by law.',
    ''
  ].join('\n')

/** For vhost-user.json, by which programs find back-ends (vhost-user.rst, "Back-end program conventions"). */
export const CAPABILITIES = '{\n  "type": "net"\n}\n'

const USAGE: Readonly<Record<Mode, ReadonlyArray<string>>> = {
  passt: ['Usage: passt [OPTION]...'],
  pasta: [
    'Usage: pasta [OPTION]... [COMMAND [ARG]...]',
    '       pasta [OPTION]... PID',
    '       pasta [OPTION]... --netns PATH|NAME',
    '',
    'Without PID or --netns, run COMMAND, or a shell, in a new user and network namespace.'
  ]
}

/** Column of the explanations. */
const COLUMN = 30

/** Whether an option is described where `mode` is. */
export const shownIn = (e: OptionEntry, mode: Mode): boolean =>
  e.allowed === 'both' || e.allowed === mode || (e.allowed === 'vhost' && mode === 'passt')

const entryText = (e: OptionEntry, mode: Mode): ReadonlyArray<string> => {
  const names = [...(e.short === null ? [] : [`-${e.short}`]), ...e.long.map((l) => `--${l}`)].join(', ')
  const head = `  ${e.short === null ? '    ' : ''}${names}${e.argument === null ? '' : ` ${e.argument}`}`
  const [first = '', ...more] = (typeof e.help === 'string' ? e.help : e.help[mode]).split('\n')
  const indent = ' '.repeat(COLUMN)
  const lines = more.map((l) => `${indent}  ${l}`)
  return head.length < COLUMN - 1 ? [head.padEnd(COLUMN) + first, ...lines] : [head, indent + first, ...lines]
}

/** The whole usage text, from the option table. */
export const helpText = (mode: Mode): string =>
  [
    ...USAGE[mode],
    ...OPTION_GROUPS.map(({ title, entries }) => ({ title, shown: entries.filter((e) => shownIn(e, mode)) }))
      .filter(({ shown }) => shown.length > 0)
      .flatMap(({ title, shown }) => ['', `${title} options:`, ...shown.flatMap((e) => entryText(e, mode))]),
    ''
  ].join('\n')
