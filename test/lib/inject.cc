/* Preloaded into the engine (sandbox.test.ts): on the real-time signal SIGRTMAX its main thread tries what INJECT names, as an
 * intruder would, and writes the errno (0: it worked) to the file INJECT_TO, which is opened when the engine starts. What begins with
 * "thread:" another thread tries, one that was there before the engine gave anything up. */
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

static int report = -1;
static volatile sig_atomic_t asked;
static bool other;
static const char *what = "";
static char *const NONE[] = { nullptr };

static long attempt()
{
	const auto is = [](const char *name) { return strcmp(what, name) == 0; };
	if (is("open"))
		return open("/etc/passwd", O_RDONLY);
	if (is("create"))
		return open("injected", O_RDWR | O_CREAT, 0600);
	if (is("execve"))
		return execve("/bin/true", NONE, NONE);
	if (is("fork"))
		return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (is("ptrace"))
		return ptrace(PTRACE_ATTACH, getppid(), 0, 0);
	if (is("kill"))
		return kill(getppid(), 0);
	if (is("unix"))
		return socket(AF_UNIX, SOCK_STREAM, 0);
	if (is("netlink"))
		return socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	if (is("packet"))
		return socket(AF_PACKET, SOCK_RAW, 0);
	if (is("raw"))
		return socket(AF_INET, SOCK_RAW, 6);
	if (is("tcp"))
		return socket(AF_INET, SOCK_STREAM, 0);
	const bool binds = is("bind"), connects = is("connect");
	if (binds || connects || is("bind-free")) {
		const int fd = socket(AF_INET, SOCK_STREAM, 0);
		sockaddr_in at = {};
		at.sin_family = AF_INET;
		at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		at.sin_port = htons(connects || binds ? 7998 : 0);
		const auto address = reinterpret_cast<const sockaddr *>(&at);
		return connects ? connect(fd, address, sizeof(at)) : bind(fd, address, sizeof(at));
	}
	errno = EINVAL;
	return -1;
}

static void tell()
{
	char text[16];
	const int err = attempt() < 0 ? errno : 0;
	const int n = snprintf(text, sizeof(text), "%d\n", err);
	(void)!write(report, text, static_cast<size_t>(n));
}

static void onSignal(int)
{
	asked = 1;
	if (!other)
		tell();
}

__attribute__((constructor)) static void start()
{
	const char *to = getenv("INJECT_TO");
	what = getenv("INJECT") ? getenv("INJECT") : "";
	if (!to)
		return;
	report = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	static const char THREAD[] = "thread:";
	other = strncmp(what, THREAD, sizeof(THREAD) - 1) == 0;
	if (other) {
		what += sizeof(THREAD) - 1;
		std::thread([] {
			while (!asked)
				usleep(1000);
			tell();
		}).detach();
	}
	struct sigaction act = {};
	act.sa_handler = onSignal;
	act.sa_flags = SA_RESTART;
	sigaction(SIGRTMAX, &act, nullptr);
	unsetenv("LD_PRELOAD");
}
