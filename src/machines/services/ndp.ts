import { assign, setup } from 'xstate'
import { type InAny, isUnspecified, UNSPECIFIED6 } from '../../codecs/value/inany.js'
import { BROADCAST_MAC } from '../../codecs/wire/ethernet.js'
import { type Instant, instant, type ServiceEffect } from '../../effects/effect.js'
import { by, type Source } from '../source.js'
import type { GuestConfig } from './guest-config.js'
import { type Former, NOTHING_FORMER, type RouterSolicitation, routerAdvertFrame } from './ndp-answer.js'

// Router advertisements (RFC 4861 §6.2): one to each solicitation, and unsolicited ones while the guest's link is ready.
// A solicitation with a source is answered by unicast and at once (§6.2.6 allows it: there is one router, so no delay is
// needed against bursts); one from :: by a multicast to all nodes, at most one in 3 s. The first unsolicited one comes
// after an interval, since a guest that starts solicits.
//
// What is announced may change with the host (behaviour.md#following): three advertisements say so, the first at once (§6.2.4).
//
//   quiet        link not ready: solicitations are answered, nothing else is sent
//   advertising  the timer runs

/** ms, RFC 4861 §6.2.1: MinRtrAdvInterval a third of MaxRtrAdvInterval 600 s. */
const MIN_INTERVAL = 200_000
const MAX_INTERVAL = 600_000
/** ms, MIN_DELAY_BETWEEN_RAS, RFC 4861 §10 */
const MIN_DELAY = 3_000
/** MAX_INITIAL_RTR_ADVERTISEMENTS, and ms between them, MAX_INITIAL_RTR_ADVERT_INTERVAL: RFC 4861 §6.2.4, §10 */
const INITIAL = 3
const INITIAL_INTERVAL = 16_000

export interface RouterAdvertContext {
  readonly config: GuestConfig
  /** When the last RA to all nodes went out; null: never. */
  readonly lastMulticast: Instant | null
  /** What was announced and holds no longer, to be said `initial` times. */
  readonly former: Former
  /** RAs to all nodes that follow one another soon, since something has changed. */
  readonly initial: number
}
/** `random`: uniform in [0, 1). */
interface Chance {
  readonly now: Instant
  readonly random: number
}
export type RouterAdvertEvent =
  /** passt: a client is connected. pasta: its tap is configured by the guest. */
  | ({ readonly type: 'TAP_READY' } & Chance)
  | { readonly type: 'TAP_LOST' }
  | ({ readonly type: 'RS_RECEIVED'; readonly solicitation: RouterSolicitation } & Chance)
  /** Other addresses and resolvers from here on. `former`: those that are none any more. */
  | ({ readonly type: 'CONFIG_CHANGED'; readonly config: GuestConfig; readonly former: Former } & Chance)
  /** The service timer's deadline passed; harmless at any time. */
  | ({ readonly type: 'TIMER_RA' } & Chance)

type Inert<K> = (_: unknown, params: Omit<Extract<ServiceEffect, { type: K }>, 'type'>) => void
const inert = (): void => {}
const serviceActions: { readonly [K in ServiceEffect['type']]: Inert<K> } = {
  FrameToTap: inert,
  ArmServiceTimer: inert,
  Log: inert,
  Count: inert
}

/** Uniform in [200, 600) s from now, whole ms: without rounding down, the largest `random` would give 600 s. */
export const nextAdvert = ({ now, random }: Chance): Instant =>
  instant(now + MIN_INTERVAL + Math.floor(random * (MAX_INTERVAL - MIN_INTERVAL)))

type Timed = { context: RouterAdvertContext; event: Chance }
const byInterval = ({ context, event }: Timed): { at: Instant } => ({
  at: context.initial > 0 ? instant(event.now + INITIAL_INTERVAL) : nextAdvert(event)
})
/** As soon as one may follow the last one. */
const afterDelay = ({ context, event }: Timed): { at: Instant } => ({
  at: instant((context.lastMulticast ?? event.now) + MIN_DELAY)
})
const byNow = ({ event }: { event: Chance }): { now: Instant } => ({ now: event.now })
type Args<K> = { context: RouterAdvertContext; event: Extract<RouterAdvertEvent, { type: K }> }
const toAsker = ({ context, event }: Args<'RS_RECEIVED'>): { frame: Uint8Array } => ({
  frame: routerAdvertFrame(context.config, event.solicitation.src, event.solicitation.srcMac)
})
const toAll = ({ context }: { context: RouterAdvertContext }): { frame: Uint8Array } => ({
  frame: routerAdvertFrame(context.config, UNSPECIFIED6, BROADCAST_MAC, context.former)
})
const byConfig = ({ event }: Args<'CONFIG_CHANGED'>): { config: GuestConfig; former: Former } => ({
  config: event.config,
  former: event.former
})
const bySource = ({ event }: Args<'RS_RECEIVED'>): { src: InAny } => ({
  src: event.solicitation.src
})
const answering = { service: 'NDP', level: 'info', text: 'received RS, sending RA' } as const
const unsolicited = { service: 'NDP', level: 'info', text: 'sending unsolicited RA' } as const
const changed = { service: 'NDP', level: 'info', text: 'the host has changed, sending RA' } as const
const tooSoon = { what: 'ndp: RS within 3 s of an RA' } as const

const enabled = (c: GuestConfig): boolean => c.v6 !== null && !c.noNdp && !c.noRa

// Rows and actions of both states
const off = { guard: 'off', meta: by('behaviour.md#no-router') } as const
/** MinRtrAdvInterval and MaxRtrAdvInterval. */
const interval = by('RFC 4861 §6.2.1, §6.2.4')
const atOnce = by('RFC 4861 §6.2.4, §6.2.6; behaviour.md#following')
const toAllNodes = by('RFC 4861 §6.2.4, §6.2.6')
const answer = {
  guard: { type: 'hasSource', params: bySource },
  actions: [
    { type: 'Log', params: answering },
    { type: 'FrameToTap', params: toAsker }
  ],
  meta: by('RFC 4861 §6.2.6; behaviour.md#ndp')
} as const
const ignore = {
  actions: { type: 'Count', params: tooSoon },
  meta: by('RFC 4861 §6.2.6, MIN_DELAY_BETWEEN_RAS')
} as const
const mayMulticast = { type: 'mayMulticast', params: byNow } as const
const multicast = (why: typeof answering | typeof unsolicited | typeof changed) =>
  [
    { type: 'Log', params: why },
    { type: 'FrameToTap', params: toAll },
    { type: 'noteMulticast', params: byNow }
  ] as const
const reconfigure = { type: 'reconfigure', params: byConfig } as const
const nextOne = { type: 'ArmServiceTimer', params: byInterval } as const

export const ndpMachine = setup({
  types: {
    context: {} as RouterAdvertContext,
    events: {} as RouterAdvertEvent,
    input: {} as { readonly config: GuestConfig },
    meta: {} as Source
  },
  guards: {
    off: ({ context }) => !enabled(context.config),
    willBeOff: (_, p: { config: GuestConfig }) => !enabled(p.config),
    hasSource: (_, p: { src: InAny }) => !isUnspecified(p.src),
    /** MIN_DELAY since the last RA to all nodes; whoever asked within it heard that one, or asks again in 4 s (§10). */
    mayMulticast: ({ context }, p: { now: Instant }) =>
      context.lastMulticast === null || p.now - context.lastMulticast >= MIN_DELAY
  },
  actions: {
    ...serviceActions,
    noteMulticast: assign(({ context }, p: { now: Instant }) => ({
      lastMulticast: p.now,
      former: context.initial > 1 ? context.former : NOTHING_FORMER,
      initial: Math.max(0, context.initial - 1)
    })),
    reconfigure: assign((_, p: { config: GuestConfig; former: Former }) => ({
      config: p.config,
      former: p.former,
      initial: INITIAL
    }))
  }
}).createMachine({
  id: 'ndp',
  context: ({ input }) => ({ config: input.config, lastMulticast: null, former: NOTHING_FORMER, initial: 0 }),
  initial: 'quiet',
  states: {
    quiet: {
      on: {
        TAP_READY: { target: 'advertising', actions: nextOne, meta: interval },
        CONFIG_CHANGED: { actions: reconfigure, meta: by('behaviour.md#following') },
        RS_RECEIVED: [
          off,
          answer,
          { guard: mayMulticast, actions: [...multicast(answering)], meta: toAllNodes },
          ignore
        ]
      }
    },
    advertising: {
      on: {
        TAP_READY: { meta: by('ours: another client while one is connected; the timer runs already') },
        TAP_LOST: { target: 'quiet', meta: by('behaviour.md#ndp') },
        CONFIG_CHANGED: [
          {
            guard: { type: 'willBeOff', params: byConfig },
            actions: reconfigure,
            meta: by('behaviour.md#no-router')
          },
          { guard: mayMulticast, actions: [reconfigure, ...multicast(changed), nextOne], meta: atOnce },
          { actions: [reconfigure, { type: 'ArmServiceTimer', params: afterDelay }], meta: atOnce }
        ],
        RS_RECEIVED: [
          off,
          answer,
          // §6.2.4: every multicast RA restarts the interval
          { guard: mayMulticast, actions: [...multicast(answering), nextOne], meta: toAllNodes },
          ignore
        ],
        TIMER_RA: [
          { guard: 'off', actions: nextOne, meta: by('behaviour.md#no-router') },
          { guard: mayMulticast, actions: [...multicast(unsolicited), nextOne], meta: toAllNodes },
          { actions: nextOne, meta: by('RFC 4861 §6.2.6, MIN_DELAY_BETWEEN_RAS') }
        ]
      }
    }
  }
})
