#include "netlink.h"

#include <algorithm>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace passt {

/* The kernel answers at once or not at all */
enum : time_t { TIMEOUT_S = 5 };
/* Wished for. A datagram of a dump has some 32 kB, a single message with many virtual functions more */
enum : int { RECEIVE_BUFFER = 1 << 20 };
enum : size_t { DATAGRAM_MAX = 128 << 10 };

Fault Netlink::open()
{
	fd.reset(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	if (!fd)
		return fault(errno, "Cannot open a netlink socket");
	const timeval timeout = {TIMEOUT_S, 0};
	const int size = RECEIVE_BUFFER;
	setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return {};
}

/** Does this datagram hold the last message of the answer to `seq`? (RFC 3549 §2.3.2.1) */
static bool is_last(std::string_view b, uint32_t seq)
{
	for (nlmsghdr h; b.size() >= sizeof(h);) {
		memcpy(&h, b.data(), sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > b.size())
			return true; /* not from a kernel: let the reader reject it */
		if (h.nlmsg_seq == seq && (h.nlmsg_type == NLMSG_DONE || h.nlmsg_type == NLMSG_ERROR))
			return true;
		b.remove_prefix(std::min<size_t>(NLMSG_ALIGN(h.nlmsg_len), b.size()));
	}
	return false;
}

Fault Netlink::exchange(std::string_view request, uint32_t seq, std::string &answer, size_t most)
{
	sockaddr_nl kernel = {};

	kernel.nl_family = AF_NETLINK;
	if (sendto(fd.get(), request.data(), request.size(), 0, reinterpret_cast<const sockaddr *>(&kernel), sizeof(kernel)) < 0)
		return fault(errno, "Cannot send a netlink request");
	for (;;) {
		sockaddr_nl from = {};
		socklen_t from_len = sizeof(from);
		const size_t at = answer.size();
		answer.resize(at + DATAGRAM_MAX);
		const ssize_t n = recvfrom(fd.get(), &answer[at], DATAGRAM_MAX, MSG_TRUNC, reinterpret_cast<sockaddr *>(&from), &from_len);
		const int e = n < 0 ? errno : 0;
		const bool counts = n >= 0 && !from.nl_pid; /* only the kernel has anything to say here */
		if (counts && ((size_t)n > DATAGRAM_MAX || at + (size_t)n > most))
			return {EMSGSIZE, "The answer to a netlink request is too long"};
		answer.resize(counts ? at + (size_t)n : at);
		if (e && e != EINTR)
			return fault(e == EAGAIN ? ETIMEDOUT : e, "No answer to a netlink request");
		if (!counts)
			continue;
		const bool last = is_last(std::string_view(answer).substr(at), seq);
		answer.resize(NLMSG_ALIGN(answer.size()));
		if (last)
			return {};
	}
}

Fault Netlink::ask(std::string_view request, std::string &answer, size_t most)
{
	nlmsghdr h;

	answer.clear();
	if (request.size() < sizeof(h))
		return {EINVAL, "Netlink request without header"};
	memcpy(&h, request.data(), sizeof(h));
	if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > request.size() || NLMSG_ALIGN(h.nlmsg_len) != NLMSG_ALIGN(request.size()))
		return {EINVAL, "Netlink request with a wrong length"};
	if (!fd)
		if (Fault f = open())
			return f;
	/* Every answer needs an end: DONE comes for dumps alone, the rest must be acknowledged */
	const bool is_get = h.nlmsg_type >= RTM_BASE && (h.nlmsg_type - RTM_BASE) % 4 == 2;
	h.nlmsg_flags |= NLM_F_REQUEST;
	if (!is_get || !(h.nlmsg_flags & NLM_F_DUMP))
		h.nlmsg_flags |= NLM_F_ACK;
	std::string whole(request);
	memcpy(&whole[0], &h, sizeof(h));
	Fault f = exchange(whole, h.nlmsg_seq, answer, most);
	if (f) {
		fd.reset();
		answer.clear();
	}
	return f;
}

} // namespace passt
