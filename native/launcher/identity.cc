#include "identity.h"

#include "rights.h"
#include "userns.h"

#include <cerrno>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

Fault become(const Identity &who)
{
	const auto [uid, gid] = who;
	if (uid != geteuid())
		syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr); // a new one; fails where there are no keys
	// Without privilege there may be nothing to do: a user can become what it is
	if ((setgroups(0, nullptr) < 0 && errno != EPERM) || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return fault(errno, "Cannot become user " + std::to_string(uid) + " of group " + std::to_string(gid));
	return {};
}

Fault becomeCapable(const Identity &who)
{
	emptyBoundingSet();
	prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0); // execve(2) resets it
	return become(who);
}

bool mayActFor(const Identity &who)
{
	return who.uid != geteuid() && isCapable(CAP_SYS_ADMIN) && isCapable(CAP_SETUID) && isCapable(CAP_SETGID);
}

void handOnLowPorts()
{
	__user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	__user_cap_data_struct sets[2] = {};
	constexpr uint32_t BIND = 1u << CAP_NET_BIND_SERVICE;
	if (geteuid() == 0 || syscall(SYS_capget, &head, sets) < 0 || !(sets[0].permitted & BIND))
		return;
	sets[0].inheritable |= BIND;
	if (syscall(SYS_capset, &head, sets) == 0)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0);
}
