#include "probe.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/** passt(1), --socket: names of sockets when none is given. */
static constexpr int FIRST = 1, LAST = 64;
/** For an answer that takes a local process some microseconds, unless the machine is busy. */
static constexpr int ANSWER_MS = 1000;

/**
 * "Who has 192.0.0.8?", from nobody in particular (RFC 826): behind its length, as frames go over this socket. The address
 * is the one that RFC 7600 keeps as a dummy: no guest's own, for which passt would not answer. The sender's hardware
 * address is local; the guest's own frames take its place.
 */
static constexpr unsigned char arpRequest[] = {
	0, 0, 0, 42,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
	0, 1, 0x08, 0, 6, 4, 0, 1,
	0x02, 0, 0, 0, 0, 0x01, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 192, 0, 0, 8
};

/**
 * Whether what came begins with a frame of a length that passt sends, an answer or a question of its own. Nothing is taken
 * out of the stream: QEMU shall find it at the beginning of a frame.
 */
static int awaitFrame(int sock)
{
	pollfd p{ sock, POLLIN, 0 };
	int n;
	do
		n = poll(&p, 1, ANSWER_MS);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? errno : ETIMEDOUT;
	unsigned char head[4];
	const ssize_t got = recv(sock, head, sizeof head, MSG_PEEK | MSG_WAITALL);
	if (got != static_cast<ssize_t>(sizeof head))
		return got < 0 ? errno : ECONNRESET;
	uint32_t length;
	memcpy(&length, head, sizeof length);
	length = ntohl(length);
	return length >= 14 && length <= 65535 ? 0 : EPROTO;
}

/** Anybody may have taken the name in /tmp first: who listens shall be us or root, nobody else sees or makes the guest's frames. */
static Fault checkServer(int sock, const std::string &path)
{
	ucred who = {};
	socklen_t len = sizeof who;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return fault(errno, path);
	if (who.uid == 0 || who.uid == geteuid())
		return {};
	return { EPERM, path + ": another user's (" + std::to_string(who.uid) + "), not connecting" };
}

static Fault connectTo(const std::string &path, Fd &sock)
{
	sockaddr_un address{};
	address.sun_family = AF_UNIX;
	path.copy(address.sun_path, sizeof address.sun_path - 1);
	sock.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	// A full backlog means EAGAIN: somebody else waits there already.
	if (!sock || connect(sock.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) < 0)
		return fault(errno, path);
	if (Fault f = checkServer(sock.get(), path))
		return f;
	if (send(sock.get(), arpRequest, sizeof arpRequest, MSG_NOSIGNAL) != sizeof arpRequest)
		return fault(errno ? errno : EPIPE, path);
	const int err = awaitFrame(sock.get());
	return err ? fault(err, path) : Fault{};
}

Fd findPasst()
{
	std::string failures;
	for (int i = FIRST; i <= LAST; i++) {
		const std::string path = "/tmp/passt_" + std::to_string(i) + ".socket";
		Fd sock;
		const Fault f = connectTo(path, sock);
		if (!f) {
			say("Connected to " + path);
			return sock;
		}
		if (f.err != ENOENT)
			failures += "\n  " + f.text;
	}
	say("No passt answers at /tmp/passt_" + std::to_string(FIRST) + ".socket to /tmp/passt_" + std::to_string(LAST) +
	    ".socket" + failures);
	return {};
}
