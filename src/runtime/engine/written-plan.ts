import * as t from 'io-ts'
import type { InAny } from '../../codecs/value/inany.js'
import { orNull } from '../../codecs/value/or-null.js'
import type { Links } from '../../machines/address/on-link.js'
import type { WorldFamily } from './world-config.js'

// Parts of a plan as JSON, in the start of a record and where the host becomes another one.

const { array, boolean, number, type } = t
export const address = t.tuple([number, number, number, number])
const prefix = type({ addr: address, len: number })
export const onLink = type({ index: number, own: address, prefix })

export const family = type({
  index: orNull(number),
  addressGiven: boolean,
  assigned: orNull(address),
  prefixLen: number,
  gateway: orNull(address),
  own: orNull(address),
  linkLocal: orNull(address),
  dns: array(address),
  dnsForward: orNull(address),
  dnsHost: orNull(address),
  mapHostLoopback: orNull(address),
  mapGuestAddr: orNull(address),
  outbound: orNull(address)
})
export const addr = (a: InAny): [number, number, number, number] => [a[0], a[1], a[2], a[3]]
export const addrOr = (a: InAny | null) => (a === null ? null : addr(a))

export const writtenFamily = (f: WorldFamily | null): t.TypeOf<typeof family> | null =>
  f === null
    ? null
    : {
        index: f.index,
        addressGiven: f.addressGiven,
        assigned: addrOr(f.assigned),
        prefixLen: f.prefixLen,
        gateway: addrOr(f.gateway),
        own: addrOr(f.own),
        linkLocal: addrOr(f.linkLocal),
        dns: f.dns.map(addr),
        dnsForward: addrOr(f.dnsForward),
        dnsHost: addrOr(f.dnsHost),
        mapHostLoopback: addrOr(f.mapHostLoopback),
        mapGuestAddr: addrOr(f.mapGuestAddr),
        outbound: addrOr(f.outbound)
      }
export const writtenLinks = (links: Links): t.TypeOf<typeof onLink>[] =>
  links.map((l) => ({
    index: l.index,
    own: addr(l.own),
    prefix: { addr: addr(l.prefix.addr), len: l.prefix.len }
  }))
