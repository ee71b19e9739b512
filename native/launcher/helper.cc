#include "helper.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

void nullStreams()
{
	for (int fd = 0; fd <= 2; fd++)
		close(fd);
	(void)!(open("/dev/null", O_RDWR) == 0 && dup(0) == 1 && dup(0) == 2);
}

Fault startHelper(Fd &line, pid_t &pid, const std::function<void(int line)> &work)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fault(errno, "Cannot create a socket");
	Fd ours(pair[0]);
	const Fd theirs(pair[1]);
	pid = fork();
	if (pid < 0)
		return fault(errno, "Cannot start a helper process");
	if (pid > 0) {
		line = std::move(ours);
		return {};
	}
	nullStreams();
	closeAllBut({ theirs.get() });
	work(theirs.get());
	_exit(0);
}

int awaitEnd(pid_t pid)
{
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}
