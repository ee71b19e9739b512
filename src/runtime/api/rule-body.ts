import * as E from 'fp-ts/lib/Either.js'
import * as O from 'fp-ts/lib/Option.js'
import { ruleName } from '../../codecs/control/api.js'
import { type ConfBlock, type ConfRule, PIF } from '../../codecs/control/conf.js'
import { isIfname, isNoLonger, MAX_IFNAME } from '../../codecs/text/ifname.js'
import { type InAny, parseAddr, UNSPECIFIED6 } from '../../codecs/value/inany.js'

// A rule as a client of the API writes it (openapi.json, NewRule). Whether it can be is the engine's to say; here it is whether it is one.

export interface NamedRule {
  /** ruleName() */
  readonly id: string
  readonly block: ConfBlock
}
type Fields = Readonly<Record<string, unknown>>
class Fault extends Error {}
const fault = (why: string): never => {
  throw new Fault(why)
}

const isObject = (u: unknown): u is Fields => typeof u === 'object' && u !== null && !Array.isArray(u)
const isAbsent = (u: unknown): u is null | undefined => u === undefined || u === null

const oneOf = <A extends string>(o: Fields, key: string, all: readonly [A, ...A[]]): A => {
  const value = o[key]
  if (isAbsent(value)) return all[0]
  return all.find((a) => a === value) ?? fault(`${key} is one of ${all.join(', ')}`)
}
const port = (o: Fields, key: string, otherwise: number | null): number => {
  const value = o[key]
  if (isAbsent(value)) return otherwise ?? fault(`${key} is missing`)
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535
    ? value
    : fault(`${key} is no port`)
}
const address = (o: Fields, key: string): InAny | null => {
  const value = o[key]
  if (isAbsent(value)) return null
  const parsed = typeof value === 'string' ? parseAddr(value) : O.none
  return O.isSome(parsed) ? parsed.value : fault(`${key} is no address`)
}
const ifname = (o: Fields): string => {
  const value = o.interface
  if (isAbsent(value)) return ''
  return typeof value === 'string' && isIfname(value) && isNoLonger(value, MAX_IFNAME)
    ? value
    : fault('interface is no name of one')
}
const flag = (o: Fields, key: string): boolean => {
  const value = o[key]
  return isAbsent(value)
    ? false
    : typeof value === 'boolean'
      ? value
      : fault(`${key} is neither true nor false`)
}

const KEYS: ReadonlySet<string> = new Set([
  ...['direction', 'proto', 'address', 'interface', 'firstPort', 'lastPort', 'toAddress', 'toPort'],
  ...['bestEffort', 'auto'],
  // Of a rule that the API has shown
  ...['id', 'text', 'begun', 'open', 'accepted', 'octetsToGuest', 'octetsToPeer', 'failures', 'target']
])
const ruleIn = (o: unknown): NamedRule => {
  if (!isObject(o)) return fault('a rule is an object')
  const other = Object.keys(o).find((k) => !KEYS.has(k))
  if (other !== undefined) return fault(`a rule has no ${other}`)
  const direction = oneOf(o, 'direction', ['in', 'out'])
  const bind = address(o, 'address')
  const first = port(o, 'firstPort', null)
  const last = port(o, 'lastPort', first)
  if (last < first) return fault('lastPort is below firstPort')
  const rule: ConfRule = {
    address: bind ?? UNSPECIFIED6,
    target: address(o, 'toAddress') ?? UNSPECIFIED6,
    ifname: ifname(o),
    first,
    last,
    to: port(o, 'toPort', first),
    proto: oneOf(o, 'proto', ['tcp', 'udp']),
    any: bind === null,
    weak: flag(o, 'bestEffort'),
    scan: flag(o, 'auto')
  }
  return {
    id: ruleName(rule, direction),
    block: { pif: direction === 'in' ? PIF.HOST : PIF.SPLICE, rules: [rule] }
  }
}

const read = <A>(body: string, of: (json: unknown) => A): E.Either<string, A> => {
  try {
    return E.right(of(JSON.parse(body)))
  } catch (e) {
    return E.left(e instanceof Fault ? e.message : 'the body is no JSON')
  }
}
/** One rule. Left: what is wrong with it. */
export const ruleOf = (body: string): E.Either<string, NamedRule> => read(body, ruleIn)
/** One, or `{ "rules": [...] }`. */
export const rulesOf = (body: string): E.Either<string, ReadonlyArray<NamedRule>> =>
  read(body, (json) => {
    if (!isObject(json) || !('rules' in json)) return [ruleIn(json)]
    if (Object.keys(json).length > 1 || !Array.isArray(json.rules))
      return fault('beside rules there is nothing')
    return json.rules.map(ruleIn)
  })
