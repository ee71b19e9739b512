/* Live migration in the engine: the helper (repair.h), the state's pipe (statepipe.h), sockets that leave and come (mover.h), their effects
 * and events. */
#ifndef PASST_MIGRATE_MIGRATION_H
#define PASST_MIGRATE_MIGRATION_H

#include "mover.h"
#include "repair.h"

namespace passt {

class Migration {
public:
	Migration(Core &c, Table &t, Sender &s, Tcp &stream, Peeker &p, const Outbound &o)
		: repair(c, t), state(c, t), mover(c, t, s, stream, p, state, o), table(t)
	{
	}

	Repair repair;
	StatePipe state;
	Mover mover;

	/** Is this effect one of those here? */
	static bool has(uint32_t kind) { return (kind >= EF_REPAIR && kind <= EF_TCP_RUN) || kind == EF_TCP_TAKE; }
	void effect(const Record &e);
	/** ID_HELPERS, ID_HELPER, ID_STATE. False: it is none of those. */
	bool ready(uint64_t what, uint32_t events);

private:
	Table &table;
};

} // namespace passt

#endif
