#include "guard.h"

#include "confine.h"
#include "helper.h"
#include "identity.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <unistd.h>

[[noreturn]] static void watchOver(int target, int lifeline, int graceMs)
{
	// No signal of a terminal may end it, and nobody shall wait for its copies of standard streams
	setsid();
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, nullptr);
	for (int fd = 0; fd <= 2; fd++)
		close(fd);
	closeAllBut({ target, lifeline });
	(void)!chdir("/");
	keepOnly(uint64_t(1) << CAP_KILL); // the target may be another user's
	if (confineGuard(target))
		_exit(1);
	char none;
	while (read(lifeline, &none, 1) < 0 && errno == EINTR)
		;
	pollfd p = { target, POLLIN, 0 };
	poll(&p, 1, graceMs);
	pidfdSignal(target, SIGKILL);
	_exit(0);
}

Fault Guard::start(pid_t target, int graceMs)
{
	int line[2];
	const Fd fd(pidfdOpen(target));
	if (!fd || pipe2(line, O_CLOEXEC) < 0)
		return fault(errno, "Cannot start a guard process");
	const Fd end(line[0]);
	lifeline_.reset(line[1]);
	pid_ = fork();
	if (pid_ == 0)
		watchOver(fd.get(), end.get(), graceMs);
	return pid_ < 0 ? fault(errno, "Cannot start a guard process") : Fault{};
}

void Guard::reap()
{
	letGo();
	if (pid_ > 0)
		awaitEnd(pid_);
	pid_ = 0;
}
