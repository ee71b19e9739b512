/* Spliced connections: who moves octets when. */
#ifndef PASST_SPLICES_H
#define PASST_SPLICES_H

#include "listen.h"
#include "nspool.h"

namespace passt {

class Splices : Part {
public:
	Splices(Core &c, Table &t, Listeners &l, NsPools &p, const Outbound &o)
		: Part(c), table(t), listeners(l), pools(p), outbound(o)
	{
	}

	/** EF_SPLICE, EF_SPLICE_SHUT */
	void open(const fx::Open &e);
	void shut(Sock &s, uint32_t side);
	/** EF_READ_ALLOW */
	void allow(Sock &s, uint32_t way, uint32_t octets);
	/** Side 1 has its socket. */
	void connect(Sock &s, Target t, int fd);
	void ready(Sock &s, uint32_t which, uint32_t events);
	/** Is there something to move? */
	bool idle() const { return moving.empty() && woken.empty(); }
	/**
	 * Those that have something new to do, a little of it; then those that have more, in order: what is small does not wait for
	 * bulk, nor bulk for all that is small. Either list goes on in the next turn where SHARE_ALL ended it.
	 */
	void run_all();

private:
	int watch(const Sock &s, uint32_t side, int op);
	void connected(Sock &s);
	void queue(Sock &s);
	bool push(Splice &x, uint32_t way);
	bool copy(Splice &x, uint32_t way);
	bool pull(Splice &x, uint32_t way, size_t most);
	bool end(SpliceSide &from, int error);
	bool may_read(Splice &x, uint32_t way);
	bool move(Splice &x, uint32_t way, size_t share);
	bool run(Sock &s, size_t share);
	void turn(Moving m, size_t share);

	Table &table;
	Listeners &listeners;
	NsPools &pools;
	const Outbound &outbound;
	/** Those that have something to do; that had their first share and can go on. */
	std::vector<Moving> woken, moving;
};

} // namespace passt

#endif
