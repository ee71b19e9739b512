/* The lists of system calls of launcher and guards, each time in a child: there is no way back. The engine's: seccomp_test.cc. */
#include "harness.h"

#include "../launcher/confine.h"

#include <csignal>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using Confine = std::function<bool()>;

/** errno of `what` in a child that `confine` has dealt with; 0 = it got what it wanted, -1 = that was its end. */
int refusal(const Confine &confine, const std::function<long()> &what)
{
	fflush(nullptr);
	const pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		/* Not _exit(): AddressSanitizer asks the kernel for more before that */
		syscall(SYS_exit_group, !confine() ? 255 : what() < 0 ? errno : 0);
	}
	int status = 0;
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? -1 : 254;
	return WEXITSTATUS(status);
}

long openPasswd()
{
	return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}
long execute()
{
	char *const none[] = {nullptr};
	return syscall(SYS_execve, "/bin/true", none, none);
}
long makeSocket(int family, int type)
{
	return syscall(SYS_socket, family, type, 0);
}
long executableMemory()
{
	return syscall(SYS_mmap, nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ? -1 : 0;
}

} // namespace

TEST(list_of_the_launcher)
{
	const pid_t test = getpid();
	const Confine inNamespace = [=] { return !confineLauncher({true, test, test, true, false, false}, true); };
	const Confine passt = [=] { return !confineLauncher({false, 0, test, false, false, false}, false); };
	for (const Confine &c : {inNamespace, passt}) {
		CHECK(refusal(c, openPasswd) == ENOSYS);
		CHECK(refusal(c, execute) == -1);
		CHECK(refusal(c, executableMemory) == EPERM);
		CHECK(refusal(c, [] { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }) != 0);
		CHECK(refusal(c, [] { return syscall(SYS_setns, 0, 0); }) == -1);
		CHECK(refusal(c, [] { return syscall(SYS_ptrace, 16, 1, 0, 0); }) == -1);
		CHECK(refusal(c, [] { return makeSocket(AF_NETLINK, SOCK_RAW); }) != 0);
		CHECK(refusal(c, [] { return makeSocket(AF_UNIX, SOCK_STREAM); }) != 0);
		CHECK(refusal(c, [] { return makeSocket(AF_INET, SOCK_RAW); }) != 0);
		CHECK(refusal(c, [=] { return kill(test, 0); }) == 0);
		CHECK(refusal(c, [] { return kill(1, 0); }) == EPERM);
		CHECK(refusal(c, [] { return kill(-1, 0); }) == EPERM);
		CHECK(refusal(c, [] { return raise(SIGUSR2) ? -1L : 0L; }) == 254);
		struct stat st;
		CHECK(refusal(c, [&] { return fstatat(AT_FDCWD, "/", &st, 0); }) == 0);
	}
	CHECK(refusal(inNamespace, [] { return makeSocket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK); }) == 0);
	CHECK(refusal(passt, [] { return makeSocket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK); }) == ENOSYS);
	CHECK(refusal(inNamespace, [] { return syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0); }) == EPERM);
	CHECK(refusal(passt, [] { return syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0); }) == -1);
}

TEST(list_of_a_launcher_with_unix_sockets_of_the_host)
{
	const pid_t test = getpid();
	const Confine with = [=] { return !confineLauncher({true, test, test, true, true, true}, true); };
	/* No Landlock here: that no file is opened is the list's alone */
	CHECK(refusal(with, openPasswd) == EPERM);
	CHECK(refusal(with, [] { return syscall(SYS_openat, AT_FDCWD, "/", O_PATH | O_NOFOLLOW); }) == 0);
	CHECK(refusal(with, [] { return makeSocket(AF_UNIX, SOCK_STREAM); }) == 0);
	CHECK(refusal(with, [] { return makeSocket(AF_NETLINK, SOCK_RAW); }) != 0);
	CHECK(refusal(with, execute) == -1);
}

TEST(list_of_a_guard)
{
	const int target = pidfdOpen(getpid());
	const Confine guard = [=] { return !confineGuard(target); };
	CHECK(target >= 0);
	CHECK(refusal(guard, openPasswd) == ENOSYS);
	CHECK(refusal(guard, execute) == -1);
	CHECK(refusal(guard, executableMemory) == ENOSYS);
	CHECK(refusal(guard, [] { return makeSocket(AF_INET, SOCK_STREAM); }) == ENOSYS);
	CHECK(refusal(guard, [] { return kill(getppid(), 0); }) == -1);
	/* Its target, by SIGKILL: tried with what the kernel refuses, so that this test lives on */
	CHECK(refusal(guard, [=] { return pidfdSignal(target, 0); }) == EPERM);
	CHECK(refusal(guard, [=] { return pidfdSignal(target + 1, SIGKILL); }) == EPERM);
	CHECK(refusal(guard, [=] { return syscall(424, target, SIGKILL, nullptr, 1 << 30); }) == EINVAL);
	close(target);
}

TEST(no_inspector)
{
	const auto handler = [] { return signal(SIGUSR1, [](int) { syscall(SYS_exit_group, 7); }) == SIG_ERR ? -1L : raise(SIGUSR1) ? -1L : 0L; };
	CHECK(refusal([] { return true; }, handler) == 7);
	CHECK(refusal([] { withoutInspectorAndRings(); return true; }, handler) == 0);
	CHECK(refusal([] { withoutInspectorAndRings(); return true; }, [] {
		      return signal(SIGUSR2, [](int) { syscall(SYS_exit_group, 7); }) == SIG_ERR ? -1L : raise(SIGUSR2) ? -1L : 0L;
	      }) == 7);
}
