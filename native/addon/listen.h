/* Listening sockets, and the connections accepted from them that JS has not yet answered. */
#ifndef PASST_LISTEN_H
#define PASST_LISTEN_H

#include "sock.h"

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

/** Bound and, for TCP, listening. Return: descriptor, or -errno. */
int open_listener(Kind kind, const ListenAt &at);

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

/** RST instead of FIN (#regression-82). */
void close_hard(int fd);

} // namespace passt

#endif
