import { assign, setup } from 'xstate'
import {
  idOf,
  type MemoryRegion,
  type RingAddresses,
  VHOST_ID,
  VHOST_RINGS,
  type VhostMessage,
  type VhostReply,
  type VhostRequest
} from '../../codecs/control/vhost-user.js'
import { by } from '../source.js'

// One vhost-user session: what a front-end (a hypervisor) has told us of the guest's device, and what it is answered. Who is
// served is guest-link.ts' business; native maps memory, walks rings and watches descriptors as it is told here.
//
// The channel is in lock-step: the next message comes when this one is dealt with (`VhostDealt`), after native has done what it
// asks for. So the front-end's requests take effect in their order, and a reply says what is in force.
//
// A ring is started or stopped, and enabled or disabled; neither changes the other ("Ring states"). A failure that the front-end
// waits to hear of is told; one that it cannot be told ends the session, since it goes on as if nothing had happened.

// Bits of virtio-net's features (virtio 1.2 §5.1.3, §6), of the device's log, and of the protocol
const bits = (...list: ReadonlyArray<number>): bigint =>
  list.reduce((word, bit) => word | (1n << BigInt(bit)), 0n)
const VERSION_1 = bits(32)
const PROTOCOL_FEATURES = bits(30)
const GUEST_CSUM = bits(1)
/** What needs GUEST_CSUM: GUEST_TSO4, GUEST_TSO6, GUEST_USO4, GUEST_USO6. */
const GUEST_SEGMENTS = bits(7, 8, 54, 55)
/** VERSION_1, PROTOCOL_FEATURES, LOG_ALL, MRG_RXBUF, GUEST_CSUM: a guest with these can move to any other passt. */
const COMMON_FEATURES = bits(32, 30, 26, 15, 1)

/** What a back-end can do: virtio features, and those of the protocol. */
export interface VhostOffer {
  readonly features: bigint
  readonly protocol: bigint
}
/** LOG_SHMFD, RARP, REPLY_ACK, DEVICE_STATE; and CONFIGURE_MEM_SLOTS where all is offered. */
const COMMON_PROTOCOL = bits(1, 2, 3, 19)
export const OFFERS: Readonly<Record<'all' | 'upstream', VhostOffer>> = {
  // CSUM, HOST_TSO4, HOST_TSO6, HOST_USO; GUEST_TSO4, GUEST_TSO6, GUEST_USO4, GUEST_USO6; INDIRECT_DESC, EVENT_IDX
  all: {
    features: COMMON_FEATURES | bits(0, 11, 12, 56, 7, 8, 54, 55, 28, 29),
    protocol: COMMON_PROTOCOL | bits(15)
  },
  upstream: { features: COMMON_FEATURES, protocol: COMMON_PROTOCOL }
}

/** Regions that may be added one by one: as many as QEMU's own back-ends take. */
export const MEM_SLOTS = 32
/** The answer to SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE: failed; bit 8: there is no descriptor of ours. */
const STATE_FAILED = 1n
const STATE_NO_FD = 1n << 8n
/** Directions of SET_DEVICE_STATE_FD; its only phase is 0: the rings are stopped. */
const DIRECTIONS = ['save', 'load'] as const
export type StateDirection = (typeof DIRECTIONS)[number]

export type RingMode = 'stopped' | 'disabled' | 'enabled'
export type RingFd = 'kick' | 'call' | 'err'

export type VhostEffect =
  /** Answer, if there is an answer; then the next message may come. */
  | { readonly type: 'VhostDealt'; readonly reply: VhostReply | null }
  /** In force from here on. */
  | { readonly type: 'VhostFeatures'; readonly features: bigint }
  /** DONE follows each of these, and of the next two. */
  | {
      readonly type: 'VhostMemory'
      readonly regions: ReadonlyArray<MemoryRegion>
      readonly fds: ReadonlyArray<number>
    }
  | { readonly type: 'VhostAddRegion'; readonly region: MemoryRegion; readonly fd: number }
  | { readonly type: 'VhostRemoveRegion'; readonly region: MemoryRegion }
  | { readonly type: 'VhostLog'; readonly fd: number; readonly size: bigint; readonly offset: bigint }
  | ({ readonly type: 'VringAddr'; readonly ring: number; readonly entries: number } & RingAddresses)
  | { readonly type: 'VhostLogFd'; readonly fd: number }
  | { readonly type: 'VringBase'; readonly ring: number; readonly next: number }
  | { readonly type: 'VringFd'; readonly ring: number; readonly which: RingFd; readonly fd: number | null }
  | { readonly type: 'VringRun'; readonly ring: number; readonly mode: RingMode }
  /** VRING_STOPPED follows. */
  | { readonly type: 'VringStop'; readonly ring: number }
  | { readonly type: 'VhostCloseFds'; readonly fds: ReadonlyArray<number> }
  /** Whether the guest can be reached; also where nothing has changed. */
  | { readonly type: 'VhostRx'; readonly usable: boolean }
  /** The guest's state is to be written there, or read from there. TRANSFER_DONE follows, in any state. */
  | { readonly type: 'StateTransfer'; readonly direction: StateDirection; readonly fd: number }
  /** CHECK_DEVICE_STATE has been answered. */
  | { readonly type: 'StateChecked'; readonly ok: boolean }
  /** A ring runs again, whose guest's state was written or is being written: the guest stays. */
  | { readonly type: 'StateResumed' }
  /** A request that nobody knows. */
  | { readonly type: 'VhostUnknown'; readonly id: number }
  /** A request that failed, and the front-end was told. */
  | { readonly type: 'VhostFailed'; readonly request: string; readonly errno: number }
  /** The session is over: its client is to be closed. */
  | { readonly type: 'VhostBroken'; readonly why: VhostFault }

/** Why a session ends; `errno` and `detail` as numbers, for whoever finds words. */
export type VhostFault =
  | { readonly kind: 'malformed'; readonly text: string }
  | { readonly kind: 'failed'; readonly request: string; readonly errno: number }
  | { readonly kind: 'legacy' }
  | { readonly kind: 'ring'; readonly ring: number; readonly reason: number; readonly detail: number }

type Request<R = VhostMessage> = R extends VhostMessage ? R & { readonly fds: ReadonlyArray<number> } : never
/** `fds`: descriptors that belong to it, as many as codecs/control/vhost-user.ts says. */
export type VhostEvent =
  | { readonly type: 'CONNECTED' }
  /** The client is gone, or closed. */
  | { readonly type: 'DISCONNECTED' }
  | Request
  /** A message that cannot be, and what came with it. */
  | { readonly type: 'MALFORMED'; readonly text: string; readonly fds: ReadonlyArray<number> }
  /** Descriptors with a message that takes none. */
  | { readonly type: 'SPARE_FDS'; readonly fds: ReadonlyArray<number> }
  | { readonly type: 'DONE'; readonly errno: number }
  | { readonly type: 'TRANSFER_DONE'; readonly ok: boolean }
  | { readonly type: 'VRING_STOPPED'; readonly ring: number; readonly next: number }
  | {
      readonly type: 'VRING_BROKEN'
      readonly ring: number
      readonly reason: number
      readonly detail: number
    }

export interface Ring {
  /** Of SET_VRING_NUM; 0: not said yet. */
  readonly entries: number
  /** Addresses that came before the size or the memory that they need. */
  readonly kept: RingAddresses | null
  readonly started: boolean
  readonly enabled: boolean
}
/** What native is doing, and for which request. */
interface Asked {
  readonly request: VhostRequest['type']
  readonly id: number
  readonly needReply: boolean
  /** Guest memory is there once it is done. */
  readonly memory: boolean
}
/** The last transfer of the guest's state in this session. */
interface Transfer {
  readonly direction: StateDirection
  readonly outcome: 'running' | 'done' | 'failed'
}
export interface VhostContext {
  readonly offer: VhostOffer
  readonly memory: boolean
  readonly rings: ReadonlyArray<Ring>
  readonly asked: Asked
  /** null: none, or the guest stayed after it. */
  readonly transfer: Transfer | null
  /** The state was written, or is being written, and the guest has not run since. */
  readonly saved: boolean
}

const NEW_RING: Ring = { entries: 0, kept: null, started: false, enabled: false }
const NEW_RINGS: ReadonlyArray<Ring> = Array.from({ length: VHOST_RINGS }, () => NEW_RING)
const NOTHING: Asked = { request: 'OTHER', id: 0, needReply: false, memory: false }

/** Ring towards the guest. */
const RX = 0
export const modeOf = (r: Ring): RingMode => (r.started ? (r.enabled ? 'enabled' : 'disabled') : 'stopped')
const withRing = (rings: ReadonlyArray<Ring>, ring: number, change: Partial<Ring>): ReadonlyArray<Ring> =>
  rings.map((r, i) => (i === ring ? { ...r, ...change } : r))
/** Addresses that were kept and can be used now: index of the ring, -1: none. */
const readyRing = (c: VhostContext): number =>
  c.rings.findIndex((r) => r.kept !== null && r.entries > 0 && c.memory)
/** Acknowledged, of what was offered; without GUEST_CSUM nothing that needs it (virtio 1.2 §5.1.3.1). */
export const inForce = (offer: VhostOffer, features: bigint): bigint => {
  const both = features & offer.features
  return (both & GUEST_CSUM) === 0n ? both & ~GUEST_SEGMENTS : both
}

type Inert<K> = (_: unknown, params: Omit<Extract<VhostEffect, { type: K }>, 'type'>) => void
const inert = (): void => {}
const vhostActions: { readonly [K in VhostEffect['type']]: Inert<K> } = {
  VhostDealt: inert,
  VhostFeatures: inert,
  VhostMemory: inert,
  VhostAddRegion: inert,
  VhostRemoveRegion: inert,
  VhostLog: inert,
  VringAddr: inert,
  VhostLogFd: inert,
  VringBase: inert,
  VringFd: inert,
  VringRun: inert,
  VringStop: inert,
  VhostCloseFds: inert,
  VhostRx: inert,
  StateTransfer: inert,
  StateChecked: inert,
  StateResumed: inert,
  VhostUnknown: inert,
  VhostFailed: inert,
  VhostBroken: inert
}

// --- params

type Member<K, R = VhostEvent> = R extends { readonly type: infer T } ? (K extends T ? R : never) : never
interface Of<K extends VhostEvent['type']> {
  readonly context: VhostContext
  readonly event: Member<K>
}
type AnyRequest = { readonly event: Request }

const value = (id: number, v: bigint): { readonly reply: VhostReply } => ({
  reply: { type: 'VALUE', id, value: v }
})
/** 0: done. */
const ack = ({ event: e }: AnyRequest) => (e.needReply ? value(idOf(e), 0n) : { reply: null })
const refusal = ({ event: e }: AnyRequest) => (e.needReply ? value(idOf(e), 1n) : { reply: null })
const answered = (request: keyof typeof VHOST_ID, v: bigint) =>
  ({ type: 'VhostDealt', params: value(VHOST_ID[request], v) }) as const
const acked = { type: 'VhostDealt', params: ack } as const
const closeFds = {
  type: 'VhostCloseFds',
  params: ({ event }: { event: { readonly fds: ReadonlyArray<number> } }) => ({ fds: event.fds })
} as const
const runOf =
  (ring: number) =>
  ({ context: c }: { context: VhostContext }) => ({ ring, mode: modeOf(c.rings[ring]!) })
const run = {
  type: 'VringRun',
  params: ({ context, event }: { context: VhostContext; event: { readonly ring: number } }) =>
    runOf(event.ring)({ context })
} as const
const rx = {
  type: 'VhostRx',
  params: ({ context: c }: { context: VhostContext }) => ({ usable: modeOf(c.rings[RX]!) === 'enabled' })
} as const
const ringFd = (which: RingFd) =>
  ({
    type: 'VringFd',
    params: ({ event: e }: Of<'SET_VRING_KICK' | 'SET_VRING_CALL' | 'SET_VRING_ERR'>) => ({
      ring: e.ring,
      which,
      fd: e.fds[0] ?? null
    })
  }) as const
const ask = (memory = false) =>
  ({
    type: 'ask',
    params: ({ event: e }: AnyRequest) => ({
      request: e.type,
      id: idOf(e),
      needReply: e.needReply,
      memory
    })
  }) as const
const noteEntries = {
  type: 'noteEntries',
  params: ({ event: e }: Of<'SET_VRING_NUM'>) => ({ ring: e.ring, entries: e.entries })
} as const
const keep = {
  type: 'keep',
  params: ({ event: e }: Of<'SET_VRING_ADDR'>) => ({ ring: e.ring, addresses: e.addresses })
} as const
/** Of an event that nobody expects. */
const closeAny = {
  type: 'VhostCloseFds',
  params: ({ event: e }: { readonly event: VhostEvent }) => ({ fds: 'fds' in e ? e.fds : [] })
} as const
/** Whatever can be placed is placed; what runs already looks at its ring. */
const place = [
  {
    type: 'VringAddr',
    params: ({ context: c }: { context: VhostContext }) => {
      const ring = readyRing(c)
      const r = c.rings[ring]!
      return { ring, entries: r.entries, ...r.kept! }
    }
  },
  {
    type: 'VringRun',
    params: ({ context: c }: { context: VhostContext }) => runOf(readyRing(c))({ context: c })
  },
  { type: 'placed' }
] as const
const brokenBy = <E>(why: (a: { readonly context: VhostContext; readonly event: E }) => VhostFault) =>
  ({
    type: 'VhostBroken',
    params: (a: { readonly context: VhostContext; readonly event: E }) => ({ why: why(a) })
  }) as const
const failure = ({ context: c, event: e }: Of<'DONE'>) => ({ request: c.asked.request, errno: e.errno })
const failed = brokenBy((a: Of<'DONE'>) => ({ kind: 'failed', ...failure(a) }))
const forget = [{ type: 'VhostRx', params: { usable: false } }, { type: 'forget' }] as const
const byErrno = ({ event: e }: Of<'DONE'>) => ({ errno: e.errno })
const byRing = ({ event: e }: { readonly event: { readonly ring: number } }) => ({ ring: e.ring })
const byFeatures = ({ event: e }: Of<'SET_FEATURES'>) => ({ features: e.features })
const features = {
  type: 'VhostFeatures',
  params: ({ context: c, event: e }: Of<'SET_FEATURES'>) => ({ features: inForce(c.offer, e.features) })
} as const

const outcomeOf = ({ context: { transfer } }: { context: VhostContext }) => ({
  ok: transfer?.outcome === 'done'
})
const byOutcome = ({ event: e }: Of<'TRANSFER_DONE'>) => ({ ok: e.ok })
const stateAnswer = (ok: boolean) => value(VHOST_ID.CHECK_DEVICE_STATE, ok ? 0n : STATE_FAILED)
const startRing = [ringFd('kick'), { type: 'start', params: byRing }, run, rx] as const

const SPEC = (section: string, ...regressions: readonly string[]) =>
  by(`vhost-user.rst, "${section}"`, ...regressions)
const message = SPEC('Front-end message types')
const transferring = by('behaviour.md#migration; vhost-user.rst, "Migrating back-end state"')
const told = by('behaviour.md#vhost-user; vhost-user.rst, REPLY_ACK')
const anyOrder = by('behaviour.md#vhost-user')

export const vhostSessionMachine = setup({
  types: {
    context: {} as VhostContext,
    events: {} as VhostEvent,
    input: {} as { readonly offer: VhostOffer }
  },
  guards: {
    /** What the ring's header and order of octets are is not the same without VERSION_1. */
    legacy: (_, p: { features: bigint }) => (p.features & VERSION_1) === 0n,
    /** Then rings are enabled from the start, for want of a request to do it. */
    withoutProtocol: (_, p: { features: bigint }) => (p.features & PROTOCOL_FEATURES) === 0n,
    placeable: ({ context: c }, p: { ring: number }) => c.memory && c.rings[p.ring]!.entries > 0,
    kept: ({ context: c }, p: { ring: number }) => c.memory && c.rings[p.ring]!.kept !== null,
    failed: (_, p: { errno: number }) => p.errno !== 0,
    failedAwaited: ({ context: c }, p: { errno: number }) => p.errno !== 0 && c.asked.needReply,
    moreToPlace: ({ context: c }) => readyRing({ ...c, memory: c.memory || c.asked.memory }) >= 0,
    /** A ring that does not run cannot break: the word is of a session before. */
    running: ({ context: c }, p: { ring: number }) => c.rings[p.ring]?.started === true,
    /** The guest is stopped, and nothing else is under way. */
    mayTransfer: ({ context: c }, p: { direction: number; phase: number }) =>
      p.phase === 0 &&
      DIRECTIONS[p.direction] !== undefined &&
      c.transfer?.outcome !== 'running' &&
      c.rings.every((r) => !r.started),
    transferring: ({ context: c }) => c.transfer?.outcome === 'running',
    saved: ({ context: c }) => c.saved
  },
  actions: {
    ...vhostActions,
    ask: assign((_, asked: Asked) => ({ asked })),
    memoryIsThere: assign(({ context: c }) => (c.asked.memory ? { memory: true } : {})),
    noteEntries: assign(({ context: c }, p: { ring: number; entries: number }) => ({
      rings: withRing(c.rings, p.ring, { entries: p.entries })
    })),
    keep: assign(({ context: c }, p: { ring: number; addresses: RingAddresses }) => ({
      rings: withRing(c.rings, p.ring, { kept: p.addresses })
    })),
    placed: assign(({ context: c }) => ({ rings: withRing(c.rings, readyRing(c), { kept: null }) })),
    start: assign(({ context: c }, p: { ring: number }) => ({
      rings: withRing(c.rings, p.ring, { started: true })
    })),
    stop: assign(({ context: c }, p: { ring: number }) => ({
      rings: withRing(c.rings, p.ring, { started: false })
    })),
    enable: assign(({ context: c }, p: { ring: number; enable: boolean }) => ({
      rings: withRing(c.rings, p.ring, { enabled: p.enable })
    })),
    enableAll: assign(({ context: c }) => ({ rings: c.rings.map((r) => ({ ...r, enabled: true })) })),
    transfer: assign(
      ({ context: c }, p: { direction: number }): Partial<VhostContext> => ({
        transfer: { direction: DIRECTIONS[p.direction]!, outcome: 'running' },
        saved: c.saved || DIRECTIONS[p.direction] === 'save'
      })
    ),
    transferred: assign(
      ({ context: c }, p: { ok: boolean }): Partial<VhostContext> =>
        c.transfer === null ? {} : { transfer: { ...c.transfer, outcome: p.ok ? 'done' : 'failed' } }
    ),
    stays: assign(({ context: c }) => ({
      saved: false,
      transfer: c.transfer?.direction === 'save' ? null : c.transfer
    })),
    forget: assign({ memory: false, rings: NEW_RINGS, asked: NOTHING, transfer: null, saved: false })
  }
}).createMachine({
  id: 'vhost-session',
  description:
    "A vhost-user session: what the front-end's requests change, and what they are answered. vhost-user.rst is QEMU's docs/interop/vhost-user.rst.",
  context: ({ input }) => ({
    offer: input.offer,
    memory: false,
    rings: NEW_RINGS,
    asked: NOTHING,
    transfer: null,
    saved: false
  }),
  initial: 'idle',
  states: {
    idle: {
      on: {
        CONNECTED: { target: 'session', meta: SPEC('Communication') },
        '*': { actions: closeAny, meta: by('ours: it is of a session that has ended') }
      }
    },
    session: {
      initial: 'serving',
      on: {
        DISCONNECTED: { target: 'idle', actions: forget, meta: SPEC('Communication') },
        MALFORMED: {
          target: 'idle',
          actions: [
            closeFds,
            brokenBy(({ event: e }: Of<'MALFORMED'>) => ({ kind: 'malformed', text: e.text })),
            ...forget
          ],
          meta: by('behaviour.md#vhost-user')
        },
        VRING_BROKEN: {
          guard: { type: 'running', params: byRing },
          target: 'idle',
          actions: [
            brokenBy(({ event: { ring, reason, detail } }: Of<'VRING_BROKEN'>) => ({
              kind: 'ring',
              ring,
              reason,
              detail
            })),
            ...forget
          ],
          meta: by('behaviour.md#vhost-user; virtio 1.2 §2.7')
        },
        SPARE_FDS: { actions: closeFds, meta: by('behaviour.md#vhost-user') },
        TRANSFER_DONE: { actions: { type: 'transferred', params: byOutcome }, meta: transferring },
        '*': { actions: closeAny, meta: by('ours: no state expects it') }
      },
      states: {
        // The front-end has our word about all that it said.
        serving: {
          on: {
            GET_FEATURES: {
              actions: { type: 'VhostDealt', params: ({ context: c }) => value(1, c.offer.features) },
              meta: message
            },
            SET_FEATURES: [
              {
                guard: { type: 'legacy', params: byFeatures },
                target: '#vhost-session.idle',
                actions: [brokenBy(() => ({ kind: 'legacy' })), ...forget],
                meta: by('behaviour.md#vhost-user; virtio 1.2 §6.1')
              },
              {
                guard: { type: 'withoutProtocol', params: byFeatures },
                actions: [
                  features,
                  { type: 'enableAll' },
                  { type: 'VringRun', params: runOf(0) },
                  { type: 'VringRun', params: runOf(1) },
                  rx,
                  acked
                ],
                meta: SPEC('Ring states', 'V14')
              },
              { actions: [features, acked], meta: SPEC('Ring states', 'V14') }
            ],
            GET_PROTOCOL_FEATURES: {
              actions: { type: 'VhostDealt', params: ({ context: c }) => value(15, c.offer.protocol) },
              meta: message
            },
            SET_PROTOCOL_FEATURES: { actions: acked, meta: message },
            SET_OWNER: { actions: acked, meta: message },
            RESET_OWNER: { actions: acked, meta: message },
            GET_QUEUE_NUM: {
              actions: answered('GET_QUEUE_NUM', 1n),
              meta: SPEC('Multiple queue support', 'V6')
            },
            GET_MAX_MEM_SLOTS: { actions: answered('GET_MAX_MEM_SLOTS', BigInt(MEM_SLOTS)), meta: message },
            SET_MEM_TABLE: {
              target: 'applying',
              actions: [
                { type: 'VhostMemory', params: ({ event: e }) => ({ regions: e.regions, fds: e.fds }) },
                ask(true)
              ],
              meta: message
            },
            ADD_MEM_REG: {
              target: 'applying',
              actions: [
                { type: 'VhostAddRegion', params: ({ event: e }) => ({ region: e.region, fd: e.fds[0]! }) },
                ask(true)
              ],
              meta: message
            },
            REM_MEM_REG: {
              target: 'applying',
              actions: [
                { type: 'VhostRemoveRegion', params: ({ event: e }) => ({ region: e.region }) },
                ask()
              ],
              meta: message
            },
            SET_LOG_BASE: {
              target: 'logging',
              actions: {
                type: 'VhostLog',
                params: ({ event: e }) => ({ fd: e.fds[0]!, size: e.size, offset: e.offset })
              },
              meta: SPEC('Migration')
            },
            SET_LOG_FD: {
              actions: [{ type: 'VhostLogFd', params: ({ event: e }) => ({ fd: e.fds[0]! }) }, acked],
              meta: message
            },
            SET_VRING_NUM: [
              {
                guard: { type: 'kept', params: byRing },
                target: 'applying',
                actions: [noteEntries, ask(), ...place],
                meta: anyOrder
              },
              { actions: [noteEntries, acked], meta: message }
            ],
            SET_VRING_ADDR: [
              {
                guard: { type: 'placeable', params: byRing },
                target: 'applying',
                actions: [keep, ask(), ...place],
                meta: by('vhost-user.rst, "Front-end message types"', 'V13')
              },
              { actions: [keep, acked], meta: anyOrder }
            ],
            SET_VRING_BASE: {
              actions: [
                { type: 'VringBase', params: ({ event: e }) => ({ ring: e.ring, next: e.next }) },
                acked
              ],
              meta: by('vhost-user.rst, "Front-end message types"', 'V17')
            },
            GET_VRING_BASE: {
              target: 'stopping',
              actions: { type: 'VringStop', params: byRing },
              meta: SPEC('Ring states', 'V12')
            },
            SET_VRING_KICK: [
              {
                guard: 'saved',
                actions: [...startRing, { type: 'StateResumed', params: {} }, { type: 'stays' }, acked],
                meta: by('behaviour.md#migration; vhost-user.rst, "Ring states"', 'V14', 'V15')
              },
              { actions: [...startRing, acked], meta: SPEC('Ring states', 'V14', 'V15') }
            ],
            SET_VRING_CALL: { actions: [ringFd('call'), acked], meta: message },
            SET_VRING_ERR: { actions: [ringFd('err'), acked], meta: message },
            SET_VRING_ENABLE: {
              actions: [
                { type: 'enable', params: ({ event: e }) => ({ ring: e.ring, enable: e.enable }) },
                run,
                rx,
                acked
              ],
              meta: SPEC('Ring states', 'V15', 'V16')
            },
            SEND_RARP: { actions: acked, meta: by('vhost-user.rst, "Migration"', 'V7') },
            SET_DEVICE_STATE_FD: [
              {
                guard: {
                  type: 'mayTransfer',
                  params: ({ event: e }) => ({ direction: e.direction, phase: e.phase })
                },
                actions: [
                  { type: 'transfer', params: ({ event: e }) => ({ direction: e.direction }) },
                  answered('SET_DEVICE_STATE_FD', STATE_NO_FD),
                  {
                    type: 'StateTransfer',
                    params: ({ event: e }) => ({ direction: DIRECTIONS[e.direction]!, fd: e.fds[0]! })
                  }
                ],
                meta: transferring
              },
              {
                actions: [closeFds, answered('SET_DEVICE_STATE_FD', STATE_NO_FD | STATE_FAILED)],
                meta: transferring
              }
            ],
            CHECK_DEVICE_STATE: [
              { guard: 'transferring', target: 'checking', meta: transferring },
              {
                actions: [
                  {
                    type: 'VhostDealt',
                    params: ({ context }) => stateAnswer(outcomeOf({ context }).ok)
                  },
                  { type: 'StateChecked', params: outcomeOf }
                ],
                meta: transferring
              }
            ],
            OTHER: {
              actions: [
                { type: 'VhostUnknown', params: ({ event: e }) => ({ id: e.id }) },
                { type: 'VhostDealt', params: refusal }
              ],
              meta: by('vhost-user.rst, "Communication"; behaviour.md#vhost-user')
            }
          }
        },
        // Native changes the memory, or finds a ring in it.
        applying: {
          on: {
            DONE: [
              {
                guard: { type: 'failedAwaited', params: byErrno },
                target: 'serving',
                actions: [
                  { type: 'VhostFailed', params: failure },
                  { type: 'VhostDealt', params: ({ context: c }) => value(c.asked.id, 1n) }
                ],
                meta: told
              },
              {
                guard: { type: 'failed', params: byErrno },
                target: '#vhost-session.idle',
                actions: [failed, ...forget],
                meta: told
              },
              {
                guard: 'moreToPlace',
                actions: [{ type: 'memoryIsThere' }, ...place],
                meta: anyOrder
              },
              {
                target: 'serving',
                actions: [
                  { type: 'memoryIsThere' },
                  {
                    type: 'VhostDealt',
                    params: ({ context: { asked } }) =>
                      asked.needReply ? value(asked.id, 0n) : { reply: null }
                  }
                ],
                meta: told
              }
            ]
          }
        },
        // Native maps the log. What the front-end is answered it does not look at, so a failure is the end.
        logging: {
          on: {
            DONE: [
              {
                guard: { type: 'failed', params: byErrno },
                target: '#vhost-session.idle',
                actions: [
                  brokenBy(({ event: e }: Of<'DONE'>) => ({
                    kind: 'failed',
                    request: 'SET_LOG_BASE',
                    errno: e.errno
                  })),
                  ...forget
                ],
                meta: SPEC('Migration')
              },
              { target: 'serving', actions: answered('SET_LOG_BASE', 0n), meta: SPEC('Migration') }
            ]
          }
        },
        // The front-end waits to hear how the transfer went, and has to.
        checking: {
          on: {
            TRANSFER_DONE: {
              target: 'serving',
              actions: [
                { type: 'transferred', params: byOutcome },
                { type: 'VhostDealt', params: ({ event: e }) => stateAnswer(e.ok) },
                { type: 'StateChecked', params: byOutcome }
              ],
              meta: transferring
            }
          }
        },
        // Native stops a ring; what has been taken of it is dealt with first.
        stopping: {
          on: {
            VRING_STOPPED: {
              target: 'serving',
              actions: [
                { type: 'stop', params: byRing },
                rx,
                {
                  type: 'VhostDealt',
                  params: ({ event: { ring, next } }) => ({ reply: { type: 'VRING_BASE', ring, next } })
                }
              ],
              meta: SPEC('Ring states', 'V5', 'V12', 'V18')
            }
          }
        }
      }
    }
  }
})
