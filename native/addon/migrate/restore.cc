/* Sockets that come: made anew in repair mode, filled, set running. linux/tcp.h; CRIU (criu.org, TCP connection). */
#include "../compat.h"
#include "mover.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <linux/tcp.h>

namespace passt {

/** Octets that are put into a queue by one call: at first, and where the kernel has no memory for so many in one piece. */
enum : size_t { PUT_MOST = 128u << 10, PUT_LEAST = 1u << 10 };
/** Of the send buffer, for what the kernel counts beside the octets themselves: a quarter, and this. */
enum : uint32_t { SEND_BESIDE = 64u << 10 };

void Mover::told(Sock &s, int error)
{
	s.move->told = true;
	table.event<ev::Restored>(s).error = (uint32_t)error;
}

static bool set_first_options(int fd, bool v6)
{
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* #regression-50 */
	if (v6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	return set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) && set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
}

void Mover::open(const fx::RestoreOpen &e)
{
	Sock *const s = table.new_sock(e.handle, Kind::Tcp);
	if (!s)
		return;
	s->v6 = e.flags & IS_V6;
	s->move = new Move;
	s->fd = make_socket(Kind::Tcp, s->v6);
	if (s->fd < 0)
		s->move->error = -s->fd, s->fd = -1;
	else if (!set_first_options(s->fd, s->v6))
		s->move->error = errno;
	else if (!(s->move->error = drop_packets(s->fd)) && e.outbound)
		s->move->error = bind_to_device(s->fd, s->v6 ? outbound.if6 : outbound.if4);
	if (s->move->error)
		told(*s, s->move->error);
}

/** The next octet of a queue has this number. 0 or errno. */
static int set_sequence(int fd, int queue, uint32_t seq)
{
	return set_int(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue) && set_int(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, (int)seq) ? 0 : errno;
}

/** What both ends agreed on as the connection began: only what they did, and each by its own code (RFC 9293 §3.2, RFC 7323, RFC 2018). */
static int set_agreed(int fd, const RestoreWords &w)
{
	enum : uint32_t { MSS = 2, WINDOW_SCALE = 3, SACK_PERMITTED = 4, TIMESTAMPS = 8 };
	tcp_repair_opt all[4];
	socklen_t n = 0;

	all[n++] = {MSS, w.max_seg};
	if (w.options & TCPI_OPT_WSCALE)
		all[n++] = {WINDOW_SCALE, (w.window_scale & 0xff) | (w.window_scale >> 8 & 0xff) << 16};
	if (w.options & TCPI_OPT_SACK)
		all[n++] = {SACK_PERMITTED, 0};
	if (w.options & TCPI_OPT_TIMESTAMPS)
		all[n++] = {TIMESTAMPS, 0};
	return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, all, n * (socklen_t)sizeof(*all)) ? errno : 0;
}

/** As large as it was, and large enough for what is put into it, as far as we may; it goes on growing by itself. */
static void set_send_buffer(int fd, const RestoreWords &w)
{
	const uint64_t needed = w.snd_octets ? (uint64_t)w.snd_octets + w.snd_octets / 4 + SEND_BESIDE : 0;
	const uint64_t want = std::min<uint64_t>(std::max<uint64_t>(needed, w.sndbuf_wanted), INT32_MAX);
	int have = 0;
	socklen_t len = sizeof(have);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &have, &len) || (uint64_t)have >= want)
		return;
	set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)(want / 2)); /* it is doubled, socket(7) */
	set_int(fd, SOL_SOCKET, SO_BUF_LOCK, 0);
}

static int rebuild(int fd, bool v6, const RestoreWords &w)
{
	sockaddr_storage own, peer;

	if (Target::is_v4(w.own_addr) == v6 || Target::is_v4(w.peer_addr) == v6)
		return EAFNOSUPPORT;
	const socklen_t len = to_sockaddr(own, w.own_addr, (uint16_t)w.own_port, 0, v6);
	to_sockaddr(peer, w.peer_addr, (uint16_t)w.peer_port, 0, v6);
	if (bind(fd, reinterpret_cast<sockaddr *>(&own), len))
		return errno;
	if (w.options & TCPI_OPT_TIMESTAMPS && !set_int(fd, IPPROTO_TCP, TCP_TIMESTAMP, (int)w.timestamp))
		return errno;
	if (const int e = set_sequence(fd, TCP_SEND_QUEUE, w.snd_seq))
		return e;
	if (const int e = set_sequence(fd, TCP_RECV_QUEUE, w.rcv_seq))
		return e;
	if (connect(fd, reinterpret_cast<sockaddr *>(&peer), len))
		return errno;
	/* Before any octet is put into a queue */
	if (const int e = set_agreed(fd, w))
		return e;
	set_send_buffer(fd, w);
	return 0;
}

void Mover::restore(Sock &s, const fx::Octets &e)
{
	RestoreWords w;
	Move *const m = s.move;

	if (!m || m->frozen || m->error)
		return;
	if (e.len != sizeof(w) || !rings.in_slab(e.off, e.len)) {
		m->error = EFAULT;
		return;
	}
	memcpy(&w, rings.slab + e.off, sizeof(w));
	const uint32_t window[5] = {w.snd_wl1, w.snd_wnd, w.max_window, w.rcv_wnd, w.rcv_wup};
	memcpy(m->window, window, sizeof(window));
	m->error = rebuild(s.fd, s.v6, w);
	m->selected = TCP_RECV_QUEUE;
}

/** 0 or errno. The send buffer is full: ENOBUFS. */
static int put(int fd, const uint8_t *from, size_t n)
{
	size_t most = PUT_MOST;

	while (n) {
		const ssize_t done = send(fd, from, std::min(n, most), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (done > 0) {
			from += done, n -= (size_t)done;
			continue;
		}
		if (!done)
			return EIO;
		if (errno == EINTR)
			continue;
		if ((errno != ENOBUFS && errno != ENOMEM) || most <= PUT_LEAST)
			return errno == EAGAIN ? ENOBUFS : errno;
		most /= 2;
	}
	return 0;
}

void Mover::queue(Sock &s, const fx::RestoreQueue &e)
{
	Move *const m = s.move;

	if (!m || m->frozen || m->error)
		return;
	if (e.queue > QUEUE_RECV || !rings.in_slab(e.off, e.len)) {
		m->error = EFAULT;
		return;
	}
	if (e.len > QUEUE_MAX - m->restored[e.queue]) {
		m->error = EFBIG;
		return;
	}
	const uint8_t *const from = rings.slab + e.off;
	if (e.queue == QUEUE_UNSENT) {
		if (!s.pending)
			s.pending = new Pending;
		if (table.pending_all + e.len > PENDING_MAX_ALL || !s.pending->append(from, e.len)) {
			m->error = ENOBUFS;
			return;
		}
		table.pending_all += e.len;
		s.unreported += e.len;
	} else {
		const int which = e.queue == QUEUE_SEND ? TCP_SEND_QUEUE : TCP_RECV_QUEUE;
		if (m->selected != which && !set_int(s.fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, which))
			m->error = errno;
		m->selected = which;
		if (!m->error)
			m->error = put(s.fd, from, e.len);
	}
	m->restored[e.queue] += e.len;
}

/** The FIN counts as sent where the send queue is selected. 0 or errno. */
static int shut_in_repair(int fd)
{
	return set_int(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE) && !shutdown(fd, SHUT_WR) ? 0 : errno;
}

void Mover::end(Sock &s, const fx::Flags &e)
{
	Move *const m = s.move;

	if (!m || m->frozen || m->told)
		return;
	if (!m->error && e.flags & RESTORE_SHUT) {
		m->error = shut_in_repair(s.fd);
		m->shut = true;
	}
	/* Last: both queues' ends are where they were */
	const tcp_repair_window window = {m->window[0], m->window[1], m->window[2], m->window[3], m->window[4]};
	if (!m->error && setsockopt(s.fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, sizeof(window)))
		m->error = errno;
	told(s, m->error);
}

void Mover::run(Sock &s, const fx::Run &e)
{
	Move *const m = s.move;

	if (!m || m->frozen)
		return;
	int error = m->error ? m->error : !m->told ? EINVAL : out_of_repair(s.fd) ? 0 : EPERM;
	s.taken = m->restored[QUEUE_SEND];
	s.shut = m->shut;
	table.end_move(s);
	take_packets(s.fd);
	/* The end of repair mode has taken it away, and no listener could come to this port */
	set_int(s.fd, SOL_SOCKET, SO_REUSEADDR, 1);
	s.peek_off_kept = !error && tcp.peek_off_works && set_int(s.fd, SOL_SOCKET, SO_PEEK_OFF, (int)e.peek_offset);
	s.peek_off = e.peek_offset;
	if (!error)
		error = table.register_sock(s);
	if (error)
		return table.fail(s, error);
	s.phase = Phase::Open;
	read_info(s.fd, table.event<ev::Connected>(s).info);
	sender.flush_pending(s);
	if (s.sent_errno)
		sender.report_sent(s);
	if (s.phase == Phase::Open && e.flags & RUN_SHUT)
		sender.shutdown_wr(s);
}

/** The socket itself changed hands: its kernel knows all that was and is (EF_TCP_TAKE). */
void Mover::take(const fx::Take &e)
{
	Sock *const s = table.new_sock(e.handle, Kind::Tcp);

	if (!s) {
		close((int)e.descriptor);
		return;
	}
	s->fd = (int)e.descriptor;
	s->taken = e.taken;
	int domain = 0;
	socklen_t len = sizeof(domain);
	s->v6 = !getsockopt(s->fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_INET6;
	/* Whoever had it before counted octets from somewhere else; the count begins where it is switched on again (send.cc) */
	set_int(s->fd, SOL_SOCKET, SO_TIMESTAMPING, 0);
	s->peek_off_kept = tcp.peek_off_works && set_int(s->fd, SOL_SOCKET, SO_PEEK_OFF, (int)e.peek_offset);
	s->peek_off = e.peek_offset;
	if (const int error = table.register_sock(*s))
		return table.abandon(*s, error);
	s->phase = Phase::Open;
	read_info(s->fd, table.event<ev::Connected>(*s).info);
	/* It was done: nothing is sent any more */
	s->shut = e.flags & RUN_SHUT;
}

} // namespace passt
