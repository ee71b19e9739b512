#include "open.h"
#include "compat.h"

#include <cerrno>
#include <cstring>
#include <utility>
#include <unistd.h>

namespace passt {

static bool is_multicast(const Target &t)
{
	return t.v6() ? t.dst[0] >> 24 == 0xff : t.dst[3] >> 28 == 0xe;
}

void Opener::open(const fx::Open &e, Kind kind)
{
	Sock *const s = table.new_sock(e.handle, kind);
	if (!s)
		return;
	const Target t(e);

	s->v6 = t.v6();
	s->listener = kind == Kind::Udp ? e.listener : 0;
	s->hold = s->listener ? HOLDS : 0;
	s->multicast = is_multicast(t);
	s->limited = kind == Kind::Udp && e.flags & READ_LIMIT;
	s->group = t.group, s->scope = t.scope, s->in_namespace = t.in_namespace;
	memcpy(s->peer, t.dst, sizeof(s->peer));
	s->peer_port = kind == Kind::Udp ? t.port : (uint16_t)0;

	if (given >= 0 && kind == Kind::Udp) {
		came(*s, e, std::exchange(given, -1), true);
		return;
	}
	if (t.in_namespace && kind == Kind::Ping)
		return table.abandon(*s, EOPNOTSUPP);
	const int fd = t.in_namespace ? pools.take(*s, e) : make_socket(kind, s->v6);
	if (fd >= 0)
		came(*s, e, fd);
	else if (!t.in_namespace || fd != -EAGAIN)
		table.abandon(*s, -fd);
}

void Opener::give(const fx::Descriptor &e)
{
	if (given >= 0)
		close(given);
	given = (int)e.descriptor;
}

Opener::~Opener()
{
	if (given >= 0)
		close(given);
}

/** The second half of opening: `fd` is new, from here or from the namespace; or `whole`, bound and connected already. */
void Opener::came(Sock &s, const fx::Open &e, int fd, bool whole)
{
	Target t(e);

	/* While it waited for one */
	if (s.phase == Phase::Failed) {
		close(fd);
		return;
	}
	if (s.kind == Kind::Splice)
		return splices.connect(s, t, fd);
	s.fd = fd;
	if (s.listener)
		listeners.inherit_from_listener(t, s.listener - 1);
	Ports &ports = table.own_ports[t.in_namespace];
	t.ports = &ports;
	int error = whole ? 0 : prepare_socket(fd, s.kind, t, outbound);
	if (!error && t.group && !whole)
		error = bind_towards_group(fd, t, outbound);
	if (!error)
		error = table.register_sock(s); /* before connect(): #regression-77 */
	bool refused = false;
	if (!error && !t.group && !whole) {
		sockaddr_storage ss;
		const socklen_t len = to_sockaddr(ss, t.dst, t.port, t.scope, s.v6);
		error = connect(fd, reinterpret_cast<sockaddr *>(&ss), len) ? errno : 0;
		refused = error;
	}
	if (s.kind == Kind::Tcp && error == EINPROGRESS)
		return;
	if (error)
		return table.abandon(s, error, refused);
	if (s.kind == Kind::Udp && t.src_port && !t.group)
		keep_port(s, ports, t.src_port);
	if (const ListenSock *const l = s.listener ? listeners.find(s.listener - 1) : nullptr)
		s.listener_serial = l->serial;
	s.phase = Phase::Open;
	if (t.group)
		table.event<ev::Bound>(s).port = bound_port(fd);
	if (s.kind == Kind::Tcp)
		tcp.connected(s);
	else
		sender.send_kept(s);
}

/** It has the port that it was to have: others of ours may come. Connected, since that settles its address. */
void Opener::keep_port(Sock &s, Ports &ports, uint16_t port)
{
	const Local at(s.fd);

	if (at.port != port)
		return;
	/* What came between bind() and connect() */
	if (!s.listener)
		s.listener = ports.listener_at(at);
	ports.add(s.fd, at, 0);
}

void Opener::adopt(const fx::Slot &e)
{
	bool v6 = false;
	const int fd = listeners.slots.take(e.slot, v6);
	Sock *const s = table.new_sock(e.handle, Kind::Tcp);

	if (!s || fd < 0) {
		if (fd >= 0)
			close_hard(fd);
		if (s)
			table.abandon(*s, EBADF);
		return;
	}
	s->fd = fd, s->v6 = v6;
	if (const int error = table.register_sock(*s))
		return table.abandon(*s, error);
	tcp.connected(*s);
}

void Opener::reject(uint32_t slot)
{
	bool v6;
	const int fd = listeners.slots.take(slot, v6);
	if (fd >= 0)
		close_hard(fd);
}

bool Opener::set_ports(uint16_t first, uint16_t last)
{
	const uint32_t range = (uint32_t)last << 16 | first;
	const int fd = make_socket(Kind::Tcp, false);
	const bool works = fd >= 0 && !setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range));

	if (fd >= 0)
		close(fd);
	outbound.ports = works ? range : 0;
	return works;
}

void Opener::serve_waiting()
{
	NsPool::Waiting w;
	int fd;

	while (pools.next(w, fd))
		came(table.at(w.effect.handle), w.effect, fd);
	pools.ask_for_waiting();
}

} // namespace passt
