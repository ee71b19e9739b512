import * as t from 'io-ts'
import { Addr, HexOctets, Place } from '../../codecs/log/written.js'
import { readV4, readV6 } from '../../codecs/value/inany.js'
import { bytesOf, type Octets, octets, sub } from '../../codecs/value/octets.js'
import { orNull } from '../../codecs/value/or-null.js'
import { PROTO_TCP } from '../../codecs/wire/checksum.js'
import { ETH_LEN, readMac } from '../../codecs/wire/ethernet.js'
import { decodeFragment, type Fragment, joinFragments } from '../../codecs/wire/fragment.js'
import { ICMP_LEN, ICMP_TIME_EXCEEDED, writeIcmp } from '../../codecs/wire/icmp.js'
import { ICMP6_PARAMETER_PROBLEM, ICMP6_TIME_EXCEEDED, MIN_MTU } from '../../codecs/wire/icmpv6.js'
import { IPV4_LEN } from '../../codecs/wire/ipv4.js'
import { IPV6_LEN } from '../../codecs/wire/ipv6.js'
import { TCP_LEN } from '../../codecs/wire/tcp.js'
import {
  HEAD_MAX,
  NO_FRAGMENTS,
  nextDeadline,
  onFragment,
  onTime,
  type Reassembly,
  type ReassemblyEffect,
  SLOT_LEN,
  SLOTS,
  type Step
} from '../../machines/link/reassembly.js'
import { txRoom } from '../abi/rings.js'
import { Deadline } from '../flow/deadline.js'
import { keeping, Moment } from '../flow/keeps.js'
import { count } from '../log/log.js'
import type { Feature } from './feature.js'
import type { World } from './world.js'
import { icmpToTap } from './write-effect.js'

// The guest's fragments: machines/link/reassembly.ts decides, here octets are copied and errors sent. What waits lies in a pool of
// its own; a datagram that is complete is copied to where the effects of one turn live.

/** What waits. */
export interface Waiting {
  state: Reassembly
  /** SLOTS of SLOT_LEN octets, from the first fragment on: most guests never send one. */
  pool: Uint8Array | null
}

const poolOf = (held: Waiting): Uint8Array => {
  held.pool ??= new Uint8Array(SLOTS * SLOT_LEN)
  return held.pool
}
const DATA_MAX = SLOT_LEN - HEAD_MAX
/** Where a slot's data begins, in the pool. */
const dataAt = (slot: number): number => slot * SLOT_LEN + HEAD_MAX
/** A first fragment's head and `len` octets of data. */
const kept = (held: Waiting, slot: number, headLen: number, len: number): Uint8Array =>
  poolOf(held).subarray(dataAt(slot) - headLen, dataAt(slot) + len)

/** Of an ICMP error as long as may be (RFC 1812 §4.3.2.3; RFC 4443 §2.4 (c)), all but its headers. */
const QUOTE_V4 = 576 - IPV4_LEN - ICMP_LEN
const QUOTE_V6 = MIN_MTU - IPV6_LEN - ICMP_LEN

/** An ICMP error about a packet, which is quoted as it came, within what all errors of ours share; `frame` holds it from its Ethernet header on. `word`: octets 4-7. */
const complain = (w: World, frame: Octets, v6: boolean, type: number, code: number, word: number): void => {
  if (!w.out.mayTell()) return count(w.counters, 'icmp-error-withheld')
  const { view, off } = frame
  const packet = bytesOf(sub(frame, ETH_LEN)).subarray(0, v6 ? QUOTE_V6 : QUOTE_V4)
  const read = v6 ? readV6 : readV4
  const [src, dst] = v6 ? [8, 24] : [12, 16]
  const guestAddr = read(view, off + ETH_LEN + src)
  const ourAddr = read(view, off + ETH_LEN + dst)
  const message = new Uint8Array(ICMP_LEN + packet.length)
  writeIcmp(new DataView(message.buffer), 0, { type, code, id: word >>> 16, seq: word & 0xffff })
  message.set(packet, ICMP_LEN)
  const ends = {
    v6,
    guestMac: readMac(view, off + 6),
    ourMac: w.cfg.guest.macOf(ourAddr),
    guestAddr,
    ourAddr
  }
  icmpToTap(w.out, ends, message, ourAddr)
}

/** RFC 792, RFC 4443 §3.3: «fragment reassembly time exceeded». */
const REASSEMBLY = 1

/** Where the datagram lies that an effect has completed, until the end of the turn. */
const join = (w: World, held: Waiting, e: Extract<ReassemblyEffect, { type: 'Join' }>): Octets => {
  const bytes = kept(held, e.slot, e.head.headLen, e.octets)
  const off = txRoom(w.rings, bytes.length)
  w.rings.slab.set(bytes, off)
  return joinFragments({ view: w.rings.view, off, len: bytes.length }, e.head)
}

/** Carry out a step's effects; `frame`: what it was about. Result: a datagram that is complete. */
const carryOut = (w: World, held: Waiting, step: Step, frame: Octets | null): Octets | null => {
  const { slab } = w.rings
  let whole: Octets | null = null
  for (const e of step.effects)
    switch (e.type) {
      case 'Keep':
        poolOf(held).set(slab.subarray(e.data.off, e.data.off + e.data.len), dataAt(e.slot) + e.at)
        break
      case 'KeepHead':
        kept(held, e.slot, e.head.len, 0).set(slab.subarray(e.head.off, e.head.off + e.head.len))
        break
      case 'Join':
        whole = join(w, held, e)
        break
      case 'TimeExceeded': {
        const first = octets(kept(held, e.slot, e.head.headLen, e.head.data))
        complain(w, first, e.head.v6, e.head.v6 ? ICMP6_TIME_EXCEEDED : ICMP_TIME_EXCEEDED, REASSEMBLY, 0)
        break
      }
      case 'ParameterProblem':
        if (frame !== null)
          complain(w, frame, true, ICMP6_PARAMETER_PROBLEM, e.problem.code, e.problem.pointer)
        break
      case 'Count':
        count(w.counters, e.what)
        break
    }
  return whole
}

/** A fragment that is to be looked at; null: it is dropped, and that is counted. */
const acceptable = (w: World, frame: Octets, offload: boolean): Fragment | null => {
  // The kernel completes checksums before it cuts, and what is to be segmented is not cut
  const f = offload ? 'fragment-offload' : decodeFragment(frame)
  if (typeof f === 'string') {
    count(w.counters, `drop-${f}`)
    return null
  }
  if (!(f.v6 ? w.cfg.v6 : w.cfg.v4)) {
    count(w.counters, 'drop-family-disabled')
    return null
  }
  return f
}

// --- what a record begins with: no user's data

const HeadKept = t.type({
  v6: t.boolean,
  headLen: Place,
  counted: Place,
  link: Place,
  data: Place,
  answerable: t.boolean
})
const FragmentsKept = t.array(
  t.type({
    v6: t.boolean,
    src: Addr,
    dst: Addr,
    proto: Place,
    id: Place,
    slot: Place,
    deadline: Moment,
    ranges: t.readonlyArray(t.type({ start: Place, end: Place, more: t.boolean })),
    octets: Place,
    total: orNull(Place),
    head: orNull(HeadKept),
    spoiled: t.boolean,
    /** Of the first fragment: its head, and its upper layer's own header. */
    headers: HexOctets
  })
)
type Kept = t.TypeOf<typeof FragmentsKept>
const IPV4_PROTOCOL = 9
const FRAGMENT_HEADER_LEN = 8
const UPPER_LEN = 8
const headersOf = (held: Waiting, { head, slot }: Reassembly[number]): Uint8Array => {
  if (head === null) return new Uint8Array(0)
  const pool = poolOf(held)
  const at = dataAt(slot)
  const proto = pool[head.v6 ? at - FRAGMENT_HEADER_LEN : at - head.headLen + ETH_LEN + IPV4_PROTOCOL]
  const upper = proto === PROTO_TCP ? Math.max(TCP_LEN, (pool[at + 12] >> 4) * 4) : UPPER_LEN
  return kept(held, slot, head.headLen, Math.min(upper, head.data)).slice()
}
const readDatagrams = (held: Waiting, deadline: Deadline, k: Kept): boolean => {
  const slots = new Set(k.map((d) => d.slot))
  const fits = ({ slot, head, headers, octets: n, ranges }: Kept[number]): boolean =>
    slot < SLOTS &&
    n <= DATA_MAX &&
    ranges.every((r) => r.start <= r.end && r.end <= DATA_MAX) &&
    (head === null
      ? headers.length === 0
      : head.headLen >= ETH_LEN &&
        head.headLen <= HEAD_MAX &&
        head.data <= DATA_MAX &&
        headers.length >= head.headLen &&
        headers.length <= head.headLen + head.data)
  if (slots.size !== k.length || !k.every(fits)) return false
  for (const { slot, head, headers } of k)
    if (head !== null) kept(held, slot, head.headLen, headers.length - head.headLen).set(headers)
  held.state = k.map(({ headers: _, ...d }) => d)
  deadline.at = nextDeadline(held.state) ?? Number.POSITIVE_INFINITY
  return true
}

/** Puts the guest's fragments together, or gives up what has waited for too long. `held`: for tests. */
export const fragments = (
  w: World,
  held: Waiting = { state: NO_FRAGMENTS, pool: null }
): Feature & { readonly deadline: Deadline } => {
  const deadline = new Deadline()
  const go = (step: Step, frame: Octets | null): Octets | null => {
    held.state = step.state
    deadline.at = nextDeadline(step.state) ?? Number.POSITIVE_INFINITY
    return carryOut(w, held, step, frame)
  }
  return {
    name: 'fragments',
    keeps: keeping(
      FragmentsKept,
      () => held.state.map((d) => ({ ...d, headers: headersOf(held, d) })),
      (k) => readDatagrams(held, deadline, k)
    ),
    deadline,
    onTime: (now) => void go(onTime(held.state, now), null),
    reassemble: (frame, offload, now) => {
      const f = acceptable(w, frame, offload)
      if (f === null) return null
      for (const hear of w.features.frameCame) hear(frame, f)
      return go(onFragment(held.state, f, now), sub(frame, 0, f.headLen + f.end - f.start))
    },
    // Who comes next is another guest
    guestDown: () => {
      held.state = NO_FRAGMENTS
      deadline.at = Number.POSITIVE_INFINITY
    }
  }
}
