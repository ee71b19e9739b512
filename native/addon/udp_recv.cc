#include "receive.h"
#include "compat.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <poll.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

namespace passt {

enum : uint32_t {
	/* Messages in one recvmmsg(): each takes 64 KiB of the slab while it waits */
	RX_BATCH = DATAGRAMS_MIN,
	/* Joined sockets: messages in one recvmmsg(), batches before others have their turn */
	JOINED_BATCH = 16, JOINED_ROUNDS = 4,
	/* ms between two EV_UDP_MOVED of one handle */
	MOVED_EVERY = 1000,
	/* With a rate limit, octets: what is asked for at most; a datagram is taken for so long as long as nobody knows */
	ASKED_MAX = 65536, USUAL = 2048,
};

namespace {

template <uint32_t N> struct Received {
	mmsghdr mm[N];
	iovec iov[N];
	sockaddr_storage from[N];
	alignas(cmsghdr) char control[N][CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(in_pktinfo))];

	/** recvmmsg() into `base` and every `stride` octets behind it. Return: messages, 0 where there are none. */
	uint32_t read(int fd, uint8_t *base, uint32_t stride, uint32_t want)
	{
		for (uint32_t i = 0; i < want; i++) {
			iov[i] = {base + (size_t)i * stride, 65535};
			msghdr &h = mm[i].msg_hdr;
			h = {};
			h.msg_iov = &iov[i], h.msg_iovlen = 1;
			h.msg_name = &from[i], h.msg_namelen = sizeof(from[i]);
			h.msg_control = control[i], h.msg_controllen = sizeof(control[i]);
		}
		int n;
		do
			n = recvmmsg(fd, mm, want, MSG_DONTWAIT, nullptr);
		while (n < 0 && errno == EINTR);
		return n > 0 ? (uint32_t)n : 0; /* an error the error queue explains */
	}
	bool truncated(uint32_t i) const { return mm[i].msg_hdr.msg_flags & MSG_TRUNC; }
};

/** What came with a datagram. */
struct Ancillary {
	/** GRO: octets of each, 0 = just one */
	uint32_t segment = 0;
	/** IP_PKTINFO, IPV6_PKTINFO: as sent to; by which interface; our address there (IPv4) */
	uint32_t dst[4] = {}, ifindex = 0, own = 0;

	explicit Ancillary(msghdr &h)
	{
		for (cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
			const auto is = [&](int level, int type, size_t n) {
				return c->cmsg_level == level && c->cmsg_type == type && c->cmsg_len >= CMSG_LEN(n);
			};
			if (is(IPPROTO_UDP, UDP_GRO, sizeof(int))) {
				int size;
				memcpy(&size, CMSG_DATA(c), sizeof(size));
				segment = size > 0 ? (uint32_t)size : 0;
			} else if (is(IPPROTO_IP, IP_PKTINFO, sizeof(in_pktinfo))) {
				in_pktinfo p;
				memcpy(&p, CMSG_DATA(c), sizeof(p));
				dst[2] = 0xffff, dst[3] = ntohl(p.ipi_addr.s_addr);
				own = ntohl(p.ipi_spec_dst.s_addr);
				ifindex = (uint32_t)p.ipi_ifindex;
			} else if (is(IPPROTO_IPV6, IPV6_PKTINFO, sizeof(in6_pktinfo))) {
				in6_pktinfo p;
				memcpy(&p, CMSG_DATA(c), sizeof(p));
				memcpy(dst, &p.ipi6_addr, sizeof(dst));
				for (uint32_t &w : dst)
					w = ntohl(w);
				ifindex = (uint32_t)p.ipi6_ifindex;
			}
		}
	}
};

} // namespace

/**
 * Has the listener that this socket took over from datagrams that came earlier? What it has is read first, and what JS
 * has of it goes out at the start of the next turn, so that a burst keeps its order (#regression-66).
 */
bool Receiver::listener_first(Sock &s)
{
	const ListenSock *const l = listeners.find(s.listener - 1);
	if (!l)
		return false;
	pollfd p = {l->fd, POLLIN, 0};
	return l->read_in == core.turn_no || (::poll(&p, 1, 0) > 0 && p.revents & POLLIN);
}

void Receiver::ready(Sock &s, uint32_t events)
{
	if (s.phase != Phase::Open)
		return;
	if (events & EPOLLERR) { /* #regression-38: drain the queue, then SO_ERROR, else give up */
		if (!rings.room() || rings.rx_left() < RX_STRIDE)
			return; /* next turn: level-triggered */
		const size_t n = read_icmp_errors(s);
		if (!take_error(s.fd) && !n)
			return table.fail(s, EIO);
	}
	if (!(events & EPOLLIN))
		return;
	if (s.hold && listener_first(s)) {
		s.hold--; /* level-triggered: again at once */
		return;
	}
	s.hold = 0;
	Sock *const to = joined(s);
	if (to)
		move(s, *to);
	else
		read(s);
}

/** What a message counts for in a rate limit: data, and a header each. */
static int64_t counted(uint32_t len, uint32_t segment)
{
	return (int64_t)len + UDP_LEN * (int64_t)(segment && len ? (len + segment - 1) / segment : 1);
}

/**
 * Messages that a rate limit lets be read of `want`; a few octets more than there are may come. 0: none. `first`: there is something,
 * and it is asked for, once: what waits stays in the socket. Twice as much each time, so that what is left over is no more than
 * what was used.
 */
uint32_t Receiver::may_read(Sock &s, uint32_t want, bool first)
{
	int next = 0;

	if (!s.limited)
		return want;
	if (s.allowed > 0)
		return (uint32_t)std::min<int64_t>(want, 1 + s.allowed / USUAL);
	if (s.asked || !first)
		return 0;
	ioctl(s.fd, SIOCINQ, &next);
	s.asked_for = std::min<uint32_t>(ASKED_MAX, std::max<uint32_t>((uint32_t)counted((uint32_t)std::max(next, 0), 0), 2 * s.asked_for));
	s.asked = true;
	table.event<ev::ReadAsks>(s).octets = (uint32_t)(s.asked_for - s.allowed);
	core.watch(EPOLL_CTL_MOD, s.fd, 0, table.word(s));
	return 0;
}

void Receiver::allow(Sock &s, uint32_t octets)
{
	s.allowed += octets;
	if (!s.asked)
		return;
	s.asked = false;
	if (s.phase == Phase::Open)
		core.watch(EPOLL_CTL_MOD, s.fd, EPOLLIN, table.word(s));
}

/**
 * Is it from the peer? Between bind() and connect() anybody's may slip in, and what another CPU is delivering at that
 * moment even later (#regression-66). Ping sockets hear any host that has the identifier right.
 */
static bool from_peer(const Sock &s, const sockaddr_storage &from)
{
	uint32_t addr[4] = {};
	uint16_t port = 0;

	from_sockaddr(from, addr, &port);
	return !memcmp(addr, s.peer, sizeof(addr)) && (s.kind == Kind::Ping || port == s.peer_port);
}

/** Of EV_LISTEN_DATAGRAM and EV_ANSWER. */
static void describe(ev::ListenDatagram &e, const sockaddr_storage &from, msghdr &h, uint32_t off, uint32_t len)
{
	const Ancillary a(h);
	uint16_t port = 0;

	e.off = off, e.len = len, e.segment = a.segment < len ? a.segment : 0;
	from_sockaddr(from, e.peer_addr, &port);
	e.peer_port = port;
	memcpy(e.sent_to, a.dst, sizeof(a.dst));
	e.interface = a.ifindex, e.own_ipv4 = a.own;
}

/** A stranger's datagram that came before connect() is the listener's. */
void Receiver::report_to_listener(Sock &s, const sockaddr_storage &from, uint32_t off, uint32_t len, uint32_t segment)
{
	const ListenSock *const l = listeners.find(s.listener - 1);
	if (!l || l->serial != s.listener_serial) /* gone; its number is another's now */
		return;
	auto &e = rings.post<ev::ListenDatagram>(s.listener - 1);
	sockaddr_storage local = {};
	socklen_t n = sizeof(local);
	uint16_t port = 0;

	e.off = off, e.len = len, e.segment = segment;
	from_sockaddr(from, e.peer_addr, &port);
	e.peer_port = port;
	if (!getsockname(s.fd, reinterpret_cast<sockaddr *>(&local), &n))
		from_sockaddr(local, e.sent_to);
	if (from.ss_family == AF_INET6)
		e.interface = reinterpret_cast<const sockaddr_in6 &>(from).sin6_scope_id;
	e.own_ipv4 = from.ss_family == AF_INET ? e.sent_to[3] : 0;
}

void Receiver::read(Sock &s)
{
	Received<RX_BATCH> r;

	for (uint32_t total = 0; total < each;) {
		const uint32_t base = rings.rx_next() + HEADROOM;
		const uint32_t want = may_read(s, std::min({(uint32_t)RX_BATCH, rings.room(), rings.rx_left() / RX_STRIDE}), !total);
		if (!want)
			return; /* next turn, or when it may */
		const uint32_t n = r.read(s.fd, rings.slab + base, RX_STRIDE, want);
		uint32_t used = 0;
		for (uint32_t i = 0; i < n; i++) {
			const uint32_t off = base + i * RX_STRIDE, len = r.mm[i].msg_len;
			const bool stranger = !s.group && !from_peer(s, r.from[i]);
			if (r.truncated(i) || (stranger && !s.listener))
				continue;
			if (s.group) {
				s.allowed -= s.limited ? counted(len, 0) : 0;
				describe(rings.post<ev::Answer>(table.handle_of(s)), r.from[i], r.mm[i].msg_hdr, off, len);
				used = i * RX_STRIDE + HEADROOM + len;
				continue;
			}
			const Ancillary a(r.mm[i].msg_hdr);
			const uint32_t segment = a.segment < len ? a.segment : 0;
			s.allowed -= s.limited ? counted(len, segment) : 0;
			if (stranger) {
				report_to_listener(s, r.from[i], off, len, segment);
			} else {
				auto &e = rings.post<ev::Datagram>(table.handle_of(s));
				e.off = off, e.len = len, e.segment = segment;
			}
			used = i * RX_STRIDE + HEADROOM + len;
		}
		/* Small frames are padded behind (#regression-78): leave that room as well */
		rings.rx_take(used ? used + 64 : 0);
		total += n;
		if (n < want)
			return;
	}
}

void Receiver::listener_ready(uint32_t id, ListenSock &l, uint32_t events)
{
	Received<RX_BATCH> r;

	/* Errors on a listener raise EPOLLERR, which no read clears (#regression-38) */
	if (events & EPOLLERR && !read_listener_errors(id, l.fd))
		return;
	for (uint32_t total = 0; total < each;) {
		const uint32_t base = rings.rx_next() + HEADROOM;
		const uint32_t want = std::min({(uint32_t)RX_BATCH, rings.room(), rings.rx_left() / RX_STRIDE});
		if (!want)
			return; /* next turn */
		const uint32_t n = r.read(l.fd, rings.slab + base, RX_STRIDE, want);
		uint32_t used = 0;
		for (uint32_t i = 0; i < n; i++) {
			const uint32_t len = r.mm[i].msg_len;
			if (r.truncated(i))
				continue;
			describe(rings.post<ev::ListenDatagram>(id), r.from[i], r.mm[i].msg_hdr, base + i * RX_STRIDE, len);
			used = i * RX_STRIDE + HEADROOM + len;
		}
		rings.rx_take(used ? used + 64 : 0);
		if (n)
			l.read_in = core.turn_no;
		total += n;
		if (n < want)
			return;
	}
}

void Receiver::join(uint32_t a, uint32_t b)
{
	Sock *const s = table.sock(a, Kind::Udp), *const t = table.sock(b, Kind::Udp);

	if (!s || !t || s == t)
		return;
	s->partner = b + 1, s->partner_generation = t->generation;
	t->partner = a + 1, t->partner_generation = s->generation;
}

/** The socket that sends what `s` receives, or nullptr. It may still wait for its socket. */
Sock *Receiver::joined(const Sock &s)
{
	Sock *const t = s.partner ? table.sock(s.partner - 1, Kind::Udp) : nullptr;
	return t && t->generation == s.partner_generation ? t : nullptr;
}

void Receiver::move(Sock &s, Sock &to)
{
	static Received<JOINED_BATCH> r;
	static uint8_t *const room = new uint8_t[JOINED_BATCH * 65536ul];
	Message messages[JOINED_BATCH];

	for (uint32_t round = 0; round < JOINED_ROUNDS && core.volume < joined_until; round++) {
		const uint32_t want = may_read(s, JOINED_BATCH, !round);
		if (!want)
			return;
		const uint32_t n = r.read(s.fd, room, 65536, want);
		size_t k = 0;
		for (uint32_t i = 0; i < n; i++) {
			const uint32_t len = r.mm[i].msg_len;
			const bool stranger = !from_peer(s, r.from[i]);
			if (r.truncated(i) || (stranger && !s.listener))
				continue;
			const Ancillary a(r.mm[i].msg_hdr);
			const uint32_t segment = a.segment < len ? a.segment : 0;
			s.allowed -= s.limited ? counted(len, segment) : 0;
			if (!stranger) {
				r.iov[i].iov_len = len;
				messages[k++] = {&r.iov[i], 1, segment};
			} else if (rings.room() && rings.rx_left() >= RX_STRIDE) {
				const uint32_t off = rings.rx_next() + HEADROOM;
				memcpy(rings.slab + off, r.iov[i].iov_base, len);
				report_to_listener(s, r.from[i], off, len, segment);
				rings.rx_take(HEADROOM + len + 64);
			}
		}
		forward(s, to, messages, coalesce(to, messages, k));
		if (n < want)
			return;
	}
}

/** Neighbours of one length, the last may be shorter, become one message, which the kernel cuts. Return: what remains. */
size_t Receiver::coalesce(const Sock &to, Message *m, size_t n) const
{
	size_t k = 0;

	for (size_t i = 0; i < n;) {
		Message run = m[i++];
		const size_t size = run.iov->iov_len;
		size_t last = run.segment || size > WORTH_CUTTING || !sender.may_segment(to, (uint32_t)size) ? 0 : size, total = size;
		while (last == size && i < n && !m[i].segment && m[i].iov == run.iov + run.count && run.count < SEGMENTS) {
			const size_t next = m[i].iov->iov_len;
			if (!next || next > size || total + next > PAYLOAD_MAX)
				break;
			last = next, total += next, run.count++, i++;
		}
		if (run.count > 1)
			run.segment = (uint32_t)size;
		m[k++] = run;
	}
	return k;
}

void Receiver::forward(Sock &s, Sock &to, const Message *messages, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < messages[i].count; k++) {
			const iovec &v = messages[i].iov[k];
			const auto len = (uint32_t)v.iov_len;
			const uint32_t size = messages[i].count > 1 ? 0 : messages[i].segment;
			s.moved += size ? (len + size - 1) / size : 1;
			core.volume += len;
			if (to.phase == Phase::Connecting)
				sender.keep_datagram(to, v.iov_base, len, size);
		}
	}
	if (to.phase == Phase::Open)
		s.lost += (uint32_t)sender.send_messages(to, messages, n);
	if (n && !s.moved_listed) {
		s.moved_listed = true;
		moved.push_back(table.moving(s));
	}
}

void Receiver::report_moved()
{
	if (moved.empty() || *rings.clock < moved_at)
		return;
	for (const Moving &m : moved) {
		if (table.generation(m.handle) != m.generation)
			continue;
		Sock &s = table.at(m.handle);
		auto &e = table.event<ev::UdpMoved>(s);
		e.datagrams = s.moved, e.lost = s.lost;
		s.moved = s.lost = 0;
		s.moved_listed = false;
	}
	moved.clear();
	moved_at = *rings.clock + MOVED_EVERY;
}

void Receiver::begin(uint32_t n)
{
	each = n > DATAGRAM_SOCKETS ? std::max<uint32_t>(DATAGRAMS_MIN, DATAGRAMS_ALL / n) : (uint32_t)DATAGRAMS;
	joined_until = core.volume + JOINED_ALL;
}

double Receiver::due() const
{
	return moved.empty() ? INFINITY : moved_at;
}

} // namespace passt
