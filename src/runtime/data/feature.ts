import type { Octets } from '../../codecs/value/octets.js'
import type { Fragment } from '../../codecs/wire/fragment.js'
import type { DropReason, Frame } from '../../codecs/wire/frame.js'
import type { Instant } from '../../effects/effect.js'
import { EV } from '../abi/abi.js'
import type { Deadline } from '../flow/deadline.js'
import type { Flow, FlowEvent, TapFlow } from '../flow/flow.js'
import type { Keeps } from '../flow/keeps.js'
import type { Opening } from '../flow/kinds.js'

/** A record of the event ring, by its place in it, from 0. */
export type Taker = (i: number, now: Instant) => void
/** True: the frame was for it. */
export type Claim<F extends Frame> = (f: F, now: Instant) => boolean
type Claims = { readonly [K in Frame['kind']]?: Claim<Extract<Frame, { readonly kind: K }>> }

/**
 * Something that the program does besides the others, and its state, which nobody else has. The loop, the demultiplexer and the
 * start know features by this alone; engine/features.ts has the list.
 */
export interface Feature {
  readonly name: string
  /** Records of the event ring that it takes, by their names in EV. No two features take the same. */
  readonly takes?: { readonly [K in keyof typeof EV]?: Taker }
  /** When `onTime` is due. */
  readonly deadline?: Deadline
  readonly onTime?: (now: Instant) => void
  /** What it does in time is for flows: it goes on where nothing else does, as another process has taken our place. */
  readonly forFlows?: boolean
  /** What it keeps from turn to turn; null: nothing. Who has a say in what is done tells (engine/features.ts, actingFeatures). */
  readonly keeps?: Keeps | null
  /** Frames of the guest's that are no flow's, by kind. Asked in the order of features, before flows. */
  readonly claims?: Claims
  /**
   * Puts the guest's fragments together. Result: a frame with a whole datagram, until the end of the turn; null: there is none. One
   * feature at most. `offload`: the fragment's sender left work on it to the tap.
   */
  readonly reassemble?: (fragment: Octets, offload: boolean, now: Instant) => Octets | null
  /** Somebody is at the other end of the guest's link, or nobody any more. */
  readonly guestUp?: (now: Instant) => void
  readonly guestDown?: () => void
  /**
   * May this flow begin? Asked before anything is done for it; one that says no is enough. It is then refused as for want of
   * something: a connection is reset, a datagram's sender is told that communication is prohibited.
   */
  readonly mayOpen?: (o: Opening, now: Instant) => boolean
  /** A flow has begun: by the guest's frame at `frameAt` in the slab, if it is one that the guest began. */
  readonly flowBegan?: (f: Flow, frameAt: number) => void
  /** A flow has ended, each one once: its addresses are free, its sockets are closed or about to be. */
  readonly flowEnded?: (f: Flow) => void
  /**
   * Whom a flow is for has been heard, or will not be, by `e`: a connection waits for it no more; datagrams were answered, at least once, or were
   * refused. Told before the flow ends by that.
   */
  readonly settled?: (f: Flow, e: FlowEvent) => void
  /** A frame of this flow is about to go to the guest. */
  readonly sending?: (f: TapFlow) => void
  /** A frame has come from the guest, and what it was found to be. */
  readonly frameCame?: (frame: Octets, what: Frame | Fragment | DropReason) => void
  /** The world's configuration (World.cfg) is another one. */
  readonly reconfigured?: (now: Instant) => void
  /** Effects in the ring are about to be carried out. */
  readonly effects?: () => void
  /** `n` records are in the event ring, not taken yet. */
  readonly events?: (n: number, now: Instant) => void
}

/** Of one shape for all features: each turn looks at them. */
interface Timed {
  readonly deadline: Deadline
  readonly onTime: (now: Instant) => void
  readonly forFlows: boolean
}
type Each<K extends keyof Feature> = NonNullable<Feature[K]>[]

/** All features of a world, by what they are asked for. */
export interface Features {
  /** By kind of record, EV. */
  readonly takers: Taker[]
  readonly timed: Timed[]
  /** By its name, of each that keeps something. */
  readonly keeps: Map<string, Keeps>
  readonly claims: { readonly [K in Frame['kind']]: Claim<Extract<Frame, { readonly kind: K }>>[] }
  reassemble: Feature['reassemble'] | null
  readonly guestUp: Each<'guestUp'>
  readonly guestDown: Each<'guestDown'>
  readonly mayOpen: Each<'mayOpen'>
  readonly flowBegan: Each<'flowBegan'>
  readonly flowEnded: Each<'flowEnded'>
  readonly settled: Each<'settled'>
  readonly sending: Each<'sending'>
  readonly frameCame: Each<'frameCame'>
  readonly reconfigured: Each<'reconfigured'>
  readonly effects: Each<'effects'>
  readonly events: Each<'events'>
}

const KINDS_OF_EVENTS = Math.max(...Object.values(EV)) + 1

/** `nobody`: what becomes of a record that no feature takes. */
export const noFeatures = (nobody: Taker): Features => ({
  takers: Array.from({ length: KINDS_OF_EVENTS }, () => nobody),
  timed: [],
  keeps: new Map(),
  claims: { arp: [], tcp: [], udp: [], icmp: [], icmpv6: [], other: [] },
  reassemble: null,
  guestUp: [],
  guestDown: [],
  mayOpen: [],
  flowBegan: [],
  flowEnded: [],
  settled: [],
  sending: [],
  frameCame: [],
  reconfigured: [],
  effects: [],
  events: []
})

const HOOKS = [
  'guestUp',
  'guestDown',
  'mayOpen',
  'flowBegan',
  'flowEnded',
  'settled',
  'sending',
  'frameCame',
  'reconfigured',
  'effects',
  'events'
] as const

const LOOKS = ['frameCame', 'effects', 'events'] as const
/** Who only looks at turns may come while all runs, from no hook of these. Result: it goes again. */
export const lookOn = (all: Features, f: Feature): (() => void) => {
  for (const hook of LOOKS) if (f[hook] !== undefined) all[hook].push(f[hook] as never)
  return () => {
    for (const hook of LOOKS) {
      const at = all[hook].indexOf(f[hook] as never)
      if (at >= 0) all[hook].splice(at, 1)
    }
  }
}

/** Once, before the first turn. Throws where two want the same. */
export const install = (all: Features, list: ReadonlyArray<Feature>): void => {
  const takenBy = new Map<string, string>()
  const only = (what: string, f: Feature): void => {
    const other = takenBy.get(what)
    if (other !== undefined) throw new Error(`${what}: both '${other}' and '${f.name}' take it`)
    takenBy.set(what, f.name)
  }
  for (const f of list) {
    for (const [name, taker] of Object.entries(f.takes ?? {})) {
      only(name, f)
      all.takers[EV[name as keyof typeof EV]] = taker
    }
    for (const [kind, claim] of Object.entries(f.claims ?? {}))
      all.claims[kind as Frame['kind']].push(claim as never)
    if (f.reassemble !== undefined) {
      only('fragments', f)
      all.reassemble = f.reassemble
    }
    const { deadline, onTime, forFlows = false } = f
    if (f.keeps != null) {
      only(`what '${f.name}' keeps`, f)
      all.keeps.set(f.name, f.keeps)
    }
    if (deadline !== undefined && onTime !== undefined) all.timed.push({ deadline, onTime, forFlows })
    for (const hook of HOOKS) if (f[hook] !== undefined) all[hook].push(f[hook] as never)
  }
}
