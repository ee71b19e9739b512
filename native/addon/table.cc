/* The table of host sockets: opening, failing, closing, events about them. */
#include "compat.h"
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

void Engine::fail(Sock &s, int error, bool refused)
{
	if (s.phase == Phase::Failed)
		return;
	unregister(s); /* #regression-28, #regression-70 */
	drop_pending(s);
	s.phase = Phase::Failed;
	s.error = error;
	uint32_t *const e = event(EV_FAILED, s);
	e[12] = refused, e[13] = (uint32_t)error;
}

void Engine::close_sock(Sock &s, bool reset)
{
	forget_port(s);
	if (s.kind == Kind::Splice) {
		splice_free(s, reset);
	} else if (s.fd >= 0) {
		if (s.phase != Phase::Failed)
			unregister(s);
		if (reset && s.kind == Kind::Tcp)
			close_hard(s.fd);
		else
			close(s.fd);
	}
	drop_pending(s);
	delete s.pending;
	s = Sock{};
	s.generation = ++generations;
}

/** Before the socket is closed: another may have to guard the port now. */
void Engine::forget_port(const Sock &s)
{
	if (s.kind == Kind::Udp && s.fd >= 0)
		own_ports[s.in_namespace].remove(s.fd);
}

int Engine::register_sock(const Sock &s)
{
	epoll_event ev = {};
	ev.events = s.kind == Kind::Tcp ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN;
	ev.data.u64 = handle_of(s) | (uint64_t)s.generation << 32;
	return epoll_ctl(epoll, EPOLL_CTL_ADD, s.fd, &ev) ? errno : 0;
}

static bool is_multicast(const Target &t)
{
	return t.v6() ? t.dst[0] >> 24 == 0xff : t.dst[3] >> 28 == 0xe;
}

Sock *Engine::new_sock(uint32_t handle, Kind kind)
{
	if (handle >= rings.size.handles)
		return nullptr;
	Sock &s = socks[handle];

	/* Still open: whoever used the handle before has forgotten to close it */
	if (s.kind != Kind::None)
		close_sock(s, true);
	s = Sock{};
	s.generation = ++generations;
	s.kind = kind;
	s.phase = Phase::Connecting;
	s.fd = -1;
	return &s;
}

void Engine::abandon(Sock &s, int error, bool refused)
{
	if (s.kind == Kind::Splice)
		return splice_fail(s, 1, error);
	forget_port(s);
	if (s.fd >= 0) {
		unregister(s); /* #regression-28, #regression-70 */
		close(s.fd);
	}
	drop_pending(s);
	delete s.pending;
	s.pending = nullptr;
	s.kind = Kind::None;
	s.fd = -1;
	uint32_t *const e = event(EV_FAILED, s);
	e[12] = refused, e[13] = (uint32_t)error;
}

void Engine::open_sock(const uint32_t *e, Kind kind)
{
	Sock *const s = new_sock(e[1], kind);
	if (!s)
		return;
	const Target t(e);

	s->v6 = t.v6();
	s->listener = kind == Kind::Udp ? e[14] : 0;
	s->hold = s->listener ? HOLDS : 0;
	s->multicast = is_multicast(t);
	s->group = t.group, s->scope = t.scope, s->in_namespace = t.in_namespace;
	memcpy(s->peer, t.dst, sizeof(s->peer));
	s->peer_port = kind == Kind::Udp ? t.port : (uint16_t)0;

	if (t.in_namespace && kind == Kind::Ping)
		return abandon(*s, EOPNOTSUPP);
	const int fd = t.in_namespace ? ns_take(*s, e) : make_socket(kind, s->v6);
	if (fd >= 0)
		socket_came(*s, e, fd);
	else if (!t.in_namespace || fd != -EAGAIN)
		abandon(*s, -fd);
}

/** The second half of opening: `fd` is new, from here or from the namespace. */
void Engine::socket_came(Sock &s, const uint32_t *e, int fd)
{
	Target t(e);

	if (s.kind == Kind::Splice)
		return splice_connect(s, t, fd);
	s.fd = fd;
	if (s.listener)
		inherit_from_listener(t, s.listener - 1);
	Ports &ports = own_ports[t.in_namespace];
	t.ports = &ports;
	int error = prepare_socket(fd, s.kind, t, outbound);
	if (!error && t.group)
		error = bind_towards_group(fd, t, outbound);
	if (!error)
		error = register_sock(s); /* before connect(): #regression-77 */
	bool refused = false;
	if (!error && !t.group) {
		sockaddr_storage ss;
		const socklen_t len = to_sockaddr(ss, t.dst, t.port, t.scope, s.v6);
		error = connect(fd, reinterpret_cast<sockaddr *>(&ss), len) ? errno : 0;
		refused = error;
	}
	if (s.kind == Kind::Tcp && error == EINPROGRESS)
		return;
	if (error)
		return abandon(s, error, refused);
	if (s.kind == Kind::Udp && t.src_port && !t.group)
		keep_port(s, ports, t.src_port);
	s.phase = Phase::Open;
	if (t.group)
		event(EV_BOUND, s)[2] = bound_port(fd);
	if (s.kind == Kind::Tcp)
		connected(s);
	else
		send_kept(s);
}

/** It has the port that it was to have: others of ours may come. Connected, since that settles its address. */
void Engine::keep_port(Sock &s, Ports &ports, uint16_t port)
{
	const Local at(s.fd);

	if (at.port != port)
		return;
	/* What came between bind() and connect() */
	if (!s.listener)
		s.listener = ports.listener_at(at);
	ports.add(s.fd, at, 0);
}

Engine::Held Engine::memory_of_handle(uint32_t handle, bool freeze)
{
	Held all = {};
	const auto add = [&](int fd) {
		if (fd < 0)
			return;
		all.octets += memory_of(fd, freeze);
		all.moved += freeze ? moved_of(fd) : 0;
	};

	for (const uint32_t h : {handle, handle + SIDE_1}) {
		const Sock *const s = sock(h);
		if (!s)
			continue;
		if (s->kind == Kind::Splice && s->splice)
			for (const SpliceSide &side : s->splice->side)
				add(side.fd);
		else
			add(s->fd);
	}
	return all;
}

bool Engine::set_ports(uint16_t first, uint16_t last)
{
	const uint32_t range = (uint32_t)last << 16 | first;
	const int fd = make_socket(Kind::Tcp, false);
	const bool works = fd >= 0 && !setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range));

	if (fd >= 0)
		close(fd);
	outbound.ports = works ? range : 0;
	return works;
}

/** What the listener of a flow was told to use, the flow's socket shall use as well. */
void Engine::inherit_from_listener(Target &t, uint32_t id)
{
	const ListenSock *const l = listener(id);
	char device[64];
	socklen_t len = sizeof(device);

	if (!l)
		return;
	t.freebind = l->freebind;
	t.exact = true;
	if (l->device && !getsockopt(l->fd, SOL_SOCKET, SO_BINDTODEVICE, device, &len) && len)
		t.device.assign(device, strnlen(device, len));
}

} // namespace passt
