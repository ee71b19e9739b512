#include "serve.h"

#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef TCP_REPAIR_OFF_NO_WP
#define TCP_REPAIR_OFF_NO_WP -1
#endif

/** SCM_MAX_FD of the kernel: more do not fit into one message (unix(7)). */
static constexpr size_t MOST = 253;

/** A message of passt's, with our copies of its descriptors. */
struct Message {
	/** As recvmsg(2): 0 at the end, -1 with errno. */
	ssize_t got = 0;
	int8_t command = 0;
	size_t count = 0;
	int fds[MOST] = {};
	bool cut = false;
	~Message() { letGo(); }
	void letGo()
	{
		while (count > 0)
			close(fds[--count]);
	}
};

static void receive(int sock, Message &m)
{
	iovec iov = { &m.command, sizeof m.command };
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof m.fds)] = {};
	msghdr h = {};
	h.msg_iov = &iov;
	h.msg_iovlen = 1;
	h.msg_control = control;
	h.msg_controllen = sizeof control;
	while ((m.got = recvmsg(sock, &h, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	if (m.got <= 0)
		return;
	m.cut = h.msg_flags & MSG_CTRUNC;
	const cmsghdr *c = CMSG_FIRSTHDR(&h);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return;
	m.count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(m.fds, CMSG_DATA(c), m.count * sizeof(int));
}

static int setRepair(int fd, int how)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &how, sizeof how) < 0 ? errno : 0;
}

static Fault carryOut(const Message &m)
{
	if (m.command < TCP_REPAIR_OFF_NO_WP || m.command > 1)
		return { EPROTO, "Unknown command " + std::to_string(m.command) };
	if (m.count == 0)
		return { EPROTO, "A command without descriptors" };
	if (m.cut)
		return { EPROTO, "Descriptors of a command were lost" + std::string(" (ulimit -n)") };
	for (size_t i = 0; i < m.count; i++) {
		const int err = setRepair(m.fds[i], m.command);
		if (err == 0)
			continue;
		// All or none, since nobody can put it right once we are gone
		while (m.command == 1 && i-- > 0)
			setRepair(m.fds[i], 0);
		return fault(err, "Cannot set TCP_REPAIR to " + std::to_string(m.command));
	}
	return {};
}

Status serve(const Fd &sock)
{
	for (;;) {
		Message m;
		receive(sock.get(), m);
		if (m.got == 0 || (m.got < 0 && errno == ECONNRESET))
			return ENDED;
		const Fault f = m.got < 0 ? fault(errno, "Cannot read from passt") : carryOut(m);
		if (f) {
			say(f.text);
			return FAILED;
		}
		// Before the answer: passt may close its own at once, and nothing shall hold the connection then
		m.letGo();
		ssize_t sent;
		while ((sent = send(sock.get(), &m.command, sizeof m.command, MSG_NOSIGNAL)) < 0 && errno == EINTR)
			;
		if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
			return ENDED;
		if (sent != sizeof m.command) {
			say(fault(errno, "Cannot answer passt").text);
			return FAILED;
		}
	}
}
