import { isObject } from '../codecs/value/codec.js'
import { instant } from '../effects/effect.js'
import type { Alphabet, Rule, Spoken } from './alphabet.js'
import { ALIASES, ALPHABETS } from './alphabets/all.js'
import { type Row, rowTaken } from './chart.js'
import { leavesOf, shown, withAt } from './literal.js'
import { NotParsed, parsed } from './parse.js'
import { begin, type Event, isOver, leafOf, movesOf, step, type World } from './world.js'

// A session with one machine, as a reducer: (session, line) -> session', lines to show, and perhaps a file to write. The terminal
// (scripts/explore.ts) reads, shows and writes, and knows nothing.

export interface Step {
  /** What was typed, or the rule's letter. */
  readonly said: string
  readonly event: Event
  readonly row: Row | null
  readonly before: World
  readonly after: World
  /** By a rule, not by hand. */
  readonly byRule: boolean
}
export interface Session {
  readonly name: string
  readonly alphabet: Alphabet
  readonly input: string
  readonly beginning: World
  readonly steps: readonly Step[]
  /** ms that were waited since the last step. */
  readonly waited: number
  readonly rules: readonly Rule[]
  /** Steps are shown without numbers, and clauses only where something comes of it. */
  readonly brief: boolean
}
export interface Reply {
  readonly session: Session
  readonly lines: readonly string[]
  /** The steps are to be saved there, as a test. */
  readonly save?: string
  readonly ends?: true
  /** What was typed makes no sense. */
  readonly wrong?: true
}

/** Steps that rules make of one that was typed: a world that never comes to rest is stopped. */
const MOST = 60

export const COMMANDS: readonly (readonly [string, string])[] = [
  ['events', 'what this state takes, and where it leads; a number or a name happens'],
  ['all', 'all letters, also those that are ignored here'],
  ['NAME key=value …', "a letter; fields of its event may differ: 'data len=500 wnd=0'"],
  ["{ type: 'NAME', … }", 'an event; what is left out is as in the letter of that type'],
  ['state', 'where the machine is, and all that it knows'],
  ['wait MS', 'time passes'],
  ['back [N]', 'N steps back'],
  ['when EFFECT: LETTER …', 'from now on these follow when the machine asks for that'],
  ['world', 'a kernel or a peer that does what it is asked: its rules'],
  ['by-hand', 'no rules any more'],
  ['brief', 'less is shown of a step: where it leads, what is asked for, by which clause'],
  ['full', 'all is shown again'],
  ['start [INPUT]', 'from the beginning'],
  ['save FILE', 'the steps so far, as a test'],
  ['help', 'this'],
  ['quit', '']
]
/** Words that are no letters. */
export const COMMAND_WORDS = COMMANDS.map(([usage]) => usage.split(' ')[0]!).filter((w) =>
  /^[a-z-]+$/.test(w)
)

const worldOf = (s: Session): World => {
  const w = s.steps.at(-1)?.after ?? s.beginning
  return s.waited === 0 ? w : { ...w, now: instant(w.now + s.waited) }
}
const view = (a: Alphabet, w: World): unknown => a.view?.(w.snapshot.context) ?? w.snapshot.context
const seconds = (ms: number): string => `${(ms / 1000).toFixed(3)} s`

/** 'RFC 9293 §3.10.4; #regression-67' (docs/behaviour.md). */
export const clauseOf = (r: Row): string =>
  [r.clause, ...r.regressions.map((n) => `#regression-${n}`)].join('; ')
const effectText = ({ type, ...params }: Spoken): string =>
  Object.keys(params).length === 0 ? type : `${type} ${shown(params)}`
const spoken = (a: Alphabet, x: Spoken, w: World): Spoken => a.spoken?.(x, w.snapshot.context) ?? x
const effectLines = (a: Alphabet, w: World): readonly string[] =>
  w.effects.map((e, i) => `${i === 0 ? '  effects ' : '          '}${effectText(spoken(a, e, w))}`)
const eventText = (a: Alphabet, event: Event, before: World): string => {
  const { type, now: _, ...rest } = spoken(a, event as Spoken, before)
  return Object.keys(rest).length === 0 ? type : `${type} ${shown(rest)}`
}

/** 'sndUna ISS+1 → ISS+101', for each number that is another one now. */
const changes = (a: Alphabet, before: World, after: World): readonly string[] => {
  const old = new Map(leavesOf(view(a, before)).map(([k, v]) => [k, shown(v)]))
  return leavesOf(view(a, after)).flatMap(([k, v]) => {
    const [was, is] = [old.get(k), shown(v)]
    const short = k.startsWith('tcb.') ? k.slice(4) : k
    return was === is ? [] : [`${short} ${was ?? '–'} → ${is}`]
  })
}
const columns = (list: readonly string[]): readonly string[] => {
  const out: string[] = []
  for (const x of list) {
    const last = out.at(-1)
    if (last !== undefined && last.length + x.length < 100) out[out.length - 1] = `${last}, ${x}`
    else out.push(x)
  }
  return out
}
const stepLines = (s: Session, x: Step, n: number): readonly string[] => {
  const [from, to] = [leafOf(x.before), leafOf(x.after)]
  const heading = `#${n} ${x.said}${x.byRule ? '  (the world)' : ''}  at ${seconds(x.event.now ?? x.before.now)}`
  const state = `${from === to ? from : `${from} → ${to}`}${isOver(x.after) ? ' (the end)' : ''}`
  const effects = effectLines(s.alphabet, x.after)
  if (s.brief)
    return [
      from === to ? heading : `${heading}  ${state}`,
      ...effects,
      ...(x.row === null || (from === to && effects.length === 0) ? [] : [`  clause  ${clauseOf(x.row)}`])
    ]
  return [
    heading,
    `  event   ${eventText(s.alphabet, x.event, x.before)}`,
    `  state   ${state}`,
    ...(x.row === null
      ? ['  ignored: no transition takes it']
      : [`  row     ${x.row.name}`, `  clause  ${clauseOf(x.row)}`]),
    ...columns(changes(s.alphabet, x.before, x.after)).map(
      (l, i) => `${i === 0 ? '  numbers ' : '          '}${l}`
    ),
    ...effects
  ]
}
const beginningLines = (s: Session): readonly string[] => [
  `${s.name}, begun as '${s.input}': ${leafOf(s.beginning)}`,
  ...effectLines(s.alphabet, s.beginning)
]

const opened = (name: string, input: string, rules: readonly Rule[]): Session => {
  const alphabet = ALPHABETS[name]!
  const beginning = begin(alphabet, alphabet.inputs[input])
  return { name, alphabet, input, beginning, steps: [], waited: 0, rules, brief: false }
}
/** A machine's name, as somebody may type it; null: there is none. */
export const machineOf = (name: string): string | null => {
  const known = ALIASES[name] ?? name
  return Object.hasOwn(ALPHABETS, known) ? known : null
}
/** `name` is one of ALPHABETS. `input`: the usual one, if it is not given. */
export const openSession = (name: string, input?: string): Reply => {
  const inputs = Object.keys(ALPHABETS[name]!.inputs)
  const session = opened(name, input !== undefined && inputs.includes(input) ? input : inputs[0]!, [])
  if (input !== undefined && session.input !== input)
    return { session, lines: [`no input '${input}'; there are ${inputs.join(', ')}`], wrong: true }
  return { session, lines: beginningLines(session) }
}

// --- what happens

/** One event, and what the rules make of its effects, and of theirs. */
const happen = (s: Session, said: string, event: Event): Reply => {
  const steps: Step[] = []
  const one = (text: string, e: Event, byRule: boolean): void => {
    const before = steps.at(-1)?.after ?? worldOf(s)
    const row = rowTaken(s.alphabet.machine, before.snapshot, e)
    steps.push({ said: text, event: e, row, before, after: step(s.alphabet, before, e), byRule })
  }
  one(said, event, false)
  const due = (): string[] =>
    steps.at(-1)!.after.effects.flatMap((e) => s.rules.flatMap((r) => (r.effect === e.type ? r.letters : [])))
  const queue = due()
  while (queue.length > 0 && steps.length < MOST) {
    const name = queue.shift()!
    const w = steps.at(-1)!.after
    const move = movesOf(s.alphabet, w).find((m) => m.letter.name === name)
    if (move === undefined) continue
    one(name, move.event, true)
    queue.push(...due())
  }
  const session = { ...s, steps: [...s.steps, ...steps], waited: 0 }
  const lines = steps.flatMap((x, i) => stepLines(session, x, s.steps.length + i + 1))
  const restless = queue.length > 0 ? [`the world was stopped after ${MOST} steps`] : []
  return { session, lines: [...lines, ...restless] }
}

const wrong = (session: Session, ...lines: readonly string[]): Reply => ({ session, lines, wrong: true })

/** `data len=500`: the path that ends so, if there is one only. */
const pathOf = (event: Event, key: string): readonly string[] | string => {
  const paths = leavesOf(event).map(([path]) => path)
  const found = paths.filter((p) => p === key || p.endsWith(`.${key}`))
  if (found.length === 1) return found[0]!.split('.')
  return found.length === 0
    ? `no field '${key}'; there are ${paths.join(', ')}`
    : `'${key}' is one of ${found.join(', ')}: which?`
}
const overridden = (event: Event, words: readonly string[]): Event | string => {
  let e = event
  for (const word of words) {
    const at = word.indexOf('=')
    if (at < 1) return `not key=value: '${word}'`
    const path = pathOf(event, word.slice(0, at))
    if (typeof path === 'string') return path
    try {
      e = withAt(e, path, parsed(word.slice(at + 1))) as Event
    } catch (x) {
      if (x instanceof NotParsed) return `${word}: ${x.message}`
      throw x
    }
  }
  return e
}
/** Fields of `b` instead of those of `a`, records field by field. */
const merged = (a: unknown, b: unknown): unknown => {
  if (!isObject(a) || !isObject(b) || Array.isArray(a) || Array.isArray(b)) return b
  return { ...a, ...Object.fromEntries(Object.entries(b).map(([k, v]) => [k, k in a ? merged(a[k], v) : v])) }
}
const typed = (s: Session, line: string): Reply => {
  let given: unknown
  try {
    given = parsed(line)
  } catch (x) {
    if (x instanceof NotParsed) return wrong(s, x.message)
    throw x
  }
  const w = worldOf(s)
  if (!isObject(given) || typeof given.type !== 'string') return wrong(s, 'an event has a type')
  const { type } = given
  const like = movesOf(s.alphabet, w).find((m) => m.event.type === type)
  const event = like === undefined ? { now: w.now, ...given } : merged(like.event, given)
  return happen(s, line, event as Event)
}
const lettered = (s: Session, line: string): Reply => {
  const [word = '', ...rest] = line.split(/\s+/)
  const letters = s.alphabet.letters
  const letter = /^\d+$/.test(word) ? letters[Number(word) - 1] : letters.find((l) => l.name === word)
  if (letter === undefined) return wrong(s, `nothing is called '${word}': see 'events', 'help'`)
  const move = movesOf(s.alphabet, worldOf(s)).find((m) => m.letter === letter)
  if (move === undefined) return wrong(s, `'${letter.name}' makes no sense here`)
  const event = overridden(move.event, rest)
  return typeof event === 'string' ? wrong(s, event) : happen(s, [letter.name, ...rest].join(' '), event)
}

// --- commands

const listed = (s: Session, ignoredToo: boolean): readonly string[] => {
  const w = worldOf(s)
  const width = Math.max(...s.alphabet.letters.map((l) => l.name.length))
  return movesOf(s.alphabet, w).flatMap(({ letter, event }) => {
    const row = rowTaken(s.alphabet.machine, w.snapshot, event)
    const unexpected = row === null || row.event === '*'
    if (unexpected && !ignoredToo) return []
    const number = String(s.alphabet.letters.indexOf(letter) + 1).padStart(3)
    const leads = row === null ? 'ignored' : unexpected ? 'unexpected' : row.name
    return [`${number} ${letter.name.padEnd(width)}  ${letter.says}`, `${' '.repeat(width + 6)}${leads}`]
  })
}
const stateLines = (s: Session): readonly string[] => {
  const w = worldOf(s)
  return [
    `${leafOf(w)}  at ${seconds(w.now)}, after ${s.steps.length} steps`,
    ...columns(
      leavesOf(view(s.alphabet, w)).map(([k, v]) => `${k.startsWith('tcb.') ? k.slice(4) : k} ${shown(v)}`)
    ).map((l) => `  ${l}`)
  ]
}
const helpLines = (): readonly string[] =>
  COMMANDS.map(([usage, does]) => `  ${usage.padEnd(22)} ${does}`.trimEnd())
const backwards = (s: Session, n: number): Reply => {
  let left = s.steps.length
  for (let i = 0; i < n && left > 0; i++)
    do left--
    while (left > 0 && s.steps[left]!.byRule)
  const session = { ...s, steps: s.steps.slice(0, left), waited: 0 }
  return { session, lines: [`back at #${left}: ${leafOf(worldOf(session))}`] }
}
const ruled = (s: Session, rest: string): Reply => {
  const [effect = '', letters = ''] = rest.split(':').map((x) => x.trim())
  const names = letters.split(/[\s,;]+/).filter((x) => x !== '')
  const unknown = names.filter((n) => !s.alphabet.letters.some((l) => l.name === n))
  if (effect === '' || names.length === 0) return wrong(s, "'when EFFECT: LETTER …'")
  if (unknown.length > 0) return wrong(s, `nothing is called '${unknown.join("', '")}'`)
  return {
    session: { ...s, rules: [...s.rules, { effect, letters: names }] },
    lines: [`when ${effect}: ${names.join(' ')}`]
  }
}

/** What a line leads to. `#` begins a comment. */
export const said = (s: Session, raw: string): Reply => {
  const line = raw.replace(/(^|\s)#.*$/, '').trim()
  const [word = '', ...rest] = line.split(/\s+/)
  const argument = rest.join(' ')
  switch (word) {
    case '':
      return { session: s, lines: [] }
    case 'events':
      return { session: s, lines: listed(s, false) }
    case 'all':
      return { session: s, lines: listed(s, true) }
    case 'state':
      return { session: s, lines: stateLines(s) }
    case 'help':
      return { session: s, lines: helpLines() }
    case 'back':
      return /^\d*$/.test(argument) ? backwards(s, Number(argument || 1)) : wrong(s, "'back N'")
    case 'wait':
      return /^\d+(\.\d+)?$/.test(argument)
        ? { session: { ...s, waited: s.waited + Number(argument) }, lines: [] }
        : wrong(s, "'wait MS'")
    case 'when':
      return ruled(s, argument)
    case 'world':
      return {
        session: { ...s, rules: s.alphabet.world },
        lines: s.alphabet.world.map((r) => `when ${r.effect}: ${r.letters.join(' ')}`)
      }
    case 'by-hand':
      return { session: { ...s, rules: [] }, lines: [] }
    case 'brief':
    case 'full':
      return { session: { ...s, brief: word === 'brief' }, lines: [] }
    case 'start': {
      const { session, ...reply } = openSession(s.name, argument || s.input)
      return reply.wrong
        ? { session: s, ...reply }
        : { session: { ...session, rules: s.rules, brief: s.brief }, ...reply }
    }
    case 'save':
      return argument === ''
        ? wrong(s, "'save FILE'")
        : { session: s, lines: [`${s.steps.length} steps: ${argument}`], save: argument }
    case 'quit':
      return { session: s, lines: [], ends: true }
    default:
      return word.startsWith('{') ? typed(s, line) : lettered(s, line)
  }
}
