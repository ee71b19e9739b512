#include "confine.h"

#include "../common/filter.h"
#include "../common/landlock.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

using namespace passt;

static void withoutFiles(const Landlock &allowed)
{
	const Fd ruleset(make_ruleset(allowed));
	if (ruleset)
		restrict_here(ruleset.get());
}

Fault confineLauncher(const Served &served, bool looks)
{
	const auto OWN_PID = static_cast<uint32_t>(getpid());
	const auto COMMAND = static_cast<uint32_t>(served.command), ENGINE = static_cast<uint32_t>(served.engine);
	const bool IN_NAMESPACE = served.inNamespace, CONNECTS = served.connects, REMOVES = served.removes, CONFIGURES = served.configures;
	const uint32_t FAMILY = CONNECTS ? AF_UNIX : AF_INET;
	if (!looks)
		withoutFiles({ IN_NAMESPACE, false, false, true, false, REMOVES });
	Filter f;
#include "launcher-calls.def"
	const int err = f.install();
	return err && err != ENOSYS ? fault(err, "Cannot filter system calls") : Fault{};
}

int confineGuard(int target)
{
	const auto TARGET = static_cast<uint32_t>(target);
	withoutFiles({ false, false, false, true, false, false });
	Filter f;
#include "guard-calls.def"
	const int err = f.install();
	return err == ENOSYS ? 0 : err;
}

int confineResolver()
{
	withoutFiles({ false, false, false, true, true, false });
	Filter f;
#include "resolver-calls.def"
	const int err = f.install();
	return err == ENOSYS ? 0 : err;
}

/* The same on every processor */
static constexpr uint32_t IO_URING_SETUP = 425;

void withoutInspectorAndRings()
{
	Filter f;
	// Success that is none: Node checks for it
	f.row_where(SYS_rt_sigaction, argument(0, false), SIGUSR1, SECCOMP_RET_ERRNO);
	f.row(IO_URING_SETUP, SECCOMP_RET_ERRNO | ENOSYS);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && signal(SIGUSR1, SIG_IGN) != SIG_ERR)
		f.install(SECCOMP_RET_ALLOW);
}
