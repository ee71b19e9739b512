/* The filter of system calls, each time in a child: there is no way back. */
#include "harness.h"

#include "../addon/seccomp.h"
#include "../addon/sock.h"

#include <csignal>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

/** Wait status of a child that calls `what` once it is sealed; its exit status is the errno, 0 = it got what it wanted. */
int sealed(const std::function<long()> &what)
{
	fflush(nullptr);
	const pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (seal())
			_exit(255);
		_exit(what() < 0 ? errno : 0);
	}
	int status = 0;
	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}
/** errno of it */
int refusal(const std::function<long()> &what)
{
	const int status = sealed(what);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}
bool kills(const std::function<long()> &what)
{
	const int status = sealed(what);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

} // namespace

TEST(seccomp_no_file_by_name)
{
	CHECK(refusal([] { return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY); }) == EPERM);
	CHECK(refusal([] { return syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", nullptr, 0); }) == ENOSYS);
	CHECK(refusal([] { return syscall(SYS_unlinkat, AT_FDCWD, "/nonexistent", 0); }) == ENOSYS);
	CHECK(refusal([] { return syscall(SYS_memfd_create, "x", 0); }) == ENOSYS);
	CHECK(refusal([] { return syscall(SYS_io_uring_setup, 1, nullptr); }) == ENOSYS);
}

/** What is given up where descriptors have run out is there again for the next time, though we are sealed by then. */
TEST(seccomp_a_spare_descriptor_can_be_made_again)
{
	CHECK(refusal([] { return fcntl(0, F_DUPFD_CLOEXEC, 0); }) == EPERM);
	CHECK(refusal([]() -> long {
		const int fd = another(0);
		return fd > 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC ? 0 : -1;
	}) == 0);
}

TEST(seccomp_no_program_no_process)
{
	char *const none[] = {nullptr};
	CHECK(kills([&] { return syscall(SYS_execve, "/bin/true", none, none); }));
	CHECK(kills([&] { return syscall(SYS_execveat, AT_FDCWD, "/bin/true", none, none, 0); }));
	CHECK(refusal([] { return syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0); }) == EPERM);
	CHECK(refusal([] { return syscall(SYS_clone3, nullptr, 0); }) == ENOSYS);
#ifdef SYS_fork
	CHECK(refusal([] { return syscall(SYS_fork); }) == ENOSYS);
#endif
}

TEST(seccomp_no_other_process)
{
	const pid_t parent = getpid();
	CHECK(kills([=] { return syscall(SYS_kill, parent, 0); }));
	CHECK(kills([=] { return syscall(SYS_tkill, parent, 0); }));
	CHECK(kills([=] { return syscall(SYS_ptrace, 16 /* PTRACE_ATTACH */, parent, 0, 0); }));
	CHECK(refusal([=] { return syscall(SYS_tgkill, parent, parent, 0); }) == EPERM);
	CHECK(refusal([] { return syscall(SYS_tgkill, getpid(), getpid(), 0); }) == 0);
	const int status = sealed([]() -> long {
		signal(SIGABRT, SIG_DFL);
		abort();
	});
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

TEST(seccomp_sockets_of_flows_alone)
{
	const auto make = [](int family, int type, int protocol) {
		return refusal([=] { return socket(family, type, protocol); });
	};
	for (const int family : {AF_INET, AF_INET6}) {
		CHECK(make(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) == 0);
		CHECK(make(family, SOCK_DGRAM, IPPROTO_UDP) == 0);
		CHECK(make(family, SOCK_RAW, IPPROTO_TCP) == EPERM);
		CHECK(make(family, SOCK_STREAM, IPPROTO_SCTP) == EPERM);
	}
	for (const int family : {AF_UNIX, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK})
		for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW})
			CHECK(make(family, type, 0) == EPERM);
}

TEST(seccomp_arguments)
{
	CHECK(refusal([] { return fcntl(1, F_GETFL); }) != EPERM);
	CHECK(refusal([] { return fcntl(1, F_SETOWN, getpid()); }) == EPERM);
	CHECK(refusal([] { return ioctl(1, TIOCSTI, "x"); }) == EPERM);
	rlimit64 limit = {};
	CHECK(refusal([&] { return syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &limit); }) == 0);
	CHECK(refusal([&] { return syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, nullptr); }) == EPERM);
	/* a pointer whose low half is zero */
	CHECK(refusal([] { return syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 1ull << 32, nullptr); }) == EPERM);
}

TEST(seccomp_every_thread)
{
	CHECK(refusal([] { return 0; }) == 0);
	fflush(nullptr);
	const pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		int line[2], seen = 0;
		char c;
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, line));
		std::thread other([&] {
			CHECK(write(line[0], "", 1) == 1); /* its start, which takes more calls, is over */
			if (read(line[0], &c, 1) == 1)
				seen = open("/dev/null", O_RDONLY) < 0 ? errno : 0;
		});
		CHECK(read(line[1], &c, 1) == 1);
		CHECK(!seal());
		CHECK(write(line[1], "", 1) == 1);
		other.join();
		_exit(seen == EPERM ? 0 : 1);
	}
	int end = 0;
	CHECK(waitpid(pid, &end, 0) == pid && end == 0);
}

#ifdef __x86_64__
TEST(seccomp_no_second_table_of_calls)
{
	/* int 0x80: calls of 32 bits, where 11 is execve and 5 open. Some kernels and hypervisors have no such gate: there it is a fault for anybody */
	const auto gate = []() -> long {
		long r;
		signal(SIGSEGV, SIG_DFL);
		asm volatile("int $0x80" : "=a"(r) : "a"(20) : "memory");
		return r;
	};
	const pid_t free = fork();
	if (free == 0)
		_exit(gate() > 0 ? 0 : 1);
	int there = 0;
	CHECK(waitpid(free, &there, 0) == free);
	const int end = sealed(gate);
	CHECK(WIFSIGNALED(end) && WTERMSIG(end) == (there == 0 ? SIGSYS : SIGSEGV));
	CHECK(there == 0 || (WIFSIGNALED(there) && WTERMSIG(there) == SIGSEGV));
	CHECK(refusal([] { return syscall(0x40000000 | SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY); }) == ENOSYS);
}
#endif
