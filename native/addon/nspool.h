/* Sockets made inside the namespace ahead of need: the launcher sends them in batches (protocol.h, SOCKETS). And those that it connects to UNIX
 * sockets of the host, one by one. */
#ifndef PASST_NSPOOL_H
#define PASST_NSPOOL_H

#include "table.h"

#include <deque>
#include <utility>

namespace passt {

/* Below half of NS_POOL another batch is asked for. More than NS_WAITING that wait for a socket fail. */
enum : uint32_t { NS_KINDS = 4, NS_POOL = PASSED_MAX, NS_WAITING = 4096 };

struct NsPool {
	/** An opening effect that waits for a socket: its record, the generation of its handle. */
	struct Waiting {
		fx::Open effect;
		uint32_t generation;
	};

	std::vector<int> fds;
	std::deque<Waiting> waiting;
	/** A request is under way; one could not be sent. */
	bool asked = false, retry = false;

	bool low() const { return fds.size() < NS_POOL / 2; }
};

/** A message of the launcher's with descriptors. The errno, where it could make none or fewer, may be missing. */
struct SocketsMessage {
	uint32_t kind, family, type, count, error;
};
enum : size_t { SOCKETS_HEAD = 16 };

/** The line to the launcher, and what comes over it. */
class NsPools : Part {
public:
	NsPools(Core &c, Table &t) : Part(c), table(t) {}
	~NsPools();

	/** The launcher's descriptor, from here on watched. 0 or errno. */
	int set_ctl(int fd);
	int watched() const { return ctl; }
	/** Something came: EV_CTL, unless it is sockets. True: sockets came, for next(). */
	bool ctl_ready();
	/** A message from the launcher: is it sockets for the pools? Takes over the descriptors then. */
	bool take_sockets(const uint8_t *message, size_t len, const std::vector<int> &passed);
	/** Takes over all descriptors in any case. 0 or errno. */
	int add(uint32_t kind, const int *fds, size_t n);
	/** One that waited, in order, and its socket, the caller's. False: none, or no socket for it. */
	bool next(NsPool::Waiting &w, int &fd);
	/** A UDP socket from the pool, the caller's; -ENOENT: there is none now. */
	int spare(bool v6);
	/** A socket from the pool, -EAGAIN = `s` is in the queue for one, or another -errno. */
	int take(const Sock &s, const fx::Open &effect);
	/** EF_SPLICE to a UNIX socket: always waits for it, -EAGAIN, or -errno. */
	int connect(const Sock &s, const fx::Open &effect);
	/** What could not be asked for; what next() left. */
	void ask_again();
	void ask_for_waiting();

private:
	void ask(uint32_t kind);
	void ask_connections();
	void take_connection(int error, const std::vector<int> &passed);

	Table &table;
	int ctl = -1;
	bool registered = false;
	NsPool ns[NS_KINDS];
	/** Connections to UNIX sockets, as they were asked for: the launcher answers in order. The last `unasked` are still to be. */
	std::deque<NsPool::Waiting> connecting;
	size_t unasked = 0;
	/** Those that came, and what for. */
	std::deque<std::pair<NsPool::Waiting, int>> connected;
};

} // namespace passt

#endif
