// tapbridge - a guest without a virtual machine: carries frames between a tap device in this network namespace and passt's
// socket. Compiled by test/lib/passt.ts with g++; bench/ uses it as well.
//
//   tapbridge SOCKET DEVICE COMMAND [ARG...]
//
// Makes the tap, connects, then runs COMMAND and ends with its status. Plain frames, as QEMU's -netdev stream has them: no
// virtio header, no offload. A frame that the other side does not take yet waits, and with it all behind it: nothing is
// dropped here, but by the kernel in front of a tap whose queue is full (test/lib/passt.ts makes it long). What passt may not
// send ends the program.
#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

/** Octets: the length in front of a frame; a header alone; the most that passt takes; the most that QEMU takes. */
constexpr size_t HEAD = 4, FRAME_MIN = 14, TO_PASST = 65535, FROM_PASST = 4096 + 65536;
/** Octets carried in one write to the socket at most; its default send buffer holds about as many. */
constexpr size_t BATCH = 256 * 1024;

[[noreturn]] void die(const char *what)
{
	fprintf(stderr, "tapbridge: %s: %s\n", what, strerror(errno));
	_exit(125);
}

int must(int r, const char *what)
{
	if (r < 0)
		die(what);
	return r;
}

int openTap(const char *name)
{
	const int fd = must(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), "/dev/net/tun");
	ifreq r{};
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	r.ifr_flags = IFF_TAP | IFF_NO_PI;
	must(ioctl(fd, TUNSETIFF, &r), name);
	return fd;
}

int connectTo(const char *path)
{
	sockaddr_un a{};
	a.sun_family = AF_UNIX;
	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	const int fd = must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	// Bound, not listening yet: 10 s are enough on any machine.
	for (int tries = 0; connect(fd, reinterpret_cast<sockaddr *>(&a), sizeof a) < 0; usleep(10'000))
		if (errno != ECONNREFUSED || tries++ == 1000)
			die(path);
	return fd;
}

void tapToSocket(int tap, int sock)
{
	std::vector<uint8_t> batch(BATCH + HEAD + TO_PASST);
	for (;;) {
		pollfd p{ tap, POLLIN, 0 };
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			die("poll");
		size_t used = 0;
		while (used < BATCH) {
			const ssize_t n = read(tap, &batch[used + HEAD], TO_PASST);
			if (n <= 0) {
				if (n < 0 && errno != EAGAIN && errno != EINTR)
					die("read from the tap");
				break;
			}
			const uint32_t length = htonl(static_cast<uint32_t>(n));
			memcpy(&batch[used], &length, HEAD);
			used += HEAD + static_cast<size_t>(n);
		}
		for (size_t at = 0; at < used;) {
			const ssize_t n = send(sock, &batch[at], used - at, MSG_NOSIGNAL);
			if (n < 0 && errno != EINTR)
				return; // the other direction says that passt is gone
			if (n > 0)
				at += static_cast<size_t>(n);
		}
	}
}

/** One frame into the tap; a device that is down takes none (EIO). */
void toTap(int tap, const uint8_t *frame, size_t length)
{
	while (write(tap, frame, length) < 0) {
		if (errno == EIO)
			return;
		if (errno == EAGAIN) {
			pollfd p{ tap, POLLOUT, 0 };
			poll(&p, 1, -1);
		} else if (errno != EINTR)
			die("write to the tap");
	}
}

void socketToTap(int tap, int sock)
{
	std::vector<uint8_t> buffer(BATCH + HEAD + FROM_PASST);
	size_t have = 0;
	for (;;) {
		const ssize_t n = recv(sock, &buffer[have], buffer.size() - have, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			fprintf(stderr, "tapbridge: passt closed the connection%s\n", have ? ", within a frame" : "");
			return;
		}
		have += static_cast<size_t>(n);
		size_t at = 0;
		while (have - at >= HEAD) {
			uint32_t length;
			memcpy(&length, &buffer[at], HEAD);
			length = ntohl(length);
			if (length < FRAME_MIN || length > FROM_PASST) {
				fprintf(stderr, "tapbridge: passt sent a frame of length %u\n", length);
				_exit(125);
			}
			if (have - at < HEAD + length)
				break;
			toTap(tap, &buffer[at + HEAD], length);
			at += HEAD + length;
		}
		have -= at;
		memmove(&buffer[0], &buffer[at], have);
	}
}

/** Runs the command; as PID 1 of a namespace we reap whatever else ends. */
int runCommand(char **argv)
{
	const pid_t pid = must(fork(), "fork");
	if (pid == 0) {
		execvp(argv[0], argv);
		die(argv[0]);
	}
	for (;;) {
		int status;
		const pid_t ended = wait(&status);
		if (ended < 0 && errno != EINTR)
			die("wait");
		if (ended == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
}

} // namespace

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "tapbridge SOCKET DEVICE COMMAND [ARG...]\n");
		return 125;
	}
	const int tap = openTap(argv[2]), sock = connectTo(argv[1]);
	std::thread(tapToSocket, tap, sock).detach();
	std::thread(socketToTap, tap, sock).detach();
	const int status = runCommand(argv + 3);
	fflush(nullptr);
	_exit(status);
}
