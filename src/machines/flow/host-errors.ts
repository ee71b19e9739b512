import {
  EACCES,
  EADDRNOTAVAIL,
  EHOSTDOWN,
  EHOSTUNREACH,
  EINVAL,
  ENETDOWN,
  ENETUNREACH,
  EPERM
} from '../../codecs/value/errno.js'
import type { SockEvent } from '../../effects/sock-event.js'
import { type Bucket, filled, type Rate, spend } from '../limit/token-bucket.js'

// What an ICMP error on a datagram socket of the host means for its flow; shared by the UDP and ping machines.

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

export interface Unreachable {
  readonly icmpType: number
  readonly code: number
}
type Codes = readonly [number, number]
const NET: Codes = [0, 0]
const HOST: Codes = [1, 3]
const PROHIBITED: Codes = [13, 1]
const REJECT_ROUTE: Codes = [13, 6]
/** Codes of destination unreachable, IPv4 and IPv6 (RFC 792, RFC 1812 §5.2.7.1, RFC 4443 §3.1). */
const CODES: ReadonlyMap<number, Codes> = new Map([
  [ENETUNREACH, NET],
  [ENETDOWN, NET],
  [EADDRNOTAVAIL, NET],
  [EHOSTUNREACH, REJECT_ROUTE],
  [EHOSTDOWN, HOST],
  [EINVAL, REJECT_ROUTE],
  [EACCES, PROHIBITED],
  [EPERM, PROHIBITED]
])

/**
 * What a guest is told of a destination that the host's kernel refused with `errno`; null: nothing, the reason is another one.
 *
 * Programs on the host get an error at once where a route is prohibit (EACCES), unreachable (EHOSTUNREACH) or blackhole (EINVAL;
 * ip-route(8), local senders). All three are the administrator's will and last, so the guest is told what its kernel takes for a
 * hard error, and hands to every program with a connected socket: administratively prohibited, for IPv6 «reject route» where it
 * is one (RFC 4443 §3.1). Net and host unreachable are hints that may pass (RFC 1122 §3.2.2.1): Linux tells those of programs
 * that ask (IP_RECVERR) only. They are for what may pass: no route (ENETUNREACH), a link that is down. A router with such routes
 * would call the second host unreachable and be silent about the third, but it has no local senders.
 */
export const refusal = (v6: boolean, errno: number): Unreachable | null => {
  const codes = CODES.get(errno)
  return codes === undefined ? null : { icmpType: v6 ? 1 : 3, code: codes[v6 ? 1 : 0] }
}

/** Guard and parameters of IcmpErrorToTap for a refused destination. */
export const isRefusal = (
  _: unknown,
  p: { readonly v6: boolean; readonly errno: number; readonly refused: boolean }
): boolean => p.refused && refusal(p.v6, p.errno) !== null
interface Refused {
  readonly context: { readonly v6: boolean }
  readonly event: Extract<SockEvent, { readonly type: 'SOCK_FAILED' | 'SOCK_REFUSED' }>
}
export const refused = ({ context: c, event: e }: Refused) => ({
  v6: c.v6,
  errno: e.errno,
  refused: e.type === 'SOCK_REFUSED' || e.refused === true
})
export const told = ({ context: c, event: e }: Refused) => ({
  icmpType: c.v6 ? 1 : 3,
  code: refusal(c.v6, e.errno)?.code ?? 0,
  mtu: 0,
  offender: null,
  quoted: { off: 0, len: 0 }
})

/** Tokens for errors of our own. */
export type ErrorBudget = Bucket
/** As Linux does for all its ICMP messages: icmp_msgs_burst, and icmp_msgs_per_sec in ms (ip-sysctl). */
export const ERROR_BURST = 50
export const ERROR_EVERY = 1
const ERRORS: Rate = { perMs: 1 / ERROR_EVERY, burst: ERROR_BURST }

/** One more error at `now`: what remains; null: not now. Law: in T ms at most ERROR_BURST + T / ERROR_EVERY. */
export const spendError = (b: ErrorBudget, now: number): ErrorBudget | null => {
  const full = filled(ERRORS, b, now)
  return full.tokens < 1 ? null : spend(ERRORS, full, 1)
}
