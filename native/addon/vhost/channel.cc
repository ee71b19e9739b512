#include "channel.h"
#include "../sock.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace passt {

/** SCM_MAX_FD (unix(7)): no message has more. */
enum : size_t { PASSED_MAX = 253 };
/** Where the header says how long its payload is. */
enum : size_t { PAYLOAD_SIZE = 8 };

void Channel::use(int descriptor)
{
	close();
	set_nonblocking(descriptor);
	fcntl(descriptor, F_SETFD, FD_CLOEXEC);
	fd = descriptor;
}

void Channel::close()
{
	finish(0, 0);
	if (fd >= 0)
		::close(fd);
	fd = -1;
}

void Channel::finish(uint32_t why, uint32_t what)
{
	ended = why, detail = what;
	for (uint32_t i = 0; i < fd_count; i++)
		::close(fds[i]);
	taken();
	out.clear();
}

/** Until `upto` octets are there. False: they are not. */
bool Channel::receive(uint32_t upto)
{
	while (have < upto) {
		alignas(cmsghdr) uint8_t control[CMSG_SPACE(PASSED_MAX * sizeof(int))];
		iovec iov = {in + have, upto - have};
		msghdr m = {};
		m.msg_iov = &iov, m.msg_iovlen = 1;
		m.msg_control = control, m.msg_controllen = sizeof(control);
		const ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			finish(LINK_ERROR, (uint32_t)errno);
			return false;
		}
		for (cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
				continue;
			const size_t passed = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			for (size_t i = 0; i < passed; i++) {
				int one;
				memcpy(&one, CMSG_DATA(c) + i * sizeof(one), sizeof(one));
				if (fd_count < VHOST_FDS_MAX) {
					fds[fd_count++] = one;
				} else {
					::close(one);
					too_many = true;
				}
			}
		}
		if (m.msg_flags & MSG_CTRUNC) { /* the kernel could not give us all: we are out of descriptors */
			finish(LINK_ERROR, EMFILE);
			return false;
		}
		if (!n) {
			/* In the middle of a message it is no proper end */
			have ? finish(LINK_ERROR, EPROTO) : finish(LINK_EOF, 0);
			return false;
		}
		have += (uint32_t)n;
	}
	return true;
}

bool Channel::read()
{
	uint32_t payload;

	if (fd < 0 || ended || !receive(VHOST_HEAD))
		return false;
	memcpy(&payload, in + PAYLOAD_SIZE, sizeof(payload));
	if (payload > VHOST_MESSAGE_MAX) {
		finish(LINK_BAD_LENGTH, payload);
		return false;
	}
	return receive(VHOST_HEAD + payload);
}

void Channel::reply(const uint8_t *from, size_t n)
{
	if (fd < 0 || ended)
		return;
	if (out.size() + n > CHANNEL_WAITING)
		return finish(LINK_ERROR, ENOBUFS);
	out.insert(out.end(), from, from + n);
	flush();
}

bool Channel::resume(const std::string &came, const std::vector<int> &passed, const std::string &unsent)
{
	const bool fits = came.size() <= sizeof(in) && passed.size() <= VHOST_FDS_MAX && unsent.size() <= CHANNEL_WAITING;

	if (!fits) {
		for (const int one : passed)
			::close(one);
		return false;
	}
	std::copy(came.begin(), came.end(), in);
	std::copy(passed.begin(), passed.end(), fds);
	have = (uint32_t)came.size(), fd_count = (uint32_t)passed.size();
	out.assign(unsent.begin(), unsent.end());
	return true;
}

void Channel::flush()
{
	size_t done = 0;

	while (done < out.size()) {
		const ssize_t n = send(fd, out.data() + done, out.size() - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM))
			break;
		if (n < 0) /* what it sent before it went is still to be read, up to the end of the stream */
			done = out.size();
		else
			done += (size_t)n;
	}
	out.erase(out.begin(), out.begin() + (std::ptrdiff_t)done);
}

} // namespace passt
