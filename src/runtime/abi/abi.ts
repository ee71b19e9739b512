/** The two rings between JS and native: same table as native/addon/abi.h, where each word is explained. */
export const ABI_WORDS = 16

export const EF = {
  TAP_WRITE: 1,
  TCP_CONNECT: 2,
  SEND: 3,
  PEEK: 4,
  DISCARD: 5,
  REWIND: 6,
  SHUTDOWN_WR: 7,
  CLOSE: 8,
  RESET: 9,
  AWAIT_WRITABLE: 10,
  KEEPALIVE: 11,
  INFO: 12,
  UDP_OPEN: 13,
  UDP_SEND: 14,
  PING_OPEN: 15,
  PING_SEND: 16,
  ADOPT: 17,
  REJECT: 18,
  SPLICE: 20,
  SPLICE_SHUT: 21,
  SPLICE_CLOSE: 22,
  SPLICE_RESET: 23,
  READ_ALLOW: 24,
  UDP_JOIN: 25,
  LINK_USE: 26,
  LINK_REFUSE: 27,
  LINK_CLOSE: 28,
  NETLINK: 29,
  CAPTURE_NOTE: 30,
  VHOST_NEXT: 31,
  VHOST_REPLY: 32,
  VHOST_FEATURES: 33,
  VHOST_MEMORY: 34,
  VHOST_ADD_REGION: 35,
  VHOST_REMOVE_REGION: 36,
  VHOST_LOG: 37,
  VHOST_LOG_FD: 38,
  VRING_ADDR: 39,
  VRING_BASE: 40,
  VRING_FD: 41,
  VRING_RUN: 42,
  VRING_STOP: 43,
  CLOSE_FD: 44,
  REPAIR: 45,
  REPAIR_CLOSE: 46,
  TCP_FREEZE: 47,
  TCP_THAW: 48,
  TCP_DUMP: 49,
  STATE_OPEN: 50,
  STATE_WRITE: 51,
  STATE_QUEUES: 52,
  STATE_CLOSE: 53,
  STATE_NEXT: 54,
  TCP_RESTORE_OPEN: 55,
  TCP_RESTORE: 56,
  TCP_RESTORE_QUEUE: 57,
  TCP_RESTORE_END: 58,
  TCP_RUN: 59,
  HAND_OVER_ANSWER: 60,
  HAND_OVER_CLOSE: 61,
  HAND_OVER_HOLD: 62,
  HAND_OVER_GUEST: 63,
  GIVE: 64,
  TCP_TAKE: 65,
  CONF_SEND: 66,
  CONF_CLOSE: 67,
  API_SEND: 68
} as const

export const EV = {
  TAP_FRAME: 1,
  TAP_GONE: 2,
  TAP_DROPPED: 3,
  CONNECTED: 4,
  SENT: 5,
  PEEKED: 6,
  READY: 7,
  ACKED: 8,
  FAILED: 9,
  DATAGRAM: 10,
  ICMP_ERROR: 11,
  INFO: 12,
  CTL: 13,
  ACCEPTED: 14,
  LISTEN_TROUBLE: 15,
  LISTEN_DATAGRAM: 16,
  LISTEN_ICMP_ERROR: 17,
  SPLICE_CONNECTED: 18,
  SPLICE_EOF: 19,
  SPLICE_FAILED: 20,
  READ_ASKS: 21,
  UDP_MOVED: 22,
  LINK_CLIENT: 23,
  LINK_END: 24,
  TAP_ROOM: 25,
  NETLINK: 26,
  CAPTURE: 27,
  BOUND: 28,
  ANSWER: 29,
  REFUSED: 30,
  VHOST_MESSAGE: 31,
  VHOST_DONE: 32,
  VRING_STOPPED: 33,
  VRING_BROKEN: 34,
  REPAIR_HELPER: 35,
  REPAIRED: 36,
  TCP_DUMPED: 37,
  STATE_WRITTEN: 38,
  STATE_ENDED: 39,
  STATE_OCTETS: 40,
  RESTORED: 41,
  STATE_PROGRESS: 42,
  HAND_OVER_PEER: 43,
  HAND_OVER_ASKED: 44,
  CONF_CLIENT: 45,
  CONF_OCTETS: 46,
  API_OCTETS: 47,
  HOST_BELL: 48,
  HOST: 49
} as const

export const BIND_OUTBOUND = 1
/** Opening effects: the socket comes from the pool of those made inside the namespace. */
export const IN_NAMESPACE = 2
/** EF.UDP_OPEN: not connected, at a port of the kernel's choice; EV.ANSWER has what comes. */
export const TO_GROUP = 4
/** EF.UDP_OPEN; EF.SPLICE, its sides 0 and 1: what is read from there has a limit: EV.READ_ASKS, EF.READ_ALLOW. */
export const READ_LIMIT = 8
export const READ_LIMIT_1 = 16
/** EF.SPLICE: side 1, side 0 is a UNIX socket. */
export const TO_UNIX = 32
export const FROM_UNIX = 64
export const SEND_REPORT_ACK = 1
export const IS_V6 = 1
export const PEEK_EOF = 1
export const PEEK_DRAINED = 2
export const PEEK_TAP_FULL = 4
/** With PEEK_TAP_FULL: EV.TAP_ROOM follows. */
export const PEEK_TAP_TELLS = 8
/** Why a client of the guest link is gone, and flags of a new one. */
export const LINK_EOF = 1
export const LINK_ERROR = 2
export const LINK_BAD_LENGTH = 3
export const LINK_HUNG_UP = 1
export const READY_IN = 1
export const READY_OUT = 2
export const READY_RDHUP = 4
export const READY_INFO = 8

/**
 * Handle of a flow's second socket = index + SIDE_1 (UDP between host and namespace; open the table with 2 * SIDE_1
 * handles). A spliced pair has its index only.
 */
export const SIDE_1 = 0x20000

/** Records of Native.listen(). */
export const LISTEN_WORDS = 9
export const LISTEN_V6ONLY = 1
export const LISTEN_FREEBIND = 2
/** UDP only, at a port that flows of ours have there: by a socket of the pool. ENOENT: none is left, more are asked for. */
export const LISTEN_IN_NAMESPACE = 4
/** It is a UNIX socket. */
export const LISTEN_UNIX = 8

/** vhost-user, octets: a message's header, the longest payload, one region of EF.VHOST_MEMORY. */
export const VHOST_HEAD = 12
export const VHOST_MESSAGE_MAX = 4096
export const VHOST_REGION_LEN = 40
/** Descriptors of one message; regions in the table at once; entries of a ring. */
export const VHOST_FDS_MAX = 8
export const VHOST_REGIONS_MAX = 32
export const VRING_SIZE_MAX = 32768
/** In place of a descriptor: there is none. */
export const VHOST_NO_FD = 0xffffffff
export const VRING_RX = 0
export const VRING_TX = 1
/** EF.VRING_ADDR: writes to the used ring are logged. */
export const VRING_LOG_USED = 1
/** EF.VRING_FD: which. */
export const VRING_KICK = 0
export const VRING_CALL = 1
export const VRING_ERR = 2
export const VRING_FDS = 3
/** EF.VRING_RUN: mode. */
export const VRING_OFF = 0
export const VRING_DISCARD = 1
export const VRING_ON = 2
/** EV.VRING_BROKEN: why. */
export const VRING_BAD_INDEX = 1
export const VRING_LOOP = 2
export const VRING_BAD_ADDRESS = 3
export const VRING_BAD_LENGTH = 4
export const VRING_BAD_INDIRECT = 5
export const VRING_BAD_ORDER = 6
export const VRING_BAD_MEMORY = 7

/** Migration: sockets of one EF.REPAIR; words of what EV.TCP_DUMPED and EF.TCP_RESTORE name; octets of one EV.STATE_OCTETS, of one queue. */
export const REPAIR_MAX = 253
export const DUMP_WORDS = 18
export const RESTORE_WORDS = 23
export const STATE_OCTETS_MAX = 65536
export const QUEUE_MAX = 67108864
/** Octets between two EV.STATE_PROGRESS. */
export const STATE_TOLD = 262144
/** EF.REPAIR: command. */
export const REPAIR_ON = 1
export const REPAIR_OFF = 0
export const REPAIR_OFF_NO_PROBE = 0xffffffff
export const STATE_SAVE = 0
export const STATE_LOAD = 1
/** EF.STATE_CLOSE: what is not written yet is lost. */
export const STATE_NOW = 1
/** EF.TCP_RESTORE_QUEUE: sent and not acknowledged; not sent; not read. */
export const QUEUE_SEND = 0
export const QUEUE_UNSENT = 1
export const QUEUE_RECV = 2
/** Shut down for writing: in repair mode, so that the FIN counts as sent; once the unsent octets are sent. */
export const RESTORE_SHUT = 1
export const RUN_SHUT = 1
/** EF.TCP_FREEZE: its kernel goes on hearing the peer. */
export const FREEZE_HEARS = 1

/** Restart in place: octets of a message, descriptors with one; EF.HAND_OVER_HOLD; what descriptors of EF.HAND_OVER_ANSWER are. */
export const HAND_OVER_MAX = 131072
export const HAND_OVER_FDS = 192
export const HAND_HOLD = 1
export const HAND_LISTENER = 0
export const HAND_FLOW = 1
export const HAND_GUEST = 2
export const HAND_CLIENTS = 3
export const HAND_OVER = 4
/** Of vhost-user: a region; ring * VRING_FDS + VRING_*; the log, 1: its eventfd; with a part of a message; where passt-repair connects. */
export const HAND_REGION = 5
export const HAND_VRING = 6
export const HAND_LOG = 7
export const HAND_CAME = 8
export const HAND_HELPERS = 9
export const HAND_CONF = 10
export const HAND_API = 11

/** Clients of the control socket at a time; EV.CONF_CLIENT: of our user, or root. */
export const CONF_CLIENTS = 64
export const CONF_ALLOWED = 1

/** What is followed: links, addresses, routes, rules; resolv.conf(5). */
export const HOST_TABLES = 1
export const HOST_RESOLVER = 2

/** Pools of Native.addNsSockets(). */
export const NS_TCP4 = 0
export const NS_TCP6 = 1
export const NS_UDP4 = 2
export const NS_UDP6 = 3

/**
 * The addon. One `turn` a loop turn; everything else is set-up. Failures are thrown as Error with `.errno` (positive)
 * and `.code` ('ENOENT') before the loop starts, and come as events once it runs.
 */
export interface Native {
  /**
   * Allocate rings and slab. `slab`: [0, txSize) belongs to JS (headers and frames that effects name), the rest to native
   * (what it read). `clock`: Float64Array(2), written at each return from turn(): ms on CLOCK_MONOTONIC; octets that native
   * has moved past the tap so far.
   */
  open(o: {
    readonly txSize: number
    readonly rxSize: number
    readonly handles: number
    readonly effects: number
    readonly events: number
  }): {
    readonly slab: ArrayBuffer
    readonly effects: ArrayBuffer
    readonly events: ArrayBuffer
    readonly clock: ArrayBuffer
  }
  /**
   * Carry out `effects` records, in order; then wait up to `timeoutMs` (fractions allowed, -1 = for ever; 0 is used anyway
   * when results are waiting), read what is ready, return the number of event records.
   */
  turn(effects: number, timeoutMs: number): number
  /**
   * Carry out `effects` records before the turn is at its end: the ring is full. What comes of them waits for turn(), and so do
   * peeks; connections that no effect has named are not reset yet.
   */
  carryOut(effects: number): void
  /** Use a tap; `vnet`: it was opened with IFF_VNET_HDR. Returns the TUN_F_* offloads obtained (0: none). */
  setTap(fd: number, vnet: boolean): number
  /**
   * The guest is at a stream socket instead (addon/link.h): listen at `path`, which nobody may be listening at; a socket file
   * that was left behind by a program of ours is replaced. Returns the socket file's mode. Throws EADDRINUSE: somebody listens there;
   * EEXIST: it is no socket; EPERM: it, or a symbolic link on the way, is another user's; and others. `vhostUser`: clients speak
   * vhost-user (addon/vhost/) instead of sending frames.
   */
  linkListen(path: string, vhostUser: boolean): number
  /** A connected stream socket for EF.LINK_USE. Throws EBADF, ENOTSOCK, ESOCKTNOSUPPORT (no stream), ENOTCONN. */
  linkOffer(fd: number, vhostUser: boolean): void
  /**
   * Listen for the helper that switches repair mode on and off (addon/migrate/): at `path`, by the rules of linkListen(). Returns the
   * socket file's mode; throws as that does. One helper at a time: EV.REPAIR_HELPER; a further one is closed.
   */
  repairListen(path: string): number
  /**
   * Connect to who serves at `path`, to take its place (addon/handover.h): a descriptor; -ENOENT, -ECONNREFUSED: nobody does. Throws
   * EPERM: it is another user's, and others.
   */
  handOverConnect(path: string): number
  /** A question on that connection. Throws ECONNRESET, and others. */
  handOverAsk(fd: number, question: Uint8Array): void
  /** Its answer with descriptors, within `ms`. Throws ETIMEDOUT, ECONNRESET, and others. */
  handOverHear(fd: number, ms: number): { readonly data: Uint8Array; readonly fds: ReadonlyArray<number> }
  /** Listen for a process that is to take ours: EV.HAND_OVER_PEER. As linkListen(), with a mode of 0600 at most. */
  handOverListen(path: string): void
  /** The same with a socket that listens already; it is the addon's from here on. */
  handOverAdopt(fd: number): void
  /** Listen for clients that look at rules and change them: EV.CONF_CLIENT. As linkListen(), with a mode of 0600 at most. */
  confListen(path: string): void
  /** The same with a socket that listens already, at `path`; it is the addon's from here on. */
  confAdopt(fd: number, path: string): void
  /** The stream to the API's process: EV.API_OCTETS; and the socket where its clients connect. They are the addon's from here on. */
  apiAdopt(fd: number, listener: number): void
  /** That process accepts clients from here on. `keep`: HAND_API stays there to be handed over. */
  apiServe(keep: boolean): void
  /** As linkListen(), with a socket that listens already; it is the addon's from here on. */
  linkAdopt(fd: number, vhostUser: boolean): void
  /** As repairListen(), with a socket that listens already; it is the addon's from here on. */
  repairAdopt(fd: number): void
  /** The Ethernet address that a tap has now, wherever it is. */
  tapAddress(fd: number): Uint8Array
  /** A TCP socket is reset and closed. */
  closeHard(fd: number): void
  /**
   * Of the link's client: octets that came and make no whole frame or message yet, or wait for room; how many descriptors came with
   * them (HAND_CAME); octets that it has not taken. Copies.
   */
  linkRest(): { readonly came: Uint8Array; readonly descriptors: number; readonly unsent: Uint8Array }
  /** The same of another process, for the client that EF.LINK_USE names next. Of vhost-user's no message is read then before EF.VHOST_NEXT. */
  linkResume(came: Uint8Array, unsent: Uint8Array, fds: ReadonlyArray<number>): void
  /**
   * What is in force of the vhost-user session, in words of 64 bits: features; octets of the dirty log, 0: none, and its mmap offset; 1: it has
   * an eventfd; of each ring: size, 0: it lies nowhere, addresses of descriptors, used, avail, log, flags (VRING_LOG_USED), next avail
   * index, descriptors (bits VRING_KICK and its like); of each region: gpa, size, user, mmap offset.
   */
  vhostHeld(): Uint8Array
  /** Names, octets, for SO_BINDTODEVICE of outbound sockets; empty: none. */
  setOutbound(if4: Uint8Array, if6: Uint8Array): void
  /**
   * Two numbers of each of these flows: the octets that its sockets hold in their buffers, and how many its TCP peers have sent and
   * acknowledged so far. `freeze`: from here on the kernel makes those buffers no larger (SO_RCVBUF and SO_SNDBUF at what they are,
   * socket(7)), for good.
   */
  memoryOf(flows: Int32Array, freeze: boolean): Float64Array
  /** Octets that each of these pairs has moved from side 0 to side 1, and back: two numbers each, 0 where it is none. */
  pairMoved(flows: Int32Array): Float64Array
  /** Local address and port of each of these flows' sockets: five words each, 0 where there is none. */
  localEnds(flows: Int32Array): Int32Array
  /** The same five words of any socket. */
  localEnd(fd: number): Int32Array
  /**
   * Local ports that the kernel may choose from for outbound sockets (IP_LOCAL_PORT_RANGE, ip(7)), a part of those that it has.
   * False: this kernel, before Linux 6.3, chooses from all.
   */
  setPorts(first: number, last: number): boolean
  /**
   * A file for us to write, made with mode 0600 or emptied; `read`: to be read too, and nonblocking. The rule for what is
   * there already is native/common/outfile.h's; EPERM, with the reason in words, is what it refuses.
   */
  openOutput(path: string, read: boolean): number
  /**
   * Every frame from and to the guest goes to this descriptor, behind the header that is there: as a pcap record, or with `ng`
   * as an enhanced packet block of interface 0, in ns. `room`: how many octets those may take, 0 for no bound; the first that would not fit ends the capture with EFBIG.
   */
  setPcap(fd: number, ng: boolean, room: number): void
  /** All that a guest sends is in the slab from here on: else payload that nobody but a socket reads may be left in the guest's memory. */
  takePayload(): void
  /** What is still to be written of the capture, to the disk. */
  finishPcap(): void
  /** One rtnetlink request in this process's namespace; the messages of the answer up to NLMSG_DONE or the ACK. */
  netlink(request: Uint8Array): Uint8Array
  /** Send a message to the launcher on descriptor `fd` and wait for one answer. `fds`: descriptors that came with it. */
  ctlCall(
    fd: number,
    message: Uint8Array
  ): { readonly data: Uint8Array; readonly fd: number; readonly fds: ReadonlyArray<number> }
  ctlSend(fd: number, message: Uint8Array): void
  /**
   * Watch the launcher's descriptor: EV_CTL. Sockets from the namespace (protocol.h, SOCKETS) go to their pools without
   * one, and are asked for as pools run low.
   */
  setCtl(fd: number): void
  /** Be told of what the kernel announces to these groups (RTMGRP_*, rtnetlink(7)), as EV.NETLINK. Once. */
  watchNetlink(groups: number): void
  /**
   * Be told that one of these groups (RTMGRP_*) has announced something, and nothing of what: EV.HOST_BELL with HOST_TABLES. It is armed
   * now. Once.
   */
  watchHost(groups: number): void
  /** The same for resolv.conf(5), by the socket of who watches it (protocol.h, RQ_RESOLVER), which is the addon's from here on. */
  hostResolver(fd: number): void
  /** What rang rings again. `which`: HOST_*. 0 or errno. */
  hostArm(which: number): number
  /** A request for tables of the host, beside those of `netlink()`, once it serves. 0 or errno. */
  hostAsk(request: Uint8Array): number
  /** The next datagram of the answer, 16 kB at most; or an errno. EAGAIN: it is not there. */
  hostAnswer(): Uint8Array | number
  /** What the watcher said last: all of the file. null: nothing since. */
  hostResolverSaid(): Uint8Array | null
  /** EV.HOST with these octets in the next turn. */
  hostTell(text: Uint8Array): void
  /**
   * Open listeners: `batch` holds records of LISTEN_WORDS words (0 listener id, 1 protocol: 6 or 17, 2-5 address, 6 port,
   * 7 LISTEN_* flags, 8 interface: index into `ifnames` + 1, 0 = none). `::` without LISTEN_V6ONLY hears IPv4 too, and is
   * 0.0.0.0 where there is no IPv6. Ids are small integers of the caller's choice; one in use is EEXIST.
   * Returns an errno for each record, 0 = listening. Between turns at any time.
   */
  listen(batch: Int32Array, ifnames: ReadonlyArray<Uint8Array>): Int32Array
  /**
   * Listen on a bound socket (TCP: listening already) that was made elsewhere. `flags`: LISTEN_IN_NAMESPACE, LISTEN_FREEBIND, LISTEN_UNIX. `fd` is
   * the addon's from here on.
   */
  adoptListener(id: number, fd: number, proto: number, flags: number): void
  /**
   * Of a socket, in words: SO_DOMAIN, SO_TYPE, SO_PROTOCOL, SO_ACCEPTCONN, has it a peer, IPV6_V6ONLY, 4 words of address, port; and
   * SO_BINDTODEVICE, empty: none. Throws ENOTSOCK.
   */
  socketFacts(fd: number): { readonly words: Int32Array; readonly device: Uint8Array }
  /**
   * A UNIX stream socket that listens at `path`, mode 0600, for adoptListener(): a descriptor. Nobody may be listening there; a socket file that
   * was left behind by a program of ours is replaced. Throws as linkListen().
   */
  unixListen(path: string): number
  /** Closes it. False: there was none. */
  closeListener(id: number): boolean
  /**
   * A TCP listener refuses connections, those not yet accepted as well, but keeps its port; another program of ours may listen there
   * meanwhile. False: there was none.
   */
  pauseListener(id: number): boolean
  /** It listens again, and needs no right to bind for that. 0 or errno; EADDRINUSE: another one does. */
  resumeListener(id: number): number
  /** Sockets made inside the namespace, for IN_NAMESPACE. `kind`: NS_*. They are the addon's from here on. */
  addNsSockets(kind: number, fds: Int32Array): void
  /** Connect to the system logger's socket: a descriptor, or -errno. */
  openSyslog(path: string): number
  /** Write without ever waiting, whatever the descriptor is (native/addon/logging.h). 0, or errno of what was lost. */
  writeNow(fd: number, data: Uint8Array): number
  /** Take octets [off, off + len) out of a file, if its filesystem can. 0 or errno. */
  collapse(fd: number, off: number, len: number): number
  /** ms on CLOCK_MONOTONIC */
  now(): number
  /**
   * Into background: a session of our own, without a terminal (setsid(2)); standard streams to descriptor `devNull`, which
   * is closed then; new working directory /.
   */
  detach(devNull: number): void
  /** no_new_privs on every thread; drop all capabilities; if `uid` >= 0 change user and group first. */
  dropPrivileges(uid: number, gid: number): void
  /**
   * Where the kernel has Landlock: no thread opens a file, a TCP socket is bound to a port of the caller's choice only with `bindTcp`, and
   * connects only with `connectTcp`. After dropPrivileges(); takes /proc.
   */
  confine(bindTcp: boolean, connectTcp: boolean): void
  /** From here on no thread gets more system calls than native/addon/seccomp-calls.def lists. False: the kernel cannot. */
  seal(): boolean
  /** _exit(2): the process ends here and now, without what Node does then. */
  exit(status: number): never
}
