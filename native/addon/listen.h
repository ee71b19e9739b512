/* Listening sockets, and the connections accepted from them that JS has not yet answered. */
#ifndef PASST_LISTEN_H
#define PASST_LISTEN_H

#include "table.h"

#include <vector>

namespace passt {

/** Small: there may be 120,000 of them. All zero = free. */
struct ListenSock {
	int fd;
	Kind kind;
	/** bound to a device, FREEBIND: for the sockets of its flows (UDP) */
	bool device, freebind;
	/** no interest in epoll until accepting goes on */
	bool paused;
	/** in the namespace */
	bool ns;
	/** turn in which datagrams were read last (UDP) */
	uint32_t read_in = 0;
	/** of its own, while its id is used again */
	uint32_t serial = 0;
};

/* Sock::hold at first: who floods the listener must not stop its flows, nor keep strangers in their queues for long */
enum : uint8_t { HOLDS = 8 };
enum : uint32_t { LISTENERS_MAX = 1 << 20, SLOTS = 128, ACCEPT_BURST = 16 };

/** Where a listener is to be (a record of Native.listen()). */
struct ListenAt {
	uint32_t addr[4];
	uint16_t port;
	bool v6only, freebind;
	/** nullptr: any */
	const char *device;
};

/**
 * Bound and, for TCP, listening. `ports`: where UDP sockets of ours may have the port already, flows of a listener that was there
 * before. `*where`: where a UDP listener is. Return: descriptor, or -errno.
 */
int open_listener(Kind kind, const ListenAt &at, Ports *ports = nullptr, Local *where = nullptr);

/** What every listener needs, ours and those made elsewhere. 0 or errno. */
int set_listener_options(int fd, Kind kind, bool v6);

/** Accepted, waiting for the next effects. A slot's number never comes again, so that a late answer finds nothing. */
class Slots {
public:
	bool full() const { return used == SLOTS; }
	uint32_t put(int fd, bool v6);
	/** The descriptor, the caller's from here on; -1: no such slot. */
	int take(uint32_t number, bool &v6);
	/** Reset what nobody took. */
	void clear();
	~Slots() { clear(); }

private:
	struct {
		int fd;
		bool v6;
	} slot[SLOTS];
	/** number of slot[0] */
	uint32_t first = 0, used = 0;
};

class Listeners : Part {
public:
	Listeners(Core &c, Table &t) : Part(c), table(t) {}
	~Listeners();

	/** As in src/runtime/abi/abi.ts; 0 or errno. A descriptor is taken over only with 0. */
	int listen(uint32_t id, Kind kind, const ListenAt &at);
	/** UDP, by an unbound socket of the namespace's, beside flows of ours there; it is taken over in any case. */
	int listen_in_namespace(uint32_t id, const ListenAt &at, int fd);
	int adopt(uint32_t id, int fd, Kind kind, uint32_t flags);
	/** False: there was none. */
	bool close(uint32_t id);
	/** As Native.pauseListener(), Native.resumeListener() in src/runtime/abi/abi.ts. */
	bool silence(uint32_t id);
	int listen_again(uint32_t id);
	/** From here on we are this user. 0 or errno. */
	int give(uint32_t uid, uint32_t gid);

	/** nullptr: none. */
	ListenSock *find(uint32_t id) { return id < listeners.size() && listeners[id].kind != Kind::None ? &listeners[id] : nullptr; }
	/** Connections. */
	void ready(uint32_t id, ListenSock &l);
	/** When accepting goes on, by the clock; infinity: it does. */
	double due() const;
	void resume();
	/** What the flow's socket shall use as its listener was told to. */
	void inherit_from_listener(Target &t, uint32_t id);

	Slots slots;

private:
	int watch(uint32_t id, bool on, int op);
	int add_opened(uint32_t id, const ListenSock &l, const Local &where);
	int add(uint32_t id, const ListenSock &l, const Local &where, bool foreign = false);
	void pause(uint32_t id, int error);

	Table &table;
	std::vector<ListenSock> listeners;
	uint32_t serials = 0;
	/** Highest descriptor for a listener, when the limit was looked at last. */
	int last_fd = -1;
	/** Those that ran into a lack of something, and when (clock) to try again. */
	std::vector<uint32_t> paused;
	double resume_at = 0;
};

} // namespace passt

#endif
