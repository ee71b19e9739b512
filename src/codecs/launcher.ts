import type * as t from 'io-ts'
import { bytesOf, copyOf, type Octets, sub, wireCodec } from './octets.js'

// The control protocol between engine and launcher; native/launcher/protocol.h is the same table. Little-endian, one
// message per packet: the engine asks, and each request gets exactly one reply.

/** Longest message either way, and longest part of a netlink answer in one reply; octets. */
export const CTL_MAX = 65536
export const NETLINK_PART = 32768

/** What the engine may ask for. Strings are UTF-8 without NUL on the wire. */
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
  /** The engine serves: pid file, background, command. Only Netlink and Next after this. */
  | { readonly type: 'Ready' }

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
  /** Setup, Join, Ready. */
  | { readonly type: 'Done'; readonly kind: number }

export const RQ = { SETUP: 1, SPAWN: 2, JOIN: 3, TAP: 4, NETLINK: 5, NEXT: 6, READY: 7 } as const
const SETUP_FOREGROUND = 1
const SPAWN_NETNS_ONLY = 1
const SPAWN_NO_PIDNS = 2
const JOIN_NO_QUIT = 1
const TAP_VNET = 1
const REPLY_MORE = 1
const REPLY_HEAD = 12
const TAP_HEAD = 16
const MAC_LEN = 6

const utf8 = new TextEncoder()
const text = new TextDecoder()

const u32 = (...words: ReadonlyArray<number>): Uint8Array => {
  const b = new Uint8Array(words.length * 4)
  const v = new DataView(b.buffer)
  for (const [i, w] of words.entries()) v.setUint32(i * 4, w, true)
  return b
}
const str = (s: string): ReadonlyArray<Uint8Array> => {
  const b = utf8.encode(s)
  return [u32(b.length), b]
}
const join = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const b = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    b.set(p, at)
    at += p.length
  }
  return b
}

/** Words and strings one after the other; `null` as soon as octets are missing, are left over, or hold NUL. */
const fields = (o: Octets, words: number, strings: number): { w: number[]; s: string[] } | null => {
  const w: number[] = []
  const s: string[] = []
  if (o.len < words * 4) return null
  for (let i = 0; i < words; i++) w.push(o.view.getUint32(o.off + i * 4, true))
  let at = words * 4
  for (let i = 0; i < strings; i++) {
    if (o.len - at < 4) return null
    const n = o.view.getUint32(o.off + at, true)
    if (o.len - at - 4 < n) return null
    const b = bytesOf(sub(o, at + 4, n))
    if (b.includes(0)) return null
    s.push(text.decode(b))
    at += 4 + n
  }
  return at === o.len ? { w, s } : null
}

const requestKinds: ReadonlySet<string> = new Set([
  'Setup',
  'Spawn',
  'Join',
  'Tap',
  'Netlink',
  'Next',
  'Ready'
])
const replyKinds: ReadonlySet<string> = new Set(['Failed', 'Spawned', 'Tap', 'Netlink', 'Done'])
const hasType =
  (types: ReadonlySet<string>) =>
  (u: unknown): boolean =>
    typeof u === 'object' && u !== null && 'type' in u && typeof u.type === 'string' && types.has(u.type)

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
      return u32(RQ.READY)
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
  if (kind === RQ.READY) return body.len === 0 ? { type: 'Ready' } : bad
  return `unknown request ${kind}`
}

const encodeReply = (r: LauncherReply): Uint8Array => {
  switch (r.type) {
    case 'Failed':
      return join(u32(r.kind, r.errno, 0), utf8.encode(r.text))
    case 'Spawned':
      return join(u32(RQ.SPAWN, 0, 0, r.pid), utf8.encode(r.warnings.map((w) => `${w}\n`).join('')))
    case 'Tap':
      return join(
        u32(RQ.TAP, 0, 0, r.index, r.vnet ? TAP_VNET : 0),
        r.mac,
        new Uint8Array(TAP_HEAD - 8 - MAC_LEN),
        utf8.encode(r.name)
      )
    case 'Netlink':
      return join(u32(RQ.NETLINK, 0, r.more ? REPLY_MORE : 0), r.bytes)
    case 'Done':
      return u32(r.kind, 0, 0)
  }
}

const decodeReply = (o: Octets): LauncherReply | string => {
  if (o.len < REPLY_HEAD) return `need ${REPLY_HEAD} octets, have ${o.len}`
  const kind = o.view.getUint32(o.off, true)
  const errno = o.view.getUint32(o.off + 4, true)
  const flags = o.view.getUint32(o.off + 8, true)
  const body = sub(o, REPLY_HEAD)
  if (errno !== 0) return { type: 'Failed', kind, errno, text: text.decode(bytesOf(body)) }
  switch (kind) {
    case RQ.SPAWN: {
      if (body.len < 4) return 'reply to Spawn without process id'
      const warnings = text.decode(bytesOf(sub(body, 4))).split('\n')
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
      const name = text.decode(bytesOf(sub(body, TAP_HEAD)))
      return { type: 'Tap', index: body.view.getUint32(body.off, true), vnet, mac, name }
    }
    case RQ.NETLINK:
    case RQ.NEXT:
      return { type: 'Netlink', more: (flags & REPLY_MORE) !== 0, bytes: copyOf(body) }
    case RQ.SETUP:
    case RQ.JOIN:
    case RQ.READY:
      return body.len === 0 ? { type: 'Done', kind } : `reply ${kind} with a body`
    default:
      return `unknown reply ${kind}`
  }
}

/**
 * Shape: u32 kind, body as in protocol.h; strings u32 length + octets.
 * Left: unknown kind; octets missing or left over; NUL in a string.
 * Law: decode(encode(r)) = right(r) for strings of whole code points without NUL.   Source: native/launcher/protocol.h
 */
export const LauncherRequest: t.Type<LauncherRequest, Uint8Array, Octets> = wireCodec(
  'LauncherRequest',
  (u): u is LauncherRequest => hasType(requestKinds)(u),
  decodeRequest,
  encodeRequest
)

/**
 * Shape: u32 kind, u32 errno, u32 flags, body. With an errno the body is text whatever the kind.
 * Left: unknown kind, body too short, or one where there is none.
 * Law: as LauncherRequest; warnings hold no newline and are not empty. Netlink stands for the kinds NETLINK and NEXT.
 */
export const LauncherReply: t.Type<LauncherReply, Uint8Array, Octets> = wireCodec(
  'LauncherReply',
  (u): u is LauncherReply => hasType(replyKinds)(u),
  decodeReply,
  encodeReply
)
