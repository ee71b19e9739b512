/* The engine: everything one loop turn does. Plain C++; addon.cc puts it before JS, native/test/ before the sanitizers.
 *
 * A turn: the effects in order (turn.cc), sends gathered per socket and written at the end (send.cc); their results;
 * epoll; then readiness: TCP (tcp.cc), datagrams (udp_recv.cc), error queues (errqueue.cc), the tap (tap.cc), listeners
 * (listen.cc), the launcher and the sockets it sends (nspool.cc), clients of the guest link (clients.cc). Spliced connections (splice.cc) and joined datagrams are
 * moved within the call: it returns to JS only with an event, or when the time is over.
 * JS is trusted but may err: a record that names memory or handles that are not there does nothing but EV_FAILED.
 */
#ifndef PASST_ENGINE_H
#define PASST_ENGINE_H

#include "../common/outfile.h"
#include "listen.h"
#include "nspool.h"
#include "peek.h"
#include "pipes.h"
#include "rings.h"
#include "sock.h"
#include "splice.h"
#include "tap.h"

#include <vector>

namespace passt {

enum : size_t { PENDING_MAX = 8u << 20, PENDING_MAX_ALL = 256u << 20 };
/* In front of datagrams, for the headers that JS writes there */
enum : uint32_t { HEADROOM = 128 };
/* One datagram's place in the slab while it is read: headroom, the longest there is, a sign of truncation */
enum : uint32_t { RX_STRIDE = (HEADROOM + 65535 + 1 + 63) & ~63u };
enum : uint32_t { TAP_FRAMES = 128, CTL_MAX = 1 << 20 };
/*
 * Datagrams that one socket may bring in a turn; where more than DATAGRAM_SOCKETS have something: their share of
 * DATAGRAMS_ALL, at least as many as one call reads. Octets that joined sockets move between two looks at all the others.
 */
enum : uint32_t { DATAGRAMS = 64, DATAGRAM_SOCKETS = 4, DATAGRAMS_ALL = 256, DATAGRAMS_MIN = 8, JOINED_ALL = 4 << 20 };

/** What epoll's word says beside handle and generation: bits 24-31 of the low half, above any handle. */
enum : uint32_t { TAG_SIDE_1 = 1u << 24, TAG_LISTENER = 2u << 24, TAGS = 0xff000000 };

/** The same for what is no socket of a flow. */
enum : uint64_t { ID_TAP = UINT64_MAX, ID_CTL = UINT64_MAX - 1, ID_LINK = UINT64_MAX - 2, ID_CLIENTS = UINT64_MAX - 3,
		ID_NETLINK = UINT64_MAX - 4 };

/* Datagrams in one message that the kernel cuts: UDP_MAX_SEGMENTS of the kernels that have least; octets in one */
enum : size_t { SEGMENTS = 64, PAYLOAD_MAX = 65507 };
/* Octets of a datagram from which on, between two sockets of this machine, a cut by the kernel costs more than a message of
 * its own: it copies what it cuts */
enum : size_t { WORTH_CUTTING = 8192 };

/** One message for sendmmsg(): one datagram, or several of `segment` octets (the last may be shorter). */
struct Message {
	struct iovec *iov;
	size_t count;
	uint32_t segment;
};

class Engine {
public:
	Engine() = default;
	Engine(const Engine &) = delete;
	Engine &operator=(const Engine &) = delete;
	~Engine();

	/** 0 or errno. Once. */
	int open(const Sizes &sizes);
	/** As Native.turn() in src/runtime/abi/abi.ts; -1 = open() was not called. */
	int turn(uint32_t effects, double timeout_ms);
	/** As Native.carryOut() in src/runtime/abi/abi.ts. */
	void carry_out(uint32_t effects);
	/** 0 or errno. */
	int set_tap(int fd, bool vnet);
	int set_ctl(int fd);
	/** As in src/runtime/abi/abi.ts. */
	struct Held
	{
		uint32_t octets;
		/** 0 where nothing is frozen. */
		uint64_t moved;
	};
	Held memory_of_handle(uint32_t handle, bool freeze);
	bool set_ports(uint16_t first, uint16_t last);
	/** The guest link in place of a tap (clients.cc): listen for clients, or offer a connected socket (0 or errno). `mode`: the socket file's. */
	Refusal link_listen(const char *path, uint32_t &mode);
	int link_offer(int fd);
	int watched_ctl() const { return ctl; }
	/** A netlink socket that hears these groups, as bits. 0 or errno. */
	int watch_netlink(uint32_t groups);
	/** As in src/runtime/abi/abi.ts; 0 or errno. A descriptor is taken over only with 0. */
	int listen(uint32_t id, Kind kind, const ListenAt &at);
	int adopt_listener(uint32_t id, int fd, Kind kind);
	bool close_listener(uint32_t id);
	/** From here on we are this user. 0 or errno. */
	int give_listeners(uint32_t uid, uint32_t gid);
	/** Takes over all descriptors in any case. */
	int add_ns_sockets(uint32_t kind, const int *fds, size_t n);
	/** A message from the launcher: is it sockets for the pools? */
	bool take_sockets(const uint8_t *message, size_t len, const std::vector<int> &passed);

	Rings rings;
	Tap tap;
	Outbound outbound;
	size_t pending_all = 0;
	/** Tests lower these and switch off what an older kernel lacks. */
	size_t pending_max = PENDING_MAX;
	bool peek_off_works = true, udp_segment_works = true;
	Pipes pipes;

	static double now_ms();

private:
	/** A handle that something is to be done about, unless its generation has changed. */
	struct Moving {
		uint32_t handle, generation;
	};

	/* turn.cc */
	void execute(uint32_t n);
	void execute_one(const uint32_t *e);
	void wait(double timeout_ms);
	bool exhausted() const;
	int poll(double timeout_ms);
	bool worth_spinning();
	int spin();
	double due(double deadline) const;
	void ready(uint64_t what, uint32_t events);
	void tap_ready(uint32_t events);
	void tap_report();
	void ctl_ready();

	/* table */
	Sock *sock(uint32_t handle, Kind kind = Kind::None);
	uint32_t generation(uint32_t handle) const;
	uint32_t handle_of(const Sock &s) const { return (uint32_t)(&s - socks); }
	/** An event about `s`: into the ring, or behind those that wait for room in it. */
	uint32_t *event(uint32_t kind, const Sock &s);
	/** EV_FAILED, out of epoll. */
	void fail(Sock &s, int error, bool refused = false);
	void unregister(const Sock &s);
	void close_sock(Sock &s, bool reset);
	/** The handle's socket anew: Connecting, no descriptor yet. nullptr: no such handle. */
	Sock *new_sock(uint32_t handle, Kind kind);
	/** Opening has come to nothing: EV_FAILED, the handle is free. */
	void abandon(Sock &s, int error, bool refused = false);
	int register_sock(const Sock &s);
	void open_sock(const uint32_t *e, Kind kind);
	void socket_came(Sock &s, const uint32_t *e, int fd);
	void inherit_from_listener(Target &t, uint32_t id);
	void forget_port(const Sock &s);
	void keep_port(Sock &s, Ports &ports, uint16_t port);

	/* clients.cc */
	void link_use(int fd);
	void link_refuse(int fd);
	void link_close();
	void link_ready(uint32_t events);
	void link_watch();
	void link_report();
	void client_ready();
	void watch_clients(bool on);
	void keep_spare();

	/* listen.cc */
	ListenSock *listener(uint32_t id);
	int watch_listener(uint32_t id, bool on, int op);
	int add_listener(uint32_t id, const ListenSock &l);
	void listener_ready(uint32_t id, uint32_t events);
	void pause_accepting(uint32_t id, int error);
	void resume_accepting();
	void adopt(const uint32_t *e);
	void reject(uint32_t slot);

	/* notify.cc */
	void netlink_ready();
	void netlink_send(const uint32_t *e);

	/* nspool.cc */
	int ns_take(const Sock &s, const uint32_t *effect);
	void ns_serve(uint32_t kind);
	void ns_ask(uint32_t kind);
	void ns_ask_again();

	/* splice.cc */
	void splice_event(uint32_t kind, Sock &s, uint32_t side, int error);
	void splice_open(const uint32_t *e);
	int splice_watch(const Sock &s, uint32_t side, int op);
	void splice_connect(Sock &s, Target t, int fd);
	void splice_connected(Sock &s);
	void splice_queue(Sock &s);
	void splice_ready(Sock &s, uint32_t which, uint32_t events);
	bool splice_push(Splice &x, uint32_t way);
	bool splice_copy(Splice &x, uint32_t way);
	bool splice_pull(Splice &x, uint32_t way, size_t most);
	bool splice_end(SpliceSide &from, int error);
	bool splice_move(Splice &x, uint32_t way, size_t share);
	bool splice_run(Sock &s, size_t share);
	void splice_turn(Moving m, size_t share);
	void splice_run_all();
	void splice_shut(Sock &s, uint32_t side);
	void splice_drop(Splice &x);
	void splice_fail(Sock &s, uint32_t side, int error);
	void splice_free(Sock &s, bool reset);

	/* tcp.cc */
	void tcp_ready(Sock &s, uint32_t events);
	void connected(Sock &s);
	void await_writable(Sock &s);
	void discard(Sock &s, uint32_t octets);
	void rewind(Sock &s, uint32_t octets);
	void report_info(Sock &s);

	/* peek.cc */
	void peek(Sock &s, const uint32_t *e);
	uint32_t peek_now(Sock &s, Header &h, uint32_t left, uint32_t avail);
	bool peeks_go() const;
	void peek_all();
	Peeks peeks;
	/** octets that went at once since the last turn of those that wait */
	uint32_t peeked_little = 0;

	/* send.cc */
	struct Gathered {
		uint32_t off, len, ttl, segment, next;
	};
	void gather(Sock &s, const uint32_t *e);
	void flush(Sock &s);
	void flush_all();
	void flush_stream(Sock &s);
	void flush_pending(Sock &s);
	void keep(Sock &s, const void *from, size_t n);
	ssize_t send_vector(Sock &s, const struct iovec *iov, size_t parts, bool report);
	void send_failed(Sock &s, int error, size_t lost);
	void shutdown_wr(Sock &s);
	void report_sent(Sock &s);
	void drop_pending(Sock &s);

	/* udp.cc */
	void flush_datagrams(Sock &s);
	size_t send_datagrams(Sock &s, size_t from, size_t to);
	size_t send_messages(Sock &s, const Message *messages, size_t n);
	bool may_segment(const Sock &s, uint32_t size) const;
	void set_ttl(Sock &s, uint32_t ttl);
	void keep_datagram(Sock &s, const void *from, uint32_t len, uint32_t segment);
	void send_kept(Sock &s);

	/* udp_recv.cc */
	void datagrams_ready(Sock &s, uint32_t events);
	bool listener_first(Sock &s);
	/** counts turns, for what must keep its order across sockets */
	uint32_t turn_no = 0;
	/** when epoll had something last, ms; and for how long the next answer is looked for before we sleep */
	double lively = 0;
	static constexpr double LOOK = 0.08;
	/** looks that paid, less twice those that did not; waits since the last trial without credit */
	int look_credit = 1, looks_missed = 0;
	static constexpr int LOOK_CREDIT = 8, LOOK_AGAIN = 32;
	/** at the last look: whom something ran out in front of (epoll's word; 0: nobody); datagrams for each socket; where
	 * `volume` ends the share of joined sockets */
	uint64_t unserved = 0;
	uint32_t datagrams_each = DATAGRAMS;
	uint64_t joined_until = 0;
	/** octets moved past the tap so far; at the last wait; from how many between two of them on it is bulk */
	uint64_t volume = 0, volume_seen = 0;
	static constexpr uint64_t BULK = 1 << 16;
	void read_datagrams(Sock &s);
	void report_to_listener(Sock &s, const sockaddr_storage &from, uint32_t off, uint32_t len, uint32_t segment);
	void listen_datagrams_ready(uint32_t id, uint32_t events);
	void join(uint32_t a, uint32_t b);
	Sock *joined(const Sock &s);
	void move_datagrams(Sock &s, Sock &to);
	size_t coalesce(const Sock &to, Message *messages, size_t n) const;
	void forward(Sock &s, Sock &to, const Message *messages, size_t n);
	void report_moved();

	/* errqueue.cc */
	bool read_acks(Sock &s);
	size_t read_icmp_errors(Sock &s);
	bool read_listener_errors(uint32_t id);

	Sock *socks = nullptr;
	Results results;
	std::vector<Gathered> gathered;
	std::vector<uint32_t> touched;
	int epoll = -1;
	int ctl = -1;
	int netlink = -1;
	bool ctl_registered = false, tap_registered = false, tap_gone_said = false;
	uint32_t generations = 0;

	/** Listens for clients of the guest link; a client that JS has not decided about. -1: none. */
	int clients = -1, offered = -1;
	/** Given up for a client where descriptors have run out: whoever else may wait, the guest shall not. */
	int spare = -1;
	bool link_registered = false, link_out = false, link_end_said = false;
	double clients_resume_at = 0;

	std::vector<ListenSock> listeners;
	/** On the host; in the namespace. */
	Ports own_ports[2];
	Slots slots;
	/** Listeners that ran into a lack of something, and when (clock) to try again. */
	std::vector<uint32_t> paused;
	double accept_resume_at = 0;
	NsPool ns[NS_KINDS];
	/** Spliced connections that have something to do; that had their first share and can go on. */
	std::vector<Moving> woken, moving;
	/** Joined sockets that EV_UDP_MOVED is due for, and when (clock). */
	std::vector<Moving> moved;
	double moved_at = 0;
};

} // namespace passt

#endif
