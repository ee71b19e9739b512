import assert from 'node:assert/strict'
import * as E from 'fp-ts/lib/Either.js'
import * as O from 'fp-ts/lib/Option.js'
import {
  type Address,
  AF_INET,
  AF_INET6,
  type Link,
  type NextHop,
  type Route
} from '../src/codecs/kernel/rtnetlink.js'
import { type InAny, isLinkLocal, isV4, parseAddr } from '../src/codecs/value/inany.js'
import type { Options } from '../src/runtime/cli/option-table.js'
import { parseOptions } from '../src/runtime/cli/options.js'
import { deriveHost, type HostConfig, type HostTables } from '../src/runtime/host/host.js'

/** Hosts in few words, for tests of what is derived from them. */

export const addr = (text: string): InAny => {
  const a = parseAddr(text)
  assert.ok(O.isSome(a), text)
  return a.value
}
export const link = (index: number, name: string, ...altNames: string[]): Link => ({
  index,
  hardware: 1,
  flags: 1,
  change: 0,
  name,
  altNames,
  mtu: 1500,
  mac: index,
  other: []
})
/** `a/len` on an interface. */
export const on = (index: number, text: string, flags = 0): Address => {
  const [a = '', len] = text.split('/')
  const address = addr(a)
  const v4 = isV4(address)
  return {
    family: v4 ? AF_INET : AF_INET6,
    prefixLen: Number(len),
    flags,
    scope: isLinkLocal(address) ? 253 : 0,
    index,
    address,
    local: v4 ? address : null,
    other: []
  }
}
export const hop = (index: number, gateway: string, weight: number): NextHop => ({
  flags: 0,
  weight,
  index,
  gateway: addr(gateway),
  via: null,
  other: []
})
/** `default` or `net/len`. */
export const route = (
  dst: string,
  oif: number | null,
  gateway: string | null,
  p: Partial<Route> = {}
): Route => {
  const [net = '', len = '0'] = dst.split('/')
  const v6 = (gateway ?? net).includes(':')
  return {
    family: v6 ? AF_INET6 : AF_INET,
    dstLen: Number(len),
    srcLen: 0,
    tos: 0,
    table: 254,
    protocol: 3,
    scope: 0,
    type: 1,
    flags: 0,
    dst: dst === 'default' ? null : addr(net),
    oif,
    gateway: gateway === null ? null : addr(gateway),
    via: null,
    priority: null,
    prefSrc: null,
    nextHopId: null,
    expires: null,
    cacheInfo: null,
    multipath: null,
    other: [],
    ...p
  }
}
export const tables = (links: Link[], addresses: Address[], routes: Route[]): HostTables => ({
  links: [link(1, 'lo'), ...links],
  addresses: [on(1, '127.0.0.1/8'), on(1, '::1/128'), ...addresses],
  routes4: routes.filter((r) => r.family === AF_INET),
  routes6: routes.filter((r) => r.family === AF_INET6)
})
/** The host of most tests: one interface with both IP versions. */
export const BED = tables(
  [link(2, 'eth0')],
  [on(2, '198.51.100.2/24'), on(2, '2001:db8:9::2/64'), on(2, 'fe80::1234/64')],
  [
    route('default', 2, '198.51.100.1'),
    route('198.51.100.0/24', 2, null, { protocol: 2, scope: 253, prefSrc: addr('198.51.100.2') }),
    route('default', 2, '2001:db8:9::1', { priority: 1024, expires: 100 }),
    route('2001:db8:9::/64', 2, null, { protocol: 2, priority: 256 }),
    route('fe80::/64', 2, null, { protocol: 2, priority: 256 })
  ]
)

export const options = (...argv: string[]): Options => {
  const r = parseOptions('pasta', argv)
  assert.ok(E.isRight(r) && r.right.tag === 'Run', E.isLeft(r) ? r.left.message : 'prints')
  return r.right.options
}
export const derived = (t: HostTables, o: Options): HostConfig => {
  const r = deriveHost(t, o)
  assert.ok(E.isRight(r), E.isLeft(r) ? r.left : '')
  return r.right
}
