#include "userns.h"

#include "helper.h"

#include <cerrno>
#include <cstring>
#include <grp.h>
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
static std::string oneIdMap(unsigned inside, unsigned outside)
{
	return std::to_string(inside) + " " + std::to_string(outside) + " 1\n";
}

static Fault cannotCreate()
{
	Fault f = fault(errno, "Cannot create a user namespace");
	if (f.err == EPERM || f.err == ENOSPC)
		f.text += " (are user namespaces disabled here? see user.max_user_namespaces, "
			  "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)";
	return f;
}

/** In a child that stays outside, where it has the rights to: what its parent's new namespace shall map. "" or what failed. */
static std::string mapParent(const Identity &outside)
{
	const std::string proc = "/proc/" + std::to_string(getppid()) + "/";
	std::string failures;
	warn(failures, writeFile((proc + "uid_map").c_str(), oneIdMap(0, outside.uid)), "Cannot map the user id");
	writeFile((proc + "setgroups").c_str(), "deny"); // not there before Linux 3.19
	warn(failures, writeFile((proc + "gid_map").c_str(), oneIdMap(0, outside.gid)), "Cannot map the group id");
	return failures;
}

Fault enterUserNamespaceAs(const Identity &outside)
{
	Fd ours;
	pid_t mapper;
	const auto map = [&](int line) {
		keepOnly(uint64_t(1) << CAP_SYS_ADMIN | uint64_t(1) << CAP_SETUID | uint64_t(1) << CAP_SETGID);
		char made;
		if (read(line, &made, 1) == 1)
			(void)writeAll(line, mapParent(outside) + '\0');
	};
	if (Fault f = startHelper(ours, mapper, map))
		return f;
	char answer[512] = "";
	ssize_t n = -1;
	setgroups(0, nullptr); // those that are not mapped could not be given up inside
	Fault f = unshare(CLONE_NEWUSER) < 0 ? cannotCreate() : Fault{};
	if (!f && writeAll(ours.get(), "+") == 0)
		while ((n = read(ours.get(), answer, sizeof(answer) - 1)) < 0 && errno == EINTR)
			;
	ours.reset();
	awaitEnd(mapper);
	if (f)
		return f;
	if (n < 1 || answer[0])
		return { EPERM, n < 1 ? "No answer from the helper process" : std::string(answer, strcspn(answer, "\n")) };
	f = become({ 0, 0 });
	prctl(PR_SET_DUMPABLE, 1); // as below
	return f;
}

Fault enterUserNamespace(int more, uid_t uid, gid_t gid, std::string &warnings)
{
	const uid_t outerUid = geteuid();
	const gid_t outerGid = getegid();
	if (unshare(CLONE_NEWUSER | more) < 0)
		return cannotCreate();
	prctl(PR_SET_DUMPABLE, 1); // a program with file capabilities is not, so its maps would be root's
	warn(warnings, writeFile("/proc/self/uid_map", oneIdMap(uid, outerUid)), "Cannot map the user id");
	const int err = writeFile("/proc/self/setgroups", "deny");
	warn(warnings, err == ENOENT ? 0 : err, "Cannot write /proc/self/setgroups"); // before Linux 3.19
	warn(warnings, writeFile("/proc/self/gid_map", oneIdMap(gid, outerGid)), "Cannot map the group id");
	return {};
}
