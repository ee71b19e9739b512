#include "netlink.h"

#include <cerrno>
#include <cstring>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>

/* Longest answer; a full routing table of the Internet is larger and of no use to us */
static constexpr size_t ANSWER_MAX = 16 << 20;
/* The kernel answers at once or not at all */
static constexpr time_t TIMEOUT_S = 5;

static Fault openSocket(Fd &out)
{
	Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	if (!fd)
		return fault(errno, "Cannot open a netlink socket");
	const timeval timeout = { TIMEOUT_S, 0 };
	const int size = 1 << 20;
	setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	out = std::move(fd);
	return {};
}

/** Does this datagram hold the last message of the answer to `seq`? (RFC 3549 §2.3.2.1) */
static bool isLast(const char *p, size_t len, uint32_t seq)
{
	for (nlmsghdr h; len >= sizeof(h);) {
		memcpy(&h, p, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len)
			return true; // not from a kernel: let the reader reject it
		if (h.nlmsg_seq == seq && (h.nlmsg_type == NLMSG_DONE || h.nlmsg_type == NLMSG_ERROR))
			return true;
		const size_t step = std::min<size_t>(NLMSG_ALIGN(h.nlmsg_len), len);
		p += step;
		len -= step;
	}
	return false;
}

static Fault exchange(int fd, std::string_view request, uint32_t seq, std::string &answer)
{
	const sockaddr_nl kernel = { AF_NETLINK, 0, 0, 0 };
	if (sendto(fd, request.data(), request.size(), 0, reinterpret_cast<const sockaddr *>(&kernel), sizeof(kernel)) < 0)
		return fault(errno, "Cannot send a netlink request");
	static char buffer[128 << 10];
	for (;;) {
		sockaddr_nl from = {};
		socklen_t fromLen = sizeof(from);
		const ssize_t n = recvfrom(fd, buffer, sizeof(buffer), MSG_TRUNC, reinterpret_cast<sockaddr *>(&from), &fromLen);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fault(errno == EAGAIN ? ETIMEDOUT : errno, "No answer to a netlink request");
		if (from.nl_pid != 0)
			continue; // only the kernel has anything to say here
		if (static_cast<size_t>(n) > sizeof(buffer) || answer.size() + static_cast<size_t>(n) > ANSWER_MAX)
			return { EMSGSIZE, "The answer to a netlink request is too long" };
		answer.append(buffer, static_cast<size_t>(n));
		answer.resize(NLMSG_ALIGN(answer.size()));
		if (isLast(buffer, static_cast<size_t>(n), seq))
			return {};
	}
}

Fault netlinkCall(Fd &socket, std::string_view request, std::string &answer)
{
	nlmsghdr h;
	if (request.size() < sizeof(h))
		return { EINVAL, "Netlink request without header" };
	memcpy(&h, request.data(), sizeof(h));
	if (h.nlmsg_len < sizeof(h) || NLMSG_ALIGN(h.nlmsg_len) != NLMSG_ALIGN(request.size()) ||
	    h.nlmsg_len > request.size())
		return { EINVAL, "Netlink request with a wrong length" };
	if (!socket)
		if (Fault f = openSocket(socket))
			return f;
	// Every answer needs an end: DONE comes for dumps alone, the rest must be acknowledged
	h.nlmsg_flags |= NLM_F_REQUEST;
	const bool isGet = h.nlmsg_type >= RTM_BASE && (h.nlmsg_type - RTM_BASE) % 4 == 2;
	if (!isGet || !(h.nlmsg_flags & NLM_F_DUMP))
		h.nlmsg_flags |= NLM_F_ACK;
	std::string copy(request);
	memcpy(copy.data(), &h, sizeof(h));
	answer.clear();
	Fault f = exchange(socket.get(), copy, h.nlmsg_seq, answer);
	if (f)
		socket.reset();
	return f;
}
