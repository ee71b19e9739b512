/* Control protocol between the engine (Node and the addon, descriptor 3) and the launcher: src/codecs/control/launcher.ts is the same table.
 *
 * SOCK_SEQPACKET, one message per packet, little-endian. The engine asks, the launcher answers each request with exactly
 * one reply, in order, and never speaks unasked; the end of either is the other's end of file. Requests may be sent ahead
 * of replies; while the engine's side is full of those the launcher takes no more requests, and for STALLED_MS at most.
 *
 * request: u32 kind, body                      str: u32 octets, that many octets without NUL
 * reply:   u32 kind, u32 errno, u32 flags, body; with errno: the body is a message for people, the reason included
 * Descriptors come with their reply as SCM_RIGHTS, in the order of the body.
 */
#ifndef PASST_LAUNCHER_PROTOCOL_H
#define PASST_LAUNCHER_PROTOCOL_H

#include <cstddef>
#include <cstdint>

/* ERROR_FD: where the engine reports errors until it serves, if PASST_ERROR_FD says so (passt(1), --error-fd) */
enum : int { ERROR_FD = 4, CTL_FD = 3 };
/* Of the process of the API (--api): its stream to the engine. First comes one octet, with the socket at which clients connect */
enum : int { API_ENGINE_FD = 3 };

enum RequestKind : uint32_t {
	/* u32 flags (SETUP_*), str pid file ('' = none). First, but for RQ_INHERITED and RQ_NAMES. Reply: u32 ms, and unless
	 * that is 0 a socket, to which the engine writes each so many ms from RQ_READY on: it is alive */
	RQ_SETUP = 1,
	/* u32 flags (SPAWN_*), u32 index of the command in argv (0 = login shell), str host name ('' = pasta-<own>).
	 * Reply: u32 process id, warnings (lines of text). The command waits for RQ_READY */
	RQ_SPAWN = 2,
	/* u32 process id (0 = none), u32 flags (JOIN_*), str user namespace ('' = that of the process, or stay),
	 * str network namespace ('' = that of the process). Reply: nothing */
	RQ_JOIN = 3,
	/* u32 flags (TAP_VNET: wanted), str interface name. Reply: u32 index, u32 flags (TAP_VNET: obtained), 6 octets
	 * MAC, 2 octets 0, name; with the descriptor as SCM_RIGHTS */
	RQ_TAP = 4,
	/* One rtnetlink message. Reply: the first octets of the answer, up to NLMSG_DONE or NLMSG_ERROR; if REPLY_MORE,
	 * RQ_NEXT has the following ones */
	RQ_NETLINK = 5,
	/* nothing. Reply: as RQ_NETLINK */
	RQ_NEXT = 6,
	/* str what a service manager shows. Pid file is written, the command starts, the launcher's caller gets its prompt back, a
	 * service manager hears of it. Reply: nothing.
	 * From here on only RQ_SOCKETS, RQ_LISTEN, RQ_CONNECT and RQ_LEAVE are served, and RQ_NETLINK as RQ_FOLLOW says */
	RQ_READY = 7,
	/* u32 family (2 = AF_INET, 10 = AF_INET6), u32 type (1 = SOCK_STREAM, 2 = SOCK_DGRAM), u32 count (1..SOCKETS_MAX).
	 * Sockets made in the namespace: non-blocking, close-on-exec, nothing else set. The reply has a form of its own,
	 * also for what is malformed or out of order: u32 SOCKETS, u32 family, u32 type (as asked for), u32 number of
	 * descriptors, u32 errno. With an errno there are fewer than asked for, or none */
	RQ_SOCKETS = 8,
	/* u32 count (1..LISTEN_MAX), for each: u32 protocol (6 = TCP, 17 = UDP), u32 flags (LISTEN_V6ONLY), u32 port (1..65535),
	 * 16 octets address (v4-mapped: a socket of IPv4), str device ('' = any). Listeners in the namespace; TCP ones listen.
	 * Reply: for each u32 errno, u32 number of descriptors: 1, with LISTEN_SPLIT 1 or 2, 0 where there is an errno */
	RQ_LISTEN = 9,
	/* nothing. Reply: u32 which (PROCNET_*: in this order), with the descriptors: /proc/net/{tcp,tcp6,udp,udp6} of the
	 * namespace, to be read from offset 0 again and again. Files that do not exist are left out */
	RQ_PROCNET = 10,
	/* u32 number. Reply: nothing, with the descriptor of that number as the launcher inherited it. Before RQ_SETUP, which
	 * closes all inherited ones but standard streams */
	RQ_INHERITED = 11,
	/* u32 flags (ROOT_BY_CHROOT). Before RQ_READY: the engine's root directory, and that of all its threads, becomes an empty
	 * one. Reply: nothing; with an errno it is as it was */
	RQ_EMPTY_ROOT = 12,
	/* u32 user, u32 group, 31 bits each, u32 flags (IDENTITY_LATE). After RQ_SETUP: whom the launcher becomes, and with it the
	 * command, before it enters namespaces; at RQ_READY, so without the command, if it enters none or is told so. Reply: nothing */
	RQ_IDENTITY = 13,
	/* str user, str group, '' = not asked for. Before RQ_IDENTITY, RQ_SPAWN, RQ_JOIN: their numbers, as this system knows them. Reply:
	 * u32 user, u32 group: the one named, or the user's own; 0 where nothing was asked for. ENOENT: one of them does not exist */
	RQ_NAMES = 14,
	/* nothing. After RQ_READY: another process serves in our place, so the engine's end is not the command's, and files of RQ_UNIX_FILE
	 * stay. Reply: nothing */
	RQ_LEAVE = 15,
	/* u32 user, u32 group (API_STAY: it stays who we are). After RQ_SETUP, before RQ_SPAWN, RQ_JOIN: the process of the API begins. Reply:
	 * nothing, with the descriptor of the engine's stream to it */
	RQ_API = 16,
	/* str absolute path. After RQ_SETUP, before RQ_SPAWN and RQ_JOIN: where RQ_CONNECT may lead; they have numbers from 0 on. Nobody
	 * need listen there yet. Reply: nothing */
	RQ_UNIX_TARGET = 17,
	/* str absolute path of a socket's file that the engine has made. Before RQ_READY: it is removed at our end, if it still is the same
	 * one. Reply: nothing */
	RQ_UNIX_FILE = 18,
	/* u32 number of an RQ_UNIX_TARGET. Reply: in the form of RQ_SOCKETS, family 1 (AF_UNIX), type: the number; a stream socket that
	 * is connected, non-blocking, close-on-exec */
	RQ_CONNECT = 19,
	/* nothing. After RQ_IDENTITY, before RQ_SPAWN and RQ_JOIN: a process that watches /etc/resolv.conf. Reply: nothing, with a socket:
	 * each message is the whole file, at once and when it is another one; it ends with that socket */
	RQ_RESOLVER = 20,
	/* u32 interface. In a namespace, before RQ_READY: what is set up there goes on being changed, so RQ_NETLINK is served after that as
	 * well, for addresses of this interface and routes through it (launcher/configure.h). Reply: nothing */
	RQ_FOLLOW = 21,
};

/* First word of the reply to RQ_SOCKETS and RQ_CONNECT, by which the addon knows it among others */
enum : uint32_t { SOCKETS = 0x534b };

enum : uint32_t {
	SETUP_FOREGROUND = 1,
	SPAWN_NETNS_ONLY = 1, SPAWN_NO_PIDNS = 2,
	JOIN_NO_QUIT = 1,
	TAP_VNET = 1,
	ROOT_BY_CHROOT = 1,
	IDENTITY_LATE = 1,
	API_STAY = 0xffffffff,
	REPLY_MORE = 1,
	LISTEN_V6ONLY = 1,
	/* In the reply: the kernel refused devices, so what should be the wildcard address on lo is 127.0.0.1 and ::1 */
	LISTEN_SPLIT = 1,
	PROCNET_TCP = 1, PROCNET_TCP6 = 2, PROCNET_UDP = 4, PROCNET_UDP6 = 8,
};

/* Longest request and longest reply, in octets */
enum : size_t { CTL_MAX = 65536, REPLY_HEAD = 12, NETLINK_PART = 32768 };
/* Most descriptors of a message, most sockets of a request, most listeners: each may be two sockets */
enum : uint32_t { PASSED_MAX = 64, SOCKETS_MAX = PASSED_MAX, LISTEN_MAX = PASSED_MAX / 2 };

#endif
