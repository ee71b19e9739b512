import type {
  MemoryRegion,
  RingAddresses,
  VhostMessage,
  VhostRequest
} from '../../codecs/control/vhost-user.js'
import type { Ring, RingFd, VhostContext } from './vhost-session.js'

// A vhost-user session for a process that takes our place (behaviour.md#restart): requests that lead from a new session to this one. The
// other process deals with them as with a front-end's, so there is one way in, with all its checks. Rings are started last.

/** What native has of a ring. */
export interface HeldRing {
  /** Where it lies; null: nowhere yet. */
  readonly place: { readonly entries: number; readonly addresses: RingAddresses } | null
  /** Its next place in the available ring. */
  readonly next: number
  readonly fds: Readonly<Record<RingFd, boolean>>
}
/** What native has of a session. */
export interface HeldSession {
  /** In force; 0n: none were set. */
  readonly features: bigint
  readonly regions: ReadonlyArray<MemoryRegion>
  /** Of dirty pages: octets, and where they begin in their file. */
  readonly log: { readonly size: bigint; readonly offset: bigint } | null
  /** The eventfd that is told of marks. */
  readonly logFd: boolean
  readonly rings: ReadonlyArray<HeldRing>
}
/** A descriptor that native has. */
export type HeldFd =
  | { readonly of: 'region'; readonly place: number }
  | { readonly of: 'log' | 'logFd' }
  | { readonly of: RingFd; readonly ring: number }

export interface HandedRequest {
  readonly message: VhostMessage
  readonly fds: ReadonlyArray<HeldFd>
}

/** Requests that another session may be made of. */
const HANDED: ReadonlySet<VhostRequest['type']> = new Set([
  'SET_FEATURES',
  'ADD_MEM_REG',
  'SET_LOG_BASE',
  'SET_LOG_FD',
  'SET_VRING_NUM',
  'SET_VRING_BASE',
  'SET_VRING_ADDR',
  'SET_VRING_CALL',
  'SET_VRING_ERR',
  'SET_VRING_ENABLE',
  'SET_VRING_KICK'
])
export const mayBeHanded = (type: string): boolean => HANDED.has(type as VhostRequest['type'])
/** It starts a ring: what it asks for is seen by the guest. */
export const startsRing = (type: string): boolean => type === 'SET_VRING_KICK'

/** Why this session is nobody else's now, null: it may be. */
export const staysHere = ({ saved, transfer, rings }: VhostContext): string | null => {
  const moving = transfer !== null && (transfer.outcome === 'running' || rings.every((r) => !r.started))
  return saved || moving ? 'its guest is being moved' : null
}

const request = (m: VhostRequest, ...fds: ReadonlyArray<HeldFd>): HandedRequest => ({
  message: { ...m, needReply: false },
  fds
})
const withFd = (type: 'SET_VRING_CALL' | 'SET_VRING_ERR', of: RingFd, ring: number): HandedRequest =>
  request({ type, ring, none: false }, { of, ring })

/** A ring as it lies, then the size or the place that waits for the other one. */
const placeRing = ({ place, next, fds }: HeldRing, r: Ring, ring: number): ReadonlyArray<HandedRequest> => {
  const num = (entries: number): HandedRequest[] =>
    entries > 0 ? [request({ type: 'SET_VRING_NUM', ring, entries })] : []
  const addr = (addresses: RingAddresses | null): HandedRequest[] =>
    addresses === null ? [] : [request({ type: 'SET_VRING_ADDR', ring, addresses })]
  return [
    request({ type: 'SET_VRING_BASE', ring, next }),
    ...(place === null ? [] : [...num(place.entries), ...addr(place.addresses)]),
    ...(place?.entries === r.entries ? [] : num(r.entries)),
    ...addr(r.kept),
    ...(fds.call ? [withFd('SET_VRING_CALL', 'call', ring)] : []),
    ...(fds.err ? [withFd('SET_VRING_ERR', 'err', ring)] : []),
    // Before it is started: one that is disabled throws away what the guest sends
    request({ type: 'SET_VRING_ENABLE', ring, enable: r.enabled })
  ]
}

/** Of a session that waits for nothing. Law: a new session that is told all this is as this one. */
export const requestsOf = (
  { features, regions, log, logFd, rings: held }: HeldSession,
  rings: ReadonlyArray<Ring>
): ReadonlyArray<HandedRequest> => [
  ...(features === 0n ? [] : [request({ type: 'SET_FEATURES', features })]),
  ...regions.map((region, place) => request({ type: 'ADD_MEM_REG', region }, { of: 'region', place })),
  ...(log === null ? [] : [request({ type: 'SET_LOG_BASE', ...log }, { of: 'log' })]),
  ...(logFd ? [request({ type: 'SET_LOG_FD' }, { of: 'logFd' })] : []),
  ...held.flatMap((h, ring) => placeRing(h, rings[ring]!, ring)),
  ...held.flatMap((h, ring) =>
    rings[ring]!.started
      ? [
          request(
            { type: 'SET_VRING_KICK', ring, none: !h.fds.kick },
            ...(h.fds.kick ? [{ of: 'kick', ring } as const] : [])
          )
        ]
      : []
  )
]
