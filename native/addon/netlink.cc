#include "netlink.h"

#include <cerrno>
#include <cstring>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace passt {

namespace {

/** Closes on every way out. */
struct Descriptor {
	int fd;
	~Descriptor()
	{
		if (fd >= 0)
			close(fd);
	}
};

/** Does this datagram end the answer? Only messages that answer our sequence number count. */
bool is_last(const Bytes &b, uint32_t seq, bool ack_wanted)
{
	for (size_t at = 0; b.size() - at >= sizeof(nlmsghdr);) {
		nlmsghdr h;
		memcpy(&h, b.data() + at, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > b.size() - at)
			return true; /* nothing to be made of it: hand it over as it is */
		if (h.nlmsg_seq == seq) {
			if (h.nlmsg_type == NLMSG_DONE || h.nlmsg_type == NLMSG_ERROR)
				return true;
			if (!(h.nlmsg_flags & NLM_F_MULTI) && !ack_wanted)
				return true;
		}
		const size_t step = NLMSG_ALIGN(h.nlmsg_len);
		if (step >= b.size() - at)
			return false;
		at += step;
	}
	return false;
}

} // namespace

int netlink_exchange(const uint8_t *request, size_t len, std::vector<Bytes> &answer)
{
	nlmsghdr h;
	if (len < sizeof(h))
		return EINVAL;
	memcpy(&h, request, sizeof(h));

	const Descriptor s = {socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
	if (s.fd < 0)
		return errno;
	const timeval patience = {5, 0};
	setsockopt(s.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	sockaddr_nl kernel = {};
	kernel.nl_family = AF_NETLINK;
	if (sendto(s.fd, request, len, 0, reinterpret_cast<sockaddr *>(&kernel), sizeof(kernel)) != (ssize_t)len)
		return errno;

	for (;;) {
		ssize_t n;
		do
			n = recv(s.fd, nullptr, 0, MSG_PEEK | MSG_TRUNC);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return errno == EAGAIN ? ETIMEDOUT : errno;
		Bytes b((size_t)n);
		sockaddr_nl from = {};
		socklen_t from_len = sizeof(from);
		n = recvfrom(s.fd, b.data(), b.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr *>(&from), &from_len);
		if (n < 0)
			return errno;
		if (from.nl_pid)
			continue; /* not the kernel */
		b.resize((size_t)n);
		const bool last = is_last(b, h.nlmsg_seq, h.nlmsg_flags & NLM_F_ACK);
		answer.push_back(std::move(b));
		if (last)
			return 0;
	}
}

} // namespace passt
