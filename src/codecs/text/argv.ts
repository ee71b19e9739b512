import * as E from 'fp-ts/lib/Either.js'

/** One option as getopt_long(3) sees it. `id` is what several spellings of one option have in common. */
export interface OptionName<Id extends string = string> {
  readonly id: Id
  /** Without the dashes; the first one is used in print. */
  readonly long: ReadonlyArray<string>
  /** One character, or null. */
  readonly short: string | null
  readonly takesArgument: boolean
  /** Not in passt(1): an abbreviation that could be another option's as well is not its. */
  readonly ours?: boolean
}

/** One option as given; `value` is null exactly when the option takes no argument. */
export interface Setting<Id extends string = string> {
  readonly id: Id
  readonly value: string | null
}

export interface CommandLine<Id extends string = string> {
  /** In the order given. */
  readonly settings: ReadonlyArray<Setting<Id>>
  /** Index in argv of the first argument that is no option; argv.length when there is none. */
  readonly positionals: number
}

/** Options given before the faulty one come along: `--version --bogus` is not an error to its user. */
export interface ArgvFailure<Id extends string = string> {
  /** In getopt's own words, without the program's name. */
  readonly message: string
  readonly settings: ReadonlyArray<Setting<Id>>
}

/** Outcome of reading one option: what was set, and how many further elements of argv it used up. */
type Taken<Id extends string> = E.Either<
  string,
  { readonly settings: ReadonlyArray<Setting<Id>>; readonly extra: 0 | 1 }
>

/** Full name, or a prefix that leads to one option only (aliases of one option do not make it ambiguous). */
const findLong = <Id extends string>(table: ReadonlyArray<OptionName<Id>>, name: string, given: string) => {
  const exact = table.find((o) => o.long.includes(name))
  if (exact !== undefined) return E.right({ option: exact, spelled: name })
  const all = table.flatMap((option) =>
    option.long.filter((l) => l.startsWith(name)).map((spelled) => ({ option, spelled }))
  )
  const known = all.filter((c) => c.option.ours !== true)
  const candidates = known.length > 0 ? known : all
  const first = candidates[0]
  if (first === undefined) return E.left(`unrecognized option '--${given}'`)
  if (candidates.every((c) => c.option.id === first.option.id)) return E.right(first)
  const list = candidates.map((c) => `'--${c.spelled}'`).join(' ')
  return E.left(`option '--${given}' is ambiguous; possibilities: ${list}`)
}

const takeLong = <Id extends string>(
  table: ReadonlyArray<OptionName<Id>>,
  given: string,
  next: string | undefined
): Taken<Id> => {
  const equals = given.indexOf('=')
  const found = findLong(table, equals < 0 ? given : given.slice(0, equals), given)
  if (E.isLeft(found)) return found
  const { option, spelled } = found.right
  if (!option.takesArgument)
    return equals < 0
      ? E.right({ settings: [{ id: option.id, value: null }], extra: 0 })
      : E.left(`option '--${spelled}' doesn't allow an argument`)
  if (equals >= 0) return E.right({ settings: [{ id: option.id, value: given.slice(equals + 1) }], extra: 0 })
  if (next === undefined) return E.left(`option '--${spelled}' requires an argument`)
  return E.right({ settings: [{ id: option.id, value: next }], extra: 1 })
}

/** A bundle such as `4fm1500`: letters without argument, then possibly one that has the rest, or the next element. */
const takeShort = <Id extends string>(
  table: ReadonlyArray<OptionName<Id>>,
  bundle: string,
  next: string | undefined,
  settings: Array<Setting<Id>>
): Taken<Id> => {
  for (let i = 0; i < bundle.length; i++) {
    const option = table.find((o) => o.short === bundle[i])
    if (option === undefined) return E.left(`invalid option -- '${bundle[i]}'`)
    if (!option.takesArgument) {
      settings.push({ id: option.id, value: null })
      continue
    }
    const inside = i + 1 < bundle.length
    const value = inside ? bundle.slice(i + 1) : next
    if (value === undefined) return E.left(`option requires an argument -- '${bundle[i]}'`)
    settings.push({ id: option.id, value })
    return E.right({ settings, extra: inside ? 0 : 1 })
  }
  return E.right({ settings, extra: 0 })
}

/**
 * Read options as getopt_long(3) does with a leading '+': up to the first element that is no option ('-' alone is
 * none), or behind `--`. An option's argument is taken as it stands, whatever it looks like.
 * Left: unknown or ambiguous option, argument missing or not allowed; the first fault ends it.
 * Law: parseArgv(table)([...printArgv(table)(settings), '--', ...rest]) = right({ settings, positionals }), the
 * positionals being `rest`.   Source: getopt(3); messages as glibc prints them, clients look for some.
 */
export const parseArgv =
  <Id extends string>(table: ReadonlyArray<OptionName<Id>>) =>
  (argv: ReadonlyArray<string>): E.Either<ArgvFailure<Id>, CommandLine<Id>> => {
    const settings: Array<Setting<Id>> = []
    let i = 0
    while (i < argv.length) {
      const arg = argv[i]
      if (arg === '--') return E.right({ settings, positionals: i + 1 })
      if (!arg.startsWith('-') || arg === '-') break
      const bundle: Array<Setting<Id>> = []
      const taken = arg.startsWith('--')
        ? takeLong(table, arg.slice(2), argv[i + 1])
        : takeShort(table, arg.slice(1), argv[i + 1], bundle)
      if (E.isLeft(taken)) return E.left({ message: taken.left, settings: [...settings, ...bundle] })
      settings.push(...taken.right.settings)
      i += 1 + taken.right.extra
    }
    return E.right({ settings, positionals: i })
  }

/** The settings as arguments in one canonical spelling, `--name` or `--name=value`. */
export const printArgv =
  <Id extends string>(table: ReadonlyArray<OptionName<Id>>) =>
  (settings: ReadonlyArray<Setting<Id>>): ReadonlyArray<string> =>
    settings.map(({ id, value }) => {
      const name = table.find((o) => o.id === id)?.long[0] ?? id
      return value === null ? `--${name}` : `--${name}=${value}`
    })
