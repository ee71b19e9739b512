import type { CapturedFrame } from '../../codecs/log/capture-file.js'
import { decodeLink, type LinkAt } from '../../codecs/log/link-layer.js'
import { type InAny, isV4, sameAddr } from '../../codecs/value/inany.js'
import { type Octets, sub } from '../../codecs/value/octets.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, sum16 } from '../../codecs/wire/checksum.js'
import { ETHERTYPE_ARP, showMac } from '../../codecs/wire/ethernet.js'
import type { Connection } from './connection.js'
import { type Datagram, echoOf, lookAtArp, lookAtIcmp, lookAtUdp } from './datagrams.js'
import { judgeSegment } from './judge-segment.js'
import type { Lifecycle } from './judged-endpoint.js'
import { type IpPacket, lookAtIp, type Said, said, showEnd } from './packet.js'
import { type Finding, UNKNOWN, type Unknown } from './rules.js'
import { lookAtSegment, type Segment } from './segment.js'

// A capture, frame by frame. The connections are in one table, which is all that changes here; each of them is a value, and
// what a segment does to it a function (judge-segment.ts). Everything is bounded, as a capture may be hostile.

export interface Limits {
  /** Connections at a time; the one that was silent longest gives way. */
  readonly connections: number
  /** Octets kept of all of them, to compare with when they are sent again. */
  readonly octets: number
  /** Echo requests, and senders of datagrams, that are remembered. */
  readonly others: number
}
export const LIMITS: Limits = { connections: 32_768, octets: 64 * 1024 * 1024, others: 4096 }

export interface Counts {
  readonly frames: number
  readonly connections: number
  readonly unknown: Readonly<Record<Unknown, number>>
}

export interface Judge {
  /** What the next frame of the capture shows, of itself and of those before it. Nothing of it is kept but copies. */
  readonly frame: (f: CapturedFrame) => readonly Finding[]
  /** Whoever captured had no room for so many frames: rules that need all of them are off from then on. */
  readonly dropped: (frames: bigint) => void
  readonly counts: () => Counts
  /** What is remembered now. */
  readonly kept: () => { readonly connections: number; readonly octets: number }
}

interface Entry {
  readonly c: Connection
  /** Of side 0. */
  readonly src: InAny
  readonly srcPort: number
}

const octetsOf = (c: Connection): number => c.sides[0].keptOctets + c.sides[1].keptOctets

/** The map's first key is the oldest: what is used is put behind the others. */
const touch = <V>(map: Map<string, V>, key: string, value: V, max: number): V | null => {
  map.delete(key)
  map.set(key, value)
  if (map.size <= max) return null
  const [oldest] = map.keys()
  const gone = map.get(oldest!)!
  map.delete(oldest!)
  return gone
}

/** As a key: shorter than as text. */
const keyOf = (a: InAny): string => (isV4(a) ? `${a[3]}` : `${a[0]}.${a[1]}.${a[2]}.${a[3]}`)
const lower = (p: IpPacket, s: Segment): boolean => {
  for (let i = 0; i < 4; i++) if (p.src[i] !== p.dst[i]) return p.src[i]! < p.dst[i]!
  return s.srcPort < s.dstPort
}

/** A judge of one capture. `life`: the compiled chart (judged-endpoint.ts); `ordered`: frames are in the order of their sending. */
export const createJudge = (life: Lifecycle, limits: Limits = LIMITS, ordered = false): Judge => {
  const connections = new Map<string, Entry>()
  const echoes = new Map<string, { readonly len: number; readonly sum: number }>()
  /** By sender and protocol: checksums that were right, and that were not known. */
  const senders = new Map<string, { readonly right: number; readonly partial: number }>()
  const unknown = Object.fromEntries(Object.keys(UNKNOWN).map((k) => [k, 0])) as Record<Unknown, number>
  let frames = 0
  let seen = 0
  let kept = 0
  let missing = false

  const count = (u: Unknown): void => {
    unknown[u]++
  }

  const tcp = (p: IpPacket, at: number, via: string): readonly Finding[] => {
    const looked = lookAtSegment(p, frames, at)
    if (looked.unknown !== null) count(looked.unknown)
    const { segment: s } = looked
    if (s === null) return looked.said.map((x) => found(x, at, p, null))
    const [a, b] = [`${keyOf(p.src)}:${s.srcPort}`, `${keyOf(p.dst)}:${s.dstPort}`]
    const key = lower(p, s) ? `${via}${a} ${b}` : `${via}${b} ${a}`
    const entry = connections.get(key)
    const by = entry === undefined || (sameAddr(entry.src, p.src) && entry.srcPort === s.srcPort) ? 0 : 1
    const before = entry?.c ?? null
    const judged = judgeSegment(life, before, s, by, kept < limits.octets, ordered)
    if (before === null) seen++
    const c = missing ? { ...judged.c, incomplete: true, suspicions: [] } : judged.c
    kept += octetsOf(c) - (before === null ? 0 : octetsOf(before))
    const whose = entry ?? { src: p.src, srcPort: s.srcPort }
    const gone = touch(connections, key, { c, src: whose.src, srcPort: whose.srcPort }, limits.connections)
    if (gone !== null) {
      kept -= octetsOf(gone.c)
      count('forgotten')
    }
    for (const u of judged.unknown) count(u)
    const from = showEnd(p.src, p.v6, s.srcPort)
    const to = showEnd(p.dst, p.v6, s.dstPort)
    return [
      ...looked.said.map((x) => found(x, at, p, s)),
      ...judged.said.map((x) => {
        const { rule, seen, allowed, frame } = x
        const mine = x.by === by
        return { rule, frame, at: x.at, from: mine ? from : to, to: mine ? to : from, seen, allowed }
      })
    ]
  }

  const found = (x: Said, at: number, p: IpPacket, s: Segment | null): Finding => ({
    ...x,
    frame: frames,
    at,
    from: showEnd(p.src, p.v6, s?.srcPort ?? null),
    to: showEnd(p.dst, p.v6, s?.dstPort ?? null)
  })
  /** Of what has no addresses but the link's. */
  const foundOnLink = (x: Said, at: number, link: LinkAt): Finding => ({
    ...x,
    frame: frames,
    at,
    from: link.src === null ? '' : showMac(link.src),
    to: link.dst === null ? '' : showMac(link.dst)
  })

  /** As TCP's (rules-header.ts): a wrong sum counts against a sender whose others were right. */
  const summed = (d: Datagram, p: IpPacket, rule: 'udp-checksum' | 'icmp-checksum'): readonly Said[] => {
    const key = `${keyOf(p.src)} ${p.proto}`
    const before = senders.get(key) ?? { right: 0, partial: 0 }
    const right = before.right + (d.sum === 'right' ? 1 : 0)
    const partial = before.partial + (d.sum === 'unknown' ? 1 : 0)
    touch(senders, key, { right, partial }, limits.others)
    if (d.sum === 'right') return d.said
    if (d.sum === 'unknown' || before.right < 1 || before.partial > 0) {
      count('checksum')
      return d.said
    }
    return [said(rule, 'a checksum that does not add up', 'the sum of the message')]
  }

  const echo = (p: IpPacket, sum: Datagram['sum']): readonly Said[] => {
    const e = sum === 'wrong' ? null : echoOf(p)
    if (e === null) return []
    const [asks, answers] = e.reply ? [p.dst, p.src] : [p.src, p.dst]
    const key = `${keyOf(asks)} ${keyOf(answers)} ${e.id} ${e.seq}`
    const now = { len: e.data.len, sum: sum16(e.data.view, e.data.off, e.data.len) }
    if (!e.reply) {
      // The same request again, with other data: which one an answer is to is not known.
      const before = echoes.get(key)
      const again = before !== undefined && (before.len !== now.len || before.sum !== now.sum)
      if (again) echoes.delete(key)
      else touch(echoes, key, now, limits.others)
      return []
    }
    const request = echoes.get(key)
    if (request === undefined || (request.len === now.len && request.sum === now.sum)) return []
    return [said('echo-data', `${now.len} octets of other data`, `the ${request.len} octets of the request`)]
  }

  const packet = (p: IpPacket, at: number, via: string): readonly Finding[] => {
    if (p.proto === PROTO_TCP) return tcp(p, at, via)
    const as = (list: readonly Said[]): readonly Finding[] => list.map((x) => found(x, at, p, null))
    if (p.proto === PROTO_UDP) return as(summed(lookAtUdp(p), p, 'udp-checksum'))
    if (p.proto === (p.v6 ? PROTO_ICMPV6 : PROTO_ICMP)) {
      const d = lookAtIcmp(p)
      return as([...summed(d, p, 'icmp-checksum'), ...echo(p, d.sum)])
    }
    count('link-type')
    return []
  }

  const behindLink = (o: Octets, link: LinkAt, f: CapturedFrame): readonly Finding[] => {
    const via = `${f.interface}.${link.ifIndex}.${link.vlan} `
    if (link.type === ETHERTYPE_ARP)
      return lookAtArp(sub(o, link.off - o.off, link.len)).map((x) => foundOnLink(x, f.at, link))
    const looked = lookAtIp(o, link, f.originalLen)
    if (looked.unknown !== null) count(looked.unknown)
    const p = looked.packet
    const of = looked.said.map((x) => (p === null ? foundOnLink(x, f.at, link) : found(x, f.at, p, null)))
    return p === null ? of : [...of, ...packet(p, f.at, via)]
  }

  return {
    frame: (f) => {
      frames++
      const link = decodeLink(f.linkType, f.frame)
      if (typeof link === 'string') {
        count('link-type')
        return []
      }
      return behindLink(f.frame, link, f)
    },
    dropped: (n) => {
      if (n === 0n) return
      missing = true
      unknown.dropped += Number(n)
    },
    counts: () => ({ frames, connections: seen, unknown: { ...unknown } }),
    kept: () => ({ connections: connections.size, octets: kept })
  }
}
