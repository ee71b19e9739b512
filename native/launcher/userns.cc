#include "userns.h"

#include <cerrno>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t effective()
{
	__user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	__user_cap_data_struct sets[2] = {};
	if (syscall(SYS_capget, &head, sets) < 0)
		return 0;
	return sets[0].effective | static_cast<uint64_t>(sets[1].effective) << 32;
}

bool isCapable(int capability)
{
	return effective() >> capability & 1;
}

bool isPrivileged()
{
	return effective() != 0;
}

static void warn(std::string &warnings, int err, const std::string &what)
{
	if (err)
		warnings += fault(err, what).text + "\n";
}

/** One line of uid_map or gid_map. */
static std::string only(unsigned inside, unsigned outside)
{
	return std::to_string(inside) + " " + std::to_string(outside) + " 1\n";
}

Fault enterUserNamespace(int more, uid_t uid, gid_t gid, std::string &warnings)
{
	const uid_t outerUid = geteuid();
	const gid_t outerGid = getegid();
	if (unshare(CLONE_NEWUSER | more) < 0) {
		Fault f = fault(errno, "Cannot create a user namespace");
		if (f.err == EPERM || f.err == ENOSPC)
			f.text += " (are user namespaces disabled here? see user.max_user_namespaces, "
				  "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)";
		return f;
	}
	prctl(PR_SET_DUMPABLE, 1); // a program with file capabilities is not, so its maps would be root's
	warn(warnings, writeFile("/proc/self/uid_map", only(uid, outerUid)), "Cannot map the user id");
	const int err = writeFile("/proc/self/setgroups", "deny");
	warn(warnings, err == ENOENT ? 0 : err, "Cannot write /proc/self/setgroups"); // before Linux 3.19
	warn(warnings, writeFile("/proc/self/gid_map", only(gid, outerGid)), "Cannot map the group id");
	return {};
}
