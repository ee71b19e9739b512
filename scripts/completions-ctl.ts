import { CTL_USAGE, FILTERED, NOT_JSON } from '../src/runtime/ctl/options.js'

// What shells offer behind passt-ctl: words in an order of their own, and no table of options. All of it is in its usage.

interface Command {
  readonly name: string
  readonly summary: string
  /** Words that may stand in front of the path, and what may stand behind it; '': where there is no such word. */
  readonly verbs: ReadonlyMap<string, ReadonlyArray<string>>
}

/** Words, options, and names that take a value ('port='), of the right end of a line of the usage. */
const wordsOf = (text: string): readonly string[] =>
  [...text.matchAll(/(?<![\w=])(--?[a-zA-Z][\w-]*|[a-z]+=?)(?=$|[\s|\]=A-Z])/g)].map((m) => m[1] ?? '')
/** Options behind which a value stands: a port, a specification of ports. */
const VALUED = [...CTL_USAGE.matchAll(/(?<!\w)(?:-\w\|)*--?[\w-]+(?= [A-Z])/g)].flatMap((m) =>
  m[0].split('|')
)
const filterLine = /^FILTER: (.*)$/m.exec(CTL_USAGE)?.[1] ?? ''
const FILTERS = [...filterLine.matchAll(/(\w+)=/g)].map((m) => `${m[1]}=`)
/** Of a filter that has names for values. */
const KINDS = /kind=([\w|-]+)/.exec(filterLine)?.[1]?.split('|') ?? []

const commands = (): readonly Command[] =>
  [...CTL_USAGE.matchAll(/^ {2}([a-z]+) +(.*)$/gm)].map(([, name = '', summary = '']) => {
    const own = [...CTL_USAGE.matchAll(new RegExp(`passt-ctl ${name} (.*?)PATH ?(.*)$`, 'gm'))]
    const verbs = new Map<string, readonly string[]>()
    for (const [, front = '', behind = ''] of own)
      for (const verb of front.trim() === '' ? [''] : wordsOf(front)) verbs.set(verb, wordsOf(behind))
    const usual = [
      ...(FILTERED.includes(name) ? FILTERS : []),
      ...(NOT_JSON.includes(name) ? [] : ['--json'])
    ]
    // One that may have verbs may also have none
    if (!verbs.has('')) verbs.set('', usual)
    return { name, summary, verbs }
  })
/** What is offered behind the path: 'rules add' -> words. */
const offersOf = (all: readonly Command[]): ReadonlyArray<readonly [string, readonly string[]]> =>
  all.flatMap((c) =>
    [...c.verbs].flatMap(([verb, words]) =>
      words.length === 0 ? [] : [[verb === '' ? c.name : `${c.name} ${verb}`, words] as const]
    )
  )
const verbsOf = (c: Command): readonly string[] => [...c.verbs.keys()].filter((v) => v !== '')

const MADE = 'Made from src/runtime/ctl/options.ts by scripts/completions.ts; do not edit.'
const ALWAYS = ['--help', '--version']

export const ctlBash = (): string => {
  const all = commands()
  const withVerbs = all.filter((c) => verbsOf(c).length > 0)
  return [
    `# bash completion for passt-ctl.  ${MADE}`,
    '',
    '_passt-ctl() {',
    `    local cur=\${COMP_WORDS[COMP_CWORD]} last=\${COMP_WORDS[COMP_CWORD - 1]} what=\${COMP_WORDS[1]} path=2 words=`,
    '    COMPREPLY=()',
    '    if ((COMP_CWORD == 1)); then',
    `        mapfile -t COMPREPLY < <(compgen -W '${[...all.map((c) => c.name), ...ALWAYS].join(' ')}' -- "$cur")`,
    '        return',
    '    fi',
    `    case "$what \${COMP_WORDS[2]}" in`,
    ...withVerbs.map(
      (c) =>
        `        ${verbsOf(c)
          .map((v) => `'${c.name} ${v}'`)
          .join(' | ')}) ((COMP_CWORD > 2)) && what="$what \${COMP_WORDS[2]}" path=3 ;;`
    ),
    '    esac',
    '    if ((COMP_CWORD == path)); then',
    '        compopt -o filenames',
    '        mapfile -t COMPREPLY < <(compgen -f -- "$cur")',
    '        ((path == 2)) && case $what in',
    ...withVerbs.map(
      (c) =>
        `            ${c.name}) mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -W '${verbsOf(c).join(' ')}' -- "$cur") ;;`
    ),
    '        esac',
    '        return',
    '    fi',
    '    if [[ $cur == = || $last == = ]]; then',
    `        [[ $cur == = ]] && cur= || last=\${COMP_WORDS[COMP_CWORD - 2]}`,
    `        [[ $last == kind ]] && mapfile -t COMPREPLY < <(compgen -W '${KINDS.join(' ')}' -- "$cur")`,
    '        return',
    '    fi',
    `    [[ ' ${VALUED.join(' ')} ' == *" $last "* ]] && return`,
    '    case $what in',
    ...offersOf(all).map(([what, words]) => `        '${what}') words='${words.join(' ')}' ;;`),
    '    esac',
    '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")',
    `    [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *= ]] && compopt -o nospace`,
    '    return 0',
    '}',
    'complete -F _passt-ctl passt-ctl',
    ''
  ].join('\n')
}

const inZsh = (text: string): string => text.replaceAll("'", `'\\''`)

export const ctlZsh = (): string => {
  const all = commands()
  const withVerbs = all.filter((c) => verbsOf(c).length > 0)
  return [
    '#compdef passt-ctl',
    `# ${MADE}`,
    '',
    'local what=$words[2] path=3 ret=1',
    'local -a commands offered',
    'if ((CURRENT == 2)); then',
    '  commands=(',
    ...all.map((c) => `    '${c.name}:${inZsh(c.summary)}'`),
    '  )',
    '  _describe -t commands command commands && ret=0',
    `  compadd -- ${ALWAYS.join(' ')} && ret=0`,
    '  return ret',
    'fi',
    'case "$what $words[3]" in',
    ...withVerbs.map(
      (c) =>
        `  ${verbsOf(c)
          .map((v) => `"${c.name} ${v}"`)
          .join('|')}) ((CURRENT > 3)) && what="$what $words[3]" path=4 ;;`
    ),
    'esac',
    'if ((CURRENT == path)); then',
    '  _files && ret=0',
    '  ((path == 3)) && case $what in',
    ...withVerbs.map((c) => `    ${c.name}) compadd -- ${verbsOf(c).join(' ')} && ret=0 ;;`),
    '  esac',
    '  return ret',
    'fi',
    "if compset -P 'kind='; then",
    `  compadd -- ${KINDS.join(' ')}`,
    '  return',
    'fi',
    `[[ ' ${VALUED.join(' ')} ' == *" $words[CURRENT - 1] "* ]] && return`,
    'case $what in',
    ...offersOf(all).map(([what, words]) => `  "${what}") offered=(${words.join(' ')}) ;;`),
    'esac',
    `compadd -S '' -- \${(M)offered:#*=} && ret=0`,
    `compadd -- \${offered:#*=} && ret=0`,
    'return ret',
    ''
  ].join('\n')
}

const inFish = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`

export const ctlFish = (): string => {
  const all = commands()
  /** So many words are there, these among them. */
  const when = (c: string, verb: string, verbs: readonly string[]): string => {
    const w = '$w[2]'
    const not = verb === '' && verbs.length > 0 ? `; and not contains -- "$w[3]" ${verbs.join(' ')}` : ''
    const third = verb === '' ? not : `; and test "$w[3]" = ${verb}`
    return `'set -l w (commandline -opc); test (count $w) -ge ${verb === '' ? 3 : 4}; and test "${w}" = ${c}${third}'`
  }
  const first = "'test (count (commandline -opc)) -eq 1'"
  const second = (c: string): string =>
    `'set -l w (commandline -opc); test (count $w) -eq 2; and test "$w[2]" = ${c}'`
  const path = (c: string): string =>
    `'set -l w (commandline -opc); test (count $w) -eq 3; and test "$w[2]" = ${c}; and contains -- "$w[3]"`
  const line = (condition: string, rest: string): string => `complete -c passt-ctl -n ${condition} ${rest}`
  return [
    `# fish completion for passt-ctl.  ${MADE}`,
    '',
    'complete -c passt-ctl -f',
    ...ALWAYS.map((o) => line(first, `-l ${o.slice(2)}`)),
    ...all.map((c) => line(first, `-a ${c.name} -d ${inFish(c.summary)}`)),
    line("'test (count (commandline -opc)) -eq 2'", '-F'),
    ...all.flatMap((c) => {
      const verbs = verbsOf(c)
      return [
        ...(verbs.length === 0
          ? []
          : [
              line(second(c.name), `-a '${verbs.join(' ')}'`),
              line(`${path(c.name)} ${verbs.join(' ')}'`, '-F')
            ]),
        ...[...c.verbs].flatMap(([verb, words]) =>
          words.map((word) => {
            const condition = when(c.name, verb, verbs)
            if (word === 'kind=') return line(condition, `-a '${KINDS.map((k) => word + k).join(' ')}'`)
            const flag = word.startsWith('--') ? `-l ${word.slice(2)}` : `-s ${word.slice(1)}`
            return line(
              condition,
              word.startsWith('-') ? flag + (VALUED.includes(word) ? ' -x' : '') : `-a '${word}'`
            )
          })
        )
      ]
    }),
    ''
  ].join('\n')
}
