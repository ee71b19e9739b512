/* Sockets made inside the namespace ahead of need: the launcher sends them in batches (protocol.h, SOCKETS). */
#ifndef PASST_NSPOOL_H
#define PASST_NSPOOL_H

#include "abi.h"

#include <cstddef>
#include <deque>
#include <vector>

namespace passt {

/* Below half of NS_POOL another batch is asked for. More than NS_WAITING that wait for a socket fail. */
enum : uint32_t { NS_KINDS = 4, NS_POOL = PASSED_MAX, NS_WAITING = 4096 };

struct NsPool {
	/** An opening effect that waits for a socket: its record, the generation of its handle. */
	struct Waiting {
		uint32_t effect[ABI_WORDS];
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

} // namespace passt

#endif
