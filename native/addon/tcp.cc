/* Host TCP sockets: readiness, connection, the head of the receive queue. */
#include "abi.h"
#include "compat.h"
#include "engine.h"

#include <cerrno>
#include <sys/epoll.h>

namespace passt {

void Engine::connected(Sock &s)
{
	s.phase = Phase::Open;
	/* TCP since Linux 6.9, IPv6 later: asked for socket by socket */
	s.peek_off_kept = peek_off_works && set_int(s.fd, SOL_SOCKET, SO_PEEK_OFF, 0);
	read_info(s.fd, event(EV_CONNECTED, s));
	if (s.pending && s.pending->size()) {
		flush_pending(s);
		report_sent(s);
	} else if (s.shut_due) {
		shutdown_wr(s);
	}
}

void Engine::tcp_ready(Sock &s, uint32_t events)
{
	if (s.phase == Phase::Failed)
		return;
	if (s.phase == Phase::Connecting) {
		if (const int e = take_error(s.fd))
			return fail(s, e);
		if (events & EPOLLHUP)
			return fail(s, ECONNRESET);
		if (!(events & EPOLLOUT))
			return;
		connected(s);
		if (s.phase != Phase::Open)
			return;
	}

	/* EPOLLERR is mostly the error queue with acknowledgements; a socket with a real error also hangs up */
	int error = 0;
	if (events & EPOLLERR && (!read_acks(s) || events & EPOLLHUP))
		error = take_error(s.fd);
	if (events & (EPOLLRDHUP | EPOLLHUP))
		s.rdhup = true;
	if (events & EPOLLOUT && !error && s.pending && s.pending->size()) {
		flush_pending(s);
		report_sent(s);
		if (s.phase != Phase::Open)
			return;
	}
	const bool out = events & EPOLLOUT && !(s.pending && s.pending->size());
	uint32_t flags = (events & EPOLLIN ? READY_IN : 0u) | (s.rdhup ? READY_RDHUP : 0u);

	if (out && s.await)
		flags |= READY_INFO;
	/* Writability that nobody waits for comes with every acknowledgement: not worth a record of its own */
	if (flags || error) {
		uint32_t *const e = event(EV_READY, s);
		e[2] = flags | (out ? READY_OUT : 0u);
		if (flags & READY_INFO) {
			read_info(s.fd, e);
			s.await = false;
		}
	}
	if (error) /* behind what is still readable: #regression-4, #regression-86 */
		fail(s, error);
}

void Engine::await_writable(Sock &s)
{
	epoll_event ev = {};
	ev.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	ev.data.u64 = handle_of(s) | (uint64_t)s.generation << 32;

	if (s.phase == Phase::Failed)
		return;
	s.await = true;
	/* Arms the edge anew: the kernel looks at once, and marks the socket for a wake-up where there is no room */
	epoll_ctl(epoll, EPOLL_CTL_MOD, s.fd, &ev);
}

void Engine::discard(Sock &s, uint32_t octets)
{
	while (octets && s.phase == Phase::Open) {
		const ssize_t n = recv(s.fd, nullptr, octets, MSG_TRUNC | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* there was less than the guest has acknowledged: the stream is broken */
			return fail(s, n ? errno : EPROTO);
		octets -= (uint32_t)n;
		/* The kernel lowers its peek offset likewise */
		s.peek_off -= s.peek_off < (uint32_t)n ? s.peek_off : (uint32_t)n;
	}
}

void Engine::rewind(Sock &s, uint32_t octets)
{
	if (s.phase != Phase::Open)
		return;
	if (octets > INT32_MAX || (s.peek_off_kept && !set_int(s.fd, SOL_SOCKET, SO_PEEK_OFF, (int)octets)))
		return fail(s, octets > INT32_MAX ? EINVAL : errno);
	s.peek_off = octets;
}

void Engine::report_info(Sock &s)
{
	if (s.phase == Phase::Open)
		read_info(s.fd, event(EV_INFO, s));
}

} // namespace passt
