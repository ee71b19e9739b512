/* Landlock, without a filter of system calls in front of it, each time in a child: there is no way back. */
#include "harness.h"

#include "../addon/isolate.h"

#include <csignal>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

long version()
{
	return syscall(CREATE_RULESET, nullptr, 0, 1);
}

/** errno of `what` in a child, and in a thread of it that was there before, once confined; 0 = both got what they wanted. */
int refusal(const Landlock &allowed, const std::function<long()> &what)
{
	fflush(nullptr);
	const pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		int line[2], seen = -1;
		char c;
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, line));
		std::thread other([&] {
			if (read(line[0], &c, 1) == 1)
				seen = what() < 0 ? errno : 0;
		});
		CHECK(!confine(allowed));
		const int own = what() < 0 ? errno : 0;
		CHECK(write(line[1], "", 1) == 1);
		other.join();
		_exit(own == seen ? own : 255);
	}
	int status = 0;
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

long tcp(bool connects, uint16_t port)
{
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	sockaddr_in at = {};
	at.sin_family = AF_INET;
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	at.sin_port = htons(port);
	const auto address = reinterpret_cast<const sockaddr *>(&at);
	const long r = connects ? connect(fd, address, sizeof(at)) : bind(fd, address, sizeof(at));
	const int e = errno;
	close(fd);
	errno = e;
	return r;
}

constexpr Landlock NOTHING = {false, false, false, false}, FLOWS = {false, true, true, false};

} // namespace

TEST(confined_no_file)
{
	if (version() < 1)
		return;
	CHECK(refusal(FLOWS, [] { return open("/etc/passwd", O_RDONLY); }) == EACCES);
	CHECK(refusal(FLOWS, [] { return open("/tmp", O_RDONLY | O_DIRECTORY); }) == EACCES);
	CHECK(refusal(FLOWS, [] { return open("/proc/self/confined", O_RDWR | O_CREAT, 0600); }) != 0);
	char *const none[] = {nullptr};
	CHECK(refusal(FLOWS, [&] { return execve("/bin/true", none, none); }) == EACCES);
	const int held = open("/etc/passwd", O_RDONLY);
	char c;
	CHECK(refusal(FLOWS, [&] { return pread(held, &c, 1, 0); }) == 0);
	close(held);
}

TEST(confined_ports)
{
	if (version() < 4)
		return;
	CHECK(refusal(NOTHING, [] { return tcp(false, 0); }) == EACCES);
	CHECK(refusal(NOTHING, [] { return tcp(false, 7997); }) == EACCES);
	CHECK(refusal(NOTHING, [] { return tcp(true, 7997); }) == EACCES);
	CHECK(refusal(FLOWS, [] { return tcp(false, 0); }) == 0);
	CHECK(refusal(FLOWS, [] { return tcp(false, 7997); }) == EACCES);
	CHECK(refusal(FLOWS, [] { return tcp(true, 7997); }) == ECONNREFUSED);
	CHECK(refusal({true, true, true, false}, [] { return tcp(false, 7997); }) == 0);
}

TEST(confined_signals_and_abstract_sockets)
{
	if (version() < 6)
		return;
	const pid_t parent = getpid();
	CHECK(refusal(FLOWS, [=] { return kill(parent, 0); }) == EPERM);
	CHECK(refusal({false, true, true, true}, [=] { return kill(parent, 0); }) == 0);
	CHECK(refusal(FLOWS, [] { return kill(getpid(), 0); }) == 0);
	const int there = socket(AF_UNIX, SOCK_STREAM, 0);
	sockaddr_un at = {};
	at.sun_family = AF_UNIX;
	const int n = snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "confined.%d", (int)parent);
	const auto len = (socklen_t)(offsetof(sockaddr_un, sun_path) + 1 + (size_t)n);
	CHECK(!bind(there, reinterpret_cast<sockaddr *>(&at), len) && !listen(there, 1));
	CHECK(refusal(FLOWS, [=] {
		      return connect(socket(AF_UNIX, SOCK_STREAM, 0), reinterpret_cast<const sockaddr *>(&at), len);
	      }) == EPERM);
	close(there);
}
