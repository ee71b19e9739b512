import type * as t from 'io-ts'
import { wireCodec } from '../value/codec.js'
import { octetsOfText, textOfOctets } from '../value/octet-text.js'
import { bytesOf, copyOf, type Octets, sub } from '../value/octets.js'
import { fields, join, str, u32, wordAt } from './launcher-fields.js'
import {
  decodeListeners,
  decodeOutcomes,
  encodeListeners,
  type ListenOrder,
  type ListenOutcome,
  PROCNET_FILES,
  type ProcNetFile,
  SOCKETS_MAX,
  type SocketKind,
  socketKind,
  socketWords
} from './launcher-sockets.js'

export {
  LISTEN_MAX,
  type ListenOrder,
  type ListenOutcome,
  type ProcNetFile,
  SOCKETS_MAX,
  type SocketKind
} from './launcher-sockets.js'

// The control protocol between engine and launcher; native/common/protocol.h is the same table. Little-endian, one
// message per packet: the engine asks, and each request gets exactly one reply, in order.

/** Longest message either way, and longest part of a netlink answer in one reply; octets. */
export const CTL_MAX = 65536
export const NETLINK_PART = 32768

/** What the engine may ask for. Strings are octets without NUL on the wire (octet-text.ts). */
export type LauncherRequest =
  /** First of all. `pidFile` '' = none. */
  | { readonly type: 'Setup'; readonly foreground: boolean; readonly pidFile: string }
  /** New namespaces and the command in them; it starts at Ready. `argvIndex` 0 = login shell; `hostname` '' = default. */
  | {
      readonly type: 'Spawn'
      readonly netnsOnly: boolean
      readonly noPidns: boolean
      readonly argvIndex: number
      readonly hostname: string
    }
  /** Join namespaces. `pid` 0 = none; '' = that of `pid`, for `userns` without `pid`: stay. */
  | {
      readonly type: 'Join'
      readonly pid: number
      readonly noQuit: boolean
      readonly userns: string
      readonly netns: string
    }
  /** Create a tap there; with a virtio-net header in front of frames if `vnet` and the kernel can. */
  | { readonly type: 'Tap'; readonly vnet: boolean; readonly ifname: string }
  /** One rtnetlink message, carried out there. */
  | { readonly type: 'Netlink'; readonly bytes: Uint8Array }
  /** The next part of a netlink answer. */
  | { readonly type: 'Next' }
  /**
   * The engine serves: pid file, background, command, and a service manager shows `status`, one line. After this only Sockets,
   * Listen and Leave.
   */
  | { readonly type: 'Ready'; readonly status: string }
  /** 1 to SOCKETS_MAX sockets made inside the namespace: non-blocking, nothing else set. */
  | ({ readonly type: 'Sockets'; readonly count: number } & SocketKind)
  /** 1 to LISTEN_MAX of them. */
  | { readonly type: 'Listen'; readonly listeners: ReadonlyArray<ListenOrder> }
  /** The namespace's /proc/net/{tcp,tcp6,udp,udp6}. */
  | { readonly type: 'ProcNet' }
  /** Descriptor `fd` as the launcher inherited it. Before Setup, which closes all of them. */
  | { readonly type: 'Inherited'; readonly fd: number }
  /** Numbers of a user and a group, as the host knows them; '' = not asked for. Before Identity, Spawn and Join. */
  | { readonly type: 'Names'; readonly user: string; readonly group: string }
  /** Whom the launcher and the command become: before Spawn and Join, or at Ready without them. 31 bits each. */
  | { readonly type: 'Identity'; readonly uid: number; readonly gid: number; readonly late: boolean }
  /** The engine's root directory becomes an empty one; `byChroot`: also where only chroot(2) can do that. */
  | { readonly type: 'EmptyRoot'; readonly byChroot: boolean }
  /** After Ready: another process serves in our place, so our end is not the command's, and sockets' files stay. */
  | { readonly type: 'Leave' }
  /** After Identity, before Spawn and Join: a process that watches /etc/resolv.conf. */
  | { readonly type: 'Resolver' }
  /** In a namespace, before Ready: Netlink is served after that, too, for addresses of this interface and routes through it. */
  | { readonly type: 'Follow'; readonly index: number }
  /**
   * After Setup, before Spawn and Join: the process of the API begins. `who`: whom it becomes, 31 bits each; null: it stays who the launcher
   * is.
   */
  | { readonly type: 'Api'; readonly who: { readonly uid: number; readonly gid: number } | null }
  /** Between Setup and Spawn or Join: an absolute path that Connect may lead to; they are numbered from 0 on. */
  | { readonly type: 'UnixTarget'; readonly path: string }
  /** Before Ready: the file of a socket of ours, to be removed at the end. */
  | { readonly type: 'UnixFile'; readonly path: string }
  /** A stream socket connected to that target. After Native.setCtl() native asks, and takes the reply. */
  | { readonly type: 'Connect'; readonly target: number }

export type LauncherReply =
  /** `text`: the step that failed and why, for people. `errno` > 0. `kind`: of the request, 0 = not understood. */
  | { readonly type: 'Failed'; readonly kind: number; readonly errno: number; readonly text: string }
  /** `pid` of the command; `warnings`: lines about steps that may fail. */
  | { readonly type: 'Spawned'; readonly pid: number; readonly warnings: ReadonlyArray<string> }
  /** `mac`: 6 octets. The descriptor comes with the message. */
  | {
      readonly type: 'Tap'
      readonly index: number
      readonly vnet: boolean
      readonly mac: Uint8Array
      readonly name: string
    }
  /** Answer to Netlink and Next; `more`: ask again with Next. */
  | { readonly type: 'Netlink'; readonly more: boolean; readonly bytes: Uint8Array }
  /** `count` descriptors come with it: fewer than asked for if `errno` is not 0. Never Failed instead. */
  | ({ readonly type: 'Sockets'; readonly count: number; readonly errno: number } & SocketKind)
  /**
   * In the order of the request, as are the descriptors. `split`: devices are refused to the launcher, so what was to be
   * the wildcard address on lo is 127.0.0.1 and ::1.
   */
  | {
      readonly type: 'Listening'
      readonly split: boolean
      readonly outcomes: ReadonlyArray<ListenOutcome>
    }
  /** Those that exist; the descriptors are in the order of PROCNET_FILES. */
  | { readonly type: 'ProcNet'; readonly files: ReadonlyArray<ProcNetFile> }
  /** Comes with the descriptor. */
  | { readonly type: 'Inherited' }
  /** To Resolver: comes with the socket. */
  | { readonly type: 'Watched' }
  /** The same. */
  | { readonly type: 'Api' }
  /** `gid`: of the group that was named, or the user's own. 0 where nothing was asked for. Failed with ENOENT: no such name. */
  | { readonly type: 'Names'; readonly uid: number; readonly gid: number }
  /**
   * To Setup. `lifeMs` > 0: a sign of life is expected each so many ms from Ready on; the socket for it comes with the message
   * (sd_watchdog_enabled(3)).
   */
  | { readonly type: 'Begun'; readonly lifeMs: number }
  /** To Connect; with the descriptor, unless there is an errno. Never Failed instead. */
  | { readonly type: 'Connected'; readonly target: number; readonly count: number; readonly errno: number }
  /** Join, Identity, EmptyRoot, Ready, Leave, UnixTarget, UnixFile, Follow. */
  | { readonly type: 'Done'; readonly kind: number }

export const RQ = {
  SETUP: 1,
  SPAWN: 2,
  JOIN: 3,
  TAP: 4,
  NETLINK: 5,
  NEXT: 6,
  READY: 7,
  SOCKETS: 8,
  LISTEN: 9,
  PROCNET: 10,
  INHERITED: 11,
  EMPTY_ROOT: 12,
  IDENTITY: 13,
  NAMES: 14,
  LEAVE: 15,
  API: 16,
  UNIX_TARGET: 17,
  UNIX_FILE: 18,
  CONNECT: 19,
  RESOLVER: 20,
  FOLLOW: 21
} as const
/** First word of the reply to Sockets and Connect, which have a form of their own. */
export const SOCKETS = 0x534b
const AF_UNIX = 1
const SETUP_FOREGROUND = 1
const SPAWN_NETNS_ONLY = 1
const SPAWN_NO_PIDNS = 2
const JOIN_NO_QUIT = 1
const TAP_VNET = 1
const ROOT_BY_CHROOT = 1
const IDENTITY_LATE = 1
const ID_MAX = 0x7fffffff
const API_STAY = 0xffffffff
const REPLY_MORE = 1
const LISTEN_SPLIT = 1
const REPLY_HEAD = 12
const SOCKETS_LEN = 20
const TAP_HEAD = 16
const MAC_LEN = 6

const encodeRequest = (r: LauncherRequest): Uint8Array => {
  switch (r.type) {
    case 'Setup':
      return join(u32(RQ.SETUP, r.foreground ? SETUP_FOREGROUND : 0), ...str(r.pidFile))
    case 'Spawn': {
      const flags = (r.netnsOnly ? SPAWN_NETNS_ONLY : 0) | (r.noPidns ? SPAWN_NO_PIDNS : 0)
      return join(u32(RQ.SPAWN, flags, r.argvIndex), ...str(r.hostname))
    }
    case 'Join':
      return join(u32(RQ.JOIN, r.pid, r.noQuit ? JOIN_NO_QUIT : 0), ...str(r.userns), ...str(r.netns))
    case 'Tap':
      return join(u32(RQ.TAP, r.vnet ? TAP_VNET : 0), ...str(r.ifname))
    case 'Netlink':
      return join(u32(RQ.NETLINK), r.bytes)
    case 'Next':
      return u32(RQ.NEXT)
    case 'Ready':
      return join(u32(RQ.READY), ...str(r.status))
    case 'Leave':
      return u32(RQ.LEAVE)
    case 'Resolver':
      return u32(RQ.RESOLVER)
    case 'Follow':
      return u32(RQ.FOLLOW, r.index)
    case 'Sockets':
      return u32(RQ.SOCKETS, ...socketWords(r), r.count)
    case 'Listen':
      return join(u32(RQ.LISTEN), encodeListeners(r.listeners))
    case 'ProcNet':
      return u32(RQ.PROCNET)
    case 'Inherited':
      return u32(RQ.INHERITED, r.fd)
    case 'Identity':
      return u32(RQ.IDENTITY, r.uid, r.gid, r.late ? IDENTITY_LATE : 0)
    case 'Names':
      return join(u32(RQ.NAMES), ...str(r.user), ...str(r.group))
    case 'Api':
      return u32(RQ.API, r.who?.uid ?? API_STAY, r.who?.gid ?? API_STAY)
    case 'EmptyRoot':
      return u32(RQ.EMPTY_ROOT, r.byChroot ? ROOT_BY_CHROOT : 0)
    case 'UnixTarget':
      return join(u32(RQ.UNIX_TARGET), ...str(r.path))
    case 'UnixFile':
      return join(u32(RQ.UNIX_FILE), ...str(r.path))
    case 'Connect':
      return u32(RQ.CONNECT, r.target)
  }
}

const decodeRequest = (o: Octets): LauncherRequest | string => {
  if (o.len < 4) return `need 4 octets, have ${o.len}`
  const kind = o.view.getUint32(o.off, true)
  const body = sub(o, 4)
  const bad = `malformed body of request ${kind}`
  if (kind === RQ.SETUP) {
    const f = fields(body, 1, 1)
    return f === null
      ? bad
      : { type: 'Setup', foreground: (f.w[0] & SETUP_FOREGROUND) !== 0, pidFile: f.s[0] }
  }
  if (kind === RQ.SPAWN) {
    const f = fields(body, 2, 1)
    if (f === null) return bad
    const [flags, argvIndex] = f.w
    const netnsOnly = (flags & SPAWN_NETNS_ONLY) !== 0
    return { type: 'Spawn', netnsOnly, noPidns: (flags & SPAWN_NO_PIDNS) !== 0, argvIndex, hostname: f.s[0] }
  }
  if (kind === RQ.JOIN) {
    const f = fields(body, 2, 2)
    if (f === null) return bad
    const noQuit = (f.w[1] & JOIN_NO_QUIT) !== 0
    return { type: 'Join', pid: f.w[0], noQuit, userns: f.s[0], netns: f.s[1] }
  }
  if (kind === RQ.TAP) {
    const f = fields(body, 1, 1)
    return f === null ? bad : { type: 'Tap', vnet: (f.w[0] & TAP_VNET) !== 0, ifname: f.s[0] }
  }
  if (kind === RQ.NETLINK) return { type: 'Netlink', bytes: copyOf(body) }
  if (kind === RQ.NEXT) return body.len === 0 ? { type: 'Next' } : bad
  if (kind === RQ.LEAVE) return body.len === 0 ? { type: 'Leave' } : bad
  if (kind === RQ.RESOLVER) return body.len === 0 ? { type: 'Resolver' } : bad
  if (kind === RQ.FOLLOW) {
    const f = fields(body, 1, 0)
    return f === null || f.w[0] === 0 ? bad : { type: 'Follow', index: f.w[0] }
  }
  if (kind === RQ.READY) {
    const f = fields(body, 0, 1)
    return f === null ? bad : { type: 'Ready', status: f.s[0] }
  }
  if (kind === RQ.PROCNET) return body.len === 0 ? { type: 'ProcNet' } : bad
  if (kind === RQ.INHERITED) {
    const f = fields(body, 1, 0)
    return f === null ? bad : { type: 'Inherited', fd: f.w[0] }
  }
  if (kind === RQ.IDENTITY) {
    const f = fields(body, 3, 0)
    if (f === null) return bad
    const [uid, gid, flags] = f.w
    return uid > ID_MAX || gid > ID_MAX
      ? bad
      : { type: 'Identity', uid, gid, late: (flags & IDENTITY_LATE) !== 0 }
  }
  if (kind === RQ.API) {
    const f = fields(body, 2, 0)
    if (f === null) return bad
    const [uid, gid] = f.w
    const stays = uid === API_STAY && gid === API_STAY
    if (!stays && (uid > ID_MAX || gid > ID_MAX)) return bad
    return { type: 'Api', who: stays ? null : { uid, gid } }
  }
  if (kind === RQ.NAMES) {
    const f = fields(body, 0, 2)
    return f === null ? bad : { type: 'Names', user: f.s[0], group: f.s[1] }
  }
  if (kind === RQ.EMPTY_ROOT) {
    const f = fields(body, 1, 0)
    return f === null ? bad : { type: 'EmptyRoot', byChroot: (f.w[0] & ROOT_BY_CHROOT) !== 0 }
  }
  if (kind === RQ.UNIX_TARGET || kind === RQ.UNIX_FILE) {
    const f = fields(body, 0, 1)
    return f === null ? bad : { type: kind === RQ.UNIX_TARGET ? 'UnixTarget' : 'UnixFile', path: f.s[0] }
  }
  if (kind === RQ.CONNECT) {
    const f = fields(body, 1, 0)
    return f === null ? bad : { type: 'Connect', target: f.w[0] }
  }
  if (kind === RQ.SOCKETS) {
    const f = fields(body, 3, 0)
    const what = f === null ? null : socketKind(f.w[0], f.w[1])
    if (f === null || what === null || f.w[2] < 1 || f.w[2] > SOCKETS_MAX) return bad
    return { type: 'Sockets', ...what, count: f.w[2] }
  }
  if (kind === RQ.LISTEN) {
    const listeners = decodeListeners(body)
    return listeners === null ? bad : { type: 'Listen', listeners }
  }
  return `unknown request ${kind}`
}

const encodeReply = (r: LauncherReply): Uint8Array => {
  switch (r.type) {
    case 'Failed':
      return join(u32(r.kind, r.errno, 0), octetsOfText(r.text))
    case 'Spawned':
      return join(u32(RQ.SPAWN, 0, 0, r.pid), octetsOfText(r.warnings.map((w) => `${w}\n`).join('')))
    case 'Tap':
      return join(
        u32(RQ.TAP, 0, 0, r.index, r.vnet ? TAP_VNET : 0),
        r.mac,
        new Uint8Array(TAP_HEAD - 8 - MAC_LEN),
        octetsOfText(r.name)
      )
    case 'Netlink':
      return join(u32(RQ.NETLINK, 0, r.more ? REPLY_MORE : 0), r.bytes)
    case 'Sockets':
      return u32(SOCKETS, ...socketWords(r), r.count, r.errno)
    case 'Listening': {
      const words = r.outcomes.flatMap((o) => [o.errno, o.sockets])
      return u32(RQ.LISTEN, 0, r.split ? LISTEN_SPLIT : 0, ...words)
    }
    case 'ProcNet':
      return u32(
        RQ.PROCNET,
        0,
        0,
        r.files.reduce((mask, f) => mask | (1 << PROCNET_FILES.indexOf(f)), 0)
      )
    case 'Inherited':
      return u32(RQ.INHERITED, 0, 0)
    case 'Watched':
      return u32(RQ.RESOLVER, 0, 0)
    case 'Api':
      return u32(RQ.API, 0, 0)
    case 'Names':
      return u32(RQ.NAMES, 0, 0, r.uid, r.gid)
    case 'Begun':
      return u32(RQ.SETUP, 0, 0, r.lifeMs)
    case 'Connected':
      return u32(SOCKETS, AF_UNIX, r.target, r.count, r.errno)
    case 'Done':
      return u32(r.kind, 0, 0)
  }
}

const decodeSockets = (o: Octets): LauncherReply | string => {
  const f = fields(o, SOCKETS_LEN / 4, 0)
  if (f === null) return `reply to Sockets: need ${SOCKETS_LEN} octets, have ${o.len}`
  const [, family, type, count, errno] = f.w
  if (family === AF_UNIX) return { type: 'Connected', target: type, count, errno }
  const what = socketKind(family, type)
  if (what === null) return `reply to Sockets of family ${family}, type ${type}`
  return { type: 'Sockets', ...what, count, errno }
}

const decodeReply = (o: Octets): LauncherReply | string => {
  if (o.len < REPLY_HEAD) return `need ${REPLY_HEAD} octets, have ${o.len}`
  const kind = o.view.getUint32(o.off, true)
  if (kind === SOCKETS) return decodeSockets(o)
  const errno = o.view.getUint32(o.off + 4, true)
  const flags = o.view.getUint32(o.off + 8, true)
  const body = sub(o, REPLY_HEAD)
  if (errno !== 0) return { type: 'Failed', kind, errno, text: textOfOctets(bytesOf(body)) }
  switch (kind) {
    case RQ.SPAWN: {
      if (body.len < 4) return 'reply to Spawn without process id'
      const warnings = textOfOctets(bytesOf(sub(body, 4))).split('\n')
      return {
        type: 'Spawned',
        pid: body.view.getUint32(body.off, true),
        warnings: warnings.filter((w) => w !== '')
      }
    }
    case RQ.TAP: {
      if (body.len <= TAP_HEAD) return `reply to Tap: need more than ${TAP_HEAD} octets, have ${body.len}`
      const vnet = (body.view.getUint32(body.off + 4, true) & TAP_VNET) !== 0
      const mac = copyOf(sub(body, 8, MAC_LEN))
      const name = textOfOctets(bytesOf(sub(body, TAP_HEAD)))
      return { type: 'Tap', index: body.view.getUint32(body.off, true), vnet, mac, name }
    }
    case RQ.NETLINK:
    case RQ.NEXT:
      return { type: 'Netlink', more: (flags & REPLY_MORE) !== 0, bytes: copyOf(body) }
    case RQ.LISTEN: {
      const outcomes = decodeOutcomes(body)
      if (outcomes === null) return `reply to Listen with ${body.len} octets`
      return { type: 'Listening', split: (flags & LISTEN_SPLIT) !== 0, outcomes }
    }
    case RQ.PROCNET: {
      const mask = wordAt(body, 0)
      if (mask === null || body.len !== 4 || mask >>> PROCNET_FILES.length !== 0)
        return 'malformed reply to ProcNet'
      return { type: 'ProcNet', files: PROCNET_FILES.filter((_, i) => (mask >>> i) & 1) }
    }
    case RQ.NAMES: {
      const f = fields(body, 2, 0)
      return f === null ? 'malformed reply to Names' : { type: 'Names', uid: f.w[0], gid: f.w[1] }
    }
    case RQ.RESOLVER:
      return body.len === 0 ? { type: 'Watched' } : 'reply to Resolver with a body'
    case RQ.INHERITED:
      return body.len === 0 ? { type: 'Inherited' } : 'reply to Inherited with a body'
    case RQ.API:
      return body.len === 0 ? { type: 'Api' } : 'reply to Api with a body'
    case RQ.SETUP: {
      const f = fields(body, 1, 0)
      return f === null ? 'malformed reply to Setup' : { type: 'Begun', lifeMs: f.w[0] }
    }
    case RQ.JOIN:
    case RQ.EMPTY_ROOT:
    case RQ.IDENTITY:
    case RQ.READY:
    case RQ.LEAVE:
    case RQ.FOLLOW:
    case RQ.UNIX_TARGET:
    case RQ.UNIX_FILE:
      return body.len === 0 ? { type: 'Done', kind } : `reply ${kind} with a body`
    default:
      return `unknown reply ${kind}`
  }
}

/**
 * Shape: u32 kind, body as in protocol.h; strings u32 length + octets.
 * Left: unknown kind; octets missing or left over; NUL in a string; a count, port, family or protocol out of range.
 * Law: decode(encode(r)) = right(r) for strings of whole code points without NUL.   Source: native/common/protocol.h
 */
export const LauncherRequest: t.Type<LauncherRequest, Uint8Array, Octets> = wireCodec(
  'LauncherRequest',
  decodeRequest,
  encodeRequest
)

/**
 * Shape: u32 kind, u32 errno, u32 flags, body. With an errno the body is text whatever the kind. Sockets is five words of
 * its own. Descriptors that come with it are counted in the reply: the caller compares.
 * Left: unknown kind, body too short, or one where there is none.
 * Law: as LauncherRequest; warnings hold no newline and are not empty. Netlink stands for the kinds NETLINK and NEXT.
 */
export const LauncherReply: t.Type<LauncherReply, Uint8Array, Octets> = wireCodec(
  'LauncherReply',
  decodeReply,
  encodeReply
)
