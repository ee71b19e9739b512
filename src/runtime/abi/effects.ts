import type { InAny } from '../../codecs/value/inany.js'
import type { Payload } from '../../effects/effect.js'
import type { SocketRestore } from '../../effects/hand-over.js'
import {
  ABI_WORDS,
  BIND_OUTBOUND,
  EF,
  FREEZE_HEARS,
  FROM_UNIX,
  HAND_HOLD,
  IN_NAMESPACE,
  IS_V6,
  RESTORE_SHUT,
  RESTORE_WORDS,
  RUN_SHUT,
  SEND_REPORT_ACK,
  STATE_NOW,
  TO_GROUP,
  TO_UNIX,
  VHOST_NO_FD,
  VHOST_REGION_LEN
} from './abi.js'
import { nextEffect, putAddr, type Rings, txRoom } from './rings.js'

// One encoder for each effect record of native/addon/abi.h, which names the words. Nothing else writes into the ring.
// `handle`: of the socket, which is its flow's index, or that + SIDE_1. `slot`: of an accepted connection (EV_ACCEPTED).

/** A socket to open and connect. */
export interface Target {
  readonly dst: InAny
  readonly dstPort: number
  /** IPv6 scope of a link-local destination, else 0. */
  readonly scope: number
  /** Source address; null: the kernel's choice. */
  readonly src: InAny | null
  /** Made in the namespace, else on the host. */
  readonly inNamespace: boolean
}

const UNSPECIFIED: InAny = [0, 0, 0, 0]

/** A record with up to four words behind its handle. */
const words = (r: Rings, kind: number, handle: number, w2: number, w3 = 0, w4 = 0, w5 = 0): void => {
  const at = nextEffect(r, kind, handle)
  const fx = r.fx
  fx[at + 2] = w2
  fx[at + 3] = w3
  fx[at + 4] = w4
  fx[at + 5] = w5
}

/** An opening record; `word8` is of each kind's own. Where the record begins. */
const opening = (r: Rings, kind: number, handle: number, t: Target, word8: number, flags: number): number => {
  const at = nextEffect(r, kind, handle)
  const fx = r.fx
  putAddr(r, at + 2, t.dst)
  fx[at + 6] = t.dstPort
  fx[at + 7] = t.scope
  fx[at + 8] = word8
  putAddr(r, at + 9, t.src ?? UNSPECIFIED)
  fx[at + 13] = flags | (t.inNamespace ? IN_NAMESPACE : 0)
  return at
}

/** Sockets of the host for what the guest began are bound to --outbound-if4, --outbound-if6. */
const outbound = (yes: boolean): number => (yes ? BIND_OUTBOUND : 0)

// --- for those who look at a turn's effects before they are carried out (--trace, --stats)

/** EF.* of record `i`. */
export const effectKind = (r: Rings, i: number): number => r.fx[i * ABI_WORDS]
/** EF.TAP_WRITE */
export const tapWritten = (r: Rings, i: number): Payload => ({
  off: r.fx[i * ABI_WORDS + 2],
  len: r.fx[i * ABI_WORDS + 3]
})
/** EF.PEEK */
export const peekAsked = (
  r: Rings,
  i: number
): { readonly handle: number; readonly off: number; readonly v6: boolean } => {
  const at = i * ABI_WORDS
  return { handle: r.fx[at + 1], off: r.fx[at + 2], v6: (r.fx[at + 6] & IS_V6) !== 0 }
}

// --- the guest's side

/** `off`: of the virtio-net header, `len` with it. */
export const tapWrite = (r: Rings, off: number, len: number): void => words(r, EF.TAP_WRITE, 0, off, len)
/** A comment in the capture, on the frame at `frame` in the slab (0: the next one to the guest). */
export const captureNote = (r: Rings, off: number, len: number, frame: number): void =>
  words(r, EF.CAPTURE_NOTE, 0, off, len, frame)
export const linkUse = (r: Rings, fd: number): void => words(r, EF.LINK_USE, 0, fd)
export const linkRefuse = (r: Rings, fd: number): void => words(r, EF.LINK_REFUSE, 0, fd)
export const linkClose = (r: Rings): void => words(r, EF.LINK_CLOSE, 0, 0)

// --- vhost-user. A ring is VRING_RX or VRING_TX; no descriptor is null

const fdWord = (fd: number | null): number => fd ?? VHOST_NO_FD
const putU64 = (r: Rings, at: number, v: bigint): void => {
  r.fx[at] = Number(BigInt.asIntN(32, v))
  r.fx[at + 1] = Number(BigInt.asIntN(32, v >> 32n))
}

/** A piece of the front-end's memory: octets [0, size) of it are those from `mmapOffset` on of the file `fd`. */
export interface VhostRegion {
  /** Guest physical address of its first octet. */
  readonly gpa: bigint
  readonly size: bigint
  /** The front-end's own address of it: what it calls the rings' places. */
  readonly user: bigint
  readonly mmapOffset: bigint
  readonly fd: number
}
const regions = (r: Rings, kind: number, all: ReadonlyArray<VhostRegion>): void => {
  const off = txRoom(r, all.length * VHOST_REGION_LEN)
  all.forEach((one, i) => {
    const at = off + i * VHOST_REGION_LEN
    r.view.setBigUint64(at, one.gpa, true)
    r.view.setBigUint64(at + 8, one.size, true)
    r.view.setBigUint64(at + 16, one.user, true)
    r.view.setBigUint64(at + 24, one.mmapOffset, true)
    r.view.setInt32(at + 32, one.fd, true)
    r.view.setInt32(at + 36, 0, true)
  })
  words(r, kind, 0, off, all.length)
}

export const vhostNext = (r: Rings): void => words(r, EF.VHOST_NEXT, 0, 0)
export const vhostReply = (r: Rings, p: Payload): void => words(r, EF.VHOST_REPLY, 0, p.off, p.len)
export const vhostFeatures = (r: Rings, features: bigint): void =>
  putU64(r, nextEffect(r, EF.VHOST_FEATURES, 0) + 2, features)
/** In place of the table before. Descriptors are native's from here on. */
export const vhostMemory = (r: Rings, all: ReadonlyArray<VhostRegion>): void =>
  regions(r, EF.VHOST_MEMORY, all)
export const vhostAddRegion = (r: Rings, one: VhostRegion): void => regions(r, EF.VHOST_ADD_REGION, [one])
export const vhostRemoveRegion = (r: Rings, one: Pick<VhostRegion, 'gpa' | 'size' | 'user'>): void => {
  const at = nextEffect(r, EF.VHOST_REMOVE_REGION, 0)
  putU64(r, at + 2, one.gpa)
  putU64(r, at + 4, one.size)
  putU64(r, at + 6, one.user)
}
export const vhostLog = (r: Rings, fd: number | null, size: bigint, mmapOffset: bigint): void => {
  const at = nextEffect(r, EF.VHOST_LOG, 0)
  r.fx[at + 2] = fdWord(fd)
  putU64(r, at + 4, size)
  putU64(r, at + 6, mmapOffset)
}
export const vhostLogFd = (r: Rings, fd: number | null): void => words(r, EF.VHOST_LOG_FD, 0, fdWord(fd))

/** Where a ring's three parts are, as the front-end addresses them. */
export interface VringPlace {
  readonly desc: bigint
  readonly used: bigint
  readonly avail: bigint
  /** Guest physical address of the used ring, for the log. */
  readonly log: bigint
  /** VRING_LOG_USED */
  readonly flags: number
  /** Entries. */
  readonly size: number
}
export const vringAddr = (r: Rings, ring: number, p: VringPlace): void => {
  const at = nextEffect(r, EF.VRING_ADDR, 0)
  r.fx[at + 2] = ring
  r.fx[at + 3] = p.flags
  putU64(r, at + 4, p.desc)
  putU64(r, at + 6, p.used)
  putU64(r, at + 8, p.avail)
  putU64(r, at + 10, p.log)
  r.fx[at + 12] = p.size
}
export const vringBase = (r: Rings, ring: number, index: number): void =>
  words(r, EF.VRING_BASE, 0, ring, index)
/** `which`: VRING_KICK, VRING_CALL, VRING_ERR. */
export const vringFd = (r: Rings, ring: number, which: number, fd: number | null): void =>
  words(r, EF.VRING_FD, 0, ring, which, fdWord(fd))
/** `mode`: VRING_OFF, VRING_DISCARD, VRING_ON. */
export const vringRun = (r: Rings, ring: number, mode: number): void => words(r, EF.VRING_RUN, 0, ring, mode)
export const vringStop = (r: Rings, ring: number): void => words(r, EF.VRING_STOP, 0, ring)
export const closeFd = (r: Rings, fd: number): void => words(r, EF.CLOSE_FD, 0, fd)

// --- migration: the helper, the state's pipe, sockets that leave and come

/** Words for an effect to name; where they are. */
const inSlab = (r: Rings, list: ReadonlyArray<number>): number => {
  const off = txRoom(r, list.length * 4)
  for (const [i, word] of list.entries()) r.view.setUint32(off + i * 4, word, true)
  return off
}
/** `command`: REPAIR_ON, REPAIR_OFF, REPAIR_OFF_NO_PROBE. At most REPAIR_MAX handles. */
export const repair = (r: Rings, handles: ReadonlyArray<number>, command: number): void =>
  words(r, EF.REPAIR, 0, inSlab(r, handles), handles.length, command)
export const repairClose = (r: Rings): void => words(r, EF.REPAIR_CLOSE, 0, 0)
/** `hears`: its kernel goes on hearing the peer. */
export const tcpFreeze = (r: Rings, handle: number, hears = false): void =>
  words(r, EF.TCP_FREEZE, handle, hears ? FREEZE_HEARS : 0)
export const tcpThaw = (r: Rings, handle: number): void => words(r, EF.TCP_THAW, handle, 0)
export const tcpDump = (r: Rings, handle: number): void => words(r, EF.TCP_DUMP, handle, 0)

/** `direction`: STATE_SAVE, STATE_LOAD. The descriptor is native's from here on. */
export const stateOpen = (r: Rings, fd: number, direction: number): void =>
  words(r, EF.STATE_OPEN, 0, fd, direction)
export const stateWrite = (r: Rings, p: Payload): void => words(r, EF.STATE_WRITE, 0, p.off, p.len)
/** Both queues of a socket, as dumped. */
export const stateQueues = (r: Rings, handle: number): void => words(r, EF.STATE_QUEUES, handle, 0)
/** `now`: what is not written yet is lost. */
export const stateClose = (r: Rings, now: boolean): void => words(r, EF.STATE_CLOSE, 0, now ? STATE_NOW : 0)
/** At most STATE_OCTETS_MAX. */
export const stateNext = (r: Rings, octets: number): void => words(r, EF.STATE_NEXT, 0, octets)

/** `outboundIf`: what the guest began is bound to --outbound-if4, --outbound-if6. */
export const tcpRestoreOpen = (r: Rings, handle: number, v6: boolean, outboundIf: boolean): void =>
  words(r, EF.TCP_RESTORE_OPEN, handle, v6 ? IS_V6 : 0, outbound(outboundIf))
export const tcpRestore = (r: Rings, handle: number, t: SocketRestore): void => {
  const w = t.window
  const all = [...t.own, t.ownPort, ...t.peer, t.peerPort, t.sndSeq, t.rcvSeq, t.maxSeg, t.timestamp].concat(
    [w.sndWl1, w.sndWnd, w.maxWindow, w.rcvWnd, w.rcvWup],
    [t.sndScale | (t.rcvScale << 8), t.options, t.sndBuf, t.sndOctets]
  )
  words(r, EF.TCP_RESTORE, handle, inSlab(r, all), RESTORE_WORDS * 4)
}
/** `queue`: QUEUE_* */
export const tcpRestoreQueue = (r: Rings, handle: number, p: Payload, queue: number): void =>
  words(r, EF.TCP_RESTORE_QUEUE, handle, p.off, p.len, queue)
/** `shut`: for writing, while it is in repair mode. */
export const tcpRestoreEnd = (r: Rings, handle: number, shut: boolean): void =>
  words(r, EF.TCP_RESTORE_END, handle, shut ? RESTORE_SHUT : 0)
/** `shut`: for writing, once what was unsent is sent. `peekOff`: the first peek begins so many octets behind the head of the queue. */
export const tcpRun = (r: Rings, handle: number, shut: boolean, peekOff: number): void =>
  words(r, EF.TCP_RUN, handle, shut ? RUN_SHUT : 0, peekOff)

// --- any socket

export const closeSock = (r: Rings, handle: number): void => words(r, EF.CLOSE, handle, 0)
export const resetSock = (r: Rings, handle: number): void => words(r, EF.RESET, handle, 0)

// --- TCP

/** `mss`: at most that long are segments to the peer; 0: the kernel's choice. */
export const tcpConnect = (r: Rings, handle: number, t: Target, mss: number): void => {
  opening(r, EF.TCP_CONNECT, handle, t, mss, outbound(true))
}
export const adopt = (r: Rings, handle: number, slot: number): void => words(r, EF.ADOPT, handle, slot)
export const reject = (r: Rings, slot: number): void => words(r, EF.REJECT, 0, slot)
export const send = (r: Rings, handle: number, p: Payload, reportAck: boolean): void =>
  words(r, EF.SEND, handle, p.off, p.len, reportAck ? SEND_REPORT_ACK : 0)
/** `off`: template of all headers, virtio-net first; `headerLen` without that; `octets` at most. */
export const peek = (
  r: Rings,
  handle: number,
  off: number,
  headerLen: number,
  octets: number,
  mss: number,
  v6: boolean
): void => {
  const at = nextEffect(r, EF.PEEK, handle)
  const fx = r.fx
  fx[at + 2] = off
  fx[at + 3] = headerLen
  fx[at + 4] = octets
  fx[at + 5] = mss
  fx[at + 6] = v6 ? IS_V6 : 0
}
export const discard = (r: Rings, handle: number, octets: number): void =>
  words(r, EF.DISCARD, handle, octets)
/** The next peek begins so many octets behind the head of the queue. */
export const rewind = (r: Rings, handle: number, octets: number): void => words(r, EF.REWIND, handle, octets)
export const shutdownWr = (r: Rings, handle: number): void => words(r, EF.SHUTDOWN_WR, handle, 0)
export const awaitWritable = (r: Rings, handle: number): void => words(r, EF.AWAIT_WRITABLE, handle, 0)
export const keepAlive = (r: Rings, handle: number): void => words(r, EF.KEEPALIVE, handle, 0)
export const askInfo = (r: Rings, handle: number): void => words(r, EF.INFO, handle, 0)

// --- UDP, ping

/** Connected, from `srcPort` (0: the kernel's choice). `listener`: whose flow this is, -1: nobody's. `limit`: READ_LIMIT or 0. */
export const udpOpen = (
  r: Rings,
  handle: number,
  t: Target,
  srcPort: number,
  listener: number,
  outboundIf: boolean,
  limit = 0
): void => {
  const at = opening(r, EF.UDP_OPEN, handle, t, srcPort, outbound(outboundIf) | limit)
  r.fx[at + 14] = 1 + listener
}
/** Towards a group: not connected, at a port of the kernel's choice. */
export const udpOpenToGroup = (r: Rings, handle: number, t: Target, limit = 0): void => {
  opening(r, EF.UDP_OPEN, handle, t, 0, outbound(true) | TO_GROUP | limit)
}
/** `ttl` 0: leave it; `segment` 0: one datagram. */
export const udpSend = (r: Rings, handle: number, p: Payload, ttl: number, segment: number): void =>
  words(r, EF.UDP_SEND, handle, p.off, p.len, ttl, segment)
export const udpJoin = (r: Rings, handle: number, other: number): void => words(r, EF.UDP_JOIN, handle, other)
export const pingOpen = (r: Rings, handle: number, t: Target): void => {
  opening(r, EF.PING_OPEN, handle, t, 0, outbound(true))
}
export const pingSend = (r: Rings, handle: number, p: Payload, ttl: number): void =>
  words(r, EF.PING_SEND, handle, p.off, p.len, ttl)

// --- past the tap

/** The accepted connection is side 0, `fromUnix`: a UNIX socket. `limits`: READ_LIMIT*. `t` is side 1; `toUnix` >= 0: the launcher's target of that number is. */
export const spliceConnect = (
  r: Rings,
  handle: number,
  t: Target,
  slot: number,
  fromUnix: boolean,
  toUnix: number,
  limits = 0
): void => {
  const at = opening(
    r,
    EF.SPLICE,
    handle,
    t,
    slot,
    limits | (fromUnix ? FROM_UNIX : 0) | (toUnix >= 0 ? TO_UNIX : 0)
  )
  if (toUnix >= 0) r.fx[at + 6] = toUnix
}
/** So many octets more may be read from that side of a limited pair of TCP; from a UDP socket: side 0. */
export const readAllow = (r: Rings, handle: number, side: 0 | 1, octets: number): void =>
  words(r, EF.READ_ALLOW, handle, side, octets)
export const spliceShut = (r: Rings, handle: number, side: 0 | 1): void =>
  words(r, EF.SPLICE_SHUT, handle, side)
export const spliceClose = (r: Rings, handle: number): void => words(r, EF.SPLICE_CLOSE, handle, 0)
export const spliceReset = (r: Rings, handle: number): void => words(r, EF.SPLICE_RESET, handle, 0)

// --- the host's kernel

export const netlinkSend = (r: Rings, off: number, len: number): void => words(r, EF.NETLINK, 0, off, len)

// --- restart in place

/** Octets for native. */
const put = (r: Rings, octets: Uint8Array): number => {
  const off = txRoom(r, octets.length)
  r.slab.set(octets, off)
  return off
}

/** What goes along with an answer: HAND_*, and which. */
export type Handed = readonly [what: number, which: number]
/** `answer`: octets of a message, at most HAND_OVER_MAX. At most HAND_OVER_FDS descriptors. */
export const handOverAnswer = (r: Rings, answer: Uint8Array, descriptors: ReadonlyArray<Handed>): void => {
  const names = inSlab(r, descriptors.flat())
  words(r, EF.HAND_OVER_ANSWER, 0, put(r, answer), answer.length, names, descriptors.length)
}
export const handOverClose = (r: Rings): void => words(r, EF.HAND_OVER_CLOSE, 0, 0)
export const handOverHold = (r: Rings, on: boolean): void =>
  words(r, EF.HAND_OVER_HOLD, 0, on ? HAND_HOLD : 0)
export const handOverGuest = (r: Rings): void => words(r, EF.HAND_OVER_GUEST, 0, 0)
/** To a client of the control socket. */
export const confSend = (r: Rings, client: number, said: Uint8Array): void =>
  words(r, EF.CONF_SEND, client, put(r, said), said.length)
export const confClose = (r: Rings, client: number): void => words(r, EF.CONF_CLOSE, client, 0)
/** To the API's process; no octets: it is hung up on. */
export const apiSend = (r: Rings, said: Uint8Array): void =>
  words(r, EF.API_SEND, 0, put(r, said), said.length)
/** `fd` -1: none. */
export const give = (r: Rings, fd: number): void => words(r, EF.GIVE, 0, fd)
/** `shut`: it has sent its FIN. `taken`: see abi.h. */
export const tcpTake = (
  r: Rings,
  handle: number,
  fd: number,
  shut: boolean,
  peekOffset: number,
  taken: number
): void => words(r, EF.TCP_TAKE, handle, fd, shut ? RUN_SHUT : 0, peekOffset, taken)
