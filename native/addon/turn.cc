/* One loop turn: effects, results, epoll, readiness. */
#include "ctl.h"
#include "engine.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstring>
#include <ctime>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace passt {

/**
 * Records of one look at epoll; and of the next one while frames of the guest are left unread. What a socket tells makes the
 * guest answer with two frames at most, as its end does (ACK and FIN): no more than a turn reads.
 */
enum : int { EPOLL_BATCH = TAP_FRAMES / 2, EPOLL_BEHIND = TAP_FRAMES / 8 };

double Engine::now_ms()
{
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

Engine::~Engine()
{
	for (uint32_t i = 0; socks && i < rings.size.handles; i++) {
		if (socks[i].kind != Kind::None)
			close_sock(socks[i], false);
	}
	for (uint32_t id = 0; id < listeners.size(); id++)
		close_listener(id);
	for (const int fd : {clients, offered, spare, netlink}) {
		if (fd >= 0)
			close(fd);
	}
	for (NsPool &p : ns) {
		for (const int fd : p.fds)
			close(fd);
	}
	if (socks)
		munmap(socks, sizeof(Sock) * rings.size.handles);
	if (epoll >= 0)
		close(epoll);
}

int Engine::open(const Sizes &sizes)
{
	if (const int e = rings.open(sizes))
		return e;
	void *const p = mmap(nullptr, sizeof(Sock) * sizes.handles, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return ENOMEM;
	socks = static_cast<Sock *>(p);
	signal(SIGXFSZ, SIG_IGN); /* EFBIG tells as well (setrlimit(2), RLIMIT_FSIZE) */
	signal(SIGPIPE, SIG_IGN); /* Node does so, too; but splice() knows no MSG_NOSIGNAL, so this must hold */
	epoll = epoll_create1(EPOLL_CLOEXEC);
	*rings.clock = now_ms();
	return epoll < 0 ? errno : 0;
}

int Engine::set_tap(int fd, bool vnet)
{
	if (tap_registered)
		epoll_ctl(epoll, EPOLL_CTL_DEL, tap.fd, nullptr);
	tap_registered = false;
	if (const int e = tap.use(fd, vnet))
		return e;
	epoll_event ev = {};
	ev.events = EPOLLIN;
	ev.data.u64 = ID_TAP;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev))
		return errno;
	tap_registered = true, tap_gone_said = false;
	return 0;
}

int Engine::set_ctl(int fd)
{
	if (ctl_registered)
		epoll_ctl(epoll, EPOLL_CTL_DEL, ctl, nullptr);
	ctl_registered = false;
	epoll_event ev = {};
	ev.events = EPOLLIN;
	ev.data.u64 = ID_CTL;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev))
		return errno;
	ctl = fd, ctl_registered = true;
	return 0;
}

int Engine::turn(uint32_t effects, double timeout_ms)
{
	if (!socks || epoll < 0)
		return -1;
	rings.posted = 0;
	turn_no++;
	execute(effects < rings.size.effects ? effects : rings.size.effects);
	rings.rx_reset();
	tap_report();
	results.deliver(rings, [this](uint32_t h) { return generation(h); });
	wait(rings.posted || !results.empty() || tap.link.more() || peeks_go() ? 0 : timeout_ms);
	tap_report();
	results.deliver(rings, [this](uint32_t h) { return generation(h); });
	rings.clock[1] = (double)volume;
	return (int)rings.posted;
}

/** JS still reads the events of the last turn: nothing is posted, what comes of these effects waits as a result. */
void Engine::carry_out(uint32_t n)
{
	if (!socks || epoll < 0)
		return;
	const uint32_t posted = rings.posted;
	rings.posted = rings.size.events;
	for (uint32_t i = 0; i < n && i < rings.size.effects; i++)
		execute_one(rings.effects[i]);
	flush_all();
	rings.posted = posted;
}

void Engine::execute(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		execute_one(rings.effects[i]);
	peek_all();
	flush_all();
	slots.clear();
	if (tap.link.on)
		link_report();
	tap.pcap.flush();
}

void Engine::execute_one(const uint32_t *e)
{
	const uint32_t handle = e[1];
	Sock *s;

	switch (e[0]) {
	case EF_TAP_WRITE:
		if (rings.in_slab(e[2], e[3]))
			tap.write(rings.slab + e[2], e[3]);
		else
			tap.dropped++, tap.drop_errno = EFAULT;
		return;
	case EF_TCP_CONNECT:
		open_sock(e, Kind::Tcp);
		return;
	case EF_UDP_OPEN:
		open_sock(e, Kind::Udp);
		return;
	case EF_PING_OPEN:
		open_sock(e, Kind::Ping);
		return;
	case EF_CLOSE:
	case EF_RESET:
	case EF_SPLICE_CLOSE:
	case EF_SPLICE_RESET:
		if ((s = sock(handle))) {
			const bool reset = e[0] == EF_RESET || e[0] == EF_SPLICE_RESET;
			if (!reset && s->phase == Phase::Open)
				flush(*s);
			close_sock(*s, reset);
		}
		return;
	case EF_ADOPT:
		adopt(e);
		return;
	case EF_REJECT:
		reject(e[2]);
		return;
	case EF_UNLISTEN:
		close_listener(handle);
		return;
	case EF_NETLINK:
		netlink_send(e);
		return;
	case EF_CAPTURE_NOTE:
		if (rings.in_slab(e[2], e[3]))
			tap.pcap.note(e[4], rings.slab + e[2], e[3]);
		return;
	case EF_LINK_USE:
		link_use((int)e[2]);
		return;
	case EF_LINK_REFUSE:
		link_refuse((int)e[2]);
		return;
	case EF_LINK_CLOSE:
		link_close();
		return;
	case EF_SPLICE:
		splice_open(e);
		return;
	case EF_SPLICE_SHUT:
		if ((s = sock(handle, Kind::Splice)))
			splice_shut(*s, e[2]);
		return;
	case EF_SPLICE_QUERY:
		if ((s = sock(handle, Kind::Splice)))
			splice_event(EV_SPLICE_MOVED, *s, 0, 0);
		return;
	case EF_UDP_JOIN:
		join(handle, e[2]);
		return;
	case EF_UDP_SEND:
		if ((s = sock(handle, Kind::Udp)))
			gather(*s, e);
		return;
	case EF_PING_SEND:
		if ((s = sock(handle, Kind::Ping)))
			gather(*s, e);
		return;
	default:
		break;
	}

	if (!(s = sock(handle, Kind::Tcp)))
		return;
	switch (e[0]) {
	case EF_SEND:
		gather(*s, e);
		break;
	case EF_PEEK:
		peek(*s, e);
		break;
	case EF_DISCARD:
		discard(*s, e[2]);
		break;
	case EF_REWIND:
		rewind(*s, e[2]);
		break;
	case EF_SHUTDOWN_WR:
		shutdown_wr(*s);
		break;
	case EF_AWAIT_WRITABLE:
		await_writable(*s);
		break;
	case EF_KEEPALIVE:
		set_int(s->fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		break;
	case EF_INFO:
		flush(*s);
		report_info(*s);
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
	if (!paused.empty())
		deadline = std::min(deadline, accept_resume_at);
	if (!moved.empty())
		deadline = std::min(deadline, moved_at);
	if (clients_resume_at > 0)
		deadline = std::min(deadline, clients_resume_at);
	return deadline;
}

/** Is something used up that a socket may need to be served at all? */
bool Engine::exhausted() const
{
	return rings.room() < DATAGRAMS_MIN || rings.rx_left() < DATAGRAMS_MIN * RX_STRIDE || slots.full() || volume >= joined_until;
}

/**
 * epoll once, and what is ready. Return: records of epoll, negative = interrupted. The guest leaves room in ring and slab to
 * the others, which come in the kernel's order. That stays the same while they stay ready: so the next time begins where it was
 * that something ran out, lest those in front have all for ever.
 */
int Engine::poll(double timeout_ms)
{
	epoll_event ev[EPOLL_BATCH];
	const int most = tap.behind ? EPOLL_BEHIND : EPOLL_BATCH;
	const int n = epoll_wait_ms(epoll, ev, most, timeout_ms > 1e12 ? -1 : timeout_ms);
	const uint64_t first = unserved;
	int begin = first && n > 0 ? (int)(turn_no % (uint32_t)n) : 0;

	*rings.clock = now_ms();
	/*
	 * The guest before all others: what does not fit into the tap's queue is lost, and what sockets tell makes us send frames
	 * that the guest answers at once. Where many sockets are ready it may stand behind those that we see.
	 */
	const uint64_t guest = tap.link.on ? ID_LINK : ID_TAP;
	uint32_t from_guest = n == most ? (uint32_t)EPOLLIN : 0;
	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 == guest)
			from_guest = ev[i].events;
		else if (first && ev[i].data.u64 == first)
			begin = i;
	}
	if (from_guest)
		ready(guest, from_guest);
	else if (tap.link.on)
		link_ready(0);
	unserved = 0;
	datagrams_each = n > (int)DATAGRAM_SOCKETS ? std::max<uint32_t>(DATAGRAMS_MIN, DATAGRAMS_ALL / (uint32_t)n) : (uint32_t)DATAGRAMS;
	joined_until = volume + JOINED_ALL;
	for (int k = 0; k < n; k++) {
		const epoll_event &e = ev[(begin + k) % n];
		if (e.data.u64 == guest)
			continue;
		if (!unserved && exhausted())
			unserved = e.data.u64;
		ready(e.data.u64, e.events);
	}
	return n;
}

/**
 * Is the next answer worth looking for before we sleep? Who sleeps wakes late: another processor's wake-up costs tens of
 * µs, more than most answers take to come. Not so in bulk, where whoever is to fill or to empty the buffers needs the
 * processor more than we do; nor where answers do not come while we look, because it is us whom the other side waits for.
 */
bool Engine::worth_spinning()
{
	const bool bulk = volume - volume_seen >= BULK;

	volume_seen = volume;
	if (bulk)
		return false;
	if (look_credit <= 0 && ++looks_missed < LOOK_AGAIN)
		return false;
	looks_missed = 0;
	return true;
}

/** epoll again and again, until LOOK after the last event. Return: as poll(). */
int Engine::spin()
{
	int n = 0;

	if (now_ms() >= lively + LOOK)
		return 0;
	while (!n && now_ms() < lively + LOOK)
		n = poll(0);
	look_credit = n > 0 ? std::min(look_credit + 1, (int)LOOK_CREDIT) : std::max(look_credit - 2, 0);
	return n;
}

/** Until there is something to tell, or `timeout_ms` are over; what needs no word of JS's is carried on within. */
void Engine::wait(double timeout_ms)
{
	/* NaN as well */
	const double deadline = timeout_ms >= 0 ? now_ms() + timeout_ms : INFINITY;

	ns_ask_again();
	for (bool first = true;; first = false) {
		const double left = moving.empty() && woken.empty() ? due(deadline) - (first ? now_ms() : *rings.clock) : 0;
		/* EINTR: back to JS, which may have a signal to look at */
		int n = poll(0);
		if (!n && timeout_ms && left > 0)
			n = worth_spinning() ? spin() : 0;
		if (!n && timeout_ms && left > 0)
			n = poll(left);
		if (n > 0)
			lively = now_ms();
		splice_run_all();
		resume_accepting();
		report_moved();
		if (n < 0 || rings.posted || !results.empty() || tap.dropped || tap.gone || peeks_go() || *rings.clock >= deadline)
			return;
	}
}

void Engine::ready(uint64_t what, uint32_t events)
{
	if (what == ID_TAP)
		return tap_ready(events);
	if (what == ID_CTL)
		return ctl_ready();
	if (what == ID_LINK)
		return link_ready(events);
	if (what == ID_CLIENTS)
		return client_ready();
	if (what == ID_NETLINK)
		return netlink_ready();
	const uint32_t tag = (uint32_t)what & TAGS, handle = (uint32_t)what & ~(uint32_t)TAGS;
	if (tag == TAG_LISTENER)
		return listener_ready(handle, events);
	Sock *const s = sock(handle);
	/* Closed, or closed and used again, since the kernel queued this */
	if (!s || s->generation != (uint32_t)(what >> 32))
		return;
	if (s->kind == Kind::Splice)
		splice_ready(*s, tag == TAG_SIDE_1, events);
	else if (s->kind == Kind::Tcp)
		tcp_ready(*s, events);
	else
		datagrams_ready(*s, events);
}

void Engine::tap_ready(uint32_t events)
{
	const uint32_t before = rings.posted, lost = tap.dropped;
	const bool room = rings.room();

	/* A quarter of the slab is left for datagrams and the launcher */
	tap.read(rings, TAP_FRAMES, rings.size.rx / 4 * 3);
	if (events & (EPOLLERR | EPOLLHUP) && room && rings.posted == before && tap.dropped == lost && !tap.gone)
		tap.gone = ENODEV; /* never to be waited for again: it would be reported for ever */
}

void Engine::tap_report()
{
	if (tap.dropped) {
		uint32_t *const e = results.add(EV_TAP_DROPPED, 0, 0);
		e[2] = tap.dropped, e[3] = (uint32_t)tap.drop_errno;
		tap.dropped = 0;
	}
	if (tap.pcap.ended || tap.pcap.missed) {
		uint32_t *const e = results.add(EV_CAPTURE, 0, 0);
		e[2] = (uint32_t)tap.pcap.ended, e[3] = tap.pcap.missed;
		tap.pcap.ended = 0, tap.pcap.missed = 0;
	}
	if (tap.gone && !tap_gone_said) {
		if (tap_registered)
			epoll_ctl(epoll, EPOLL_CTL_DEL, tap.fd, nullptr);
		tap_registered = false, tap_gone_said = true;
		results.add(EV_TAP_GONE, 0, 0)[2] = (uint32_t)tap.gone;
	}
}

void Engine::ctl_ready()
{
	ssize_t n = recv(ctl, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (!rings.room() || (n > 0 && (uint32_t)n > rings.rx_left() && (size_t)n <= CTL_MAX))
		return; /* next turn: level-triggered */
	if (n <= 0) {
		epoll_ctl(epoll, EPOLL_CTL_DEL, ctl, nullptr);
		ctl_registered = false;
		rings.post(EV_CTL, 0);
		return;
	}
	const uint32_t at = rings.rx_next();
	std::vector<int> passed;
	n = ctl_read(ctl, rings.slab + at, std::min((size_t)n, (size_t)rings.rx_left()), passed);
	if (n <= 0 || take_sockets(rings.slab + at, (size_t)n, passed))
		return;
	for (const int fd : passed)
		close(fd);
	uint32_t *const e = rings.post(EV_CTL, 0);
	e[2] = at, e[3] = (uint32_t)n;
	rings.rx_take((uint32_t)n);
}

} // namespace passt
