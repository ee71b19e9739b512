/* What the engine forwards with, made inside the namespace: unbound sockets, listeners, the tables of sockets in /proc/net. */
#ifndef PASST_LAUNCHER_SOCKETS_H
#define PASST_LAUNCHER_SOCKETS_H

#include <vector>

#include "util.h"

struct ListenOrder {
	/* IPPROTO_TCP, IPPROTO_UDP */
	uint32_t proto = 0;
	bool v6only = false;
	uint16_t port = 0;
	/* network order; v4-mapped: IPv4 */
	unsigned char addr[16] = {};
	/* '' = any */
	std::string device;
};

/** Add `count` sockets to `out`. Returns 0, or errno with those that there are. */
int makeSockets(int family, int type, uint32_t count, std::vector<Fd> &out);

/**
 * Add to `out` one listener, or two with `split`: devices are refused to us here, and the order was for the wildcard
 * address on lo, so they are 127.0.0.1 and ::1. Returns 0, or errno with nothing added.
 */
int makeListener(const ListenOrder &order, std::vector<Fd> &out, bool &split);

/** Add this process's /proc/net/{tcp,tcp6,udp,udp6} to `out`, as far as they exist; `which`: PROCNET_*. */
Fault openProcNet(std::vector<Fd> &out, uint32_t &which);

#endif
