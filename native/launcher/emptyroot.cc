#include "emptyroot.h"

#include "helper.h"
#include "identity.h"
#include "userns.h"

#include <cerrno>
#include <cstring>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/* What is said on the line, one message each: the helper's process id, or a Fault; then, asked for, a Fault */
struct Word {
	pid_t helper = 0;
	int err = 0;
	char text[256] = "";
};
/* Detaching a tree of mounts takes a few milliseconds */
static constexpr time_t TIMEOUT_S = 10;

static void sendWord(int line, pid_t helper, const Fault &f)
{
	Word w = { helper, f.err, "" };
	strncpy(w.text, f.text.c_str(), sizeof(w.text) - 1);
	(void)!send(line, &w, sizeof(w), MSG_NOSIGNAL);
}

/** Namespaces for the engine, in which we may change the root. A user namespace would take away rights over the host's. */
static Fault enterNamespaces()
{
	static constexpr int OWN = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
	if (isCapable(CAP_SYS_ADMIN))
		return unshare(OWN) < 0 ? fault(errno, "Cannot create a mount namespace") : Fault{};
	if (isPrivileged())
		return { EPERM, "Started with capabilities, but without CAP_SYS_ADMIN" };
	std::string warnings;
	if (Fault f = enterUserNamespace(OWN, geteuid(), getegid(), warnings))
		return f;
	return warnings.empty() ? Fault{} : Fault{ EPERM, warnings.substr(0, warnings.size() - 1) };
}

/** An empty file system over some directory; which one is of no importance, but there may be few. */
static Fault mountEmpty()
{
	for (const char *dir : { "/tmp", "/dev", "/etc", "/proc" })
		if (mount("passt", dir, "tmpfs", MS_RDONLY | MS_NODEV | MS_NOEXEC | MS_NOSUID, "nr_inodes=2,mode=0555") == 0)
			return chdir(dir) < 0 ? fault(errno, "Cannot enter the empty root") : Fault{};
	return fault(errno, "Cannot mount an empty file system");
}

static Fault exchange(bool byChroot)
{
	// Ours are for us alone, before and after
	if (mount("", "/", "", MS_SLAVE | MS_REC, nullptr) < 0)
		return fault(errno, "Cannot keep mounts private");
	if (Fault f = mountEmpty())
		return f;
	if (syscall(SYS_pivot_root, ".", ".") == 0) {
		// The old root lies over the new one (pivot_root(2))
		if (umount2(".", MNT_DETACH) < 0)
			return fault(errno, "Cannot detach the old root");
	} else if (errno != EINVAL || !byChroot) {
		Fault f = fault(errno, "pivot_root");
		if (f.err == EINVAL)
			f.text += " (in an initramfs, --chroot-fallback helps)";
		return f;
	} else if (chroot(".") < 0) {
		return fault(errno, "chroot");
	}
	return chdir("/") < 0 ? fault(errno, "Cannot enter the empty root") : Fault{};
}

[[noreturn]] static void help(int line)
{
	for (int fd = 0; fd <= 2; fd++)
		close(fd);
	closeAllBut({ line });
	keepOnly(uint64_t(1) << CAP_SYS_ADMIN | uint64_t(1) << CAP_SYS_CHROOT);
	sendWord(line, getpid(), {});
	char byChroot;
	ssize_t n;
	while ((n = recv(line, &byChroot, 1, 0)) < 0 && errno == EINTR)
		;
	if (n == 1)
		sendWord(line, 0, exchange(byChroot));
	_exit(0);
}

Fault EmptyRoot::prepare()
{
	int line[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line) < 0)
		return fault(errno, "Cannot create a socket");
	line_.reset(line[0]);
	inside_.reset(line[1]);
	const timeval timeout = { TIMEOUT_S, 0 };
	setsockopt(line_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	return {};
}

void EmptyRoot::enter()
{
	line_.reset();
	Fault f = enterNamespaces();
	if (!f) {
		// A child of the launcher, not of Node, which would not wait for it
		const long pid = syscall(SYS_clone, CLONE_PARENT | CLONE_FS | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
		if (pid == 0)
			help(inside_.get());
		if (pid < 0)
			f = fault(errno, "Cannot start a helper process");
	}
	if (f)
		sendWord(inside_.get(), 0, f);
	inside_.reset();
}

/** The next message; a Fault of its own when there is none. */
static Word receiveWord(int line)
{
	Word w = {};
	ssize_t n;
	while ((n = recv(line, &w, sizeof(w), 0)) < 0 && errno == EINTR)
		;
	if (n != sizeof(w))
		w = { 0, n < 0 ? errno : ECHILD, "No answer from the helper process" };
	w.text[sizeof(w.text) - 1] = 0;
	return w;
}

Fault EmptyRoot::close(bool byChroot)
{
	Word w = receiveWord(line_.get());
	const pid_t helper = w.helper;
	if (helper > 0) {
		const char how = byChroot;
		if (send(line_.get(), &how, 1, MSG_NOSIGNAL) < 0)
			w = { 0, errno, "No helper process" };
		else
			w = receiveWord(line_.get());
	}
	letGo();
	if (helper > 0)
		awaitEnd(helper);
	return { w.err, w.text };
}

void EmptyRoot::letGo()
{
	line_.reset();
}
