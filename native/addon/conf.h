/* The control socket (-c): clients that look at rules and change them. What they say is JS's business; here is who they are, and that none of
 * them holds anybody up. Several at a time; others wait in the socket's queue. The API's process (--api) is a stream of the same kind, which the
 * launcher has made for us.
 */
#ifndef PASST_CONF_H
#define PASST_CONF_H

#include "../common/fault.h"
#include "core.h"

#include <array>
#include <sys/types.h>

namespace passt {

/** In the API's process: where its clients connect, once the engine says so; -1: it is gone. */
int receive_listener(int stream);

class Conf : Part {
public:
	explicit Conf(Core &c) : Part(c) { streams.fill(-1); }
	~Conf();

	/** As Native.confListen() in src/runtime/abi/abi.ts. */
	Fault listen(const char *path);
	/** A socket that listens already, at `path`. 0 or errno; it is taken over with 0 only. */
	int adopt(int fd, const char *path);
	/** The stream to the API's process, and where its clients connect. 0 or errno; they are taken over with 0 only. */
	int adopt_api(int fd, int listens_at);
	/** It accepts from here on. `keep`: whoever takes our place gets where. 0 or errno. */
	int serve_api(bool keep);
	int api_listens_at() const { return api_listener; }
	/** EF_CONF_*, EF_API_SEND */
	void effect(const Record &e);
	/** ID_CONF, ID_CONF_CLIENT and those below it. False: it is none of them. */
	bool ready(uint64_t what);
	/** When accepting goes on for whom there was no descriptor, by the clock; it does. */
	double due() const { return pause.due(); }
	void resume();
	/** Nobody is accepted while somebody takes our place. */
	void accepting(bool on);
	/** Where clients connect, -1: nowhere. */
	int listens_at() const { return listener; }
	/** They are somebody else's: whoever is at the control socket is served to the end; the API's process ends. */
	void give_away();

private:
	void accept_some();
	void rearm();
	void read_from(uint32_t stream);
	void send_to(uint32_t stream, const fx::Octets &e);
	void end(uint32_t client);
	void end_api();
	bool may_come(uid_t uid) const;

	/** Clients by their numbers; at API the API's process. */
	enum : uint32_t { API = CONF_CLIENTS, STREAMS };
	std::array<int, STREAMS> streams;
	/** `file`: of the socket, to see its mode (O_PATH). */
	int listener = -1, file = -1, api_listener = -1;
	uid_t owner = 0;
	bool paused = false, root_is_here = true;
	Pause pause;
};

} // namespace passt

#endif
