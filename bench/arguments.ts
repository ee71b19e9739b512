import { type ParseArgsConfig, parseArgs } from 'node:util'

/** Says so and ends. */
export const fail = (message: string): never => {
  console.error(`bench: ${message}`)
  process.exit(1)
}

/** What the command line says of these options. */
export const argumentsOf = <T extends NonNullable<ParseArgsConfig['options']>>(options: T) => {
  try {
    return parseArgs({ options }).values
  } catch (e) {
    return fail(e instanceof Error ? e.message : String(e))
  }
}

/** One or more. */
export const countOf = (option: string, given: string): number =>
  /^[1-9]\d{0,5}$/.test(given) ? Number(given) : fail(`--${option} ${given}: not a number above 0`)

/** A list with commas, each of which is known. */
export const listOf = <A extends string>(
  option: string,
  given: string,
  known: ReadonlyArray<A>
): ReadonlyArray<A> => {
  const wanted = given.split(',')
  const unknown = wanted.filter((one) => !known.some((k) => k === one))
  if (unknown.length > 0) fail(`--${option}: no ${unknown.join(' ')}; there are ${known.join(' ')}`)
  return known.filter((k) => wanted.includes(k))
}
