/* The control socket (-c): clients that look at rules and change them. What they say is JS's business; here is who they are, and that none of
 * them holds anybody up. Several at a time; others wait in the socket's queue.
 */
#ifndef PASST_CONF_H
#define PASST_CONF_H

#include "../common/fault.h"
#include "core.h"

#include <array>
#include <sys/types.h>

namespace passt {

class Conf : Part {
public:
	explicit Conf(Core &c) : Part(c) { clients.fill(-1); }
	~Conf();

	/** As Native.confListen() in src/runtime/abi/abi.ts. */
	Fault listen(const char *path);
	/** A socket that listens already, at `path`. 0 or errno; it is taken over with 0 only. */
	int adopt(int fd, const char *path);
	/** EF_CONF_* */
	void effect(const Record &e);
	/** ID_CONF, ID_CONF_CLIENT. False: it is neither. */
	bool ready(uint64_t what);
	/** Nobody is accepted while somebody takes our place. */
	void accepting(bool on);
	/** Where clients connect, -1: nowhere. */
	int listens_at() const { return listener; }
	/** It is somebody else's: whoever is there is served to the end. */
	void give_away();

private:
	void accept_some();
	void rearm();
	void read_from(uint32_t client);
	void send_to(const fx::Octets &e);
	void end(uint32_t client);
	bool may_come(uid_t uid) const;

	std::array<int, CONF_CLIENTS> clients;
	/** `file`: of the socket, to see its mode (O_PATH). */
	int listener = -1, file = -1;
	uid_t owner = 0;
	bool paused = false, root_is_here = true;
};

} // namespace passt

#endif
