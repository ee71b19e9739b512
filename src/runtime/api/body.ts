import * as E from 'fp-ts/lib/Either.js'
import * as O from 'fp-ts/lib/Option.js'
import { type InAny, parseAddr } from '../../codecs/value/inany.js'

// What a request's body may have, member by member. null is as if it were not there.

export type Fields = Readonly<Record<string, unknown>>
class Fault extends Error {}
/** Out of read(), with what is wrong. */
export const fault = (why: string): never => {
  throw new Fault(why)
}

export const isObject = (u: unknown): u is Fields => typeof u === 'object' && u !== null && !Array.isArray(u)
export const isAbsent = (u: unknown): u is null | undefined => u === undefined || u === null

export const oneOf = <A extends string>(o: Fields, key: string, all: readonly [A, ...A[]]): A => {
  const value = o[key]
  if (isAbsent(value)) return all[0]
  return all.find((a) => a === value) ?? fault(`${key} is one of ${all.join(', ')}`)
}
export const port = (o: Fields, key: string, otherwise: number | null): number => {
  const value = o[key]
  if (isAbsent(value)) return otherwise ?? fault(`${key} is missing`)
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535
    ? value
    : fault(`${key} is no port`)
}
export const address = (o: Fields, key: string): InAny | null => {
  const value = o[key]
  if (isAbsent(value)) return null
  const parsed = typeof value === 'string' ? parseAddr(value) : O.none
  return O.isSome(parsed) ? parsed.value : fault(`${key} is no address`)
}
export const flag = (o: Fields, key: string): boolean => {
  const value = o[key]
  return isAbsent(value)
    ? false
    : typeof value === 'boolean'
      ? value
      : fault(`${key} is neither true nor false`)
}

/** Left: what is wrong with it. */
export const read = <A>(body: string, of: (json: unknown) => A): E.Either<string, A> => {
  try {
    return E.right(of(JSON.parse(body)))
  } catch (e) {
    return E.left(e instanceof Fault ? e.message : 'the body is no JSON')
  }
}
