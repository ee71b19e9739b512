/* Restart in place: a process that is to take our place connects, asks, and gets descriptors with the answers. One at a time.
 *
 * SOCK_SEQPACKET, one message a packet. It asks, we answer each question once. What is asked and answered is JS's business; here is who may
 * connect, how a message gets there, and that all else stands still while sockets change hands.
 */
#ifndef PASST_HANDOVER_H
#define PASST_HANDOVER_H

#include "clients.h"
#include "conf.h"
#include "ctl.h"
#include "listen.h"
#include "migrate/repair.h"

namespace passt {

/**
 * The other side: connected to whoever serves at `path`. Return: descriptor; -ENOENT, -ECONNREFUSED: nobody does; or -errno, with `why` for
 * people where it is for a reason of ours.
 */
int connect_to_predecessor(const char *path, std::string &why);
/** A question. 0, ECONNRESET: it is gone; or errno. */
int ask_predecessor(int fd, const uint8_t *question, size_t len);
/** Its answer within `ms`. 0, ETIMEDOUT, ECONNRESET: it is gone; or errno. */
int hear_predecessor(int fd, int ms, Bytes &answer, std::vector<int> &passed);

class HandOver : Part {
public:
	HandOver(Core &c, Table &t, Tap &tap, Vhost &v, Clients &l, Listeners &n, Repair &r, Conf &f)
		: Part(c), table(t), tap(tap), vhost(v), clients(l), listeners(n), repair(r), conf(f)
	{
	}
	~HandOver();

	/** As Native.handOverListen() in src/runtime/abi/abi.ts. */
	Fault listen(const char *path);
	/** A socket that listens already. 0 or errno; it is taken over with 0 only. */
	int adopt(int fd);
	/** EF_HAND_OVER_* */
	void effect(const Record &e);
	/** ID_PLACE, ID_PLACE_PEER. False: it is neither. */
	bool ready(uint64_t what);
	/** As Conf's. */
	double due() const { return pause.due(); }
	void resume();
	/** Nothing is served but what is asked for. */
	bool held() const { return hold; }
	/** As long, in place of epoll. */
	void wait(double ms);

private:
	void accept_one();
	void asked();
	void answer(const fx::HandOverAnswer &e);
	int descriptor(uint32_t what, uint32_t which) const;
	void end();

	Table &table;
	Tap &tap;
	Vhost &vhost;
	Clients &clients;
	Listeners &listeners;
	Repair &repair;
	Conf &conf;
	int listener = -1, peer = -1;
	/** A question waits for its answer. */
	bool busy = false, hold = false;
	Pause pause;
};

} // namespace passt

#endif
