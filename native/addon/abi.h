/* The two rings between JS and native: fixed records of 16 32-bit words. src/runtime/abi/ has the same table: abi.ts the numbers,
 * effects.ts and events.ts the words; records.h has their names for native. property-tests/abi.test.ts reads this file, and holds all equal.
 *
 * Word 0 is the kind, word 1 the handle (index of the flow that owns the socket), the rest as listed. Offsets count from
 * the start of the slab. Addresses are four words, v4-mapped for IPv4, in host order (src/codecs/value/inany.ts).
 */
#ifndef PASST_ABI_H
#define PASST_ABI_H

#include "../common/protocol.h"

enum : uint32_t { ABI_WORDS = 16, VNET_LEN = 10 };

enum Effect : uint32_t {
	/* 2 off, 3 len: a frame behind its virtio-net header (10 octets, off points to it, len counts it) */
	EF_TAP_WRITE = 1,
	/* 2-5 dst addr, 6 dst port, 7 scope id, 8 mss (0: leave), 9-12 src addr (0: any), 13 flags (BIND_OUTBOUND,
	 * IN_NAMESPACE) */
	EF_TCP_CONNECT = 2,
	/* 2 off, 3 len, 4 flags (SEND_REPORT_ACK) */
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
	/* as EF_TCP_CONNECT, but 8 source port, 0 = any, as is one that cannot be had; flag TO_GROUP: the socket is not
	 * connected, its port is the kernel's choice (EV_BOUND), and whoever answers comes as EV_ANSWER; 14 listener: 1 + id of the UDP
	 * listener whose flow this is (0: none): its device and FREEBIND are taken over, and datagrams of strangers that slipped in between bind() and connect()
	 * come as its EV_LISTEN_DATAGRAM; so they do where the source port is a listener's */
	EF_UDP_OPEN = 13,
	/* 2 off, 3 len, 4 ttl (0: leave), 5 segment (0: one datagram) */
	EF_UDP_SEND = 14,
	/* as EF_TCP_CONNECT without mss; port unused */
	EF_PING_OPEN = 15,
	/* 2 off, 3 len, 4 ttl (0: leave) */
	EF_PING_SEND = 16,
	/* 2 slot (of EV_ACCEPTED): the connection becomes the handle's; EV_CONNECTED follows as after EF_TCP_CONNECT */
	EF_ADOPT = 17,
	/* word 1 unused, 2 slot: reset. So are all slots that the effects of the turn behind EV_ACCEPTED do not name */
	EF_REJECT = 18,
	/* as EF_TCP_CONNECT, but 8 slot: side 0, with FROM_UNIX of a UNIX socket. A socket made here or, with IN_NAMESPACE, there connects:
	 * side 1; with TO_UNIX the launcher connects it, to the target that 6 numbers (protocol.h, RQ_CONNECT) */
	EF_SPLICE = 20,
	/* 2 side: shutdown(SHUT_WR) there, once all that was read from the other side is written */
	EF_SPLICE_SHUT = 21,
	/* Close both sides; EF_CLOSE does the same */
	EF_SPLICE_CLOSE = 22,
	/* Reset both sides; EF_RESET does the same */
	EF_SPLICE_RESET = 23,
	/* 2 side of a pair (of a UDP socket: 0), 3 octets: so many more may be read from there; the answer to EV_READ_ASKS */
	EF_READ_ALLOW = 24,
	/* 2 other handle, UDP as well: from here on what one of them receives the other one sends, without EV_DATAGRAM, until
	 * either is closed */
	EF_UDP_JOIN = 25,
	/* word 1 unused, 2 descriptor (of EV_LINK_CLIENT, or given to Native.linkOffer()): the guest link's client from here on,
	 * in place of one that is there */
	EF_LINK_USE = 26,
	/* word 1 unused, 2 descriptor: closed without a word */
	EF_LINK_REFUSE = 27,
	/* word 1 unused: the client is closed, frames to it vanish */
	EF_LINK_CLOSE = 28,
	/* word 1 unused, 2 off, 3 len: a message to the kernel, by the socket of Native.watchNetlink(); EV_NETLINK has the answer */
	EF_NETLINK = 29,
	/* word 1 unused, 2 off, 3 len: a comment in the capture, 4 frame that it is on: off of EV_TAP_FRAME, or 0 = the next one to the
	 * guest */
	EF_CAPTURE_NOTE = 30,

	/* vhost-user (addon/vhost/): word 1 unused in all. 64-bit numbers are two words, the low one first.
	 *
	 * The message before is dealt with: the next one is read */
	EF_VHOST_NEXT = 31,
	/* 2 off, 3 len: octets to the front-end, header included. They are kept until it reads, up to a bound, behind which the session
	 * ends (EV_LINK_END) */
	EF_VHOST_REPLY = 32,
	/* 2-3 features in force, as virtio numbers them: offered and acknowledged */
	EF_VHOST_FEATURES = 33,
	/* 2 off, 3 regions: VHOST_REGION_LEN octets each. This table replaces the one before, or nothing changes; descriptors are closed in
	 * any case. Rings that have addresses are translated anew. EV_VHOST_DONE follows */
	EF_VHOST_MEMORY = 34,
	/* 2 off, 3 regions = 1: one more, laid out as above. EV_VHOST_DONE follows */
	EF_VHOST_ADD_REGION = 35,
	/* 2-3 guest physical address, 4-5 size, 6-7 user address: this one goes. EV_VHOST_DONE follows */
	EF_VHOST_REMOVE_REGION = 36,
	/* 2 descriptor of the dirty log, closed in any case, or VHOST_NO_FD: logging ends, 4-5 size, 6-7 mmap offset. EV_VHOST_DONE
	 * follows */
	EF_VHOST_LOG = 37,
	/* 2 descriptor of an eventfd that is written to once octets were logged, or VHOST_NO_FD */
	EF_VHOST_LOG_FD = 38,
	/* 2 ring, 3 flags: VRING_LOG_USED, 4-5 desc, 6-7 used, 8-9 avail (user addresses), 10-11 log (guest physical address of the used
	 * ring), 12 ring size. EV_VHOST_DONE follows */
	EF_VRING_ADDR = 39,
	/* 2 ring, 3 next avail index */
	EF_VRING_BASE = 40,
	/* 2 ring, 3 which: VRING_KICK, VRING_CALL, VRING_ERR, 4 descriptor or VHOST_NO_FD. The old one is closed; a new VRING_CALL is
	 * written to once, a ring without VRING_KICK is looked at in each turn */
	EF_VRING_FD = 41,
	/* 2 ring, 3 mode: VRING_OFF nothing is touched, VRING_DISCARD started but disabled, what comes is dropped, nothing is delivered,
	 * VRING_ON the ring is looked at once */
	EF_VRING_RUN = 42,
	/* 2 ring: VRING_OFF. EV_VRING_STOPPED follows */
	EF_VRING_STOP = 43,
	/* 2 descriptor of EV_VHOST_MESSAGE that nobody wants */
	EF_CLOSE_FD = 44,

	/* Live migration (addon/migrate/). In those without a socket's handle, word 1 is unused.
	 *
	 * 2 off of the handles, a word each, 3 sockets: at most REPAIR_MAX, 4 command: REPAIR_*. The helper at the repair socket gets
	 * these sockets' descriptors and does it (TCP_REPAIR, linux/tcp.h). One batch at a time; EV_REPAIRED follows. A
	 * handle without a socket is left out */
	EF_REPAIR = 45,
	/* The helper's connection is closed: EV_REPAIR_HELPER, and EV_REPAIRED where a batch is at work */
	EF_REPAIR_CLOSE = 46,
	/* 2 flags: without FREEZE_HEARS, from here on the kernel drops what the peer sends, unseen: it acknowledges nothing and answers nothing. Nothing is read, sent
	 * or told of the socket any more. A peek that waits gets no EV_PEEKED, octets that are pending are dropped. What the kernel has,
	 * it keeps */
	EF_TCP_FREEZE = 47,
	/* Out of repair mode, frozen: as it was before, its peek offset as well. EV_READY with info follows */
	EF_TCP_THAW = 48,
	/* Frozen and in repair mode. EV_TCP_DUMPED follows. Octets of both queues are kept until EF_STATE_QUEUES, EF_TCP_THAW, or the
	 * socket is closed */
	EF_TCP_DUMP = 49,
	/* 2 descriptor, ours from here on, 3 direction: STATE_SAVE, STATE_LOAD. The one before is closed without a word */
	EF_STATE_OPEN = 50,
	/* 2 off, 3 len: octets behind those that were given before */
	EF_STATE_WRITE = 51,
	/* Of the handle: its send queue as it was dumped, behind it its receive queue, behind what was given before */
	EF_STATE_QUEUES = 52,
	/* 2 flags: STATE_NOW, else once all is written. EV_STATE_ENDED follows */
	EF_STATE_CLOSE = 53,
	/* 2 octets at most, no more than STATE_OCTETS_MAX: read on. One EV_STATE_OCTETS or EV_STATE_ENDED follows */
	EF_STATE_NEXT = 54,
	/* 2 flags: IS_V6, 3 outbound: BIND_OUTBOUND or 0. The handle's TCP socket anew, in no state yet; before EF_TCP_RESTORE it is to be in
	 * repair mode. Until that ends by EF_REPAIR, or EF_TCP_RUN, the kernel drops what comes for it. EV_RESTORED, where it cannot be
	 * made: effects that follow do nothing */
	EF_TCP_RESTORE_OPEN = 55,
	/* 2 off, 3 len: restore, below. bind(), sequence numbers, connect(), options. What fails is told by EF_TCP_RESTORE_END */
	EF_TCP_RESTORE = 56,
	/* 2 off, 3 len, 4 queue: QUEUE_*. In pieces, in order: QUEUE_RECV and QUEUE_SEND either way, then QUEUE_UNSENT, which native keeps
	 * until EF_TCP_RUN */
	EF_TCP_RESTORE_QUEUE = 57,
	/* 2 flags: RESTORE_SHUT. The window is set. EV_RESTORED follows */
	EF_TCP_RESTORE_END = 58,
	/* 2 flags: RUN_SHUT, 3 peek offset. Restored and out of repair mode: unsent octets are sent, the socket is one like all others.
	 * EV_CONNECTED follows. Octet 0 of EV_ACKED and bytes_acked is the first one of the send queue. What was unsent is in the
	 * taken octets of no EV_SENT */
	EF_TCP_RUN = 59,

	/* Restart in place (addon/handover.h). Word 1 is unused but in EF_TCP_TAKE.
	 *
	 * 2 off, 3 len: the answer to EV_HAND_OVER_ASKED, of at most HAND_OVER_MAX octets, 4 names off: what goes with it, two words each,
	 * HAND_* and which, 5 descriptors: how many, at most HAND_OVER_FDS. One that is not there costs the connection */
	EF_HAND_OVER_ANSWER = 60,
	/* The connection is closed */
	EF_HAND_OVER_CLOSE = 61,
	/* 2 flags: HAND_HOLD: nothing is read and nothing accepted any more, but what is asked for; or as before */
	EF_HAND_OVER_HOLD = 62,
	/* The tap, or the link with its client, is somebody else's: closed, frames to the guest vanish */
	EF_HAND_OVER_GUEST = 63,
	/* 2 descriptor: the next EF_UDP_OPEN takes this socket, bound and connected, in place of a new one; -1: there is none any more */
	EF_GIVE = 64,
	/* 2 descriptor: a connection that another process served is the handle's, 3 flags: RUN_SHUT, 4 peek offset, 5 taken: octets that its
	 * kernel took since octet 0 of EV_ACKED and bytes_acked. EV_CONNECTED follows */
	EF_TCP_TAKE = 65,

	/* The control socket (addon/conf.h). Word 1 is the client.
	 *
	 * 2 off, 3 len: to the client, all at once; where its socket has no room for that, it is over: EV_CONF_OCTETS without octets */
	EF_CONF_SEND = 66,
	/* The connection is closed */
	EF_CONF_CLOSE = 67,

	/* Word 1 unused. 2 off, 3 len: to the API's process, as EF_CONF_SEND: EV_API_OCTETS without octets where that is over.
	 * Without octets: it is hung up on, and ends */
	EF_API_SEND = 68,
};

enum Event : uint32_t {
	/* 2 off of the frame (behind the virtio-net header), 3 len, 4 vnet flags | gso_type << 8, 5 gso_size,
	 * 6 csum_start | csum_offset << 16, 7 ones complement sum (16 bit, folded, not inverted) of all octets from 14 on:
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
	/* 12 refused: 1 = the kernel refused the destination, 13 errno */
	EV_FAILED = 9,
	/* 2 off, 3 len, 4 segment */
	EV_DATAGRAM = 10,
	/* 2 off, 3 len (quoted payload), 4 ee_errno, 5 ee_type, 6 ee_code, 7 ee_info, 8-11 offender */
	EV_ICMP_ERROR = 11,
	/* 4-11 info */
	EV_INFO = 12,
	/* 2 off, 3 len: a message from the launcher; len 0: it is gone */
	EV_CTL = 13,
	/* word 1 = listener, 2 slot, 3 ports: the peer's | the local one << 16, 4-7 peer addr, 8-11 local addr, 12 scope id of the peer.
	 * Answer in this turn: EF_ADOPT, EF_REJECT, EF_SPLICE */
	EV_ACCEPTED = 14,
	/* word 1 = listener, 13 errno: descriptors or memory ran out and all accepting pauses for ACCEPT_PAUSE ms (EMFILE,
	 * ENFILE, ENOBUFS, ENOMEM), or the listener is of no further use (any other) */
	EV_LISTEN_TROUBLE = 15,
	/* word 1 = listener, 2 off, 3 len, 4 segment (as EV_DATAGRAM), 5 peer port, 6-9 peer addr, 10-13 sent to:
	 * the destination (multicast and broadcast as well; 0: unknown), 14 interface that it came in by, its index (0: unknown; a link-local
	 * peer's scope), 15 own IPv4 address on that interface */
	EV_LISTEN_DATAGRAM = 16,
	/* word 1 = listener, 2 off, 3 len (quoted payload), 4 ee_errno, 5 ee_type | ee_code << 8, 6 ee_info, 7 dst port,
	 * 8-11 offender, 12-15 destination of the quoted datagram */
	EV_LISTEN_ICMP_ERROR = 17,
	/* side 1 is connected */
	EV_SPLICE_CONNECTED = 18,
	/* 2 side: its stream has ended, and all of it is written to the other side. moved */
	EV_SPLICE_EOF = 19,
	/* 2 side, 13 errno: broken; what it sent before is written as far as the other side took it. moved. No more comes */
	EV_SPLICE_FAILED = 20,
	/* 2 side of a pair (of a UDP socket: 0), 3 octets: so much is to be read from there, which has a limit, and nothing is before EF_READ_ALLOW */
	EV_READ_ASKS = 21,
	/* word 1 = the joined handle that received, 2 datagrams, 3 lost since the last report; at most one a second for each */
	EV_UDP_MOVED = 22,
	/* 2 descriptor, 3 process id (0: unknown), 4 flags: LINK_HUNG_UP. No further client is accepted before EF_LINK_USE or
	 * EF_LINK_REFUSE */
	EV_LINK_CLIENT = 23,
	/* Nothing more comes from the client: all that was whole came before. 2 why: LINK_*, 3 detail: errno (LINK_ERROR) or the length
	 * (LINK_BAD_LENGTH) */
	EV_LINK_END = 24,
	/* There is room on the guest link, after frames were refused (PEEK_TAP_TELLS; EV_TAP_DROPPED with EAGAIN) */
	EV_TAP_ROOM = 25,
	/* 2 off, 3 len: a datagram of the kernel's, from a group or an answer; len 0: some were lost */
	EV_NETLINK = 26,
	/* 2 errno: the capture has ended, 0 = it goes on; 3 frames that are missing in it since the last report */
	EV_CAPTURE = 27,
	/* 2 port: what the kernel chose for a socket towards a group */
	EV_BOUND = 28,
	/* A datagram on a socket towards a group: 2-14 as EV_LISTEN_DATAGRAM */
	EV_ANSWER = 29,
	/* 13 errno: the kernel refused to send datagrams there; the socket stays. One for each execution at most */
	EV_REFUSED = 30,
	/* Of the vhost-user front-end: one whole message. None follows before EF_VHOST_NEXT. 2 off, 3 len, header of VHOST_HEAD octets
	 * included, 4 number of descriptors, VHOST_FDS_MAX + 1 where there were more (those are closed), 5-12 descriptors */
	EV_VHOST_MESSAGE = 31,
	/* 13 errno, 0 = done. Answers EF_VHOST_MEMORY, EF_VHOST_ADD_REGION, EF_VHOST_REMOVE_REGION, EF_VHOST_LOG, EF_VRING_ADDR, in
	 * order */
	EV_VHOST_DONE = 32,
	/* 2 ring, 3 next avail index */
	EV_VRING_STOPPED = 33,
	/* 2 ring, 3 why: VRING_BAD_*, 4 detail: the index, length or address' low word that cannot be. It is VRING_OFF now */
	EV_VRING_BROKEN = 34,
	/* Word 1 unused. 2 there: 1 = a helper is at the repair socket, 0 = it is gone */
	EV_REPAIR_HELPER = 35,
	/* Word 1 unused. 13 errno: 0, ENOTCONN (no helper), EPIPE (gone meanwhile), EPROTO (another answer), EBUSY (one batch is at work
	 * already) */
	EV_REPAIRED = 36,
	/* 13 errno; 2 off, 3 len: dump, below */
	EV_TCP_DUMPED = 37,
	/* Word 1 unused. All that was given is in the pipe; 2 octets so far, low word */
	EV_STATE_WRITTEN = 38,
	/* Word 1 unused. 13 errno: 0 = closed after all was written, or end of file; ECANCELED = closed by STATE_NOW, or before the end of
	 * file */
	EV_STATE_ENDED = 39,
	/* Word 1 unused. 2 off, 3 len */
	EV_STATE_OCTETS = 40,
	/* 13 errno */
	EV_RESTORED = 41,
	/* Word 1 unused. STATE_TOLD more octets are in the pipe, others still wait; 2 octets so far, low word */
	EV_STATE_PROGRESS = 42,
	/* Word 1 unused. 2 there: 1 = a process has connected that is to take our place, 0 = it is gone */
	EV_HAND_OVER_PEER = 43,
	/* Word 1 unused. 2 off, 3 len: it asks. None follows before EF_HAND_OVER_ANSWER */
	EV_HAND_OVER_ASKED = 44,
	/* Word 1 = a client of the control socket, below CONF_CLIENTS, there until EF_CONF_CLOSE. 2 process id (0: unknown), 3 flags:
	 * CONF_ALLOWED */
	EV_CONF_CLIENT = 45,
	/* Word 1 = the client, 2 off, 3 len: what it said; len 0: it says no more */
	EV_CONF_OCTETS = 46,
	/* Word 1 unused. 2 off, 3 len: what the API's process said; len 0: it is gone */
	EV_API_OCTETS = 47,
	/* Word 1 = HOST_TABLES or HOST_RESOLVER: it is no longer what it was. Not told again before Native.hostArm() */
	EV_HOST_BELL = 48,
	/* Word 1 unused. 2 off, 3 len: what Native.hostTell() was given */
	EV_HOST = 49,
};

/* What is followed: the host's links, addresses, routes and rules; its resolv.conf(5) */
enum : uint32_t { HOST_TABLES = 1, HOST_RESOLVER = 2 };

/* moved: 4-5 octets from side 0 to side 1 (low, high word), 6-7 octets from side 1 to side 0 */

/* A flow's handle is its index. Where a flow has a second socket of its own (UDP between host and namespace), that one's
 * handle is index + SIDE_1: the table of handles is then opened with 2 * SIDE_1. A spliced pair has one handle only. */
enum : uint32_t { SIDE_1 = 0x20000 };

/* Native.listen(): records of LISTEN_WORDS words. 0 listener id, 1 protocol (6, 17), 2-5 addr, 6 port, 7 flags
 * (LISTEN_V6ONLY of protocol.h, LISTEN_FREEBIND, LISTEN_IN_NAMESPACE), 8 interface: index into the names + 1, 0 = none */
enum : uint32_t { LISTEN_WORDS = 9, LISTEN_FREEBIND = 2, LISTEN_IN_NAMESPACE = 4, LISTEN_UNIX = 8, ACCEPT_PAUSE = 100 };

/* Octets that EF_PEEK takes to the guest in one turn. A socket with PEEK_LITTLE or less goes first, all of those up to
 * PEEK_LITTLE_ALL; the others wait in order, have each a share of PEEK_ALL, at least PEEK_SHARE, and go on in the turns that
 * follow. EV_PEEKED comes once a peek has had its share: less than the budget of its effect, without PEEK_DRAINED */
enum : uint32_t { PEEK_ALL = 2 << 20, PEEK_SHARE = 256 << 10, PEEK_LITTLE = 16 << 10, PEEK_LITTLE_ALL = 512 << 10 };

/* Pools of sockets made inside the namespace, as Native.addNsSockets() counts them */
enum : uint32_t { NS_TCP4 = 0, NS_TCP6 = 1, NS_UDP4 = 2, NS_UDP6 = 3 };

/* region: at octet 0 guest physical address, 8 size, 16 user address, 24 mmap offset (64 bits each), 32 descriptor (32 bits) */

/* vhost-user. Octets: a message's header, the longest payload (one that is longer ends the session: LINK_BAD_LENGTH), one region in
 * EF_VHOST_MEMORY. VHOST_REGIONS_MAX: in the table at once */
enum : uint32_t {
	VHOST_HEAD = 12, VHOST_MESSAGE_MAX = 4096, VHOST_REGION_LEN = 40, VHOST_FDS_MAX = 8, VHOST_REGIONS_MAX = 32, VRING_SIZE_MAX = 32768,
	VHOST_NO_FD = 0xffffffff,
	/* rings */
	VRING_RX = 0, VRING_TX = 1, VRINGS = 2,
	VRING_LOG_USED = 1,
	VRING_KICK = 0, VRING_CALL = 1, VRING_ERR = 2, VRING_FDS = 3,
	VRING_OFF = 0, VRING_DISCARD = 1, VRING_ON = 2,
	/* An index of the avail ring too far ahead, or outside of a table; more descriptors than there are; memory that the front-end
	 * has not given; a length of 0 or too long; an indirect table in another one, or of no whole descriptors; a part to write
	 * before one to read, or of the wrong kind; pages that the file behind the memory does not have (any more) */
	VRING_BAD_INDEX = 1, VRING_LOOP = 2, VRING_BAD_ADDRESS = 3, VRING_BAD_LENGTH = 4, VRING_BAD_INDIRECT = 5, VRING_BAD_ORDER = 6,
	VRING_BAD_MEMORY = 7,
};

/* Migration. Sockets of a batch, words of dump and restore, octets: of one read, of a queue that is dumped or restored, between two
 * EV_STATE_PROGRESS */
enum : uint32_t {
	REPAIR_MAX = 253, DUMP_WORDS = 18, RESTORE_WORDS = 23, STATE_OCTETS_MAX = 65536, QUEUE_MAX = 64 << 20,
	STATE_TOLD = 256 << 10,
	REPAIR_ON = 1, REPAIR_OFF = 0, REPAIR_OFF_NO_PROBE = 0xffffffff,
	STATE_SAVE = 0, STATE_LOAD = 1, STATE_NOW = 1,
	/* Sent and not acknowledged; not sent; not read */
	QUEUE_SEND = 0, QUEUE_UNSENT = 1, QUEUE_RECV = 2,
	/* shutdown(SHUT_WR) in repair mode: the FIN counts as sent; once the unsent octets are sent */
	RESTORE_SHUT = 1, RUN_SHUT = 1,
	/* Its kernel goes on hearing the peer: the socket itself changes hands */
	FREEZE_HEARS = 1,
};

/* Restart in place. Octets of a message, descriptors with one; descriptors, by what they are: a listener by its id, a flow's socket by its handle, the tap or the
 * link's client, where clients of the link connect, where this connection came from. With vhost-user: a region of memory by its place in the table;
 * of a ring: ring * VRING_FDS + VRING_KICK and its like; the log (0), its eventfd (1); with a part of a message: one of VHOST_FDS_MAX; where
 * passt-repair connects; the control socket; where clients of the API connect */
enum : uint32_t {
	HAND_OVER_MAX = 131072, HAND_OVER_FDS = 192, HAND_HOLD = 1,
	HAND_LISTENER = 0, HAND_FLOW = 1, HAND_GUEST = 2, HAND_CLIENTS = 3, HAND_OVER = 4,
	HAND_REGION = 5, HAND_VRING = 6, HAND_LOG = 7, HAND_CAME = 8, HAND_HELPERS = 9, HAND_CONF = 10,
	HAND_API = 11,
};

/* Clients of the control socket at a time; one that is of our user, or root */
enum : uint32_t { CONF_CLIENTS = 64, CONF_ALLOWED = 1 };

/* dump, words in the slab, as the kernel says them (linux/tcp.h): 0 snd seq, 1 rcv seq: of the ends of both queues,
 * 2 outq, 3 outqnsd, 4 inq (SIOCOUTQ, SIOCOUTQNSD, SIOCINQ), 5 snd kept, 6 rcv kept: octets of the queues that native has,
 * 7 max seg, 8 timestamp (0: without), 9 snd_wl1, 10 snd_wnd, 11 max_window, 12 rcv_wnd, 13 rcv_wup, 14 window scale: send | receive << 8,
 * 15 state, 16 options (TCP_INFO), 17 sndbuf (SO_SNDBUF) */

/* restore, words in the slab: 0-3 own addr, 4 own port, 5-8 peer addr, 9 peer port, 10 snd seq, 11 rcv seq: of the starts of both queues,
 * 12 max seg, 13 timestamp, 14 snd_wl1, 15 snd_wnd, 16 max_window, 17 rcv_wnd, 18 rcv_wup, 19 window scale, 20 options: as above,
 * 21 sndbuf wanted (0: leave), 22 snd octets: of the send queue, sent or not */

/* info: 4 snd_wnd, 5 peer window scale, 6 snd_mss, 7 rtt µs, 8 min_rtt µs, 9 bytes_acked (low 32 bits), 10 sndbuf free,
 * 11 sndbuf */

enum : uint32_t {
	/* flags of opening effects */
	BIND_OUTBOUND = 1, IN_NAMESPACE = 2, TO_GROUP = 4,
	/* EF_UDP_OPEN; EF_SPLICE, its sides 0 and 1: what is read from there has a limit */
	READ_LIMIT = 8, READ_LIMIT_1 = 16,
	/* EF_SPLICE: side 1, side 0 is a UNIX socket */
	TO_UNIX = 32, FROM_UNIX = 64,
	SEND_REPORT_ACK = 1,
	IS_V6 = 1,
	PEEK_EOF = 1, PEEK_DRAINED = 2, PEEK_TAP_FULL = 4, PEEK_TAP_TELLS = 8,
	/* LINK_HUNG_UP: the client that we have has ended its stream, though not all of it is read */
	LINK_EOF = 1, LINK_ERROR = 2, LINK_BAD_LENGTH = 3, LINK_HUNG_UP = 1,
	READY_IN = 1, READY_OUT = 2, READY_RDHUP = 4, READY_INFO = 8,
};

#endif
