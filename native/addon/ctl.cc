#include "ctl.h"
#include "abi.h"

#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace passt {

/** The descriptor may be nonblocking, since epoll watches it: wait here. */
static void wait_for(int fd, short events)
{
	pollfd p = {fd, events, 0};
	poll(&p, 1, -1);
}

int ctl_send(int fd, const uint8_t *message, size_t len)
{
	while (send(fd, message, len, MSG_NOSIGNAL) < 0) {
		if (errno == EAGAIN)
			wait_for(fd, POLLOUT);
		else if (errno != EINTR)
			return errno;
	}
	return 0;
}

ssize_t ctl_read(int fd, uint8_t *to, size_t len, std::vector<int> &passed)
{
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * HAND_OVER_FDS)];
	iovec iov = {to, len};
	msghdr m = {};
	ssize_t n;

	m.msg_iov = &iov, m.msg_iovlen = 1;
	m.msg_control = control, m.msg_controllen = sizeof(control);
	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return n;
	for (cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
			int got;
			memcpy(&got, CMSG_DATA(c) + at, sizeof(got));
			passed.push_back(got);
		}
	}
	if (m.msg_flags & MSG_TRUNC) {
		for (const int got : passed)
			close(got);
		passed.clear();
		errno = EMSGSIZE;
		return -1;
	}
	return n;
}

ssize_t send_with(int fd, const void *message, size_t len, const int *fds, size_t count)
{
	alignas(cmsghdr) uint8_t control[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))] = {};
	iovec iov = {const_cast<void *>(message), len};
	msghdr m = {};
	ssize_t n;

	m.msg_iov = &iov, m.msg_iovlen = 1;
	if (count) {
		m.msg_control = control, m.msg_controllen = CMSG_SPACE(count * sizeof(int));
		cmsghdr *const c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	do
		n = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n;
}

int ctl_receive(int fd, Bytes &message, std::vector<int> &passed)
{
	ssize_t n;

	/* The length first: a buffer of a megabyte for each short answer would be a waste */
	for (;;) {
		n = recv(fd, nullptr, 0, MSG_PEEK | MSG_TRUNC);
		if (n >= 0)
			break;
		if (errno == EAGAIN)
			wait_for(fd, POLLIN);
		else if (errno != EINTR)
			return errno;
	}
	if (!n)
		return ECONNRESET;
	message.resize((size_t)n < MESSAGE_MAX ? (size_t)n : (size_t)MESSAGE_MAX);
	n = ctl_read(fd, message.data(), message.size(), passed);
	if (n < 0)
		return errno;
	message.resize((size_t)n);
	return n ? 0 : ECONNRESET;
}

} // namespace passt
