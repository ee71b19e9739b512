#include "isolate.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace passt {

static int own_session()
{
	/* Who leads a process group, as the launcher made us, must leave it first: to that of a child, which need not live on */
	const pid_t other = fork();

	if (!other)
		for (;;)
			pause();
	if (other < 0)
		return errno;
	const int e = setpgid(other, other) || setpgid(0, other) || setsid() < 0 ? errno : 0;
	kill(other, SIGKILL);
	while (waitpid(other, nullptr, 0) < 0 && errno == EINTR)
		;
	return e;
}

int detach(int null)
{
	int e = own_session();

	for (int fd = 0; fd < 3 && !e; fd++) {
		if (null != fd && dup2(null, fd) < 0)
			e = errno;
	}
	if (null > 2)
		close(null);
	return e ? e : chdir("/") ? errno : 0;
}

namespace {

/* Capabilities and no_new_privs belong to threads, and a thread can only change its own. glibc keeps signal 33
 * (SIGSETXID) for just this purpose with user ids: no thread can block it, V8's and libuv's included. It is borrowed. */
constexpr int BORROWED = 33;
constexpr int SPARE = 36;

std::atomic<int> pending_threads, failed_with;

/** What each thread is to do; async-signal-safe, system calls only. */
void (*step)();

/** Needs CAP_SETPCAP, so before the user id goes. EPERM is harmless: no_new_privs keeps the set out of reach. */
void drop_bounding_set()
{
	for (unsigned long cap = 0; cap < 64; cap++) {
		if (syscall(SYS_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0))
			break;
	}
}

void drop_here()
{
	__user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	__user_cap_data_struct none[2] = {};
	int e = 0;

	syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_capset, &head, none))
		e = errno;
	if (e)
		failed_with = e;
}

void on_signal(int)
{
	const int saved = errno;
	step();
	pending_threads--;
	errno = saved;
}

/** struct sigaction of the kernel: glibc's has another shape and does not let us near signal 33. */
struct KernelAction {
	void (*handler)(int);
	unsigned long flags;
#ifdef SA_RESTORER
	void (*restorer)();
#endif
	unsigned long mask;
};

int kernel_sigaction(int signal, const KernelAction *act, KernelAction *old)
{
	return (int)syscall(SYS_rt_sigaction, signal, act, old, sizeof(act->mask));
}

/** Is thread `tid` gone or a zombie? */
bool is_gone(long pid, long tid)
{
	return syscall(SYS_tgkill, pid, tid, 0) && errno == ESRCH;
}

/** step() on all other threads; those born meanwhile inherit from one that has done it, or are seen next time. */
int on_other_threads()
{
	const long pid = getpid(), self = syscall(SYS_gettid);
	long done[4096];
	size_t n = 0;

	for (bool more = true; more;) {
		more = false;
		DIR *const d = opendir("/proc/self/task");
		if (!d)
			return errno;
		while (const dirent *const e = readdir(d)) {
			const long tid = strtol(e->d_name, nullptr, 10);
			bool known = tid <= 0 || tid == self;
			for (size_t i = 0; i < n && !known; i++)
				known = done[i] == tid;
			if (known)
				continue;
			if (n == sizeof(done) / sizeof(*done)) {
				closedir(d);
				return EAGAIN;
			}
			done[n++] = tid;
			pending_threads = 1;
			if (syscall(SYS_tgkill, pid, tid, BORROWED)) {
				const int e = errno;
				if (e == ESRCH)
					continue; /* ended meanwhile */
				closedir(d);
				return e; /* it keeps what it has: a filter around us, too many signals that wait */
			}
			more = true;
			for (int i = 0; pending_threads > 0 && !is_gone(pid, tid); i++) {
				if (i > 50000) {
					closedir(d);
					return ETIMEDOUT;
				}
				const timespec t = {0, 50000};
				nanosleep(&t, nullptr);
			}
		}
		closedir(d);
	}
	return 0;
}

/** `what` on every thread, this one first: threads that it starts inherit. Or last, where it takes away the signal to the others. */
int on_every_thread(void (*what)(), bool self_last = false)
{
	/* Let glibc fill in the kernel's form (restorer) for a signal it does not mind, then use that for the other */
	struct sigaction ours = {}, spare = {};
	KernelAction form = {}, before = {};
	int e = 0;

	step = what;
	ours.sa_handler = on_signal;
	ours.sa_flags = SA_RESTART;
	if (sigaction(SPARE, &ours, &spare))
		return errno;
	if (kernel_sigaction(SPARE, nullptr, &form) || kernel_sigaction(BORROWED, &form, &before))
		e = errno;
	sigaction(SPARE, &spare, nullptr);
	if (e)
		return e;
	if (!self_last)
		what();
	e = on_other_threads();
	if (self_last)
		what();
	kernel_sigaction(BORROWED, &before, nullptr);
	return e;
}

} // namespace

void close_to_others()
{
	prctl(PR_SET_DUMPABLE, 0);
}

static std::atomic<int> ruleset;

int confine(const Landlock &allowed)
{
	ruleset = make_ruleset(allowed);
	if (ruleset < 0)
		return 0;
	const int e = on_every_thread([] { restrict_here(ruleset); }, true);
	close(ruleset);
	return e;
}

int drop_privileges(long uid, long gid)
{
	if (const int e = on_every_thread(drop_bounding_set))
		return e;
	if (uid >= 0) {
		/* glibc carries these to every thread. setgroups() may be denied in a user namespace. */
		if (setgroups(0, nullptr) && errno != EPERM)
			return errno;
		if ((gid >= 0 && setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid)) ||
		    setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid))
			return errno;
	}
	close_to_others();
	failed_with = 0;
	const int e = on_every_thread(drop_here);
	return e ? e : failed_with.load();
}

} // namespace passt
