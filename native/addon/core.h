/* What all parts of the engine stand on: the memory that JS sees, results that wait for room in it, epoll, and the turn's clock. */
#ifndef PASST_CORE_H
#define PASST_CORE_H

#include "rings.h"
#include "sock.h"

#include <cerrno>
#include <cmath>
#include <ctime>
#include <sys/epoll.h>
#include <unistd.h>

namespace passt {

/** What epoll's word says beside handle and generation: bits 24-31 of the low half, above any handle. */
enum : uint32_t { TAG_SIDE_1 = 1u << 24, TAG_LISTENER = 2u << 24, TAGS = 0xff000000 };

/** The same for what is no socket of a flow. */
enum : uint64_t { ID_TAP = UINT64_MAX, ID_CTL = UINT64_MAX - 1, ID_LINK = UINT64_MAX - 2, ID_CLIENTS = UINT64_MAX - 3,
		ID_NETLINK = UINT64_MAX - 4, ID_VHOST_RX = UINT64_MAX - 5, ID_VHOST_TX = ID_VHOST_RX - VRING_TX,
		ID_HELPERS = UINT64_MAX - 7, ID_HELPER = UINT64_MAX - 8, ID_STATE = UINT64_MAX - 9,
		ID_PLACE = UINT64_MAX - 10, ID_PLACE_PEER = UINT64_MAX - 11, ID_CONF = UINT64_MAX - 12,
		ID_HOST_TABLES = UINT64_MAX - 13, ID_HOST_RESOLVER = UINT64_MAX - 14,
		/* and those below it, one for each client; the one behind them is the API's process */
		ID_CONF_CLIENT = UINT64_MAX - 15 };

/** Frames of the guest in one turn. */
enum : uint32_t { TAP_FRAMES = 128 };
/* In front of datagrams, for the headers that JS writes there */
enum : uint32_t { HEADROOM = 128 };
/* One datagram's place in the slab while it is read: headroom, the longest there is, a sign of truncation */
enum : uint32_t { RX_STRIDE = (HEADROOM + 65535 + 1 + 63) & ~63u };

/** accept(2) for want of a descriptor or memory: who connects waits, and nothing is wrong with it. */
inline bool is_want(int e)
{
	return e == EMFILE || e == ENFILE || e == ENOBUFS || e == ENOMEM;
}

/** Accepting goes on after a while. Nobody else would say that somebody waits: where that is told by edges, it has been. */
class Pause {
public:
	void begin(double now) { until = now + ACCEPT_PAUSE; }
	/** Once, when it is over. */
	bool over(double now)
	{
		if (now < until)
			return false;
		until = INFINITY;
		return true;
	}
	/** By the clock; infinity: there is none. */
	double due() const { return until; }

private:
	double until = INFINITY;
};

class Core {
public:
	Core() = default;
	Core(const Core &) = delete;
	Core &operator=(const Core &) = delete;
	~Core()
	{
		if (epoll >= 0)
			close(epoll);
	}

	Rings rings;
	Results results;
	int epoll = -1;
	/** counts turns, for what must keep its order across sockets */
	uint32_t turn_no = 0;
	/** octets moved past the tap so far */
	uint64_t volume = 0;

	/** epoll_ctl(2). 0 or errno. */
	int watch(int op, int fd, uint32_t events, uint64_t id) const
	{
		epoll_event ev = {};
		ev.events = events;
		ev.data.u64 = id;
		return epoll_ctl(epoll, op, fd, &ev) ? errno : 0;
	}
	void unwatch(int fd) const { epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr); }
	/** `fd` is ours from here on, at `place`, and told of as `id`. 0 or errno: it is not, EBUSY: another one is there. */
	int adopt(int &place, int fd, uint32_t events, uint64_t id) const
	{
		if (const int e = place >= 0 ? EBUSY : set_nonblocking(fd))
			return e;
		if (const int e = watch(EPOLL_CTL_ADD, fd, events, id))
			return e;
		place = fd;
		return 0;
	}
	/** No longer told of, since it may live on elsewhere, and closed. -1: there is none, as there is none then. */
	void drop(int &fd) const
	{
		if (fd < 0)
			return;
		unwatch(fd);
		close(fd);
		fd = -1;
	}

	/** The guest leaves a quarter of the slab to datagrams and the launcher. */
	uint32_t guests_share() const { return rings.size.rx / 4 * 3; }

	static double now_ms()
	{
		timespec t;
		clock_gettime(CLOCK_MONOTONIC, &t);
		return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
	}
};

/** A part of the engine. Which other parts it knows its constructor says; the order in engine.h keeps that a direction. */
struct Part {
	explicit Part(Core &c) : core(c), rings(c.rings), results(c.results) {}
	Part(const Part &) = delete;
	Part &operator=(const Part &) = delete;

protected:
	Core &core;
	Rings &rings;
	Results &results;
};

} // namespace passt

#endif
