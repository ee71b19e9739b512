import type * as E from 'fp-ts/lib/Either.js'
import { ruleName } from '../../codecs/control/api.js'
import { type ConfBlock, type ConfRule, PIF } from '../../codecs/control/conf.js'
import { isIfname, isNoLonger, MAX_IFNAME } from '../../codecs/text/ifname.js'
import { UNSPECIFIED6 } from '../../codecs/value/inany.js'
import { address, type Fields, fault, flag, isAbsent, isObject, oneOf, port, read } from './body.js'

// A rule as a client of the API writes it (openapi.json, NewRule). Whether it can be is the engine's to say; here it is whether it is one.

export interface NamedRule {
  /** ruleName() */
  readonly id: string
  readonly block: ConfBlock
}
const ifname = (o: Fields): string => {
  const value = o.interface
  if (isAbsent(value)) return ''
  return typeof value === 'string' && isIfname(value) && isNoLonger(value, MAX_IFNAME)
    ? value
    : fault('interface is no name of one')
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

/** The same rules, those of one direction in one block: there cannot be more blocks than that (codecs/control/conf.ts). */
export const blocksOf = (named: ReadonlyArray<NamedRule>): ReadonlyArray<ConfBlock> =>
  [PIF.HOST, PIF.SPLICE].flatMap((pif) => {
    const rules = named.flatMap(({ block }) => (block.pif === pif ? block.rules : []))
    return rules.length === 0 ? [] : [{ pif, rules }]
  })
/** One rule. Left: what is wrong with it. */
export const ruleOf = (body: string): E.Either<string, NamedRule> => read(body, ruleIn)
/** `{ "remove": [identifier...], "add": [rule...] }`, both or one of them. */
export const patchOf = (
  body: string
): E.Either<string, { readonly remove: ReadonlyArray<string>; readonly add: ReadonlyArray<NamedRule> }> =>
  read(body, (json) => {
    if (!isObject(json) || Object.keys(json).some((k) => k !== 'remove' && k !== 'add'))
      return fault('a change has remove, add, or both')
    const list = (key: string): ReadonlyArray<unknown> => {
      const value = json[key]
      return isAbsent(value) ? [] : Array.isArray(value) ? value : fault(`${key} is no list`)
    }
    const remove = list('remove').map((id) => (typeof id === 'string' ? id : fault('an identifier is text')))
    return { remove, add: list('add').map(ruleIn) }
  })
/** One, or `{ "rules": [...] }`. */
export const rulesOf = (body: string): E.Either<string, ReadonlyArray<NamedRule>> =>
  read(body, (json) => {
    if (!isObject(json) || !('rules' in json)) return [ruleIn(json)]
    if (Object.keys(json).length > 1 || !Array.isArray(json.rules))
      return fault('beside rules there is nothing')
    return json.rules.map(ruleIn)
  })
