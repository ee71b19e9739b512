/* The engine: everything one loop turn does. Plain C++; addon.cc puts it before JS, native/test/ before the sanitizers.
 *
 * A turn: the effects in order (turn.cc), sends gathered per socket and written at the end (send.cc); their results;
 * epoll; then readiness: TCP (tcp.cc), datagrams (udp.cc), error queues (errqueue.cc), the tap (tap.cc), the launcher.
 * JS is trusted but may err: a record that names memory or handles that are not there does nothing but EV_FAILED.
 */
#ifndef PASST_ENGINE_H
#define PASST_ENGINE_H

#include "rings.h"
#include "sock.h"
#include "tap.h"

#include <vector>

namespace passt {

enum : size_t { PENDING_MAX = 8u << 20, PENDING_MAX_ALL = 256u << 20 };
/* In front of datagrams, for the headers that JS writes there */
enum : uint32_t { HEADROOM = 128 };
enum : uint32_t { TAP_FRAMES = 128, DATAGRAMS = 64, CTL_MAX = 1 << 20 };

class Engine {
public:
	Engine() = default;
	Engine(const Engine &) = delete;
	Engine &operator=(const Engine &) = delete;
	~Engine();

	/** 0 or errno. Once. */
	int open(const Sizes &sizes);
	/** As Native.turn() in src/runtime/abi.ts; -1 = open() was not called. */
	int turn(uint32_t effects, double timeout_ms);
	/** 0 or errno. */
	int set_tap(int fd, bool vnet);
	int set_ctl(int fd);
	int watched_ctl() const { return ctl; }

	Rings rings;
	Tap tap;
	Outbound outbound;
	size_t pending_all = 0;
	/** Tests lower these and switch off what an older kernel lacks. */
	size_t pending_max = PENDING_MAX;
	bool peek_off_works = true, udp_segment_works = true;

	static double now_ms();

private:
	/* turn.cc */
	void execute(uint32_t n);
	void execute_one(const uint32_t *e);
	void wait(double timeout_ms);
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
	void fail(Sock &s, int error);
	void unregister(const Sock &s);
	void close_sock(Sock &s, bool reset);
	Sock *open_sock(const uint32_t *e, Kind kind);
	int connect_sock(Sock &s, const Target &t);

	/* tcp.cc */
	void tcp_ready(Sock &s, uint32_t events);
	void connected(Sock &s);
	void await_writable(Sock &s);
	void discard(Sock &s, uint32_t octets);
	void rewind(Sock &s, uint32_t octets);
	void query(Sock &s);

	/* peek.cc */
	void peek(Sock &s, const uint32_t *e);
	ssize_t peek_at(const Sock &s, uint8_t *to, size_t n);

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
	void set_ttl(Sock &s, uint32_t ttl);
	void datagrams_ready(Sock &s, uint32_t events);
	void read_datagrams(Sock &s);

	/* errqueue.cc */
	bool read_acks(Sock &s);
	size_t read_icmp_errors(Sock &s);

	Sock *socks = nullptr;
	Results results;
	std::vector<Gathered> gathered;
	std::vector<uint32_t> touched;
	int epoll = -1;
	int ctl = -1;
	bool ctl_registered = false, tap_registered = false, tap_gone_said = false;
	uint32_t generations = 0;
};

} // namespace passt

#endif
