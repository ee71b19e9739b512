import { isBroadcast4, isMulticast, isUnicast, sameAddr } from '../../codecs/value/inany.js'
import { ETH_LEN } from '../../codecs/wire/ethernet.js'
import type { DatagramId, Fragment } from '../../codecs/wire/fragment.js'
import type { FragmentFault, ReassemblyCounter } from '../../effects/counters.js'
import { type Instant, instant, type Payload } from '../../effects/effect.js'

// Datagrams that the guest sends in fragments, put together again (RFC 791 §3.2, RFC 815, RFC 8200 §4.5). Each has a slot in
// a pool of buffers of the full length, so that every octet goes to its place at once; what is there of it is a sorted list
// of ranges. The guest is not trusted: slots, ranges and time are bounded, and where two fragments of a datagram overlap
// nothing of it is delivered (RFC 5722 §4, for IPv4 as well). A fragment that comes twice does no harm and is tolerated, as
// RFC 8200 §4.5 permits: the first copy stays.

/** Datagrams at a time, which is 4 MB of buffers. The oldest gives way. */
export const SLOTS = 64
/** Octets of a slot in front of the data, for the first fragment's head, which ends there. */
export const HEAD_MAX = 256
/** Octets; data is up to 65535. */
export const SLOT_LEN = HEAD_MAX + 0x10000
/** Fragments of one datagram: of the largest, on a link with the least MTU there may be, 68 (RFC 791 §3.2). */
export const FRAGMENTS_MAX = 1366
/** ms from the first fragment that came: Linux's ipfrag_time (ip(7)), and what RFC 8200 §4.5 asks for. */
export const TIMEOUT_V4 = 30_000
export const TIMEOUT_V6 = 60_000

/** The most that IPv4's Total Length and IPv6's Payload Length can say. */
const LENGTH_MAX = 65535

interface Range {
  readonly start: number
  readonly end: number
  readonly more: boolean
}
/** What is kept of a first fragment. */
export interface Head extends Pick<Fragment, 'v6' | 'headLen' | 'counted' | 'link'> {
  /** Octets of data that it had. */
  readonly data: number
  readonly answerable: boolean
}
interface Datagram extends DatagramId {
  readonly slot: number
  readonly deadline: Instant
  /** Sorted, without overlap. */
  readonly ranges: ReadonlyArray<Range>
  readonly octets: number
  /** Octets of all data, once the last fragment is there. */
  readonly total: number | null
  readonly head: Head | null
  /** Two fragments contradicted each other: whatever else comes of it is dropped, until its time is over. */
  readonly spoiled: boolean
}
/** Datagrams that are not complete, in order of their first fragment's coming. At most SLOTS. */
export type Reassembly = ReadonlyArray<Datagram>
export const NO_FRAGMENTS: Reassembly = []

/** ICMPv6 Parameter Problem, RFC 4443 §3.4. */
export interface Problem {
  readonly code: number
  readonly pointer: number
}
export type ReassemblyEffect =
  /** Copy a fragment's data to its place: octet `at` of the slot's data. */
  | { readonly type: 'Keep'; readonly slot: number; readonly at: number; readonly data: Payload }
  /** Copy a first fragment's head so that it ends where the slot's data begins. */
  | { readonly type: 'KeepHead'; readonly slot: number; readonly head: Payload }
  /** All is there: `octets` of data behind the head. The slot is free once this is carried out. */
  | { readonly type: 'Join'; readonly slot: number; readonly head: Head; readonly octets: number }
  /** ICMP Time Exceeded, code 1, about the first fragment, which stands in the slot. */
  | { readonly type: 'TimeExceeded'; readonly slot: number; readonly head: Head }
  /** About the fragment that just came. */
  | { readonly type: 'ParameterProblem'; readonly problem: Problem }
  | { readonly type: 'Count'; readonly what: ReassemblyCounter }

export interface Step {
  readonly state: Reassembly
  readonly effects: ReadonlyArray<ReassemblyEffect>
}

const counted = (what: ReassemblyCounter): ReassemblyEffect => ({ type: 'Count', what })
const dropped = (state: Reassembly, why: FragmentFault): Step => ({
  state,
  effects: [counted(`drop-fragment-${why}`)]
})

/** May an ICMP error be sent about it? Not about what went to a group, nor to nobody (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)). */
const answerable = (f: Fragment): boolean =>
  isUnicast(f.src) && !isMulticast(f.dst) && !isBroadcast4(f.dst) && !f.icmpError

const sameDatagram = (a: DatagramId, b: DatagramId): boolean =>
  a.id === b.id && a.proto === b.proto && a.v6 === b.v6 && sameAddr(a.src, b.src) && sameAddr(a.dst, b.dst)

/** Where the IPv6 packet's Fragment Offset is: in front of the last 6 octets of the head. */
const fragmentOffsetAt = (f: Fragment): number => f.headLen - ETH_LEN - 6

/** What is wrong with a fragment whatever else is there of its datagram, and what RFC 8200 §4.5 wants said; null: nothing. */
const fault = (f: Fragment): { readonly why: FragmentFault; readonly problem: Problem | null } | null => {
  if (f.more && (f.end - f.start) % 8 !== 0) return { why: 'length', problem: { code: 0, pointer: 4 } }
  if (f.counted + f.end > LENGTH_MAX)
    return { why: 'too-long', problem: { code: 0, pointer: fragmentOffsetAt(f) } }
  if (f.end === f.start) return { why: 'empty', problem: null }
  if (f.start > 0) return null
  if (!f.headersWhole) return { why: 'headers-cut', problem: { code: 3, pointer: 0 } }
  return f.headLen > HEAD_MAX ? { why: 'headers-long', problem: null } : null
}

const freeSlot = (state: Reassembly): number => {
  for (let slot = 0; ; slot++) if (!state.some((d) => d.slot === slot)) return slot
}

/** Room for one more: the oldest goes. */
const begin = (state: Reassembly, f: Fragment, now: Instant): Step & { readonly d: Datagram } => {
  const crowded = state.length >= SLOTS
  const others = crowded ? state.slice(1) : state
  const d: Datagram = {
    v6: f.v6,
    src: f.src,
    dst: f.dst,
    proto: f.proto,
    id: f.id,
    slot: freeSlot(others),
    deadline: instant(now + (f.v6 ? TIMEOUT_V6 : TIMEOUT_V4)),
    ranges: [],
    octets: 0,
    total: null,
    head: null,
    spoiled: false
  }
  return { d, state: [...others, d], effects: crowded ? [counted('drop-fragment-crowded')] : [] }
}

/** Where `f` belongs among the ranges that are there: an index; or it is a copy of one, or contradicts one. */
const place = (d: Datagram, f: Fragment): number | 'copy' | 'contradiction' => {
  const { ranges, total } = d
  if (total !== null && f.end > total) return 'contradiction'
  let i = ranges.length
  while (i > 0 && ranges[i - 1]!.start >= f.start) i--
  const next = ranges[i]
  if (next !== undefined && next.start === f.start && next.end === f.end && next.more === f.more)
    return 'copy'
  // Behind the last one there is nothing
  if (next !== undefined && (f.end > next.start || !f.more)) return 'contradiction'
  return i > 0 && ranges[i - 1]!.end > f.start ? 'contradiction' : i
}

const replace = (state: Reassembly, d: Datagram): Reassembly => state.map((x) => (x.slot === d.slot ? d : x))

/** Nothing of it is delivered any more; of what it had nothing is kept. */
const spoil = (state: Reassembly, d: Datagram, why: FragmentFault): Step =>
  dropped(replace(state, { ...d, ranges: [], octets: 0, total: null, head: null, spoiled: true }), why)

const headOf = (f: Fragment): Head => ({
  v6: f.v6,
  headLen: f.headLen,
  counted: f.counted,
  link: f.link,
  data: f.end - f.start,
  answerable: answerable(f)
})

const add = (state: Reassembly, old: Datagram, f: Fragment): Step => {
  if (old.spoiled) return dropped(state, 'of-spoiled')
  const i = place(old, f)
  if (i === 'copy') return { state, effects: [counted('fragment-twice')] }
  if (i === 'contradiction') return spoil(state, old, 'overlap')
  if (old.ranges.length >= FRAGMENTS_MAX) return spoil(state, old, 'too-many')
  const d: Datagram = {
    ...old,
    ranges: [...old.ranges.slice(0, i), { start: f.start, end: f.end, more: f.more }, ...old.ranges.slice(i)],
    octets: old.octets + f.end - f.start,
    total: f.more ? old.total : f.end,
    head: f.start === 0 ? headOf(f) : old.head
  }
  const data = { off: f.off + f.headLen, len: f.end - f.start }
  const effects: ReassemblyEffect[] = [{ type: 'Keep', slot: d.slot, at: f.start, data }]
  if (f.start === 0) effects.push({ type: 'KeepHead', slot: d.slot, head: { off: f.off, len: f.headLen } })
  // Without overlap, and nothing behind the last one: as many octets as there are to come are all of them
  if (d.head === null || d.octets !== d.total) return { state: replace(state, d), effects }
  // Only the first one's headers are kept, and they may be longer than those of the others
  if (d.head.counted + d.octets > LENGTH_MAX) return spoil(state, d, 'too-long')
  effects.push({ type: 'Join', slot: d.slot, head: d.head, octets: d.octets }, counted('datagram-joined'))
  return { state: state.filter((x) => x.slot !== d.slot), effects }
}

/** A fragment has come. `Keep` and `Join` refer to its frame and the slots: to be carried out at once, in order. */
export const onFragment = (state: Reassembly, f: Fragment, now: Instant): Step => {
  const wrong = fault(f)
  if (wrong !== null) {
    const { why, problem } = wrong
    const { effects } = dropped(state, why)
    if (problem === null || !f.v6 || !answerable(f)) return { state, effects }
    return { state, effects: [...effects, { type: 'ParameterProblem', problem }] }
  }
  const known = state.find((d) => sameDatagram(d, f))
  if (known !== undefined) return add(state, known, f)
  const begun = begin(state, f, now)
  const added = add(begun.state, begun.d, f)
  return { state: added.state, effects: [...begun.effects, ...added.effects] }
}

/** When the next one's time is over; null: nothing waits. */
export const nextDeadline = (state: Reassembly): Instant | null =>
  state.reduce<Instant | null>((min, d) => (min === null || d.deadline < min ? d.deadline : min), null)

/** Those whose time is over are given up, and their sender is told if the first fragment is there (RFC 792, RFC 4443 §3.3). */
export const onTime = (state: Reassembly, now: Instant): Step => ({
  state: state.filter((d) => d.deadline > now),
  effects: state
    .filter((d) => d.deadline <= now && !d.spoiled)
    .flatMap((d): ReassemblyEffect[] => [
      counted('drop-fragment-timeout'),
      ...(d.head?.answerable === true ? [{ type: 'TimeExceeded', slot: d.slot, head: d.head } as const] : [])
    ])
})
