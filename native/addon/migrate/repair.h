/* The repair helper: a process with CAP_NET_ADMIN that switches repair mode of our sockets on and off (TCP_REPAIR, linux/tcp.h).
 *
 * We listen, it connects. We send one octet, the command, with 1 to 253 descriptors (SCM_RIGHTS, unix(7)); it answers with that octet. There
 * are helpers that take no more at once than the time before and leave the rest alone, without a word (upstream's). So no message has
 * more than the one before it. A helper may be slow, dead or hostile: nothing waits for it, and whatever else it says ends the connection.
 */
#ifndef PASST_MIGRATE_REPAIR_H
#define PASST_MIGRATE_REPAIR_H

#include "../../common/fault.h"
#include "../table.h"

namespace passt {

class Repair : Part {
public:
	Repair(Core &c, Table &t) : Part(c), table(t) {}
	~Repair();

	/** As Native.repairListen() in src/runtime/abi/abi.ts. */
	Fault listen(const char *path, uint32_t &mode);
	/** A socket that listens already. 0 or errno; it is taken over with 0 only. */
	int adopt(int fd);
	/** Where helpers connect, -1: nowhere. */
	int listens_at() const { return listener; }
	/** That is somebody else's, and a helper finds its end. */
	void give_away();
	/** EF_REPAIR */
	void ask(const fx::Repair &e);
	/** EF_REPAIR_CLOSE */
	void close();

	/** When accepting goes on for whom there was no descriptor, by the clock; it does. */
	double due() const { return pause.due(); }
	void resume();
	/** Somebody connects; the helper has said something. */
	void helpers();
	void ready();

private:
	void send();
	void answered(int error);
	void end(int error);
	void keep_spare();
	void rearm();

	Table &table;
	/** `spare`: given up for a helper where descriptors have run out. */
	int listener = -1, helper = -1, spare = -1;
	/** A batch is at work, its command. */
	bool asked = false;
	uint8_t command = 0;
	/** What of it has not been sent; descriptors in one message to this helper, at most. */
	std::vector<Moving> rest;
	size_t most = REPAIR_MAX;
	Pause pause;
};

} // namespace passt

#endif
