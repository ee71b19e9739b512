/* The table of host sockets, one to a handle: made, failed, closed; what their buffers here hold. */
#ifndef PASST_TABLE_H
#define PASST_TABLE_H

#include "core.h"
#include "migrate/move.h"
#include "pipes.h"
#include "sock.h"
#include "splice.h"

namespace passt {

/** Octets that are kept for one socket, and for all. */
enum : size_t { PENDING_MAX = 8u << 20, PENDING_MAX_ALL = 256u << 20 };

/** A handle that something is to be done about, unless its generation has changed. */
struct Moving {
	uint32_t handle, generation;
};

class Table : Part {
public:
	explicit Table(Core &c) : Part(c) {}
	~Table();
	/** 0 or errno. Once. */
	int open(uint32_t handles);
	bool is_open() const { return socks; }

	/** nullptr: none, or not of this kind. */
	Sock *sock(uint32_t handle, Kind kind = Kind::None)
	{
		if (handle >= rings.size.handles)
			return nullptr;
		Sock &s = socks[handle];
		return s.kind == Kind::None || (kind != Kind::None && s.kind != kind) ? nullptr : &s;
	}
	/** Whatever is there; the handle is known to be one. */
	Sock &at(uint32_t handle) { return socks[handle]; }
	uint32_t generation(uint32_t handle) const { return handle < rings.size.handles ? socks[handle].generation : 0; }
	uint32_t handle_of(const Sock &s) const { return (uint32_t)(&s - socks); }
	Moving moving(const Sock &s) const { return {handle_of(s), s.generation}; }
	/** epoll's word for it. `tag`: TAG_SIDE_1 or 0. */
	uint64_t word(const Sock &s, uint32_t tag = 0) const { return (handle_of(s) | tag) | (uint64_t)s.generation << 32; }
	/** An event about `s`: into the ring, or behind those that wait for room in it. */
	template <class E> E &event(const Sock &s) { return results.add<E>(handle_of(s), s.generation); }
	/** EV_SPLICE_*: how far both ways have come as well. */
	template <class E> void splice_event(const Sock &s, uint32_t side, int error = 0)
	{
		fill(event<E>(s), *s.splice, side, error);
	}

	/** The handle's socket anew: Connecting, no descriptor yet. nullptr: no such handle. */
	Sock *new_sock(uint32_t handle, Kind kind);
	/** 0 or errno. */
	int register_sock(const Sock &s);
	/** EV_FAILED, out of epoll. */
	void fail(Sock &s, int error, bool refused = false);
	/**
	 * A TCP connection has failed. Is something of what the peer had said before unread? It is the guest's, as it would be a program's on the
	 * host (#regression-4, #regression-86): the socket stays until all of it is discarded (Tcp::discard). `error` 0: the socket has kept it.
	 */
	bool keeps(Sock &s, int error);
	/** The same for a pair: EV_SPLICE_FAILED. */
	void fail_splice(Sock &s, uint32_t side, int error);
	/** Opening has come to nothing: EV_FAILED, the handle is free. */
	void abandon(Sock &s, int error, bool refused = false);
	void close_sock(Sock &s, bool reset);
	void drop_pending(Sock &s);
	/** It is no socket of Sock::move any more, what is kept of it is freed. */
	void end_move(Sock &s);

	/** As Native.memoryOf() in src/runtime/abi/abi.ts. */
	struct Held {
		uint32_t octets;
		uint64_t moved;
	};
	Held memory_of_handle(uint32_t handle, bool freeze);

	/** As Native.localEnds() in src/runtime/abi/abi.ts; nothing where there is no socket. */
	void local_end(uint32_t handle, uint32_t *addr, uint32_t &port);
	/** The same of any socket. */
	static void end_of(int fd, uint32_t *addr, uint32_t &port);

	/** Octets that are kept for all sockets. */
	size_t pending_all = 0;
	/** Octets of queues that were dumped. */
	size_t dumped_all = 0;
	/** For what is moved from socket to socket. */
	Pipes pipes;
	/** On the host; in the namespace. */
	Ports own_ports[2];

private:
	static void fill(ev::SpliceFailed &e, const Splice &x, uint32_t side, int error);
	void unregister(const Sock &s);
	void forget_port(const Sock &s);
	void close_splice(Sock &s, bool reset);
	void drop_splice(Splice &x);

	Sock *socks = nullptr;
	uint32_t generations = 0;
};

} // namespace passt

#endif
