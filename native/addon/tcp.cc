#include "tcp.h"
#include "abi.h"
#include "compat.h"

#include <cerrno>
#include <sys/epoll.h>

namespace passt {

void Tcp::connected(Sock &s)
{
	s.phase = Phase::Open;
	/* TCP since Linux 6.9, IPv6 later: asked for socket by socket */
	s.peek_off_kept = peek_off_works && set_int(s.fd, SOL_SOCKET, SO_PEEK_OFF, 0);
	read_info(s.fd, table.event<ev::Connected>(s).info);
	if (s.pending && s.pending->size()) {
		sender.flush_pending(s);
		sender.report_sent(s);
	} else if (s.shut_due) {
		sender.shutdown_wr(s);
	}
}

void Tcp::ready(Sock &s, uint32_t events)
{
	if (s.phase == Phase::Failed)
		return;
	if (s.phase == Phase::Connecting) {
		if (const int e = take_error(s.fd))
			return table.fail(s, e);
		if (events & EPOLLHUP)
			return table.fail(s, ECONNRESET);
		if (!(events & EPOLLOUT))
			return;
		connected(s);
		if (s.phase != Phase::Open)
			return;
	}

	/* EPOLLERR is mostly the error queue with acknowledgements; a socket with a real error also hangs up */
	int error = 0;
	if (events & EPOLLERR) {
		const bool acks = read_acks(s), hup = events & EPOLLHUP;
		/* Left in the socket where it can be: so recv() tells whether the stream had ended before. Not where each look begins at the queue's head. */
		const bool left = hup && !acks && s.peek_off_kept && table.keeps(s, 0);
		if (!left && (hup || !acks))
			error = take_error(s.fd);
	}
	if (events & (EPOLLRDHUP | EPOLLHUP))
		s.rdhup = true;
	if (events & EPOLLRDHUP && !(events & EPOLLHUP))
		s.fin = true;
	if (events & EPOLLOUT && !error && !s.over && s.pending && s.pending->size()) {
		sender.flush_pending(s);
		sender.report_sent(s);
		if (s.phase != Phase::Open)
			return;
	}
	const bool out = events & EPOLLOUT && !(s.pending && s.pending->size());
	uint32_t flags = (events & EPOLLIN ? READY_IN : 0u) | (s.rdhup ? READY_RDHUP : 0u);

	if (out && s.await)
		flags |= READY_INFO;
	/* Writability that nobody waits for comes with every acknowledgement: not worth a record of its own */
	if (flags || error) {
		auto &e = table.event<ev::Ready>(s);
		e.flags = flags | (out ? READY_OUT : 0u);
		if (flags & READY_INFO) {
			read_info(s.fd, e.info);
			s.await = false;
		}
	}
	if (error && !table.keeps(s, error))
		return table.fail(s, error);
	if (s.over && s.pending && s.pending->size())
		sender.give_up(s);
}

void Tcp::await_writable(Sock &s)
{	if (s.phase == Phase::Failed)
		return;
	s.await = true;
	/* Arms the edge anew: the kernel looks at once, and marks the socket for a wake-up where there is no room */
	core.watch(EPOLL_CTL_MOD, s.fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, table.word(s));
}

void Tcp::discard(Sock &s, uint32_t octets)
{
	while (octets && s.phase == Phase::Open) {
		const ssize_t n = recv(s.fd, nullptr, octets, MSG_TRUNC | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* there was less than the guest has acknowledged: the stream is broken */
			return table.fail(s, n ? errno : EPROTO);
		octets -= (uint32_t)n;
		/* The kernel lowers its peek offset likewise */
		s.peek_off -= s.peek_off < (uint32_t)n ? s.peek_off : (uint32_t)n;
	}
	if (s.over && s.phase == Phase::Open && !table.keeps(s, 0)) {
		const int error = s.broken ? s.broken : take_error(s.fd);
		table.fail(s, error ? error : ECONNRESET);
	}
}

void Tcp::rewind(Sock &s, uint32_t octets)
{
	if (s.phase != Phase::Open)
		return;
	if (octets > INT32_MAX || (s.peek_off_kept && !set_int(s.fd, SOL_SOCKET, SO_PEEK_OFF, (int)octets)))
		return table.fail(s, octets > INT32_MAX ? EINVAL : errno);
	s.peek_off = octets;
}

void Tcp::report_info(Sock &s)
{
	if (s.phase == Phase::Open)
		read_info(s.fd, table.event<ev::InfoAsked>(s).info);
}

} // namespace passt
