/* A TCP connection that is moved from socket to socket without JS: splice.cc. */
#ifndef PASST_SPLICE_H
#define PASST_SPLICE_H

#include "pending.h"
#include "pipes.h"

namespace passt {

/**
 * Both sockets are watched edge-triggered; what the kernel said is remembered here until a call says EAGAIN. So nothing
 * can be missed or reported for ever (behaviour.md#bypass-wake-ups), and no change of interest is needed but to be left
 * alone (`deaf`).
 */
struct SpliceSide {
	int fd;
	/** A read may find something: data, end, error. A write may be taken. */
	bool readable, writable;
	/** A UNIX socket: a read may be short though more is there (SCM_RIGHTS, unix(7)), and a peer that has closed hangs up at once, with all that
	 * it has said still to be read. */
	bool local;
	/** What can be read is not reported now: it is known, and has to wait for the other side. */
	bool deaf;
	/** RDHUP, HUP or ERR came: a short read does not mean that nothing follows. Urgent data: likewise. */
	bool hup, urgent;
	/** Its stream has ended; EV_SPLICE_EOF is out. */
	bool eof, eof_said;
	/** shutdown(SHUT_WR) asked for; done */
	bool shut_due, shut;
	/** Nothing can be read from it any more, and so all that was read is written; a write to it failed. */
	bool read_over, write_failed;
	/** errno that broke it */
	int broken;
};

/** From one side to the other. Nothing more is read before `inside` and `rest` are written: counters decide, not calls. */
struct SpliceWay {
	Pipe pipe;
	/** octets in the pipe */
	uint32_t inside = 0;
	/** the latest reads were large: no trial with the copying path first */
	bool bulk = false;
	/** copied octets that the destination did not take yet */
	Pending rest;
	uint64_t moved = 0;
	/** With a rate limit: octets that may still be read; the next ones were asked for (EV_READ_ASKS); `ask`: are to be, so many. */
	bool limited = false, asked = false;
	uint32_t allowed = 0, ask = 0;

	bool empty() const { return !inside && !rest.size(); }
};

struct Splice {
	SpliceSide side[2] = {};
	/** way[i] reads from side[i] */
	SpliceWay way[2];
	/** in the engine's list of those with work to do */
	bool queued = false;
};

} // namespace passt

#endif
