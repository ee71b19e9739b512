/* The two rings between JS and native: fixed records of 16 32-bit words. src/runtime/abi.ts is the same table.
 *
 * Word 0 is the kind, word 1 the handle (index of the flow that owns the socket), the rest as listed. Offsets count from
 * the start of the slab. Addresses are four words, v4-mapped for IPv4, in host order (src/codecs/inany.ts).
 */
#ifndef PASST_ABI_H
#define PASST_ABI_H

#include <cstdint>

enum : uint32_t { ABI_WORDS = 16, VNET_LEN = 10 };

enum Effect : uint32_t {
	/* off len: a frame behind its virtio-net header (10 octets, off points to it, len counts it) */
	EF_TAP_WRITE = 1,
	/* 2-5 dst addr, 6 dst port, 7 scope id, 8 mss (0: leave), 9-12 src addr (0: any), 13 flags (BIND_OUTBOUND) */
	EF_TCP_CONNECT = 2,
	/* off len flags(SEND_REPORT_ACK) */
	EF_SEND = 3,
	/* 2 header off (virtio-net + Ethernet + IP + TCP header template), 3 header len without virtio-net, 4 budget, 5 mss,
	 * 6 flags: IS_V6 */
	EF_PEEK = 4,
	/* 2 octets */
	EF_DISCARD = 5,
	/* 2 octets behind the head of the queue */
	EF_REWIND = 6,
	EF_SHUTDOWN_WR = 7,
	EF_CLOSE = 8,
	EF_RESET = 9,
	EF_AWAIT_WRITABLE = 10,
	EF_KEEPALIVE = 11,
	EF_INFO = 12,
	/* as EF_TCP_CONNECT, but word 8 = source port, 0 = any */
	EF_UDP_OPEN = 13,
	/* off len ttl(0: leave) segment(0: one datagram) */
	EF_UDP_SEND = 14,
	/* as EF_TCP_CONNECT without mss; port unused */
	EF_PING_OPEN = 15,
	/* off len ttl(0: leave) */
	EF_PING_SEND = 16,
};

enum Event : uint32_t {
	/* 2 off of the frame (behind the virtio-net header), 3 len, 4 vnet flags | gso_type << 8, 5 gso_size,
	 * 6 csum_start | csum_offset << 16, 7 ones' complement sum (16 bit, folded, not inverted) of all octets from 14 on:
	 * only where vnet flags lack NEEDS_CSUM, so that JS can check any checksum without touching the payload */
	EV_TAP_FRAME = 1,
	/* 2 errno: the tap is of no further use */
	EV_TAP_GONE = 2,
	/* 2 frames dropped since the last report, 3 errno */
	EV_TAP_DROPPED = 3,
	/* 4-11 info */
	EV_CONNECTED = 4,
	/* 2 taken, 3 pending, 4-11 info, 12 dropped, 13 errno */
	EV_SENT = 5,
	/* 2 octets, 3 flags: PEEK_*, 13 errno */
	EV_PEEKED = 6,
	/* 2 flags: READY_*, 4-11 info if READY_INFO */
	EV_READY = 7,
	/* 2 octet (ee_data) */
	EV_ACKED = 8,
	/* 13 errno */
	EV_FAILED = 9,
	/* 2 off 3 len 4 segment */
	EV_DATAGRAM = 10,
	/* 2 off 3 len (quoted payload) 4 ee_errno 5 ee_type 6 ee_code 7 ee_info 8-11 offender */
	EV_ICMP_ERROR = 11,
	/* 4-11 info */
	EV_INFO = 12,
	/* 2 off 3 len: a message from the launcher; len 0: it is gone */
	EV_CTL = 13,
};

/* info: 4 snd_wnd, 5 peer window scale, 6 snd_mss, 7 rtt µs, 8 min_rtt µs, 9 bytes_acked (low 32 bits), 10 sndbuf free,
 * 11 sndbuf */

enum : uint32_t {
	BIND_OUTBOUND = 1,
	SEND_REPORT_ACK = 1,
	IS_V6 = 1,
	PEEK_EOF = 1, PEEK_DRAINED = 2, PEEK_TAP_FULL = 4,
	READY_IN = 1, READY_OUT = 2, READY_RDHUP = 4, READY_INFO = 8,
};

#endif
