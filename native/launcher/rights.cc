#include "rights.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

void emptyBoundingSet(uint64_t but)
{
	for (unsigned long cap = 0; cap < 64 && (but >> cap & 1 || prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0); cap++)
		;
}

void keepOnly(uint64_t kept, bool beyondExec)
{
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	emptyBoundingSet(beyondExec ? kept : 0);
	__user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	__user_cap_data_struct sets[2] = {};
	if (syscall(SYS_capget, &head, sets) == 0) {
		for (int i = 0; i < 2; i++) {
			sets[i].permitted &= static_cast<uint32_t>(kept >> 32 * i);
			sets[i].effective = sets[i].permitted;
			sets[i].inheritable = 0;
		}
		syscall(SYS_capset, &head, sets);
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0);
}
