/* TCP sockets that leave and come: frozen, thawed, dumped; made anew, filled, set running.
 *
 * Who switches their repair mode is repair.h, where their octets go to and come from statepipe.h. What their numbers mean is JS's business.
 */
#ifndef PASST_MIGRATE_MOVER_H
#define PASST_MIGRATE_MOVER_H

#include "../peek.h"
#include "statepipe.h"

namespace passt {

/** Octets of queues that are dumped and not yet written, of all sockets. */
enum : size_t { DUMPED_MAX_ALL = 256u << 20 };

/** False: it is in repair mode, and sends nothing. */
bool out_of_repair(int fd);

class Mover : Part {
public:
	Mover(Core &c, Table &t, Sender &s, Tcp &stream, Peeker &p, StatePipe &pipe, const Outbound &o)
		: Part(c), table(t), sender(s), tcp(stream), peeker(p), state(pipe), outbound(o)
	{
	}

	/** EF_TCP_FREEZE, EF_TCP_THAW, EF_TCP_DUMP */
	void freeze(Sock &s, const fx::Flags &e);
	void thaw(Sock &s);
	void dump(Sock &s);

	/** EF_TCP_RESTORE_OPEN, EF_TCP_RESTORE, EF_TCP_RESTORE_QUEUE, EF_TCP_RESTORE_END, EF_TCP_RUN */
	void open(const fx::RestoreOpen &e);
	void restore(Sock &s, const fx::Octets &e);
	void queue(Sock &s, const fx::RestoreQueue &e);
	void end(Sock &s, const fx::Flags &e);
	void run(Sock &s, const fx::Run &e);

	/** EF_TCP_TAKE */
	void take(const fx::Take &e);

	/** EV_TCP_DUMPED, as far as there is room. The slab is empty. */
	void report();

private:
	void told(Sock &s, int error);

	struct Dumped {
		Moving of;
		int error;
		DumpWords words;
	};

	Table &table;
	Sender &sender;
	Tcp &tcp;
	Peeker &peeker;
	StatePipe &state;
	const Outbound &outbound;
	/** Their words stand in the slab, which is the next turn's. */
	std::vector<Dumped> dumped;
};

} // namespace passt

#endif
