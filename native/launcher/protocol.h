/* Control protocol between the engine (Node, descriptor 3) and the launcher: src/codecs/launcher.ts is the same table.
 *
 * SOCK_SEQPACKET, one message per packet, little-endian. The engine asks, the launcher answers each request with exactly
 * one reply and never speaks unasked; the end of either is the other's end of file.
 *
 * request: u32 kind, body                      str: u32 octets, that many octets without NUL
 * reply:   u32 kind, u32 errno, u32 flags, body; with errno: the body is a message for people, the reason included
 */
#ifndef PASST_LAUNCHER_PROTOCOL_H
#define PASST_LAUNCHER_PROTOCOL_H

#include <cstddef>
#include <cstdint>

enum : int { CTL_FD = 3 };

enum Request : uint32_t {
	/* u32 flags (SETUP_*), str pid file ('' = none). First. Reply: nothing */
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
	/* nothing. Pid file is written, the command starts, the launcher's caller gets its prompt back. Reply: nothing.
	 * From here on only RQ_NETLINK and RQ_NEXT are served */
	RQ_READY = 7,
};

enum : uint32_t {
	SETUP_FOREGROUND = 1,
	SPAWN_NETNS_ONLY = 1, SPAWN_NO_PIDNS = 2,
	JOIN_NO_QUIT = 1,
	TAP_VNET = 1,
	REPLY_MORE = 1,
};

/* Longest request and longest reply, in octets */
enum : size_t { CTL_MAX = 65536, REPLY_HEAD = 12, NETLINK_PART = 32768 };

#endif
