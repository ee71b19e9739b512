import { join } from 'node:path'
import { shownIn } from '../src/runtime/cli/help.js'
import { OPTION_TABLE, type OptionEntry } from '../src/runtime/cli/option-table.js'
import type { Mode } from '../src/runtime/cli/option-types.js'
import { PESTO_OPTIONS, USAGE } from '../src/runtime/pesto/options.js'
import { ctlBash, ctlFish, ctlZsh } from './completions-ctl.js'
import { type Generated, mainOf, ROOT } from './generated.js'

// completions/{bash,zsh,fish}: what shells offer behind passt, pasta, pesto and passt-ctl, from their option tables and usage. `tsx scripts/completions.ts`
// writes them, property-tests/generated.test.ts holds them fresh, test/packaging.test.ts loads them in the shells.

/** What an option's argument may be. */
type Kind = 'file' | 'interface' | 'netns' | 'user' | 'words' | 'other'
type Program = Mode | 'pesto'
type Entry = Pick<OptionEntry, 'id' | 'long' | 'short' | 'takesArgument' | 'argument' | 'help'>

/** As its usage has them. */
const PESTO: readonly Entry[] = PESTO_OPTIONS.map((o) => {
  const [, argument, help = ''] =
    new RegExp(`--${o.long[0]}(?: ([A-Z]+))?(?: {2,}(.*))?\\n`).exec(USAGE) ?? []
  return { ...o, id: o.long[0] ?? o.id, argument: argument ?? null, help }
})

const kindOf = (e: Entry): Kind => {
  if (e.argument === 'PATH|NAME') return 'netns'
  if (e.argument === 'PATH' || e.argument === 'FILE') return 'file'
  if (e.argument?.startsWith('UID')) return 'user'
  if (['interface', 'outbound-if4', 'outbound-if6'].includes(e.id)) return 'interface'
  return wordsOf(e, 'pasta').length > 0 ? 'words' : 'other'
}

/** Words that stand for themselves among an option's arguments. */
const textOf = (e: Entry, mode: Program): string =>
  typeof e.help === 'string' ? e.help : mode === 'pesto' ? '' : e.help[mode]
const wordsOf = (e: Entry, mode: Program): readonly string[] => {
  const help = textOf(e, mode)
  if (e.argument === 'TABLE') return ['HOST', 'SPLICE']
  if (e.argument === 'SPEC') return mode === 'passt' ? ['none', 'all'] : ['none', 'auto', 'all']
  return e.argument !== null && help.includes('none for none') ? ['none'] : []
}

const flagsOf = (e: Entry): readonly string[] => [
  ...(e.short === null ? [] : [`-${e.short}`]),
  ...e.long.map((l) => `--${l}`)
]
const summaryOf = (e: Entry, mode: Program): string => textOf(e, mode).split('\n')[0] ?? ''
const entriesFor = (mode: Program): readonly Entry[] =>
  mode === 'pesto' ? PESTO : OPTION_TABLE.filter((e) => shownIn(e, mode))
/** May usefully stand more than once. */
const REPEATED =
  /^(tcp|udp)-(ports|ns)$|^(add|delete|clear)$|^(dns|search|address|gateway|outbound|dns-forward|dns-host|map-.*)$/

const madeFrom = (mode: Program): string =>
  `Made from src/runtime/${mode === 'pesto' ? 'pesto/options' : 'cli/option-table'}.ts by scripts/completions.ts; do not edit.`

// --- bash

/** Words that bash has cut at = and : are put together again; what stands behind the first non-option is a command's. */
export const bash = (mode: Program): string => {
  const entries = entriesFor(mode)
  const offer: Readonly<Record<Exclude<Kind, 'other' | 'words'>, string>> = {
    file: 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur")',
    interface: 'mapfile -t COMPREPLY < <(cd /sys/class/net && compgen -G "$cur*")',
    netns:
      'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"; cd /run/netns 2>/dev/null && compgen -G "$cur*")',
    user: 'mapfile -t COMPREPLY < <(compgen -u -- "$cur")'
  }
  const rows = (['file', 'interface', 'netns', 'user'] as const).flatMap((kind) => {
    const flags = entries.filter((e) => kindOf(e) === kind).flatMap(flagsOf)
    return flags.length === 0 ? [] : [`        ${flags.join(' | ')}) ${offer[kind]} ;;`]
  })
  const words = entries.flatMap((e) =>
    kindOf(e) === 'words'
      ? [
          `        ${flagsOf(e).join(' | ')}) mapfile -t COMPREPLY < <(compgen -W '${wordsOf(e, mode).join(' ')}' -- "$cur") ;;`
        ]
      : []
  )
  const takes = entries.filter((e) => e.takesArgument).flatMap(flagsOf)
  const pasta = (...lines: readonly string[]): readonly string[] => (mode === 'pasta' ? lines : [])
  const pesto = (...lines: readonly string[]): readonly string[] => (mode === 'pesto' ? lines : [])
  return [
    `# bash completion for ${mode}.  ${madeFrom(mode)}`,
    '',
    `_${mode}() {`,
    `    local cur=\${COMP_WORDS[COMP_CWORD]} i word waits= glued= end=`,
    `    local takes=' ${takes.join(' ')} '`,
    '    COMPREPLY=()',
    '    for ((i = 1; i < COMP_CWORD; i++)); do',
    `        word=\${COMP_WORDS[i]}`,
    '        if [[ $word =~ ^[=:]+$ ]]; then',
    '            glued=1',
    '        elif [[ $glued || $waits ]]; then',
    '            glued= waits=',
    '        elif [[ $word == -- ]]; then',
    '            ((i++))',
    '            end=1',
    '            break',
    '        elif [[ $word == -?* ]]; then',
    '            [[ $takes == *" $word "* ]] && waits=$word',
    '        else',
    '            break',
    '        fi',
    '    done',
    '    if ((i < COMP_CWORD)); then',
    ...pasta(
      '        if declare -F _command_offset > /dev/null; then',
      '            _command_offset "$i"',
      '        else',
      '            compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur")',
      '        fi'
    ),
    '        return',
    '    fi',
    '    [[ $cur == = ]] && cur= glued=1',
    '    [[ $glued && -z $waits ]] && return',
    '    case $waits in',
    ...rows,
    ...words,
    "        '')",
    '            if [[ -z $end && $cur == -* ]]; then',
    `                mapfile -t COMPREPLY < <(compgen -W '${entries.flatMap(flagsOf).join(' ')}' -- "$cur")`,
    ...pasta('            else', '                mapfile -t COMPREPLY < <(compgen -c -- "$cur")'),
    ...pesto(
      '            else',
      '                compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur")'
    ),
    '            fi',
    '            ;;',
    '    esac',
    '}',
    `complete -F _${mode} ${mode}`,
    ''
  ].join('\n')
}

// --- zsh

const inZsh = (text: string): string => text.replace(/[[\]:\\]/g, '\\$&').replaceAll("'", `'\\''`)

export const zsh = (mode: Program): string => {
  const action = (e: Entry): string => {
    switch (kindOf(e)) {
      case 'file':
        return '_files'
      case 'interface':
        return '_net_interfaces'
      case 'netns':
        return '{_alternative "names:name:_files -W /run/netns" "paths:path:_files"}'
      case 'user':
        return '_users'
      case 'words':
        return `(${wordsOf(e, mode).join(' ')})`
      case 'other':
        return ''
    }
  }
  const rows = entriesFor(mode).map((e) => {
    const flags = flagsOf(e)
    const repeated = REPEATED.test(e.id)
    const others = repeated || flags.length === 1 ? '' : `(${flags.join(' ')})`
    const forms = flags.map((f) => (e.argument === null ? f : f.startsWith('--') ? `${f}=` : `${f}+`))
    const argument = e.argument === null ? '' : `:${inZsh(e.argument)}:${action(e)}`
    const text = `'[${inZsh(summaryOf(e, mode))}]${argument}'`
    const star = repeated ? "'*'" : ''
    return `  ${others === '' ? star : `'${others}'`}${forms.length === 1 ? forms[0] : `{${forms.join(',')}}`}${text} \\`
  })
  const rest =
    mode === 'pasta'
      ? ["  '(-)1:command: _command_names -e' \\", "  '*::argument: _normal'"]
      : mode === 'pesto'
        ? ["  '1:path:_files'"]
        : []
  const all = [...rows, ...rest]
  return [
    `#compdef ${mode}`,
    `# ${madeFrom(mode)}`,
    '',
    "_arguments -s -S -A '-*' : \\",
    ...all.map((l, i) => (i === all.length - 1 ? l.replace(/ \\$/, '') : l)),
    ''
  ].join('\n')
}

// --- fish

const inFish = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`

export const fish = (mode: Program): string => {
  const offer = (e: Entry): string => {
    switch (kindOf(e)) {
      case 'file':
        return ' -r -F'
      case 'interface':
        return " -x -a '(__fish_print_interfaces)'"
      case 'netns':
        return " -r -F -a '(command ls /run/netns 2>/dev/null)'"
      case 'user':
        return " -x -a '(__fish_complete_users)'"
      case 'words':
        return ` -x -a '${wordsOf(e, mode).join(' ')}'`
      case 'other':
        return e.takesArgument ? ' -x' : ''
    }
  }
  const takes = entriesFor(mode)
    .filter((e) => e.takesArgument)
    .flatMap(flagsOf)
  return [
    `# fish completion for ${mode}.  ${madeFrom(mode)}`,
    '',
    `complete -c ${mode} ${mode === 'pesto' ? '-F' : '-f'}`,
    ...(mode === 'pasta'
      ? [`complete -c pasta -x -a '(__fish_complete_subcommand -- ${takes.join(' ')})'`]
      : []),
    ...entriesFor(mode).map((e) => {
      const names = `${e.short === null ? '' : ` -s ${e.short}`}${e.long.map((l) => ` -l ${l}`).join('')}`
      return `complete -c ${mode}${names}${offer(e)} -d ${inFish(summaryOf(e, mode))}`
    }),
    ''
  ].join('\n')
}

/** Each under the name by which its shell looks for it. */
const filesOf = (name: string, inBash: string, inZsh: string, inFish: string): readonly Generated[] => [
  { path: join(ROOT, 'completions', 'bash', name), text: inBash },
  { path: join(ROOT, 'completions', 'zsh', `_${name}`), text: inZsh },
  { path: join(ROOT, 'completions', 'fish', `${name}.fish`), text: inFish }
]
export const files = (): readonly Generated[] => [
  ...(['passt', 'pasta', 'pesto'] as const).flatMap((mode) =>
    filesOf(mode, bash(mode), zsh(mode), fish(mode))
  ),
  ...filesOf('passt-ctl', ctlBash(), ctlZsh(), ctlFish())
]

mainOf(import.meta.url, files)
