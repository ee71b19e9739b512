/* Datagrams out: UDP and ping sockets, batched, with segmentation by the kernel where it does that. */
#include "abi.h"
#include "compat.h"
#include "send.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/uio.h>

namespace passt {

enum : size_t {
	BATCH = 64,       /* messages in one sendmmsg() */
	KEPT_MAX = 1 << 18, /* octets of datagrams that wait for a socket from the namespace */
};

void Sender::set_ttl(Sock &s, uint32_t ttl)
{
	if (!ttl || ttl > 255 || (int)ttl == s.ttl)
		return;
	s.ttl = (int)ttl; /* all of these take an int, IPV6_* insist on it */
	if (s.v6)
		set_int(s.fd, IPPROTO_IPV6, s.multicast ? IPV6_MULTICAST_HOPS : IPV6_UNICAST_HOPS, s.ttl);
	else
		set_int(s.fd, IPPROTO_IP, s.multicast ? IP_MULTICAST_TTL : IP_TTL, s.ttl);
}

namespace {

/** Did the route go away for good? Anything else loses the datagram and no more. */
bool fatal(int e)
{
	return e == ENETUNREACH || e == EHOSTUNREACH || e == ENETDOWN || e == EADDRNOTAVAIL || e == ENODEV || e == EBADF;
}

/** A route or packet filter that forbids it, for now: ip-route(8), blackhole and prohibit. */
bool refused(int e)
{
	return e == EACCES || e == EPERM || e == EINVAL;
}

/** Errors by which a kernel, route or device says that it does not segment. */
bool no_segmentation(int e)
{
	return e == EINVAL || e == EIO || e == EMSGSIZE || e == EOPNOTSUPP || e == ENOPROTOOPT;
}

} // namespace

bool Sender::may_segment(const Sock &s, uint32_t size) const
{
	return s.kind == Kind::Udp && udp_segment_works && size && (!s.no_segment_from || size < s.no_segment_from);
}

/** One by one what the kernel would not cut. */
static void send_cut(const Sock &s, const Message &m, const msghdr &h)
{
	const auto *const to = static_cast<const sockaddr *>(h.msg_name);
	for (size_t k = 0; k < m.count; k++) {
		const auto *p = static_cast<const uint8_t *>(m.iov[k].iov_base);
		size_t left = m.iov[k].iov_len;
		do {
			const size_t part = m.count > 1 ? left : std::min<size_t>(left, m.segment);
			if (sendto(s.fd, p, part, MSG_NOSIGNAL | MSG_DONTWAIT, to, h.msg_namelen) < 0) /* as in send_messages() */
				sendto(s.fd, p, part, MSG_NOSIGNAL | MSG_DONTWAIT, to, h.msg_namelen);
			p += part, left -= part;
		} while (left);
	}
}

/** At most BATCH of them. Return: how many parts of them (iov) were lost. */
size_t Sender::send_messages(Sock &s, const Message *messages, size_t n)
{
	static mmsghdr mm[BATCH];
	alignas(cmsghdr) static char control[BATCH][CMSG_SPACE(sizeof(uint16_t))];
	sockaddr_storage to;
	const socklen_t to_len = s.group ? to_sockaddr(to, s.peer, s.peer_port, s.scope, s.v6) : 0;
	size_t lost = 0;
	int refusal = 0;

	for (size_t i = 0; i < n; i++) {
		const Message &m = messages[i];
		msghdr &h = mm[i].msg_hdr;
		h = {};
		if (s.group)
			h.msg_name = &to, h.msg_namelen = to_len;
		h.msg_iov = m.iov, h.msg_iovlen = m.count;
		if (!m.segment)
			continue;
		const auto size = (uint16_t)std::min<uint32_t>(m.segment, UINT16_MAX);
		memset(control[i], 0, sizeof(control[i]));
		h.msg_control = control[i], h.msg_controllen = sizeof(control[i]);
		cmsghdr *const c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = IPPROTO_UDP, c->cmsg_type = UDP_SEGMENT, c->cmsg_len = CMSG_LEN(sizeof(size));
		memcpy(CMSG_DATA(c), &size, sizeof(size));
	}

	bool again = false;
	for (size_t i = 0; i < n && s.phase == Phase::Open;) {
		if (messages[i].segment && !may_segment(s, messages[i].segment)) {
			send_cut(s, messages[i], mm[i].msg_hdr);
			i++;
			continue;
		}
		size_t until = i + 1;
		while (until < n && (!messages[until].segment || may_segment(s, messages[until].segment)))
			until++;
		const int done = sendmmsg(s.fd, mm + i, (unsigned)(until - i), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done > 0) {
			i += (size_t)done;
			again = false;
			continue;
		}
		const int e = errno;
		if (e == EINTR)
			continue;
		if (messages[i].segment && no_segmentation(e) && again) {
			s.no_segment_from = messages[i].segment;
			again = false;
			continue;
		}
		/* The error may be an earlier datagram's, reported by this call: so once more */
		if (!again && e != EAGAIN && e != ENOBUFS) {
			again = true;
			continue;
		}
		again = false;
		if (fatal(e))
			table.fail(s, e, true);
		else if (refused(e))
			refusal = e;
		lost += messages[i++].count;
	}
	if (refusal)
		table.event<ev::Refused>(s).error = (uint32_t)refusal;
	return lost;
}

/** Datagrams [from, to) of the flattened list, as few messages as possible. Return: index of the first not dealt with. */
size_t Sender::send_datagrams(Sock &s, size_t from, size_t to)
{
	static std::vector<iovec> iov;
	static std::vector<uint32_t> list;
	static Message messages[BATCH];
	size_t n = 0, at = from;

	iov.clear();
	list.clear();
	for (uint32_t i = s.first; i; i = gathered[i - 1].next)
		list.push_back(i - 1);
	iov.reserve(list.size());
	for (const uint32_t i : list)
		iov.push_back({rings.slab + gathered[i].off, gathered[i].len});

	for (; at < to && n < BATCH; n++) {
		const Gathered &g = gathered[list[at]];
		Message &m = messages[n];
		const size_t first = at++;
		m = {&iov[first], 1, 0};
		if (g.segment && g.segment < g.len) {
			m.segment = g.segment;
		} else if (may_segment(s, g.len)) {
			size_t total = g.len;
			while (at < to && m.count < SEGMENTS && iov[at].iov_len && iov[at].iov_len <= g.len &&
			       iov[at - 1].iov_len == g.len && !gathered[list[at]].segment &&
			       total + iov[at].iov_len <= PAYLOAD_MAX)
				total += iov[at++].iov_len, m.count++;
			if (m.count > 1)
				m.segment = g.len;
		}
	}
	send_messages(s, messages, n);
	return at;
}

void Sender::flush_datagrams(Sock &s)
{
	const size_t n = s.gathered;
	size_t from = 0, at = 0;

	if (s.phase == Phase::Connecting) {
		for (uint32_t i = s.first; i; i = gathered[i - 1].next)
			keep_datagram(s, rings.slab + gathered[i - 1].off, gathered[i - 1].len, gathered[i - 1].segment);
		return;
	}
	for (uint32_t i = s.first; i; i = gathered[i - 1].next, at++) {
		const uint32_t ttl = gathered[i - 1].ttl;
		if (!ttl || (int)ttl == s.ttl)
			continue;
		while (from < at && s.phase == Phase::Open)
			from = send_datagrams(s, from, at);
		set_ttl(s, ttl);
	}
	while (from < n && s.phase == Phase::Open)
		from = send_datagrams(s, from, n);
}

/** For a socket that is still to come from the namespace. Beyond KEPT_MAX datagrams are lost, as any may be. */
void Sender::keep_datagram(Sock &s, const void *from, uint32_t len, uint32_t segment)
{
	const uint32_t head[2] = {len, segment};
	const size_t need = sizeof(head) + len;

	if (!s.pending)
		s.pending = new Pending;
	if (s.pending->size() + need > KEPT_MAX || table.pending_all + need > PENDING_MAX_ALL)
		return;
	if (!s.pending->append(head, sizeof(head)))
		return;
	table.pending_all += sizeof(head);
	if (s.pending->append(from, len))
		table.pending_all += len;
	else
		table.drop_pending(s); /* a head alone is worse than nothing */
}

void Sender::send_kept(Sock &s)
{
	while (s.pending && s.pending->size() && s.phase == Phase::Open) {
		uint32_t head[2];
		memcpy(head, s.pending->data(), sizeof(head));
		iovec iov = {const_cast<uint8_t *>(s.pending->data()) + sizeof(head), head[0]};
		const Message m = {&iov, 1, head[1] < head[0] ? head[1] : 0};
		send_messages(s, &m, 1);
		if (s.phase != Phase::Open)
			return; /* failed: nothing is pending any more */
		s.pending->consume(sizeof(head) + head[0]);
		table.pending_all -= sizeof(head) + head[0];
	}
}

} // namespace passt
