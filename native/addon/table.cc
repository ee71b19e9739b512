/* The table of host sockets: opening, failing, closing, events about them. */
#include "engine.h"

#include <cerrno>
#include <cstring>
#include <sys/epoll.h>
#include <unistd.h>

namespace passt {

Sock *Engine::sock(uint32_t handle, Kind kind)
{
	if (handle >= rings.size.handles)
		return nullptr;
	Sock &s = socks[handle];

	if (s.kind == Kind::None || (kind != Kind::None && s.kind != kind))
		return nullptr;
	return &s;
}

uint32_t Engine::generation(uint32_t handle) const
{
	return handle < rings.size.handles ? socks[handle].generation : 0;
}

uint32_t *Engine::event(uint32_t kind, const Sock &s)
{
	return results.add(kind, handle_of(s), s.generation);
}

void Engine::unregister(const Sock &s)
{
	epoll_ctl(epoll, EPOLL_CTL_DEL, s.fd, nullptr);
}

void Engine::fail(Sock &s, int error)
{
	if (s.phase == Phase::Failed)
		return;
	unregister(s); /* regressions 28, 70 */
	drop_pending(s);
	s.phase = Phase::Failed;
	s.error = error;
	event(EV_FAILED, s)[13] = (uint32_t)error;
}

void Engine::close_sock(Sock &s, bool reset)
{
	if (s.phase != Phase::Failed)
		unregister(s);
	if (reset && s.kind == Kind::Tcp) { /* regression 82 */
		const linger hard = {1, 0};
		setsockopt(s.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	}
	close(s.fd);
	drop_pending(s);
	delete s.pending;
	s = Sock{};
	s.generation = ++generations;
}

int Engine::connect_sock(Sock &s, const Target &t)
{
	epoll_event ev = {};
	ev.events = s.kind == Kind::Tcp ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN;
	ev.data.u64 = handle_of(s) | (uint64_t)s.generation << 32;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, s.fd, &ev)) /* before connect(): regression 77 */
		return errno;

	sockaddr_storage ss;
	const socklen_t len = to_sockaddr(ss, t.dst, t.port, t.scope, s.v6);
	if (!connect(s.fd, reinterpret_cast<sockaddr *>(&ss), len))
		return 0;
	return errno;
}

static bool is_multicast(const Target &t)
{
	return t.v6() ? t.dst[0] >> 24 == 0xff : t.dst[3] >> 28 == 0xe;
}

Sock *Engine::open_sock(const uint32_t *e, Kind kind)
{
	if (e[1] >= rings.size.handles)
		return nullptr;
	Sock &s = socks[e[1]];
	const Target t(e);

	/* Still open: whoever used the handle before has forgotten to close it */
	if (s.kind != Kind::None)
		close_sock(s, true);
	s = Sock{};
	s.generation = ++generations;

	const int fd = open_socket(kind, t, outbound);
	if (fd < 0) {
		event(EV_FAILED, s)[13] = (uint32_t)-fd;
		return nullptr;
	}
	s.fd = fd, s.kind = kind, s.v6 = t.v6();
	s.verify = kind == Kind::Udp;
	s.multicast = is_multicast(t);
	memcpy(s.peer, t.dst, sizeof(s.peer));
	s.peer_port = kind == Kind::Udp ? t.port : (uint16_t)0;

	const int error = connect_sock(s, t);
	if (kind == Kind::Tcp && error == EINPROGRESS) {
		s.phase = Phase::Connecting;
	} else if (error) {
		unregister(s);
		close(fd);
		s.kind = Kind::None;
		event(EV_FAILED, s)[13] = (uint32_t)error;
		return nullptr;
	} else {
		s.phase = Phase::Open;
		if (kind == Kind::Tcp)
			connected(s);
	}
	return &s;
}

} // namespace passt
