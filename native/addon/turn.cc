/* One loop turn: effects, results, epoll, readiness. */
#include "engine.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace passt {

enum : uint64_t { ID_TAP = UINT64_MAX, ID_CTL = UINT64_MAX - 1 };
enum : int { EPOLL_BATCH = 256 };

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
	execute(effects < rings.size.effects ? effects : rings.size.effects);
	rings.rx_reset();
	tap_report();
	results.deliver(rings, [this](uint32_t h) { return generation(h); });
	wait(rings.posted || !results.empty() ? 0 : timeout_ms);
	tap_report();
	results.deliver(rings, [this](uint32_t h) { return generation(h); });
	return (int)rings.posted;
}

void Engine::execute(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		execute_one(rings.effects[i]);
	flush_all();
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
		if ((s = sock(handle))) {
			if (e[0] == EF_CLOSE && s->phase == Phase::Open)
				flush(*s);
			close_sock(*s, e[0] == EF_RESET);
		}
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
		query(*s);
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

void Engine::wait(double timeout_ms)
{
	epoll_event ev[EPOLL_BATCH];
	if (!(timeout_ms >= 0)) /* NaN as well */
		timeout_ms = -1;
	/* EINTR: back to JS, which may have a signal to look at */
	const int n = epoll_wait_ms(epoll, ev, EPOLL_BATCH, timeout_ms > 1e12 ? -1 : timeout_ms);

	*rings.clock = now_ms();
	for (int i = 0; i < n; i++)
		ready(ev[i].data.u64, ev[i].events);
}

void Engine::ready(uint64_t what, uint32_t events)
{
	if (what == ID_TAP)
		return tap_ready(events);
	if (what == ID_CTL)
		return ctl_ready();
	Sock *const s = sock((uint32_t)what);
	/* Closed, or closed and used again, since the kernel queued this */
	if (!s || s->generation != (uint32_t)(what >> 32))
		return;
	if (s->kind == Kind::Tcp)
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
	const uint32_t len = (uint32_t)n < rings.rx_left() ? (uint32_t)n : rings.rx_left();
	n = recv(ctl, rings.slab + at, len, MSG_DONTWAIT);
	if (n <= 0)
		return;
	uint32_t *const e = rings.post(EV_CTL, 0);
	e[2] = at, e[3] = (uint32_t)n;
	rings.rx_take((uint32_t)n);
}

} // namespace passt
