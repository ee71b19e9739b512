import { RECORD_WORDS, type RingRecord } from '../../codecs/log/record.js'
import { showAddr } from '../../codecs/value/inany.js'
import { decodeFrame } from '../../codecs/wire/frame.js'
import { VNET_LEN } from '../../codecs/wire/vnet.js'
import { EF, EV } from '../abi/abi.js'
import { showFrame } from '../observe/trace.js'
import { flowOfEffect, flowOfEvent } from './flow-of.js'

// Records of both rings in words. Names of words as native has them (native/addon/records.h).

const INFO = 'snd_wnd peer_window_scale snd_mss rtt min_rtt bytes_acked sndbuf_free sndbuf'
const MOVED = 'side - moved[4] - - - - - error'
const ARRIVED = 'off len segment peer_port peer_addr[4] sent_to[4] interface own_ipv4'
const OPEN = 'dst[4] dst_port scope mss|source_port|slot src[4] flags listener'
const ERROR = '- - - - - - - - - - - error'
/** Words from the third one on. `-`: unused; `[4]`: an address. */
export const EFFECT_WORDS: Readonly<Record<keyof typeof EF, string>> = {
  TAP_WRITE: 'off len',
  TCP_CONNECT: OPEN,
  SEND: 'off len flags segment',
  PEEK: 'header_off header_len budget mss flags',
  DISCARD: 'octets',
  REWIND: 'octets',
  SHUTDOWN_WR: '',
  CLOSE: '',
  RESET: '',
  AWAIT_WRITABLE: '',
  KEEPALIVE: '',
  INFO: '',
  UDP_OPEN: OPEN,
  UDP_SEND: 'off len ttl segment',
  PING_OPEN: OPEN,
  PING_SEND: 'off len ttl segment',
  ADOPT: 'slot',
  REJECT: 'slot',
  SPLICE: OPEN,
  SPLICE_SHUT: 'side',
  SPLICE_CLOSE: '',
  SPLICE_RESET: '',
  READ_ALLOW: 'side octets',
  UDP_JOIN: 'other_handle',
  LINK_USE: 'descriptor',
  LINK_REFUSE: 'descriptor',
  LINK_CLOSE: '',
  NETLINK: 'off len',
  CAPTURE_NOTE: 'off len frame',
  VHOST_NEXT: '',
  VHOST_REPLY: 'off len',
  VHOST_FEATURES: '',
  VHOST_MEMORY: 'off regions',
  VHOST_ADD_REGION: 'off regions',
  VHOST_REMOVE_REGION: '',
  VHOST_LOG: 'descriptor',
  VHOST_LOG_FD: 'descriptor',
  VRING_ADDR: 'ring flags',
  VRING_BASE: 'ring next_avail_index',
  VRING_FD: 'ring which descriptor',
  VRING_RUN: 'ring mode',
  VRING_STOP: 'ring',
  CLOSE_FD: 'descriptor',
  REPAIR: 'off sockets command',
  REPAIR_CLOSE: '',
  TCP_FREEZE: 'flags',
  TCP_THAW: '',
  TCP_DUMP: '',
  STATE_OPEN: 'descriptor direction',
  STATE_WRITE: 'off len',
  STATE_QUEUES: '',
  STATE_CLOSE: 'flags',
  STATE_NEXT: 'octets',
  TCP_RESTORE_OPEN: 'flags outbound',
  TCP_RESTORE: 'off len',
  TCP_RESTORE_QUEUE: 'off len queue',
  TCP_RESTORE_END: 'flags',
  TCP_RUN: 'flags peek_offset',
  HAND_OVER_ANSWER: 'off len names_off descriptors',
  HAND_OVER_CLOSE: '',
  HAND_OVER_HOLD: 'flags',
  HAND_OVER_GUEST: '',
  GIVE: 'descriptor',
  TCP_TAKE: 'descriptor flags peek_offset taken',
  CONF_SEND: 'off len',
  CONF_CLOSE: '',
  API_SEND: 'off len'
}
export const EVENT_WORDS: Readonly<Record<keyof typeof EV, string>> = {
  TAP_FRAME: 'off len vnet_flags gso_size csum_start ones_complement_sum',
  TAP_GONE: 'error',
  TAP_DROPPED: 'frames error',
  CONNECTED: `- - ${INFO}`,
  SENT: `taken pending ${INFO} dropped error`,
  PEEKED: 'octets flags - - - - - - - - - error',
  READY: `flags - ${INFO}`,
  ACKED: 'octet',
  FAILED: '- - - - - - - - - - refused error',
  DATAGRAM: 'off len segment',
  ICMP_ERROR: 'off len ee_errno ee_type ee_code ee_info offender[4]',
  INFO: `- - ${INFO}`,
  CTL: 'off len',
  ACCEPTED: 'slot ports peer_addr[4] local_addr[4] scope',
  LISTEN_TROUBLE: ERROR,
  LISTEN_DATAGRAM: ARRIVED,
  LISTEN_ICMP_ERROR: 'off len ee_errno ee_type ee_info dst_port offender[4] destination[4]',
  SPLICE_CONNECTED: MOVED,
  SPLICE_EOF: MOVED,
  SPLICE_FAILED: MOVED,
  READ_ASKS: 'side octets',
  UDP_MOVED: 'datagrams lost',
  LINK_CLIENT: 'descriptor process_id flags',
  LINK_END: 'why detail',
  TAP_ROOM: '',
  NETLINK: 'off len',
  HOST_BELL: '',
  HOST: 'off len',
  CAPTURE: 'error frames',
  BOUND: 'port',
  ANSWER: ARRIVED,
  REFUSED: ERROR,
  VHOST_MESSAGE: 'off len number_of_descriptors',
  VHOST_DONE: ERROR,
  VRING_STOPPED: 'ring next_avail_index',
  VRING_BROKEN: 'ring why detail',
  REPAIR_HELPER: 'there',
  REPAIRED: ERROR,
  TCP_DUMPED: 'off len - - - - - - - - - error',
  STATE_WRITTEN: 'octets',
  STATE_ENDED: ERROR,
  STATE_OCTETS: 'off len',
  RESTORED: ERROR,
  STATE_PROGRESS: 'octets',
  HAND_OVER_PEER: 'there',
  HAND_OVER_ASKED: 'off len',
  CONF_CLIENT: 'process_id flags',
  CONF_OCTETS: 'off len',
  API_OCTETS: 'off len'
}
/** The word that is of each kind's own, of those that open a socket. */
const OWN: Readonly<Record<string, string>> = {
  TCP_CONNECT: 'mss',
  UDP_OPEN: 'source_port',
  PING_OPEN: '-',
  SPLICE: 'slot'
}
const OPENING = 'bind_outbound in_namespace to_group'
/** Bits of a kind's flags, from the lowest one on (runtime/abi/abi.ts, codecs/wire/vnet.ts). */
const FLAGS: Readonly<Record<string, string>> = {
  TAP_FRAME: 'needs_csum data_valid',
  READY: 'in out rdhup info',
  PEEKED: 'eof drained tap_full tap_tells',
  SEND: 'report_ack',
  PEEK: 'v6',
  ...Object.fromEntries(Object.keys(OWN).map((name) => [name, OPENING]))
}
interface Kind {
  readonly name: string
  readonly words: ReadonlyArray<string>
  readonly flags: ReadonlyArray<string>
}
const listed = (names = ''): ReadonlyArray<string> => names.split(' ').filter((w) => w !== '')
const byKind = (
  kinds: Readonly<Record<string, number>>,
  words: Readonly<Record<string, string>>
): ReadonlyMap<number, Kind> =>
  new Map(
    Object.entries(kinds).map(([name, n]) => [
      n,
      {
        name,
        words: listed(words[name]).map((w) => (w.includes('|') ? (OWN[name] ?? w) : w)),
        flags: listed(FLAGS[name])
      }
    ])
  )
const EFFECTS = byKind(EF, EFFECT_WORDS)
const EVENTS = byKind(EV, EVENT_WORDS)

/** Bits by their names, and in hex what has none. */
const flagText = (w: number, names: ReadonlyArray<string>): string => {
  const rest = w & ~((1 << names.length) - 1)
  const named = names.filter((_, bit) => (w & (1 << bit)) !== 0)
  return [...named, ...(rest === 0 ? [] : [`0x${(rest >>> 0).toString(16)}`])].join(',')
}
const wordText = (w: number, name: string, flags: ReadonlyArray<string>): string => {
  if (name.endsWith('flags')) return flagText(w, flags)
  return name.endsWith('off') ? `0x${w.toString(16)}` : `${w}`
}
/** `name value` of what is not 0, from the third word on. */
const fields = (words: ReadonlyArray<number>, kind: Kind | undefined): string => {
  const { words: names, flags } = kind ?? { words: [], flags: [] }
  const out: string[] = []
  let i = 2
  for (const name of names) {
    if (name.endsWith('[4]')) {
      const a = [0, 1, 2, 3].map((k) => (words[i + k] ?? 0) >>> 0) as [number, number, number, number]
      if (name === 'moved[4]') out.push(`moved ${a.join(' ')}`)
      else if (a.some((w) => w !== 0)) out.push(`${name.slice(0, -3)} ${showAddr(a)}`)
      i += 4
      continue
    }
    const w = words[i++] ?? 0
    if (w !== 0 && name !== '-') out.push(`${name} ${wordText(w, name, flags)}`)
  }
  for (; i < RECORD_WORDS; i++) if ((words[i] ?? 0) !== 0) out.push(`word${i} ${words[i]}`)
  return out.map((text) => ` ${text}`).join('')
}

/** A frame as --trace shows it, as far as it was kept. `behind`: octets in front of its Ethernet header. */
const frameText = (r: RingRecord, behind: number): string => {
  if (r.kept === null) return ''
  const len = Math.min(Math.max(r.words[3] ?? 0, 0), 1 << 20)
  const { head, tail } = r.kept
  if (head.length + tail.length > len) return ''
  const b = new Uint8Array(len)
  b.set(head)
  b.set(tail, len - tail.length)
  const view = new DataView(b.buffer)
  if (len < behind) return ''
  const f = decodeFrame({ view, off: behind, len: len - behind }, { needsCsum: true, sum16: 0, gsoSize: 0 })
  return `: ${typeof f === 'string' ? f : showFrame(view, f)}`
}

/** 0 is a handle where there is a flow, and none elsewhere. */
const handleText = (handle: number, flow: number | null): string =>
  handle === 0 && flow === null ? '' : ` handle ${handle}`
/** One line. */
export const effectText = (r: RingRecord): string => {
  const kind = EFFECTS.get(r.words[0] ?? 0)
  const what = kind?.name ?? `effect ${r.words[0]}`
  const frame = r.words[0] === EF.TAP_WRITE ? frameText(r, VNET_LEN) : ''
  return `${what}${handleText(r.words[1] ?? 0, flowOfEffect(r))}${fields(r.words, kind)}${frame}`
}
export const eventText = (r: RingRecord): string => {
  const kind = EVENTS.get(r.words[0] ?? 0)
  const what = kind?.name ?? `event ${r.words[0]}`
  const frame = r.words[0] === EV.TAP_FRAME ? frameText(r, 0) : ''
  return `${what}${handleText(r.words[1] ?? 0, flowOfEvent(r))}${fields(r.words, kind)}${frame}`
}
