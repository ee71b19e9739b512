/* What has changed on the host, for who makes a new plan of it (src/runtime/engine/follow.ts). Netlink groups and the resolver's watcher
 * are a bell: it rings once and is silent until it is armed again, so that a table that flaps costs nothing in between. What the tables
 * are now is asked for then, a datagram at a time.
 */
#ifndef PASST_HOSTWATCH_H
#define PASST_HOSTWATCH_H

#include "core.h"

#include <deque>
#include <string>

namespace passt {

class HostWatch : Part {
public:
	explicit HostWatch(Core &c) : Part(c) {}
	~HostWatch();

	/** As Native.watchHost(), hostResolver(), hostArm(), hostAsk() in src/runtime/abi/abi.ts. 0 or errno. */
	int watch(uint32_t groups);
	int resolver(int fd);
	int arm(uint32_t which);
	int ask(const uint8_t *request, size_t len);
	/** The next datagram of an answer. False: there is none, `error` says why if it is not over. */
	bool answer(std::string &datagram, int &error);
	/** What the watcher said last. False: nothing since. */
	bool resolver_said(std::string &text);
	/** For EV_HOST */
	void tell(std::string text) { told.push_back(std::move(text)); }

	/** ID_HOST_TABLES, ID_HOST_RESOLVER. False: it is neither. */
	bool ready(uint64_t what);
	/** EV_HOST, as far as there is room. */
	void report();

private:
	int bell = -1, tables = -1, watcher = -1;
	std::deque<std::string> told;
};

} // namespace passt

#endif
