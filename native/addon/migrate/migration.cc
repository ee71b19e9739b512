#include "migration.h"

namespace passt {

void Migration::effect(const Record &e)
{
	const auto [kind, handle] = as<Head>(e);

	switch (kind) {
	case EF_REPAIR:
		repair.ask(as<fx::Repair>(e));
		return;
	case EF_REPAIR_CLOSE:
		repair.close();
		return;
	case EF_STATE_OPEN:
		state.open(as<fx::StateOpen>(e));
		return;
	case EF_STATE_WRITE:
		state.write(as<fx::Octets>(e));
		return;
	case EF_STATE_CLOSE:
		state.close(as<fx::Flags>(e));
		return;
	case EF_STATE_NEXT:
		state.next(as<fx::Count>(e));
		return;
	case EF_TCP_RESTORE_OPEN:
		mover.open(as<fx::RestoreOpen>(e));
		return;
	case EF_TCP_TAKE:
		mover.take(as<fx::Take>(e));
		return;
	default:
		break;
	}

	Sock *const s = table.sock(handle, Kind::Tcp);
	if (!s)
		return;
	switch (kind) {
	case EF_TCP_FREEZE:
		mover.freeze(*s, as<fx::Flags>(e));
		break;
	case EF_TCP_THAW:
		mover.thaw(*s);
		break;
	case EF_TCP_DUMP:
		mover.dump(*s);
		break;
	case EF_STATE_QUEUES:
		state.queues(*s);
		break;
	case EF_TCP_RESTORE:
		mover.restore(*s, as<fx::Octets>(e));
		break;
	case EF_TCP_RESTORE_QUEUE:
		mover.queue(*s, as<fx::RestoreQueue>(e));
		break;
	case EF_TCP_RESTORE_END:
		mover.end(*s, as<fx::Flags>(e));
		break;
	default: /* EF_TCP_RUN */
		mover.run(*s, as<fx::Run>(e));
	}
}

bool Migration::ready(uint64_t what, uint32_t events)
{
	if (what == ID_HELPERS)
		repair.helpers();
	else if (what == ID_HELPER)
		repair.ready();
	else if (what == ID_STATE)
		state.ready(events);
	else
		return false;
	return true;
}

} // namespace passt
