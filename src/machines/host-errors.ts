import type { SockEvent } from '../effects/sock-event.js'

// What an ICMP error on a datagram socket of the host means for its flow; shared by the UDP and ping machines.

/** Linux' number. */
export const EACCES = 13

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
