/* Sockets that leave: frozen, thawed, dumped. Repair mode: linux/tcp.h, and what CRIU says of it (criu.org, TCP connection). */
#include "../compat.h"
#include "mover.h"

#include <algorithm>
#include <cerrno>
#include <linux/filter.h>
#include <netinet/in.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

namespace passt {

/** Of a segment that is acknowledged in part the kernel keeps all: so many octets may stand in front of SND.UNA. */
enum : size_t { ACKNOWLEDGED_MAX = 256u << 10 };

bool filter_works = true;

/** IP_MINTTL, IPV6_MINHOPCOUNT (ip(7), RFC 5082). */
static void set_hops(int fd, int least)
{
	set_int(fd, IPPROTO_IP, IP_MINTTL, least);
	set_int(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, least);
}

/**
 * What a filter keeps no octet of, tcp does not see: no acknowledgement, no reset (socket(7), SO_ATTACH_FILTER). Some kernels want CAP_NET_ADMIN for that on
 * a TCP socket. Then packets from one hop further away than a neighbour that sends 255 are not seen: systems send 64 or 128.
 */
int drop_packets(int fd)
{
	sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	const sock_fprog program = {1, &none};

	if (filter_works && !setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
		return 0;
	if (filter_works && errno != EPERM)
		return errno;
	set_hops(fd, 255);
	return 0;
}

void take_packets(int fd)
{
	const int unused = 0;

	setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
	set_hops(fd, 0);
}

void Mover::freeze(Sock &s, const fx::Flags &e)
{
	if (s.phase != Phase::Open || s.move)
		return;
	sender.flush(s);
	/* What failed is told by flush_all() */
	table.drop_pending(s);
	s.shut_due = s.await = s.report = false;
	peeker.forget(table.handle_of(s));
	core.unwatch(s.fd);
	s.move = new Move;
	s.move->frozen = true;
	/* Of what is over, nobody else could say how it has ended */
	s.move->error = s.over ? ECONNRESET : e.flags & FREEZE_HEARS ? 0 : drop_packets(s.fd);
}

bool out_of_repair(int fd)
{
	int repair = 1;
	socklen_t len = sizeof(repair);

	return !getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &repair, &len) && !repair;
}

void Mover::thaw(Sock &s)
{
	if (!s.move || !s.move->frozen)
		return;
	table.end_move(s);
	take_packets(s.fd);
	if (!out_of_repair(s.fd))
		return table.fail(s, EPERM);
	/* The end of repair mode takes it away, and no listener could come back to this port */
	set_int(s.fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (s.peek_off_kept && !set_int(s.fd, SOL_SOCKET, SO_PEEK_OFF, (int)s.peek_off))
		return table.fail(s, errno);
	/* Whoever was to have it may have begun to count from elsewhere; the count begins where it is switched on again (send.cc) */
	if (s.ts_on)
		set_int(s.fd, SOL_SOCKET, SO_TIMESTAMPING, 0);
	s.ts_on = false;
	if (const int error = table.register_sock(s))
		return table.fail(s, error);
	s.await = true;
	pollfd p = {s.fd, POLLIN | POLLOUT | POLLRDHUP, 0};
	poll(&p, 1, 0);
	tcp.ready(s, (uint32_t)p.revents);
	if (s.await && s.phase == Phase::Open) { /* its buffer is full: that is told as well, and that there is room again later */
		auto &e = table.event<ev::Ready>(s);
		e.flags = READY_INFO;
		read_info(s.fd, e.info);
	}
}

static int ask(int fd, int request, uint32_t &value)
{
	int n = 0;

	if (ioctl(fd, (unsigned long)request, &n))
		return errno;
	value = (uint32_t)n;
	return 0;
}

static int option(int fd, int level, int name, uint32_t &value)
{
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) ? errno : 0;
}

/** The `want` octets at the end of the selected queue; fewer, if that is all. 0 or errno. */
static int peek_queue(int fd, uint32_t want, size_t in_front, Block &to)
{
	if (want > QUEUE_MAX)
		return EFBIG;
	if (!want)
		return 0;
	uint8_t *const room = to.make(want + in_front);
	ssize_t n;
	if (!room)
		return ENOMEM;
	do
		n = recv(fd, room, want + in_front, MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return errno;
	/* Of the send queue the kernel says how long it is, though it may have had no room for all */
	if (n > (ssize_t)(want + in_front))
		return EMSGSIZE;
	const size_t got = n > 0 ? (size_t)n : 0, take = std::min<size_t>(got, want);
	to.fill(got - take, take);
	return 0;
}

/** Is our FIN in the send queue? It counts as an octet there until it is acknowledged. RFC 9293 §3.3.2; include/net/tcp_states.h. */
static bool fin_waits(uint32_t state)
{
	enum : uint32_t { FIN_WAIT1 = 4, LAST_ACK = 9, CLOSING = 11 };

	return state == FIN_WAIT1 || state == LAST_ACK || state == CLOSING;
}

static int dump_send(int fd, DumpWords &d, Block &to)
{
	if (!set_int(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE))
		return errno;
	if (const int e = ask(fd, SIOCOUTQ, d.outq))
		return e;
	if (const int e = ask(fd, SIOCOUTQNSD, d.outqnsd))
		return e;
	const uint32_t octets = d.outq - (d.outq && fin_waits(d.state));
	if (const int e = peek_queue(fd, octets, ACKNOWLEDGED_MAX, to))
		return e;
	d.snd_kept = (uint32_t)to.size();
	return option(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, d.snd_seq);
}

static int dump_receive(int fd, DumpWords &d, Block &to)
{
	if (!set_int(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE))
		return errno;
	if (const int e = ask(fd, SIOCINQ, d.inq))
		return e;
	if (const int e = peek_queue(fd, d.inq, 0, to))
		return e;
	d.rcv_kept = (uint32_t)to.size();
	return option(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, d.rcv_seq);
}

static int dump_socket(int fd, DumpWords &d, Block &send, Block &receive)
{
	tcp_info info = {};
	tcp_repair_window window = {};
	socklen_t info_len = sizeof(info), window_len = sizeof(window);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_len))
		return errno;
	d.state = info.tcpi_state;
	d.options = info.tcpi_options;
	d.window_scale = info.tcpi_snd_wscale | (uint32_t)info.tcpi_rcv_wscale << 8;
	if (const int e = option(fd, IPPROTO_TCP, TCP_MAXSEG, d.max_seg))
		return e;
	if (d.options & TCPI_OPT_TIMESTAMPS)
		if (const int e = option(fd, IPPROTO_TCP, TCP_TIMESTAMP, d.timestamp))
			return e;
	if (const int e = option(fd, SOL_SOCKET, SO_SNDBUF, d.sndbuf))
		return e;
	if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &window_len))
		return errno;
	d.snd_wl1 = window.snd_wl1, d.snd_wnd = window.snd_wnd, d.max_window = window.max_window;
	d.rcv_wnd = window.rcv_wnd, d.rcv_wup = window.rcv_wup;
	if (const int e = dump_send(fd, d, send))
		return e;
	return dump_receive(fd, d, receive);
}

void Mover::dump(Sock &s)
{
	Move *const m = s.move;
	DumpWords d = {};
	int error = m && m->frozen ? m->error : EINVAL;

	if (!error) {
		table.dumped_all -= m->send.size() + m->receive.size();
		m->send = Block(), m->receive = Block();
		/* Without an offset a peek begins at the head of the queue */
		if (s.peek_off_kept && !set_int(s.fd, SOL_SOCKET, SO_PEEK_OFF, -1))
			error = errno;
		if (!error)
			error = dump_socket(s.fd, d, m->send, m->receive);
		if (!error && table.dumped_all + state.waiting() + m->send.size() + m->receive.size() > DUMPED_MAX_ALL)
			error = ENOBUFS;
		if (error)
			m->send = Block(), m->receive = Block();
		table.dumped_all += m->send.size() + m->receive.size();
	}
	dumped.push_back({table.moving(s), error, d});
}

void Mover::report()
{
	size_t i = 0;

	for (; i < dumped.size() && rings.room() && rings.rx_left() >= sizeof(DumpWords); i++) {
		const Dumped &d = dumped[i];
		if (table.generation(d.of.handle) != d.of.generation)
			continue;
		auto &e = rings.post<ev::TcpDumped>(d.of.handle);
		e.error = (uint32_t)d.error;
		if (d.error)
			continue;
		e.off = rings.rx_next(), e.len = sizeof(d.words);
		memcpy(rings.slab + e.off, &d.words, sizeof(d.words));
		rings.rx_take(e.len);
	}
	dumped.erase(dumped.begin(), dumped.begin() + (std::ptrdiff_t)i);
}

} // namespace passt
