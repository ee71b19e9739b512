/* The descriptor that a guest's state goes through: a pipe or a stream socket, written or read without ever waiting.
 *
 * Who is at its other end may be slow or gone. What is to be written waits here; what is to be read is asked for, piece by piece.
 */
#ifndef PASST_MIGRATE_STATEPIPE_H
#define PASST_MIGRATE_STATEPIPE_H

#include "../table.h"

#include <deque>

namespace passt {

class StatePipe : Part {
public:
	StatePipe(Core &c, Table &t) : Part(c), table(t) {}
	~StatePipe();

	/** EF_STATE_* */
	void open(const fx::StateOpen &e);
	void write(const fx::Octets &e);
	void queues(Sock &s);
	void close(const fx::Flags &e);
	void next(const fx::Count &e);

	/** The end of an execution: hand over what it brought. */
	void flush();
	void ready(uint32_t events);
	/** Octets that wait. */
	size_t waiting() const { return octets; }

private:
	void push(Block &&b);
	void read();
	void watch(uint32_t events);
	void end(int error);
	void drop();

	Table &table;
	std::deque<Block> out;
	size_t octets = 0;
	/** So far; when EV_STATE_PROGRESS or EV_STATE_WRITTEN said so. */
	uint64_t written = 0, said = 0;
	int fd = -1;
	uint32_t direction = 0, armed = 0;
	/** Octets that JS wants; 0: none. */
	uint32_t wanted = 0;
	/** `fresh`: something was given since EV_STATE_WRITTEN. */
	bool registered = false, closing = false, fresh = false;
};

} // namespace passt

#endif
