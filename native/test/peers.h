/* Helpers for the tests of migration: a network namespace of the test's own, sockets by hand in repair mode. */
#ifndef PASST_TEST_PEERS_H
#define PASST_TEST_PEERS_H

#include "harness.h"

/** A network namespace with nothing in it but loopback, as long as this lives. The test is root. */
struct Alone {
	int home;
	/** `mtu`: loopback's; 0: as it is. */
	explicit Alone(int mtu = 0);
	~Alone();
	/** Of this namespace: net/ipv4/tcp_sack and the like. */
	void sysctl(const char *name, const char *value);
};

/** TCP_REPAIR, as the helper does. */
void repair(int fd, int mode);
/** A peer that no packet reaches from here on; that hears again. */
void deafen(int fd);
void hear(int fd);
/** Octets that the other end has not acknowledged. */
int unacknowledged(int fd);
/** TCP_INFO's state. */
int state_of(int fd);
/** Does `cond` hold within 2 s? */
bool soon(const std::function<bool()> &cond);

#endif
