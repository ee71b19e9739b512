import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import type { Octets } from '../value/octets.js'
import { type Mac, readMac, writeMac } from '../wire/ethernet.js'

// Messages of the vhost-user protocol: a hypervisor (the front-end) has us serve a guest's virtio-net device. Source: QEMU,
// docs/interop/vhost-user.rst, version 1; names of requests are its own. Little-endian: the order of x86 and arm64 hosts. What
// can be wrong with a message by itself is found here, and named; what it means is machines/link/vhost-session.ts.

/** Octets in front of each payload: request, flags, size of the payload; 32 bits each. */
export const VHOST_HEADER = 12
/** One queue pair: ring 0 towards the guest, ring 1 from it (virtio 1.2 §5.1.2). */
export const VHOST_RINGS = 2
/** As many as descriptors go with one message. */
export const VHOST_REGIONS_MAX = 8
/** virtio 1.2 §2.7 */
export const RING_ENTRIES_MAX = 32768

/** Guest memory that the front-end shares. `size` > 0, and nothing that begins here ends beyond 64 bits. */
export interface MemoryRegion {
  /** Guest physical address. */
  readonly gpa: bigint
  /** Octets. */
  readonly size: bigint
  /** Where the front-end has it; rings are told by such addresses. */
  readonly user: bigint
  /** Of the region in its file. */
  readonly offset: bigint
}

/** Where a split ring lies: addresses of the front-end; `log`: guest physical, counts if `logged`. */
export interface RingAddresses {
  readonly logged: boolean
  readonly desc: bigint
  readonly used: bigint
  readonly avail: bigint
  readonly log: bigint
}

/** Requests without a payload. */
type Bare =
  | 'GET_FEATURES'
  | 'SET_OWNER'
  | 'RESET_OWNER'
  | 'SET_LOG_FD'
  | 'GET_PROTOCOL_FEATURES'
  | 'GET_QUEUE_NUM'
  | 'GET_MAX_MEM_SLOTS'
  | 'CHECK_DEVICE_STATE'

export type VhostRequest =
  | { readonly type: Bare }
  | { readonly type: 'SET_FEATURES' | 'SET_PROTOCOL_FEATURES'; readonly features: bigint }
  | { readonly type: 'SET_MEM_TABLE'; readonly regions: ReadonlyArray<MemoryRegion> }
  | { readonly type: 'ADD_MEM_REG' | 'REM_MEM_REG'; readonly region: MemoryRegion }
  /** Octets of the log, and where it begins in its file. */
  | { readonly type: 'SET_LOG_BASE'; readonly size: bigint; readonly offset: bigint }
  | { readonly type: 'SET_VRING_NUM'; readonly ring: number; readonly entries: number }
  | { readonly type: 'SET_VRING_ADDR'; readonly ring: number; readonly addresses: RingAddresses }
  /** `next`: place in the available ring, modulo 65536. */
  | { readonly type: 'SET_VRING_BASE'; readonly ring: number; readonly next: number }
  | { readonly type: 'GET_VRING_BASE'; readonly ring: number }
  /** `none`: there is no descriptor. */
  | {
      readonly type: 'SET_VRING_KICK' | 'SET_VRING_CALL' | 'SET_VRING_ERR'
      readonly ring: number
      readonly none: boolean
    }
  | { readonly type: 'SET_VRING_ENABLE'; readonly ring: number; readonly enable: boolean }
  | { readonly type: 'SEND_RARP'; readonly mac: Mac }
  | { readonly type: 'SET_DEVICE_STATE_FD'; readonly direction: number; readonly phase: number }
  /** Any other, by its number; its payload is not looked at. */
  | { readonly type: 'OTHER'; readonly id: number }

/** `needReply`: the front-end waits for a word about it, if the request has no reply of its own. */
export type VhostMessage = VhostRequest & { readonly needReply: boolean }

/** Numbers of requests. */
export const VHOST_ID = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SEND_RARP: 19,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_DEVICE_STATE_FD: 42,
  CHECK_DEVICE_STATE: 43
} as const satisfies Readonly<Record<Exclude<VhostRequest['type'], 'OTHER'>, number>>
export const idOf = (m: VhostRequest): number => (m.type === 'OTHER' ? m.id : VHOST_ID[m.type])

/** How many descriptors come with it. */
export const descriptorsOf = (m: VhostRequest): number => {
  switch (m.type) {
    case 'SET_MEM_TABLE':
      return m.regions.length
    case 'SET_VRING_KICK':
    case 'SET_VRING_CALL':
    case 'SET_VRING_ERR':
      return m.none ? 0 : 1
    case 'SET_LOG_BASE':
    case 'SET_LOG_FD':
    case 'ADD_MEM_REG':
    case 'SET_DEVICE_STATE_FD':
      return 1
    default:
      return 0
  }
}

const ID = 0
const FLAGS = 4
const SIZE = 8 // offsets in octets, "Header"
const VERSION = 1
const VERSION_MASK = 3
const IS_REPLY = 4
const NEED_REPLY = 8 // flags

const U64_END = 1n << 64n
/** Bits 0-7: the ring; SET_VRING_KICK and its like. */
const RING_MASK = 0xffn
const NO_FD = 1n << 8n
/** Of SET_VRING_ADDR: writes to the used ring are logged. */
const VRING_LOG = 1

// --- what is in a payload

/** One form of payload. `read` and `write` find room for `length`. */
interface Form<A> {
  /** Octets, `null`: any number of them. */
  readonly size: number | null
  readonly read: (v: DataView, at: number, size: number) => A | string
  readonly write: (v: DataView, at: number, a: A) => void
  readonly length: (a: A) => number
}
const form = <A>(size: number, read: Form<A>['read'], write: Form<A>['write']): Form<A> => ({
  size,
  read,
  write,
  length: () => size
})

const empty = form<object>(
  0,
  () => ({}),
  () => {}
)
const features = form<{ readonly features: bigint }>(
  8,
  (v, at) => ({ features: v.getBigUint64(at, true) }),
  (v, at, m) => v.setBigUint64(at, m.features, true)
)

const ringFault = (ring: number): string | null =>
  ring < VHOST_RINGS ? null : `ring ${ring}, there are ${VHOST_RINGS}`

/** A ring's number, and a word about it. */
const ringWord = <A>(
  of: (word: number) => A | string,
  word: (a: A) => number
): Form<A & { readonly ring: number }> =>
  form(
    8,
    (v, at) => {
      const ring = v.getUint32(at, true)
      const a = of(v.getUint32(at + 4, true))
      return ringFault(ring) ?? (typeof a === 'string' ? a : { ring, ...a })
    },
    (v, at, m) => {
      v.setUint32(at, m.ring, true)
      v.setUint32(at + 4, word(m), true)
    }
  )

const isRingSize = (n: number): boolean => n > 0 && n <= RING_ENTRIES_MAX && (n & (n - 1)) === 0
const ringEntries = ringWord<{ readonly entries: number }>(
  (entries) => (isRingSize(entries) ? { entries } : `ring of ${entries} entries`),
  (m) => m.entries
)
const ringBase = ringWord<{ readonly next: number }>(
  (next) => (next <= 0xffff ? { next } : `ring index ${next}`),
  (m) => m.next
)
const ringOnly = ringWord<object>(
  () => ({}),
  () => 0
)
const ringEnable = ringWord<{ readonly enable: boolean }>(
  (n) => (n <= 1 ? { enable: n === 1 } : `enable is ${n}`),
  (m) => (m.enable ? 1 : 0)
)
const ringFd = form<{ readonly ring: number; readonly none: boolean }>(
  8,
  (v, at) => {
    const word = v.getBigUint64(at, true)
    const ring = Number(word & RING_MASK)
    return ringFault(ring) ?? { ring, none: (word & NO_FD) !== 0n }
  },
  (v, at, m) => v.setBigUint64(at, BigInt(m.ring) | (m.none ? NO_FD : 0n), true)
)
const ringAddresses = form<{ readonly ring: number; readonly addresses: RingAddresses }>(
  40,
  (v, at) => {
    const ring = v.getUint32(at, true)
    const u64 = (i: number): bigint => v.getBigUint64(at + 8 + 8 * i, true)
    const logged = (v.getUint32(at + 4, true) & VRING_LOG) !== 0
    return (
      ringFault(ring) ?? {
        ring,
        addresses: { logged, desc: u64(0), used: u64(1), avail: u64(2), log: u64(3) }
      }
    )
  },
  (v, at, { ring, addresses: a }) => {
    v.setUint32(at, ring, true)
    v.setUint32(at + 4, a.logged ? VRING_LOG : 0, true)
    for (const [i, x] of [a.desc, a.used, a.avail, a.log].entries()) v.setBigUint64(at + 8 + 8 * i, x, true)
  }
)

const REGION = 32
const readRegion = (v: DataView, at: number): MemoryRegion | string => {
  const [gpa, size, user, offset] = [0, 8, 16, 24].map((i) => v.getBigUint64(at + i, true))
  if (size === 0n) return 'memory region of no octets'
  if ([gpa, user, offset].some((start) => start + size > U64_END))
    return 'memory region that ends beyond 64 bits'
  return { gpa, size, user, offset }
}
const writeRegion = (v: DataView, at: number, r: MemoryRegion): void => {
  for (const [i, x] of [r.gpa, r.size, r.user, r.offset].entries()) v.setBigUint64(at + 8 * i, x, true)
}
/** Number of regions and padding, then regions. */
const memoryTable: Form<{ readonly regions: ReadonlyArray<MemoryRegion> }> = {
  size: null,
  length: ({ regions }) => 8 + REGION * regions.length,
  read: (v, at, size) => {
    if (size < 8) return `${size} octets, at least 8 are needed`
    const n = v.getUint32(at, true)
    if (n === 0) return 'no memory regions'
    if (n > VHOST_REGIONS_MAX) return `${n} memory regions, at most ${VHOST_REGIONS_MAX}`
    if (size !== 8 + REGION * n) return `${size} octets for ${n} memory regions`
    const regions: MemoryRegion[] = []
    for (let i = 0; i < n; i++) {
      const r = readRegion(v, at + 8 + REGION * i)
      if (typeof r === 'string') return r
      regions.push(r)
    }
    return { regions }
  },
  write: (v, at, { regions }) => {
    v.setUint32(at, regions.length, true)
    for (const [i, r] of regions.entries()) writeRegion(v, at + 8 + REGION * i, r)
  }
}
/** Padding, then one region. */
const oneRegion = form<{ readonly region: MemoryRegion }>(
  8 + REGION,
  (v, at) => {
    const region = readRegion(v, at + 8)
    return typeof region === 'string' ? region : { region }
  },
  (v, at, m) => writeRegion(v, at + 8, m.region)
)
const log = form<{ readonly size: bigint; readonly offset: bigint }>(
  16,
  (v, at) => {
    const size = v.getBigUint64(at, true)
    const offset = v.getBigUint64(at + 8, true)
    if (size === 0n) return 'log of no octets'
    return size + offset > U64_END ? 'log that ends beyond 64 bits' : { size, offset }
  },
  (v, at, m) => {
    v.setBigUint64(at, m.size, true)
    v.setBigUint64(at + 8, m.offset, true)
  }
)
/** 6 octets, and two of padding. */
const macOnly = form<{ readonly mac: Mac }>(
  8,
  (v, at) => ({ mac: readMac(v, at) }),
  (v, at, m) => writeMac(v, at, m.mac)
)
const deviceState = form<{ readonly direction: number; readonly phase: number }>(
  8,
  (v, at) => ({ direction: v.getUint32(at, true), phase: v.getUint32(at + 4, true) }),
  (v, at, m) => {
    v.setUint32(at, m.direction, true)
    v.setUint32(at + 4, m.phase, true)
  }
)
const anything: Form<object> = { size: null, length: () => 0, read: () => ({}), write: () => {} }

/** A request's own fields. */
type Of<K, R = VhostRequest> = R extends { readonly type: infer T }
  ? K extends T
    ? Omit<R, 'type'>
    : never
  : never
const FORMS: { readonly [K in Exclude<VhostRequest['type'], 'OTHER'>]: Form<Of<K>> } = {
  GET_FEATURES: empty,
  SET_FEATURES: features,
  SET_OWNER: empty,
  RESET_OWNER: empty,
  SET_MEM_TABLE: memoryTable,
  SET_LOG_BASE: log,
  SET_LOG_FD: empty,
  SET_VRING_NUM: ringEntries,
  SET_VRING_ADDR: ringAddresses,
  SET_VRING_BASE: ringBase,
  GET_VRING_BASE: ringOnly,
  SET_VRING_KICK: ringFd,
  SET_VRING_CALL: ringFd,
  SET_VRING_ERR: ringFd,
  GET_PROTOCOL_FEATURES: empty,
  SET_PROTOCOL_FEATURES: features,
  GET_QUEUE_NUM: empty,
  SET_VRING_ENABLE: ringEnable,
  SEND_RARP: macOnly,
  GET_MAX_MEM_SLOTS: empty,
  ADD_MEM_REG: oneRegion,
  REM_MEM_REG: oneRegion,
  SET_DEVICE_STATE_FD: deviceState,
  CHECK_DEVICE_STATE: empty
}
const formOf = (type: VhostRequest['type']): Form<never> =>
  (type === 'OTHER' ? anything : FORMS[type]) as unknown as Form<never>
const TYPES: ReadonlyMap<number, keyof typeof VHOST_ID> = new Map(
  Object.entries(VHOST_ID).map(([type, id]) => [id, type as keyof typeof VHOST_ID])
)

// --- whole messages

const putHeader = (v: DataView, id: number, flags: number, size: number): void => {
  v.setUint32(ID, id, true)
  v.setUint32(FLAGS, VERSION | flags, true)
  v.setUint32(SIZE, size, true)
}
/** The header, or what is wrong with it. */
const headerAt = ({
  view,
  off,
  len
}: Octets): { readonly id: number; readonly flags: number; readonly size: number } | string => {
  if (len < VHOST_HEADER) return `${len} octets, a header has ${VHOST_HEADER}`
  const flags = view.getUint32(off + FLAGS, true)
  const size = view.getUint32(off + SIZE, true)
  if ((flags & VERSION_MASK) !== VERSION) return `version ${flags & VERSION_MASK}, not ${VERSION}`
  if (size !== len - VHOST_HEADER)
    return `payload of ${len - VHOST_HEADER} octets that is said to have ${size}`
  return { id: view.getUint32(off + ID, true), flags, size }
}

export const decodeVhostMessage = (o: Octets): VhostMessage | string => {
  const h = headerAt(o)
  if (typeof h === 'string') return h
  const type = TYPES.get(h.id) ?? 'OTHER'
  const fault = (why: string): string => `${type === 'OTHER' ? `request ${h.id}` : type}: ${why}`
  if ((h.flags & IS_REPLY) !== 0) return fault('it is a reply')
  const { size, read } = formOf(type)
  if (size !== null && size !== h.size) return fault(`${h.size} octets, not ${size}`)
  const a = read(o.view, o.off + VHOST_HEADER, h.size)
  if (typeof a === 'string') return fault(a)
  const common = { type, needReply: (h.flags & NEED_REPLY) !== 0 }
  return (type === 'OTHER' ? { ...common, id: h.id } : { ...common, ...(a as object) }) as VhostMessage
}

/**
 * Shape: header, payload; nothing in front of it or behind. Of `OTHER` the payload is dropped.
 * Left: short, another version, a reply, a size that the request does not have, a ring that there is not, a ring size that is no
 * power of 2 from 1 to 32768, a region or log that is empty or ends beyond 64 bits, no regions or more than 8.
 * Law: decode(encode(m)) = right(m).   Source: QEMU, docs/interop/vhost-user.rst
 */
export const VhostMessage: t.Type<VhostMessage, Uint8Array, Octets> = wireCodec(
  'VhostMessage',
  decodeVhostMessage,
  (m) => {
    const { length, write } = formOf(m.type)
    const size = length(m as never)
    const b = new Uint8Array(VHOST_HEADER + size)
    const v = new DataView(b.buffer)
    putHeader(v, idOf(m), m.needReply ? NEED_REPLY : 0, size)
    write(v, VHOST_HEADER, m as never)
    return b
  }
)

/** Every reply has 8 octets of payload: a number, or GET_VRING_BASE's index. */
export type VhostReply =
  | { readonly type: 'VALUE'; readonly id: number; readonly value: bigint }
  | { readonly type: 'VRING_BASE'; readonly ring: number; readonly next: number }

const REPLY_LEN = VHOST_HEADER + 8
const decodeReply = (o: Octets): VhostReply | string => {
  const h = headerAt(o)
  if (typeof h === 'string') return h
  if ((h.flags & IS_REPLY) === 0) return 'no reply'
  if (o.len !== REPLY_LEN) return `${o.len} octets, not ${REPLY_LEN}`
  const at = o.off + VHOST_HEADER
  if (h.id !== VHOST_ID.GET_VRING_BASE)
    return { type: 'VALUE', id: h.id, value: o.view.getBigUint64(at, true) }
  const state = ringBase.read(o.view, at, 8)
  return typeof state === 'string' ? state : { type: 'VRING_BASE', ...state }
}

/**
 * Shape: 20 octets. Left: anything else, or no reply.
 * Law: decode(encode(r)) = right(r).   Source: QEMU, docs/interop/vhost-user.rst
 */
export const VhostReply: t.Type<VhostReply, Uint8Array, Octets> = wireCodec(
  'VhostReply',
  decodeReply,
  (r) => {
    const b = new Uint8Array(REPLY_LEN)
    const v = new DataView(b.buffer)
    putHeader(v, r.type === 'VALUE' ? r.id : VHOST_ID.GET_VRING_BASE, IS_REPLY, 8)
    if (r.type === 'VALUE') v.setBigUint64(VHOST_HEADER, r.value, true)
    else ringBase.write(v, VHOST_HEADER, r)
    return b
  }
)
