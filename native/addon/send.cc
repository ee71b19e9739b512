/* Octets from the guest to host sockets: gathered per socket and execution, the tail that does not fit kept in order. */
#include "abi.h"
#include "compat.h"
#include "send.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <linux/tcp.h>
#include <sys/uio.h>

namespace passt {

enum : size_t { VECTOR = 256 };

void Sender::gather(Sock &s, const fx::Send &e)
{
	if (s.phase == Phase::Failed)
		return;
	if (!rings.in_slab(e.off, e.len))
		return table.fail(s, EFAULT);
	const bool tcp = s.kind == Kind::Tcp;
	const uint32_t segment = s.kind == Kind::Udp ? std::min<uint32_t>(e.segment, UINT16_MAX) : 0;
	/* No message of more datagrams than every kernel cuts: the socket would be taken for one that cannot have that */
	const uint32_t most = segment ? segment * (uint32_t)SEGMENTS : UINT32_MAX;
	uint32_t done = 0;
	do {
		const uint32_t n = std::min(e.len - done, most);
		gathered.push_back({e.off + done, n, tcp ? 0 : e.ttl, segment, 0});
		const auto index = (uint32_t)gathered.size();

		if (s.last)
			gathered[s.last - 1].next = index;
		else
			s.first = index;
		s.last = index;
		s.gathered++;
		done += n;
	} while (done < e.len);
	if (tcp && e.flags & SEND_REPORT_ACK)
		s.report = true;
	if (!s.touched) {
		s.touched = true;
		touched.push_back(table.handle_of(s));
	}
}

void Sender::flush(Sock &s)
{
	if (s.first && s.phase != Phase::Failed) {
		if (s.kind == Kind::Tcp)
			flush_stream(s);
		else
			flush_datagrams(s);
	}
	s.first = s.last = s.gathered = 0;
}

void Sender::flush_all()
{
	for (const uint32_t h : touched) {
		Sock &s = table.at(h);
		if (!s.touched)
			continue; /* closed meanwhile */
		s.touched = false;
		flush(s);
		if (s.kind == Kind::Tcp && s.phase != Phase::Failed)
			report_sent(s);
	}
	touched.clear();
	gathered.clear();
}

/** To the pending buffer, up to its limit; once something was dropped in an execution, all that follows is. */
void Sender::keep(Sock &s, const void *from, size_t n)
{
	if (!s.pending)
		s.pending = new Pending;
	const size_t have = s.pending->size();
	size_t room = have < pending_max ? pending_max - have : 0;

	room = std::min(room, table.pending_all < PENDING_MAX_ALL ? PENDING_MAX_ALL - table.pending_all : (size_t)0);
	size_t take = s.dropped ? 0 : std::min(n, room);
	if (take && !s.pending->append(from, take))
		take = 0;
	table.pending_all += take;
	s.dropped += (uint32_t)(n - take);
}

/** One sendmsg(); `report`: ask for an error queue record once its last octet is acknowledged. */
ssize_t Sender::send_vector(Sock &s, const iovec *iov, size_t parts, bool report)
{
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof(uint32_t))] = {};
	msghdr m = {};
	ssize_t n;

	m.msg_iov = const_cast<iovec *>(iov), m.msg_iovlen = parts;
	if (report && !s.ts_on) {
		/* Counting starts here: the kernel numbers octets from the one that is next now */
		const uint32_t f = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID | TS_OPT_ID_TCP |
				   SOF_TIMESTAMPING_OPT_TSONLY;
		s.ts_on = !setsockopt(s.fd, SOL_SOCKET, SO_TIMESTAMPING, &f, sizeof(f));
		s.ts_base = s.taken;
	}
	if (report && s.ts_on) {
		m.msg_control = control, m.msg_controllen = sizeof(control);
		cmsghdr *const c = CMSG_FIRSTHDR(&m);
		const uint32_t f = SOF_TIMESTAMPING_TX_ACK;
		c->cmsg_level = SOL_SOCKET, c->cmsg_type = SO_TIMESTAMPING, c->cmsg_len = CMSG_LEN(sizeof(f));
		memcpy(CMSG_DATA(c), &f, sizeof(f));
	}
	do
		n = sendmsg(s.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		s.sent += (uint32_t)n, s.taken += (uint32_t)n;
	return n;
}

void Sender::send_failed(Sock &s, int error, size_t lost)
{
	s.sent_errno = error;
	s.dropped += (uint32_t)(lost + (s.pending ? s.pending->size() : 0));
	table.drop_pending(s);
	s.shut = true; /* whatever comes in this execution is lost as well */
}

void Sender::flush_stream(Sock &s)
{
	const Outside &outside = tap.vhost.outside;
	uint32_t i = s.first;
	size_t lost = 0;

	if (s.shut || s.shut_due) { /* no stream to append to */
		for (; i; i = gathered[i - 1].next)
			lost += gathered[i - 1].len;
		s.dropped += (uint32_t)lost;
		if (!s.sent_errno)
			s.sent_errno = EPIPE;
		return;
	}
	bool direct = s.phase == Phase::Open && !(s.pending && s.pending->size());
	while (i && direct) {
		iovec iov[VECTOR];
		size_t parts = 0, want = 0;
		for (; i; i = gathered[i - 1].next) {
			const Gathered &g = gathered[i - 1];
			const size_t n = outside.parts(rings.slab, g.off, g.len, iov + parts, VECTOR - parts);
			if (!n && g.len)
				break;
			parts += n, want += g.len;
		}
		if (!parts)
			break;
		ssize_t n = send_vector(s, iov, parts, s.report && !i);
		if (n < 0 && errno != EAGAIN) {
			const int error = errno;
			for (; i; i = gathered[i - 1].next)
				want += gathered[i - 1].len;
			if (error == EFAULT)
				tap.vhost.tx.fail(VRING_BAD_MEMORY, 0);
			return send_failed(s, error, want);
		}
		if (n < (ssize_t)want) {
			direct = false;
			size_t skip = n > 0 ? (size_t)n : 0;
			for (size_t k = 0; k < parts; k++) {
				const size_t from = std::min(skip, iov[k].iov_len);
				skip -= from;
				if (from < iov[k].iov_len)
					keep(s, static_cast<uint8_t *>(iov[k].iov_base) + from, iov[k].iov_len - from);
			}
		}
	}
	for (; i; i = gathered[i - 1].next) {
		iovec iov[VECTOR];
		const size_t parts = outside.parts(rings.slab, gathered[i - 1].off, gathered[i - 1].len, iov, VECTOR);
		for (size_t k = 0; k < parts; k++)
			keep(s, iov[k].iov_base, iov[k].iov_len);
	}
	if (!outside.empty() && Mapping::lost()) /* zeros of ours may be among what is kept */
		return send_failed(s, EFAULT, 0);
	if (direct)
		s.report = false;
}

void Sender::flush_pending(Sock &s)
{
	while (s.pending && s.pending->size()) {
		const iovec iov = {const_cast<uint8_t *>(s.pending->data()), s.pending->size()};
		const ssize_t n = send_vector(s, &iov, 1, s.report);
		if (n < 0) {
			if (errno != EAGAIN)
				send_failed(s, errno, 0);
			return;
		}
		s.pending->consume((size_t)n);
		table.pending_all -= (size_t)n;
		const uint32_t restored = std::min((uint32_t)n, s.unreported);
		s.unreported -= restored, s.sent -= restored;
	}
	s.report = false;
	if (s.shut_due)
		shutdown_wr(s);
}

void Sender::shutdown_wr(Sock &s)
{
	flush(s);
	if (s.shut || s.phase == Phase::Failed)
		return;
	s.shut_due = s.phase == Phase::Connecting || (s.pending && s.pending->size());
	if (s.shut_due)
		return;
	s.shut = true;
	shutdown(s.fd, SHUT_WR);
}

void Sender::report_sent(Sock &s)
{
	auto &e = table.event<ev::Sent>(s);
	const int state = read_info(s.fd, e.info);
	const int error = s.sent_errno;
	/* sendmsg() has taken the error from the socket. EPIPE alone may just be our own shutdown(); of what is over already it is our own word. */
	const bool over = s.over || (error && (error != EPIPE || state == STATE_CLOSE)), kept = over && table.keeps(s, s.over ? 0 : error);

	/* As by a kernel whose peer is gone: taken, not sent. The guest is told when it has read what the peer had said. */
	e.taken = kept ? s.sent + s.dropped : s.sent;
	e.pending = s.pending ? (uint32_t)s.pending->size() : 0;
	e.dropped = kept ? 0 : s.dropped;
	e.error = kept ? 0 : (uint32_t)error;
	s.sent = s.dropped = 0;
	s.sent_errno = 0;
	if (over && !kept)
		table.fail(s, s.broken ? s.broken : error ? error : ECONNRESET);
}

void Sender::give_up(Sock &s)
{
	s.dropped += (uint32_t)s.pending->size();
	table.drop_pending(s);
	report_sent(s);
}

} // namespace passt
