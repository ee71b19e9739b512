import * as E from 'fp-ts/lib/Either.js'
import { Addr, MacAddr, Place, readBy } from '../../codecs/log/written.js'
import { isObject } from '../../codecs/value/codec.js'
import type { Aliases } from './aliases.js'

// The world that a record begins with, with aliases for addresses and MACs: these have a form of their own, whatever they are a part of
// (codecs/log/written.ts).

const textBy = (a: Aliases, text: string): string => {
  const addr = readBy(Addr, text)
  if (addr !== null) return Addr.encode(a.addr(addr))
  const mac = readBy(MacAddr, text)
  return mac === null ? text : MacAddr.encode(a.mac(mac))
}
const valueBy = (a: Aliases, u: unknown): unknown => {
  if (typeof u === 'string') return textBy(a, u)
  if (Array.isArray(u)) return u.map((one) => valueBy(a, one))
  if (!isObject(u)) return u
  const addr = readBy(Addr, u.addr)
  const len = readBy(Place, u.len)
  if (addr !== null && len !== null) a.prefix(addr, len)
  return Object.fromEntries(Object.entries(u).map(([k, v]) => [k, valueBy(a, v)]))
}

/** What of it is not rewritten; null: nothing. */
const notRewritten = (world: unknown): string | null => {
  const features = isObject(world) && isObject(world.features) ? world.features : {}
  const { fragments, 'changes of the host': host } = features
  if (Array.isArray(fragments) && fragments.length > 0)
    return 'at its beginning a datagram waits for its fragments, in which no address is replaced'
  if (isObject(host) && host.told != null)
    return 'the host had changed when it began, and its addresses are not replaced'
  return null
}

/** `world`: JSON. Left: in words, what stands against it. */
export const worldBy = (a: Aliases, world: string): E.Either<string, string> => {
  try {
    const value: unknown = JSON.parse(world)
    const why = notRewritten(value)
    return why === null ? E.right(JSON.stringify(valueBy(a, value))) : E.left(why)
  } catch {
    return E.left('its world is no JSON')
  }
}
