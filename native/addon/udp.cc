/* Datagrams: UDP and ping sockets, batched, with segmentation and coalescing by the kernel where it does that. */
#include "abi.h"
#include "compat.h"
#include "engine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/epoll.h>
#include <sys/uio.h>

namespace passt {

enum : size_t {
	BATCH = 64,       /* messages in one sendmmsg() */
	SEGMENTS = 64,    /* UDP_MAX_SEGMENTS of the kernels that have least */
	PAYLOAD_MAX = 65507,
	RX_BATCH = 8,     /* messages in one recvmmsg(): each takes 64 KiB of the slab while it waits */
};
/* One datagram's place in the slab while it is read: headroom, the longest there is, a sign of truncation. */
enum : uint32_t { RX_STRIDE = (HEADROOM + 65535 + 1 + 63) & ~63u };

void Engine::set_ttl(Sock &s, uint32_t ttl)
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

/** One message for sendmmsg(): one datagram, or several of `segment` octets (the last may be shorter). */
struct Message {
	size_t first, count;
	uint32_t segment;
};

/** Did the route go away for good? Anything else loses the datagram and no more. */
bool fatal(int e)
{
	return e == ENETUNREACH || e == EHOSTUNREACH || e == ENETDOWN || e == EADDRNOTAVAIL || e == ENODEV || e == EBADF;
}

/** Errors by which a kernel, route or device says that it does not segment. */
bool no_segmentation(int e)
{
	return e == EINVAL || e == EIO || e == EMSGSIZE || e == EOPNOTSUPP || e == ENOPROTOOPT;
}

} // namespace

/** Datagrams [from, to) of the flattened list, as few messages as possible. Return: index of the first not dealt with. */
size_t Engine::send_datagrams(Sock &s, size_t from, size_t to)
{
	static std::vector<iovec> iov;
	static std::vector<uint32_t> list;
	static mmsghdr mm[BATCH];
	alignas(cmsghdr) static char control[BATCH][CMSG_SPACE(sizeof(uint16_t))];
	static Message messages[BATCH];
	size_t n = 0, at = from;

	iov.clear();
	list.clear();
	for (uint32_t i = s.first; i; i = gathered[i - 1].next)
		list.push_back(i - 1);
	iov.reserve(list.size());
	for (const uint32_t i : list)
		iov.push_back({rings.slab + gathered[i].off, gathered[i].len});

	const auto may = [&](uint32_t size) {
		return s.kind == Kind::Udp && udp_segment_works && size && (!s.no_segment_from || size < s.no_segment_from);
	};
	for (; at < to && n < BATCH; n++) {
		const Gathered &g = gathered[list[at]];
		Message &m = messages[n];
		m = {at++, 1, 0};
		if (g.segment && g.segment < g.len) {
			m.segment = g.segment;
		} else if (may(g.len)) {
			size_t total = g.len;
			while (at < to && m.count < SEGMENTS && iov[at].iov_len && iov[at].iov_len <= g.len &&
			       iov[at - 1].iov_len == g.len && !gathered[list[at]].segment &&
			       total + iov[at].iov_len <= PAYLOAD_MAX)
				total += iov[at++].iov_len, m.count++;
			if (m.count > 1)
				m.segment = g.len;
		}
		msghdr &h = mm[n].msg_hdr;
		h = {};
		h.msg_iov = &iov[m.first], h.msg_iovlen = m.count;
		if (m.segment) {
			const auto size = (uint16_t)std::min<uint32_t>(m.segment, UINT16_MAX);
			memset(control[n], 0, sizeof(control[n]));
			h.msg_control = control[n], h.msg_controllen = sizeof(control[n]);
			cmsghdr *const c = CMSG_FIRSTHDR(&h);
			c->cmsg_level = IPPROTO_UDP, c->cmsg_type = UDP_SEGMENT, c->cmsg_len = CMSG_LEN(sizeof(size));
			memcpy(CMSG_DATA(c), &size, sizeof(size));
		}
	}

	/** One by one what the kernel would not cut. */
	const auto cut = [&](const Message &m) {
		for (size_t k = m.first; k < m.first + m.count; k++) {
			const auto *p = static_cast<const uint8_t *>(iov[k].iov_base);
			size_t left = iov[k].iov_len;
			do {
				const size_t part = m.count > 1 ? left : std::min<size_t>(left, m.segment);
				if (send(s.fd, p, part, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
					send(s.fd, p, part, MSG_NOSIGNAL | MSG_DONTWAIT); /* as below */
				p += part, left -= part;
			} while (left);
		}
	};

	bool again = false;
	for (size_t i = 0; i < n && s.phase == Phase::Open;) {
		if (messages[i].segment && !may(messages[i].segment)) {
			cut(messages[i++]);
			continue;
		}
		size_t until = i + 1;
		while (until < n && (!messages[until].segment || may(messages[until].segment)))
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
			fail(s, e);
		i++;
	}
	return at;
}

void Engine::flush_datagrams(Sock &s)
{
	const size_t n = s.gathered;
	size_t from = 0, at = 0;

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

void Engine::datagrams_ready(Sock &s, uint32_t events)
{
	if (s.phase != Phase::Open)
		return;
	if (events & EPOLLERR) { /* regression 38: drain the queue, then SO_ERROR, else give up */
		if (!rings.room() || rings.rx_left() < RX_STRIDE)
			return; /* next turn: level-triggered */
		const size_t n = read_icmp_errors(s);
		if (!take_error(s.fd) && !n)
			return fail(s, EIO);
	}
	if (events & EPOLLIN)
		read_datagrams(s);
}

/** GRO segment size from the control messages, 0 = none. */
static uint32_t gro_size(msghdr &h)
{
	for (cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && c->cmsg_len >= CMSG_LEN(sizeof(int))) {
			int size;
			memcpy(&size, CMSG_DATA(c), sizeof(size));
			return size > 0 ? (uint32_t)size : 0;
		}
	}
	return 0;
}

void Engine::read_datagrams(Sock &s)
{
	mmsghdr mm[RX_BATCH];
	iovec iov[RX_BATCH];
	sockaddr_storage from[RX_BATCH];
	alignas(cmsghdr) char control[RX_BATCH][64];

	for (uint32_t total = 0; total < DATAGRAMS;) {
		const uint32_t base = rings.rx_next();
		const uint32_t want = std::min({(uint32_t)RX_BATCH, rings.room(), rings.rx_left() / RX_STRIDE});
		if (!want)
			return; /* next turn */
		for (uint32_t i = 0; i < want; i++) {
			iov[i] = {rings.slab + base + i * RX_STRIDE + HEADROOM, 65535};
			msghdr &h = mm[i].msg_hdr;
			h = {};
			h.msg_iov = &iov[i], h.msg_iovlen = 1;
			h.msg_name = &from[i], h.msg_namelen = sizeof(from[i]);
			h.msg_control = control[i], h.msg_controllen = sizeof(control[i]);
		}
		int n;
		do
			n = recvmmsg(s.fd, mm, want, MSG_DONTWAIT, nullptr);
		while (n < 0 && errno == EINTR);
		if (n <= 0)
			break; /* nothing, or an error that the error queue explains */

		uint32_t used = 0;
		for (uint32_t i = 0; i < (uint32_t)n; i++) {
			const uint32_t off = base + i * RX_STRIDE + HEADROOM, len = mm[i].msg_len;
			if (s.verify || s.kind == Kind::Ping) {
				/* regression 66; and ping sockets hear any host that has the identifier right */
				uint32_t addr[4] = {};
				uint16_t port = 0;
				from_sockaddr(from[i], addr, &port);
				if (memcmp(addr, s.peer, sizeof(addr)) || (s.kind == Kind::Udp && port != s.peer_port))
					continue;
			}
			if (mm[i].msg_hdr.msg_flags & MSG_TRUNC)
				continue;
			const uint32_t segment = gro_size(mm[i].msg_hdr);
			uint32_t *const e = rings.post(EV_DATAGRAM, handle_of(s));
			e[2] = off, e[3] = len;
			e[4] = segment < len ? segment : 0;
			used = i * RX_STRIDE + HEADROOM + len;
		}
		/* Small frames are padded behind (regression 78): leave that room as well */
		rings.rx_take(used ? used + 64 : 0);
		total += (uint32_t)n;
		if ((uint32_t)n < want) {
			s.verify = false;
			return;
		}
	}
}

} // namespace passt
