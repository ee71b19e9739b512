#include "apart.h"

#include "../common/filter.h"
#include "../common/landlock.h"
#include "probe.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

using namespace passt;

/** 0 or errno. A kernel without filters is none. */
static int confine()
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	const Fd ruleset(make_ruleset({ false, false, false, false }));
	if (ruleset)
		restrict_here(ruleset.get());
	Filter f;
#include "qrap-calls.def"
	const int err = f.install();
	return err == ENOSYS ? 0 : err;
}

/** A message on `line` with room for one descriptor. */
struct Passing {
	char octet = 0;
	iovec iov = { &octet, 1 };
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
	msghdr message = {};
	Passing()
	{
		message.msg_iov = &iov;
		message.msg_iovlen = 1;
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
	}
};

[[noreturn]] static void search(int line)
{
	closeAllBut({ line });
	if (const int err = confine()) {
		say(fault(err, "Cannot filter system calls").text);
		_exit(1);
	}
	const Fd sock = findPasst();
	const int fd = sock.get();
	if (!sock)
		_exit(1);
	Passing p;
	cmsghdr *c = CMSG_FIRSTHDR(&p.message);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	_exit(sendmsg(line, &p.message, MSG_NOSIGNAL) == 1 ? 0 : 1);
}

Fd findPasstApart()
{
	int line[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line) < 0) {
		say(fault(errno, "Cannot create a socket").text);
		return {};
	}
	const Fd ours(line[0]);
	Fd theirs(line[1]);
	const pid_t pid = fork();
	if (pid == 0)
		search(theirs.get());
	theirs.reset();
	if (pid < 0) {
		say(fault(errno, "Cannot start a process").text);
		return {};
	}
	Passing p;
	Fd sock;
	ssize_t n;
	while ((n = recvmsg(ours.get(), &p.message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	const cmsghdr *c = n < 1 ? nullptr : CMSG_FIRSTHDR(&p.message);
	if (c && c->cmsg_type == SCM_RIGHTS) {
		int fd;
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		sock.reset(fd);
	}
	while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR)
		;
	return sock;
}
