// A command line, and what a host is like: a plan, or one clear message; never an exception.
import * as E from 'fp-ts/lib/Either.js'
import { parseOptions } from '../../src/runtime/cli/options.js'

const text = new TextDecoder('latin1')

/** The input: one argument a line, the first one the program's name if it has "passt" in it. */
export const fuzz = (data: Uint8Array): void => {
  const lines = text.decode(data).split('\n')
  const [name, argv] = lines[0].includes('passt') ? ['passt', lines.slice(1)] : ['pasta', lines]
  const r = parseOptions(name, argv)
  if (E.isRight(r)) return
  if (r.left.message === '' || /undefined|NaN|\[object/.test(r.left.message))
    throw new Error(`no message for people: ${JSON.stringify(r.left)}`)
}
