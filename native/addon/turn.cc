/* One loop turn: effects, results, epoll, readiness. */
#include "engine.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstring>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace passt {

/**
 * Records of one look at epoll; and of the next one while frames of the guest are left unread. What a socket tells makes the
 * guest answer with two frames at most, as its end does (ACK and FIN): no more than a turn reads.
 */
enum : int { EPOLL_BATCH = TAP_FRAMES / 2, EPOLL_BEHIND = TAP_FRAMES / 8 };

int Engine::open(const Sizes &sizes)
{
	if (const int e = rings.open(sizes))
		return e;
	if (const int e = table.open(sizes.handles))
		return e;
	signal(SIGXFSZ, SIG_IGN); /* EFBIG tells as well (setrlimit(2), RLIMIT_FSIZE) */
	signal(SIGPIPE, SIG_IGN); /* Node does so, too; but splice() knows no MSG_NOSIGNAL, so this must hold */
	epoll = epoll_create1(EPOLL_CLOEXEC);
	*rings.clock = now_ms();
	return epoll < 0 ? errno : 0;
}

int Engine::turn(uint32_t effects, double timeout_ms)
{
	if (!table.is_open() || epoll < 0)
		return -1;
	rings.posted = 0;
	turn_no++;
	execute(effects < rings.size.effects ? effects : rings.size.effects);
	rings.rx_reset();
	tap_port.report();
	deliver();
	migration.mover.report();
	host.report();
	const bool told = rings.posted || !results.empty();
	/* In hold nobody looks at what the guest has sent */
	if (hand_over.held())
		hand_over.wait(told ? 0 : timeout_ms);
	else
		wait(told || tap.link.more() || tap.vhost.more() || peeker.may_go_on() ? 0 : timeout_ms);
	tap_port.report();
	deliver();
	rings.clock[1] = (double)volume;
	return (int)rings.posted;
}

void Engine::deliver()
{
	results.deliver(rings, [this](uint32_t h) { return table.generation(h); });
}

/** JS still reads the events of the last turn: nothing is posted, what comes of these effects waits as a result. */
void Engine::carry_out(uint32_t n)
{
	if (!table.is_open() || epoll < 0)
		return;
	const uint32_t posted = rings.posted;
	rings.posted = rings.size.events;
	for (uint32_t i = 0; i < n && i < rings.size.effects; i++)
		execute_one(rings.effects[i]);
	sender.flush_all();
	rings.posted = posted;
}

void Engine::execute(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		execute_one(rings.effects[i]);
	peeker.go_on();
	sender.flush_all();
	if (!tap.vhost.outside.empty())
		tap.vhost.let_go();
	migration.state.flush();
	listeners.slots.clear();
	if (guest_link())
		clients.report();
	tap.pcap.flush();
}

void Engine::write_to_tap(const fx::Octets &e)
{
	if (rings.in_slab(e.off, e.len))
		tap.write(rings.slab + e.off, e.len);
	else
		tap.dropped++, tap.drop_errno = EFAULT;
	/* It was about this one, which may have been refused */
	tap.pcap.forget_note();
}

void Engine::note_capture(const fx::CaptureNote &e)
{
	if (rings.in_slab(e.off, e.len))
		tap.pcap.note(e.frame, rings.slab + e.off, e.len);
}

void Engine::execute_one(const Record &e)
{
	const auto [kind, handle] = as<Head>(e);
	Sock *s;

	if (tap.vhost.on && vhost.effect(e))
		return;
	if (kind >= EF_HAND_OVER_ANSWER && kind <= EF_HAND_OVER_GUEST)
		return hand_over.effect(e);
	if (kind == EF_CONF_SEND || kind == EF_CONF_CLOSE || kind == EF_API_SEND)
		return conf.effect(e);
	switch (kind) {
	case EF_TAP_WRITE:
		write_to_tap(as<fx::Octets>(e));
		return;
	case EF_TCP_CONNECT:
		opener.open(as<fx::Open>(e), Kind::Tcp);
		return;
	case EF_UDP_OPEN:
		opener.open(as<fx::Open>(e), Kind::Udp);
		return;
	case EF_PING_OPEN:
		opener.open(as<fx::Open>(e), Kind::Ping);
		return;
	case EF_CLOSE:
	case EF_RESET:
	case EF_SPLICE_CLOSE:
	case EF_SPLICE_RESET:
		if ((s = table.sock(handle))) {
			const bool reset = kind == EF_RESET || kind == EF_SPLICE_RESET;
			if (!reset && s->phase == Phase::Open)
				sender.flush(*s);
			table.close_sock(*s, reset);
		}
		return;
	case EF_GIVE:
		opener.give(as<fx::Descriptor>(e));
		return;
	case EF_ADOPT:
		opener.adopt(as<fx::Slot>(e));
		return;
	case EF_REJECT:
		opener.reject(as<fx::Slot>(e).slot);
		return;
	case EF_NETLINK:
		notices.send(as<fx::Octets>(e));
		return;
	case EF_CAPTURE_NOTE:
		note_capture(as<fx::CaptureNote>(e));
		return;
	case EF_LINK_USE:
		clients.use((int)as<fx::LinkClient>(e).descriptor);
		return;
	case EF_LINK_REFUSE:
		clients.refuse((int)as<fx::LinkClient>(e).descriptor);
		return;
	case EF_LINK_CLOSE:
		clients.close();
		return;
	case EF_CLOSE_FD:
		if (const int fd = (int)as<fx::Descriptor>(e).descriptor; fd >= 0)
			close(fd);
		return;
	case EF_SPLICE:
		splices.open(as<fx::Open>(e));
		return;
	case EF_SPLICE_SHUT:
		if ((s = table.sock(handle, Kind::Splice)))
			splices.shut(*s, as<fx::SpliceShut>(e).side);
		return;
	case EF_READ_ALLOW:
		if ((s = table.sock(handle, Kind::Splice)))
			splices.allow(*s, as<fx::ReadAllow>(e).side, as<fx::ReadAllow>(e).octets);
		else if ((s = table.sock(handle, Kind::Udp)))
			receiver.allow(*s, as<fx::ReadAllow>(e).octets);
		return;
	case EF_UDP_JOIN:
		receiver.join(handle, as<fx::UdpJoin>(e).other_handle);
		return;
	case EF_UDP_SEND:
		if ((s = table.sock(handle, Kind::Udp)))
			sender.gather(*s, as<fx::Send>(e));
		return;
	case EF_PING_SEND:
		if ((s = table.sock(handle, Kind::Ping)))
			sender.gather(*s, as<fx::Send>(e));
		return;
	default:
		break;
	}

	if (Migration::has(kind))
		return migration.effect(e);
	if (!(s = table.sock(handle, Kind::Tcp)) || s->move)
		return;
	switch (kind) {
	case EF_SEND:
		sender.gather(*s, as<fx::Send>(e));
		break;
	case EF_PEEK:
		peeker.peek(*s, as<fx::Peek>(e));
		break;
	case EF_DISCARD:
		tcp.discard(*s, as<fx::Count>(e).octets);
		break;
	case EF_REWIND:
		tcp.rewind(*s, as<fx::Count>(e).octets);
		break;
	case EF_SHUTDOWN_WR:
		sender.shutdown_wr(*s);
		break;
	case EF_AWAIT_WRITABLE:
		tcp.await_writable(*s);
		break;
	case EF_KEEPALIVE:
		set_int(s->fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		break;
	case EF_INFO:
		sender.flush(*s);
		tcp.report_info(*s);
		break;
	default:
		break;
	}
}

/** epoll_wait() with fractions of a millisecond where the kernel has it (5.11). */
static int epoll_wait_ms(int epoll, epoll_event *ev, int max, double ms)
{
	static bool have_pwait2 = true;

#ifdef SYS_epoll_pwait2
	if (have_pwait2) {
		timespec t = {};
		if (ms > 0) {
			t.tv_sec = (time_t)(ms / 1e3);
			t.tv_nsec = (long)((ms - (double)t.tv_sec * 1e3) * 1e6);
			if (t.tv_nsec < 0 || t.tv_nsec > 999999999)
				t.tv_nsec = 999999999;
		}
		const long n = syscall(SYS_epoll_pwait2, epoll, ev, max, ms < 0 ? nullptr : &t, nullptr, 0);
		if (n >= 0 || (errno != ENOSYS && errno != EPERM))
			return (int)n;
		have_pwait2 = false;
	}
#endif
	return epoll_wait(epoll, ev, max, ms < 0 ? -1 : ms > 0 && ms < 2e9 ? (int)std::ceil(ms) : 0);
}

/** The earlier of `deadline` (infinity: none) and what this side has to do on its own. */
double Engine::due(double deadline) const
{
	return std::min({deadline, listeners.due(), receiver.due(), clients.due(), vhost.due(), conf.due(), hand_over.due(), migration.repair.due()});
}

/** Is something used up that a socket may need to be served at all? */
bool Engine::exhausted() const
{
	return rings.room() < DATAGRAMS_MIN || rings.rx_left() < DATAGRAMS_MIN * RX_STRIDE || listeners.slots.full() || receiver.spent();
}

/**
 * epoll once, and what is ready. Return: records of epoll, negative = interrupted. The guest leaves room in ring and slab to
 * the others, which come in the kernel's order. That stays the same while they stay ready: so the next time begins where it was
 * that something ran out, lest those in front have all for ever.
 */
int Engine::poll(double timeout_ms)
{
	epoll_event ev[EPOLL_BATCH];
	const uint32_t before = rings.posted;
	if (timeout_ms && tap.vhost.on && !vhost.may_sleep())
		timeout_ms = 0;
	const int most = tap.behind ? EPOLL_BEHIND : EPOLL_BATCH;
	const int n = epoll_wait_ms(epoll, ev, most, timeout_ms > 1e12 ? -1 : timeout_ms);
	const uint64_t first = unserved;
	int begin = first && n > 0 ? (int)(turn_no % (uint32_t)n) : 0;

	*rings.clock = now_ms();
	/*
	 * The guest before all others: what does not fit into the tap's queue is lost, and what sockets tell makes us send frames
	 * that the guest answers at once. Where many sockets are ready it may stand behind those that we see.
	 */
	const uint64_t guest = guest_link() ? ID_LINK : ID_TAP;
	uint32_t from_guest = n == most ? (uint32_t)EPOLLIN : 0;
	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 == guest)
			from_guest = ev[i].events;
		else if (first && ev[i].data.u64 == first)
			begin = i;
	}
	if (from_guest)
		ready(guest, from_guest);
	else if (guest_link())
		clients.link_ready(0);
	unserved = 0;
	receiver.begin(n > 0 ? (uint32_t)n : 0);
	for (int k = 0; k < n; k++) {
		const epoll_event &e = ev[(begin + k) % n];
		if (e.data.u64 == guest)
			continue;
		if (!unserved && exhausted())
			unserved = e.data.u64;
		ready(e.data.u64, e.events);
	}
	/* What the guest's rings had woke nobody in epoll */
	return n || !tap.vhost.on ? n : (int)(rings.posted - before);
}

/** See look.h. A guest that has no buffers left is at work on what they hold, and needs the processor more than we do. */
bool Engine::worth_spinning()
{
	return look.worth_spinning(volume + tap.volume + tap.link.volume + tap.vhost.volume) && !tap.vhost.starved();
}

/** epoll again and again, until some time after the last event. Return: as poll(). */
int Engine::spin()
{
	const double now = now_ms(), end = look.until(now);
	int n = 0;

	if (end <= now)
		return 0;
	while (!n && results.empty() && now_ms() < end)
		n = poll(0);
	look.paid(n > 0);
	return n;
}

/** Until there is something to tell, or `timeout_ms` are over; what needs no word of JS's is carried on within. */
void Engine::wait(double timeout_ms)
{
	/* NaN as well */
	const double deadline = timeout_ms >= 0 ? now_ms() + timeout_ms : INFINITY;

	/* Anew before each use: what the guest's rings have is found by a look, which may leave a result, or something that is due soon */
	const auto left = [&] { return timeout_ms && results.empty() && splices.idle() ? due(deadline) - *rings.clock : 0; };

	pools.ask_again();
	for (;;) {
		/* EINTR: back to JS, which may have a signal to look at */
		int n = poll(0);
		if (!n && left() > 0 && worth_spinning())
			n = spin();
		if (!n && left() > 0)
			n = poll(left());
		if (n > 0)
			look.lively();
		splices.run_all();
		listeners.resume();
		conf.resume();
		hand_over.resume();
		migration.repair.resume();
		receiver.report_moved();
		if (n < 0 || rings.posted || !results.empty() || tap.dropped || tap.gone || peeker.may_go_on() || *rings.clock >= deadline)
			return;
	}
}

void Engine::ready(uint64_t what, uint32_t events)
{
	if (what == ID_TAP)
		return tap_port.ready(events);
	if (what == ID_CTL) {
		if (pools.ctl_ready())
			opener.serve_waiting();
		return;
	}
	if (what == ID_LINK)
		return clients.link_ready(events);
	if (what == ID_VHOST_RX || what == ID_VHOST_TX)
		return vhost.kicked(what == ID_VHOST_RX ? VRING_RX : VRING_TX);
	if (what == ID_CLIENTS)
		return clients.ready();
	if (what == ID_NETLINK)
		return notices.ready();
	if (migration.ready(what, events) || hand_over.ready(what) || conf.ready(what) || host.ready(what))
		return;
	const uint32_t tag = (uint32_t)what & TAGS, handle = (uint32_t)what & ~(uint32_t)TAGS;
	if (tag == TAG_LISTENER) {
		ListenSock *const l = listeners.find(handle);
		if (l && l->kind == Kind::Udp)
			receiver.listener_ready(handle, *l, events);
		else if (l)
			listeners.ready(handle, *l);
		return;
	}
	Sock *const s = table.sock(handle);
	/* Closed, or closed and used again, since the kernel queued this */
	if (!s || s->generation != (uint32_t)(what >> 32))
		return;
	if (s->kind == Kind::Splice)
		splices.ready(*s, tag == TAG_SIDE_1, events);
	else if (s->kind == Kind::Tcp)
		tcp.ready(*s, events);
	else
		receiver.ready(*s, events);
}

int Engine::add_ns_sockets(uint32_t kind, const int *fds, size_t n)
{
	const int e = pools.add(kind, fds, n);

	opener.serve_waiting();
	return e;
}

bool Engine::take_sockets(const uint8_t *message, size_t len, const std::vector<int> &passed)
{
	const bool taken = pools.take_sockets(message, len, passed);

	if (taken)
		opener.serve_waiting();
	return taken;
}

} // namespace passt
