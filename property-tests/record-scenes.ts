import { VhostMessage, type VhostRequest } from '../src/codecs/control/vhost-user.js'
import { NetlinkDatagram, NLMSG_DONE } from '../src/codecs/kernel/netlink.js'
import { Neighbour, NUD_REACHABLE, RTM_NEWNEIGH } from '../src/codecs/kernel/rtneigh.js'
import { Address, AF_INET, RTM_NEWADDR } from '../src/codecs/kernel/rtnetlink.js'
import type { InAny } from '../src/codecs/value/inany.js'
import { octets } from '../src/codecs/value/octets.js'
import { seq } from '../src/codecs/value/seq.js'
import { ARP_REQUEST, ArpPacket } from '../src/codecs/wire/arp.js'
import { ETHERTYPE_ARP, EthernetFrame } from '../src/codecs/wire/ethernet.js'
import { ACK, SYN, type TcpSegment } from '../src/codecs/wire/tcp.js'
import { OFFERS } from '../src/machines/link/vhost-session.js'
import { EV, PEEK_TAP_FULL, PEEK_TAP_TELLS, READY_IN } from '../src/runtime/abi/abi.js'
import { toldText } from '../src/runtime/engine/host-told.js'
import type { StartRecord } from '../src/runtime/engine/start-record.js'
import { GUEST4, LISTENER, RULE } from '../src/runtime/engine/warm-up.js'
import { fragment, piecesOf, udpFrame } from './fragment-arbitraries.js'
import { build, metaOf } from './frame-spec.js'
import { datagram, segmentFrame } from './played.js'
import { at, type Came, type Recorded, START } from './recorded.js'
import { addr } from './services-arbitraries.js'

// For each part of the world a run that goes on otherwise if that part is lost in between.

export class Scene {
  now = 10
  constructor(readonly r: Recorded) {}
  turn(...came: ReadonlyArray<Came>): void {
    this.now += 0.05
    this.r.come(came, at(this.now))
  }
  wait(ms: number): void {
    this.now += ms
    this.turn()
  }
}
export interface Scenario {
  readonly start?: StartRecord
  /** What is lost: a path in the world, and what of it is left; null: what a world has that has just begun. */
  readonly lose: Readonly<Record<string, ((was: never) => unknown) | null>>
  readonly before: (s: Scene) => void
  readonly after: (s: Scene) => void
}

const PEER = addr('203.0.113.80')
const words = (...list: ReadonlyArray<number>): Came => ({ words: list, octets: null })
const frame = (bytes: Uint8Array): Came => ({
  words: [EV.TAP_FRAME, 0, 0, 0, 0, 0, 0, metaOf(octets(bytes)).sum16],
  octets: bytes
})
const signed = (a: InAny): ReadonlyArray<number> => a.map((w) => w | 0)
const INFO = [65_535, 7, 1448, 100, 100, 1, 80_000, 87_040]
const connected = (flow: number): Came => words(EV.CONNECTED, flow, 0, 0, ...INFO)
const accepted = (slot: number, peer: InAny = PEER): Came =>
  words(EV.ACCEPTED, LISTENER, slot, 50_000, ...signed(peer), ...signed(addr('198.51.100.9')))
const arp = (sha: number, spa: InAny, tpa: InAny): Came => {
  const payload = ArpPacket.encode({ op: ARP_REQUEST, sha, spa, tha: 0, tpa })
  return frame(EthernetFrame.encode({ dst: 0xffffffffffff, src: sha, type: ETHERTYPE_ARP, payload }))
}
const netlink = (type: number, payload: Uint8Array): Came => ({
  words: [EV.NETLINK, 0],
  octets: NetlinkDatagram.encode([{ type, flags: 0, seq: 0, pid: 0, payload }])
})
const segment = (flags: number, from: number, ack: number, more: Partial<TcpSegment> = {}): Came =>
  segmentFrame(
    {
      ...{ srcPort: 40_000, dstPort: 80, seq: seq(from), ack: seq(ack), flags, wnd: 64_240, urgent: 0 },
      ...{ mss: null, windowScale: null, payload: { off: 0, len: 0 } },
      ...more
    },
    PEER
  )
/** The guest's connection, as flow 0. */
const connection = (s: Scene): void => {
  s.turn(segment(SYN, 100, 0, { mss: 1460, windowScale: 7 }))
  s.turn(connected(0))
  const f = s.r.w.flows[0]
  s.turn(segment(ACK, 101, f?.kind === 'tcp' ? f.state.context.tcb.sndNxt : 0))
}
const to = (n: number): InAny => addr(`203.0.113.${n}`)
const fromOther = (srcPort: number): Came => {
  const spec = { ...udpFrame(false, new Uint8Array(4), srcPort), from: addr('198.51.100.77'), to: to(9) }
  return frame(build(spec).bytes)
}
const toPeer9 = { ...udpFrame(false, new Uint8Array(4), 1000), to: to(9) }
/** Octets of a datagram from a peer of flow 0. */
const answer = (n: number): Came => ({ words: [EV.DATAGRAM, 0, 0, 0, 0], octets: new Uint8Array(n) })
const cut = (): ReadonlyArray<Uint8Array> => {
  const whole = build(udpFrame(false, new Uint8Array(2000))).bytes
  return piecesOf(2008, [1200]).map((p) => fragment(whole, 7, p))
}
/** Its data are no multiple of 8 octets, though more is to come: it gets a parameter problem. */
const badFragment = (id: number): Came => {
  const whole = build(udpFrame(true, new Uint8Array(100))).bytes
  return frame(fragment(whole, id, { start: 0, end: 52, more: true }))
}
const hostTold = (own: InAny): Came => {
  const v4 = START.plan.v4 === null ? null : { ...START.plan.v4, assigned: own }
  const told = {
    ...{ v4, v6: START.plan.v6, dhcp: true, dhcpv6: true, search: [], links: START.found.links },
    ...{ configured: true, gone: [] }
  }
  return { words: [EV.HOST, 0], octets: new TextEncoder().encode(toldText(told)) }
}

export const VHOST: StartRecord = {
  ...START,
  plan: { ...START.plan, mode: 'passt', link: { kind: 'socket', path: null }, vhostUser: 'all' },
  found: { ...START.found, tap: null }
}
const say = (m: VhostRequest, ...fds: ReadonlyArray<number>): Came => ({
  words: [EV.VHOST_MESSAGE, 0, 0, 0, fds.length, ...fds],
  octets: VhostMessage.encode({ ...m, needReply: false })
})
const done = words(EV.VHOST_DONE)
const PLACE = { logged: false, desc: 0x1000n, used: 0x3000n, avail: 0x2000n, log: 0n }
/** As QEMU does it, up to where frames flow. */
const frontEnd = (s: Scene): void => {
  s.turn(words(EV.LINK_CLIENT, 0, 9, 0, 0))
  s.turn(say({ type: 'SET_FEATURES', features: OFFERS.all.features }))
  s.turn(say({ type: 'SET_MEM_TABLE', regions: [{ gpa: 0n, size: 1n << 30n, user: 0n, offset: 0n }] }, 20))
  s.turn(done)
  for (const ring of [0, 1]) {
    s.turn(say({ type: 'SET_VRING_NUM', ring, entries: 256 }))
    s.turn(say({ type: 'SET_VRING_BASE', ring, next: 0 }))
    s.turn(say({ type: 'SET_VRING_ADDR', ring, addresses: PLACE }))
    s.turn(done)
    s.turn(say({ type: 'SET_VRING_KICK', ring, none: false }, 30 + ring))
    s.turn(say({ type: 'SET_VRING_ENABLE', ring, enable: true }))
  }
}

const asList =
  (change: (list: unknown[]) => unknown) =>
  (was: never): unknown =>
    change([...(was as unknown[])])
/** Timers in each other's place. */
const mixed = (timers: ReadonlyArray<readonly [number, number, number]>): unknown =>
  timers.map(([slot, , due], i) => [slot, timers[timers.length - 1 - i]?.[1], due])
/** All that can be in a world. */
export const LIMITED: StartRecord = {
  ...START,
  plan: { ...START.plan, rates: [{ ports: null, rate: 100_000, burst: null, way: null }] }
}

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'router advertisements go on': {
    lose: { 'features/NDP': null, 'guest/up': null },
    before: (s) => s.turn(datagram(1000, PEER, 53, 4)),
    after: (s) => {
      s.turn(datagram(1000, PEER, 53, 4))
      s.wait(700_000)
    }
  },
  'a fragment meets the others': {
    lose: { 'features/fragments': null },
    before: (s) => s.turn(frame(cut()[0]!)),
    after: (s) => s.turn(frame(cut()[1]!))
  },
  'whoever waits in vain for a fragment is told': {
    lose: { 'features/fragments': null },
    before: (s) => s.turn(frame(cut()[0]!)),
    after: (s) => s.wait(31_000)
  },
  'the host is another one': {
    lose: { 'features/changes of the host': null },
    before: (s) => s.turn(hostTold(addr('198.51.100.99'))),
    after: (s) => s.turn(arp(0x020000000002, GUEST4, addr('198.51.100.99')))
  },
  'who was refused a segment has it once there is room': {
    lose: { 'features/flows': null, flows: () => [] },
    before: (s) => {
      connection(s)
      s.turn(words(EV.READY, 0, READY_IN))
      s.turn(words(EV.PEEKED, 0, 0, PEEK_TAP_FULL | PEEK_TAP_TELLS))
    },
    after: (s) => s.turn(words(EV.TAP_ROOM))
  },
  'sockets are measured when it is time': {
    lose: { 'features/memory of sockets': null },
    before: (s) => {
      s.turn(datagram(1000, PEER, 53, 4))
      s.wait(1000)
    },
    after: (s) => s.wait(100)
  },
  "the host's tables are asked for one after the other, and what was heard is known": {
    lose: { 'features/neighbours': null },
    before: (s) => {
      s.turn()
      const n = {
        family: AF_INET,
        index: 2,
        state: NUD_REACHABLE,
        addr: addr('198.51.100.7'),
        mac: 0x020000000007
      }
      s.turn(netlink(RTM_NEWNEIGH, Neighbour.encode({ ...n, other: [] })))
    },
    after: (s) => {
      s.turn(netlink(NLMSG_DONE, new Uint8Array(4)))
      s.turn(arp(0x020000000002, GUEST4, addr('198.51.100.7')))
    }
  },
  'what comes goes to where the guest said that it is': {
    lose: { 'guest/mac': null },
    before: (s) => s.turn(arp(0x0200000000aa, GUEST4, GUEST4)),
    after: (s) => {
      s.turn(accepted(3))
      s.turn(connected(0))
    }
  },
  'a broadcast address of a link is one': {
    lose: { links: null },
    before: (s) => {
      const a = { family: AF_INET, prefixLen: 24, flags: 0, scope: 0, index: 2, address: addr('203.0.113.1') }
      s.turn(netlink(RTM_NEWADDR, Address.encode({ ...a, local: addr('203.0.113.1'), other: [] })))
    },
    after: (s) => s.turn(datagram(1000, to(255), 9, 4))
  },
  'identifications count on': {
    lose: { nextId: null },
    before: (s) => {
      s.turn(datagram(1000, PEER, 53, 4))
      s.turn(answer(1500))
    },
    after: (s) => s.turn(answer(1500))
  },
  'errors of our own are bounded': {
    lose: { errors: null },
    before: (s) => s.turn(...Array.from({ length: 60 }, (_, i) => badFragment(i))),
    after: (s) => s.turn(badFragment(99))
  },
  'who is idle for longest gives way': {
    lose: { 'quotas/queues': asList((l) => l.map((q) => [...(q as unknown[])].reverse())), counters: null },
    before: (s) => {
      for (let n = 1; n <= 64; n++) s.turn(datagram(1000 + n, to(n), 53, 4))
    },
    after: (s) => {
      s.now += 6000
      s.turn(datagram(2000, to(70), 53, 4))
    }
  },
  'what sockets hold is known': {
    start: { ...START, found: { ...START.found, limits: { ...START.found.limits, memory: 1_000_000 } } },
    lose: { 'quotas/flows': asList((l) => l.map((f) => ({ ...(f as object), octets: 0 }))) },
    before: (s) => {
      for (let n = 1; n <= 50; n++) s.turn(datagram(1000 + n, to(n), 53, 4))
      s.wait(300)
    },
    after: (s) => s.turn(datagram(2000, to(70), 53, 4))
  },
  'a host side is taken once': {
    lose: { 'table/claims': () => [] },
    before: (s) => s.turn(frame(build(toPeer9).bytes)),
    after: (s) => s.turn(fromOther(1000))
  },
  'places are given away in their order': {
    lose: { 'table/free': asList((l) => l.reverse()) },
    before: (s) => {
      for (let n = 1; n <= 4; n++) s.turn(datagram(1000 + n, to(n), 53, 4))
      s.wait(200_000)
      s.wait(10)
      s.wait(10)
    },
    after: (s) => s.turn(datagram(2000, to(70), 53, 4))
  },
  'a place rests before it is given away': {
    lose: { 'table/resting': () => [] },
    before: (s) => {
      s.turn(datagram(1001, to(1), 53, 4))
      s.wait(20_000)
      s.turn(datagram(1002, to(2), 53, 4))
      s.wait(10_001)
    },
    after: (s) => {
      for (let n = 10; n < 14; n++) s.turn(datagram(2000 + n, to(n), 53, 4))
    }
  },
  'timers fire when they are due, in their order': {
    lose: { 'wheel/timers': mixed, 'wheel/at': (tick: number) => tick + 400_000 },
    before: (s) => {
      s.turn(...[1, 2, 3].map((n) => datagram(1000 + n, to(n), 53, 4)))
      s.wait(1000)
    },
    after: (s) => {
      s.wait(29_000)
      s.wait(1000)
    }
  },
  'peers without an address are told apart': {
    start: { ...START, rules: [{ ...RULE, unix: { path: '', number: 0 } }, ...START.rules.slice(1)] },
    lose: { unixPeers: null },
    before: (s) => s.turn(accepted(1)),
    after: (s) => s.turn(accepted(2))
  },
  'what a rate limit let through is not let through again': {
    start: LIMITED,
    lose: { 'features/rate limits': null },
    before: (s) => {
      for (let n = 0; n < 60; n++) s.turn(datagram(1000, PEER, 53, 1400))
    },
    after: (s) => {
      for (let n = 0; n < 60; n++) s.turn(datagram(1000, PEER, 53, 1400))
      s.wait(500)
      s.turn(datagram(1000, PEER, 53, 1400))
    }
  },
  'a front-end goes on, and its guest moves': {
    start: VHOST,
    lose: { 'features/guest link': null, 'features/migration': null },
    before: (s) => {
      frontEnd(s)
      connection(s)
      s.turn(words(EV.REPAIR_HELPER, 0, 1))
    },
    after: (s) => {
      for (const ring of [0, 1]) {
        s.turn(say({ type: 'GET_VRING_BASE', ring }))
        s.turn(words(EV.VRING_STOPPED, 0, ring, 7))
      }
      s.turn(say({ type: 'SET_DEVICE_STATE_FD', direction: 0, phase: 0 }, 60))
      for (let n = 0; n < 5; n++) s.wait(1)
    }
  }
}
/** What no run shows: of no meaning to what is done, or nothing that these runs can have. */
export const NOT_SHOWN: Readonly<Record<string, string>> = {
  tcpFields: 'says what is written',
  'features/capture': 'the comment on a first frame that found no room',
  'table/closed': 'flows that something ends behind the end of a turn: for want of memory',
  'table/unused': 'as many as there are flows',
  places: 'as long as the list of flows is',
  'quotas/told': 'what is logged',
  saidAt: 'what is logged',
  failures: 'what is logged',
  touched: 'flows that something is told behind the end of a turn: connections of a guest that comes',
  'features/API rules': 'nothing: while it has something no record begins',
  'features/live rules': 'the same'
}
