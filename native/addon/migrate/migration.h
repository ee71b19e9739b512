/* Live migration in the engine: the helper (repair.h), the state's pipe (statepipe.h), sockets that leave and come (mover.h), their effects
 * and events. */
#ifndef PASST_MIGRATE_MIGRATION_H
#define PASST_MIGRATE_MIGRATION_H

#include "mover.h"
#include "repair.h"

namespace passt {

class Migration {
public:
	Migration(Core &c, Table &t, Sender &s, Tcp &stream, Peeker &p) : repair(c, t), state(c, t), mover(c, t, s, stream, p, state), table(t)
	{
	}

	Repair repair;
	StatePipe state;
	Mover mover;

	/** EF_REPAIR to EF_TCP_RUN. False: it is none of those. */
	bool effect(const Record &e);
	/** ID_HELPERS, ID_HELPER, ID_STATE. False: it is none of those. */
	bool ready(uint64_t what, uint32_t events);

private:
	Table &table;
};

} // namespace passt

#endif
