/* Helpers for the tests of forwarding. */
#ifndef PASST_TEST_FORWARD_H
#define PASST_TEST_FORWARD_H

#include "harness.h"

#include <atomic>
#include <memory>
#include <thread>

/** A port that nothing listens on at this moment. */
uint16_t free_port();
/** Listener `id` on a free port of 127.0.0.1 or ::1, or with `dual` the wildcard of both. Return: the port. */
uint16_t listen_at(Rig &r, uint32_t id, Kind kind, bool v6 = false, bool dual = false);
/** Are words i..i+3 the loopback address? */
bool addr_is(const Ev &e, size_t i, bool v6);
/** CPU time of this process so far */
double cpu_ms();
/** Nothing to do must cost nothing: waits without an event, one of them at least next to free (a busy machine's time can count as ours). */
void check_idle(Rig &r);
/** Open descriptors of this process */
size_t open_fds();

/** A connection of the outside to a port on loopback. */
struct Client {
	int fd;
	uint16_t port;
	explicit Client(uint16_t to, bool v6 = false);
	Client(Client &&o) : fd(o.fd), port(o.port) { o.fd = -1; }
	Client(const Client &) = delete;
	Client &operator=(Client &&o)
	{
		close_it();
		fd = o.fd, port = o.port, o.fd = -1;
		return *this;
	}
	~Client();
	void send(const std::string &s);
	/** Does reading say ECONNRESET within a second? */
	bool reset();
	/** Does reading say end of stream within a second? */
	bool ended();
	void close_it();
};

/** A spliced pair on handle 3: client — engine — server. */
struct Pair {
	Rig &r;
	uint32_t handle;
	Client client;
	int server = -1;
	/** Connects, accepts, splices; `server` is accepted at once. Listener 0 of the rig is at `port`. */
	Pair(Rig &r, uint16_t port, Listener &l, uint32_t handle = 3, uint32_t flags = 0);
	~Pair();
};

#endif
