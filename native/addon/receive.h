/* Datagrams in: from the sockets of flows, from listeners, and from one joined socket to the other. */
#ifndef PASST_RECEIVE_H
#define PASST_RECEIVE_H

#include "listen.h"
#include "send.h"

namespace passt {

/*
 * Datagrams that one socket may bring in a turn; where more than DATAGRAM_SOCKETS have something: their share of
 * DATAGRAMS_ALL, at least as many as one call reads. Octets that joined sockets move between two looks at all the others.
 */
enum : uint32_t { DATAGRAMS = 64, DATAGRAM_SOCKETS = 4, DATAGRAMS_ALL = 256, DATAGRAMS_MIN = 8, JOINED_ALL = 4 << 20 };
/* Octets of a datagram from which on, between two sockets of this machine, a cut by the kernel costs more than a message of
 * its own: it copies what it cuts */
enum : size_t { WORTH_CUTTING = 8192 };

class Receiver : Part {
public:
	Receiver(Core &c, Table &t, Sender &s, Listeners &l) : Part(c), table(t), sender(s), listeners(l) {}

	/** Before what epoll said of `n` descriptors is dealt with: shares. */
	void begin(uint32_t n);
	/** Have joined sockets used up theirs? */
	bool spent() const { return core.volume >= joined_until; }
	void ready(Sock &s, uint32_t events);
	void listener_ready(uint32_t id, ListenSock &l, uint32_t events);
	/** EF_UDP_JOIN */
	void join(uint32_t a, uint32_t b);
	/** EF_READ_ALLOW */
	void allow(Sock &s, uint32_t octets);
	/** When EV_UDP_MOVED is due, by the clock; infinity: not at all. */
	double due() const;
	void report_moved();

private:
	bool listener_first(Sock &s);
	uint32_t may_read(Sock &s, uint32_t want, bool first);
	void read(Sock &s);
	void report_to_listener(Sock &s, const sockaddr_storage &from, uint32_t off, uint32_t len, uint32_t segment);
	Sock *joined(const Sock &s);
	void move(Sock &s, Sock &to);
	size_t coalesce(const Sock &to, Message *messages, size_t n) const;
	void forward(Sock &s, Sock &to, const Message *messages, size_t n);

	/* errqueue.cc */
	size_t read_icmp_errors(Sock &s);
	bool read_listener_errors(uint32_t id, int fd);

	Table &table;
	Sender &sender;
	Listeners &listeners;
	/** for each socket; where `volume` ends the share of joined ones */
	uint32_t each = DATAGRAMS;
	uint64_t joined_until = 0;
	/** Joined sockets that EV_UDP_MOVED is due for, and when (clock). */
	std::vector<Moving> moved;
	double moved_at = 0;
};

} // namespace passt

#endif
