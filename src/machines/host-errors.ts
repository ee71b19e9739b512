import type { SockEvent } from '../effects/sock-event.js'

// What an error on a datagram socket of the host means for its flow; shared by the UDP and ping machines. Linux numbers.
const EPERM = 1
const EINTR = 4
const EAGAIN = 11
const ENOMEM = 12
export const EACCES = 13
const EINVAL = 22
const EMSGSIZE = 90
const ENETDOWN = 100
const ENETUNREACH = 101
const ENOBUFS = 105
const ECONNREFUSED = 111
const EHOSTDOWN = 112
const EHOSTUNREACH = 113

/** Errors that only send() gives: one datagram is lost, the socket lives. ECONNREFUSED's ICMP comes by the error queue. */
const ONLY_SEND: ReadonlySet<number> = new Set([EPERM, EINTR, EAGAIN, EMSGSIZE, ENOBUFS, ECONNREFUSED])
/** Errors that bind() or connect() give too, but that pass on a socket that has worked: a route away, a full queue. */
const PASSING: ReadonlySet<number> = new Set([
  ...ONLY_SEND,
  ENOMEM,
  EACCES,
  EINVAL,
  ENETDOWN,
  ENETUNREACH,
  EHOSTDOWN,
  EHOSTUNREACH
])

/** Not the socket, only a datagram was refused, although we do not know yet whether the socket could be opened. */
export const sendRefused = (errno: number): boolean => ONLY_SEND.has(errno)
/**
 * An open socket survives this error. Everything else, 0 (an error condition without any error) included, means it is of
 * no more use: ignoring it would spin (flows.md §4.4, row 38). The next datagram of the guest opens a new flow (row 21).
 */
export const survivable = (errno: number): boolean => PASSING.has(errno)

type IcmpError = Extract<SockEvent, { readonly type: 'SOCK_ICMP_ERROR' }>

/**
 * Errors the guest is told: destination unreachable and time exceeded (RFC 792), destination unreachable, packet too big
 * and time exceeded (RFC 4443 §3). Not parameter problem, which would be about a header we wrote, nor source quench
 * (deprecated, RFC 6633), nor what the host itself found (type 0: SO_EE_ORIGIN_LOCAL).
 */
export const relayable = (v6: boolean, e: IcmpError): boolean =>
  v6
    ? (e.icmpType === 1 && e.code <= 8) ||
      (e.icmpType === 2 && e.code === 0) ||
      (e.icmpType === 3 && e.code <= 1)
    : (e.icmpType === 3 && e.code <= 15) || (e.icmpType === 11 && e.code <= 1)

/** Parameters of IcmpErrorToTap. The MTU field is zero wherever the RFCs call it unused. */
export const relayed = ({
  context,
  event: e
}: {
  readonly context: { readonly v6: boolean }
  readonly event: IcmpError
}) => ({
  icmpType: e.icmpType,
  code: e.code,
  mtu: (context.v6 ? e.icmpType === 2 : e.icmpType === 3 && e.code === 4) ? e.mtu : 0,
  offender: e.offender,
  quoted: e.quoted
})
