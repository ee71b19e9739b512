/* Host sockets: one per handle, its descriptor, options and what native remembers of it. */
#ifndef PASST_SOCK_H
#define PASST_SOCK_H

#include "pending.h"
#include "ports.h"
#include "records.h"

#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace passt {

struct Splice;
struct Move;

enum class Kind : uint8_t { None, Tcp, Udp, Ping, Splice };
/* Connecting: also while it waits for a socket from the namespace, `fd` -1. Failed: out of the epoll set, kept until it is
 * closed, nothing more is sent or read */
enum class Phase : uint8_t { Connecting, Open, Failed };

/** All zero = free, so that a table of them need not be touched. The descriptor counts only if kind says so: 0 is legal
 * (#regression-1). */
struct Sock {
	Kind kind;
	Phase phase;
	bool v6;
	/** EF_AWAIT_WRITABLE stands */
	bool await;
	/** shutdown(SHUT_WR) once nothing is pending; done */
	bool shut_due, shut;
	/** the kernel keeps our peek offset */
	bool peek_off_kept;
	bool rdhup;
	/** TCP: the peer's end of stream is in the queue; no more comes, but something in it is not the guest's yet (Table::keeps) */
	bool fin, over;
	/** TX_ACK: option set; wanted for the octets that go next */
	bool ts_on, report;
	/** in the list of those with sends gathered in this execution */
	bool touched;
	int fd;
	uint32_t generation;
	int error;
	/** What it is `over` by; 0: the socket itself still knows */
	int broken;

	uint32_t peek_off;
	/** octets the kernel took since connect(); how many of them when TX_ACK was set */
	uint32_t taken, ts_base;
	Pending *pending;

	/** This execution: gathered sends (index + 1 into the gather list), results. */
	uint32_t first, last, gathered;
	uint32_t sent, dropped;
	int sent_errno;

	int ttl;
	/** UDP_SEGMENT sizes from here on were refused; 0 = none yet */
	uint32_t no_segment_from;
	uint32_t peer[4];
	uint16_t peer_port;
	bool multicast;
	/** Towards a group, not connected: what it is sent to needs the scope as well. */
	bool group;
	uint32_t scope;

	bool in_namespace;
	/** UDP: 1 + listener whose flow this is, or whose port it has; 1 + handle it is joined with, and that one's generation. */
	uint32_t listener;
	/** which of those that have had the listener's id (ListenSock::serial) */
	uint32_t listener_serial;
	/** how often reading still waits for what the listener got before */
	uint8_t hold;
	uint32_t partner, partner_generation;
	/** Joined: datagrams received and lost since the last EV_UDP_MOVED; in the list of those to be told of. */
	uint32_t moved, lost;
	bool moved_listed;
	/** UDP with a rate limit: octets that may be read, below 0: a datagram was longer; asked for (EV_READ_ASKS), and how many the last time. */
	bool limited, asked;
	int64_t allowed;
	uint32_t asked_for;
	/** Kind::Splice; `fd` is -1 then. */
	Splice *splice;
	/** TCP that is frozen, or restored and does not run yet (migrate/move.h): out of epoll, nothing else is done with it. Else none. */
	Move *move;
	/** Of `pending`, from its head on: octets that were restored, so that they are in the taken ones of no EV_SENT. */
	uint32_t unreported;
};

/** What an opening effect says (EF_TCP_CONNECT and its relatives). */
struct Target {
	uint32_t dst[4], src[4];
	uint16_t port, src_port;
	uint32_t scope, mss;
	bool bind_device, in_namespace, group;
	/** Splice: side 1, side 0 is a UNIX socket. */
	bool to_unix, from_unix;
	/** Taken over from a listener. */
	std::string device;
	bool freebind = false;
	/** A listener's: it answers from where the peer sent to, or not at all. */
	bool exact = false;
	/** UDP: who has which port already. */
	Ports *ports = nullptr;

	explicit Target(const fx::Open &effect);
	bool v6() const { return !is_v4(dst); }
	static bool is_v4(const uint32_t *a) { return !a[0] && !a[1] && a[2] == 0xffff; }
};

/** v4-mapped or IPv6 words in host order to and from a socket address. Return: its length. */
socklen_t to_sockaddr(sockaddr_storage &ss, const uint32_t *addr, uint16_t port, uint32_t scope, bool v6);
void from_sockaddr(const sockaddr_storage &ss, uint32_t *addr, uint16_t *port = nullptr);

/** Interfaces for outbound sockets, '' = none; ports to choose from, as IP_LOCAL_PORT_RANGE has them, 0 = all. */
struct Outbound {
	std::string if4, if6;
	uint32_t ports = 0;
};

/** socket(). Return: descriptor, or -errno. */
int make_socket(Kind kind, bool v6);

/**
 * Every option of its kind, SO_BINDTODEVICE and bind(). Return: 0, or errno. A device or address that was asked for and
 * is refused is a failure: traffic must not leave by another way. A source port that cannot be had is the kernel's choice
 * instead, unless the flow is a listener's.
 */
int prepare_socket(int fd, Kind kind, const Target &t, const Outbound &out);

/** Binds to the address that datagrams to `t` leave from, and a port that nobody has, without a share. 0 or errno. */
int bind_towards_group(int fd, const Target &t, const Outbound &out);

/** SO_BINDTODEVICE, where there is a name. 0 or errno. */
int bind_to_device(int fd, const std::string &device);

/** Port that the socket is bound to; 0: none. */
uint16_t bound_port(int fd);

/** TCP_INFO and SO_MEMINFO, as far as the kernel has them. Return: the socket's TCP state, or 0. */
int read_info(int fd, Info &info);
enum : int { STATE_CLOSE = 7 }; /* TCP_CLOSE, include/net/tcp_states.h */

/** What SK_MEMINFO_RMEM_ALLOC, _FWD_ALLOC and _WMEM_QUEUED make, octets. The second is an int of the kernel's, which may be below 0. */
uint32_t held_by(uint32_t received, uint32_t reserved, uint32_t queued);

/** Octets that its buffers hold, by the kernel's own accounting (SO_MEMINFO). `freeze`: from here on they do not grow by themselves. */
uint32_t memory_of(int fd, bool freeze);

/** Octets that a TCP socket's peer has sent, and acknowledged, since it began (TCP_INFO); 0 of others. */
uint64_t moved_of(int fd);

/** The pending error, taken from the socket. */
int take_error(int fd);

/** Who is at the other end of a UNIX socket (unix(7), SO_PEERCRED). False: unknown. */
bool read_peer(int fd, ucred &who);

/** Netlink to the kernel and from it only, since it is connected; non-blocking. `groups`: RTMGRP_*. -1 with errno. */
int netlink_socket(uint32_t groups);

/** What a socket is: the words of socketFacts() in src/runtime/abi/abi.ts, in their order. */
struct SocketFacts {
	uint32_t domain, type, protocol, listens, connected, v6only, addr[4], port;
};
/** `device`: SO_BINDTODEVICE. 0 or errno: it is no socket. */
int read_facts(int fd, SocketFacts &out, std::string &device);

/** RST instead of FIN (#regression-82). */
void close_hard(int fd);
int set_nonblocking(int fd);
/** Another descriptor of the same, close-on-exec; not by F_DUPFD_CLOEXEC, which the filter refuses. -1: errno. */
int another(int fd);
bool set_int(int fd, int level, int option, int value);

} // namespace passt

#endif
