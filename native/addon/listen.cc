#include "listen.h"
#include "compat.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstring>
#include <linux/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace passt {

/* LISTEN_SPARE: descriptors, at most, that listeners leave to others */
enum : int { BACKLOG = 128, LISTEN_SPARE = 4096 };

int set_listener_options(int fd, Kind kind, bool v6)
{
	if (kind == Kind::Tcp) { /* the connections inherit both (#regression-50; #regression-E and #regression-F) */
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		return set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1) ? 0 : errno;
	}
	set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
	if (v6) /* a dual-stack socket hears errors about IPv4 only with both */
		set_int(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
	set_int(fd, IPPROTO_IP, IP_RECVERR, 1);
	/* With IPV6_RECVPKTINFO IPv4 destinations come v4-mapped */
	return (v6 ? set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) : set_int(fd, IPPROTO_IP, IP_PKTINFO, 1)) ? 0 : errno;
}

/** UDP: `*where` is where it is then, and `ports` has those of ours that may have the port already; or nullptr. 0 or errno. */
static int bind_listener(int fd, Kind kind, const ListenAt &at, bool v6, Ports *ports, Local *where)
{
	sockaddr_storage ss;
	const socklen_t len = to_sockaddr(ss, at.addr, at.port, 0, v6);

	if (kind == Kind::Tcp) /* for UDP it would let others have a share of what comes (socket(7)) */
		set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (v6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, at.v6only);
	if (at.device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, at.device, (socklen_t)strlen(at.device) + 1))
		return errno;
	if (at.freebind && !set_int(fd, IPPROTO_IP, IP_FREEBIND, 1))
		return errno;
	if (const int e = set_listener_options(fd, kind, v6))
		return e;
	if (kind == Kind::Udp && where)
		*where = Local(fd, &ss);
	if (kind == Kind::Udp && where && ports && ports->any(at.port))
		return ports->listener_excludes(*where) ? EADDRINUSE : ports->bind(fd, *where, ss, len);
	if (bind(fd, reinterpret_cast<sockaddr *>(&ss), len) || (kind == Kind::Tcp && listen(fd, BACKLOG)))
		return errno;
	if (where && !at.port)
		where->port = bound_port(fd);
	return 0;
}

/** As open_listener(), of one IP version. */
static int open_family(Kind kind, const ListenAt &at, bool v6, Ports *ports, Local *where)
{
	const int fd = make_socket(kind, v6);
	if (fd < 0)
		return fd;
	if (const int e = bind_listener(fd, kind, at, v6, ports, where)) {
		close(fd);
		return -e;
	}
	return fd;
}

int open_listener(Kind kind, const ListenAt &at, Ports *ports, Local *where)
{
	const bool v6 = !Target::is_v4(at.addr);
	const int fd = open_family(kind, at, v6, ports, where);

	/* No IPv6 here: the dual-stack wildcard means IPv4 alone (#regression-88, #regression-90) */
	if ((fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL) || !v6 || at.v6only ||
	    (at.addr[0] | at.addr[1] | at.addr[2] | at.addr[3]))
		return fd;
	ListenAt v4 = at;
	v4.addr[2] = 0xffff;
	return open_family(kind, v4, false, ports, where);
}

uint32_t Slots::put(int fd, bool v6)
{
	slot[used] = {fd, v6};
	return first + used++;
}

int Slots::take(uint32_t number, bool &v6)
{
	if (number - first >= used)
		return -1;
	auto &s = slot[number - first];
	const int fd = s.fd;
	v6 = s.v6;
	s.fd = -1;
	return fd;
}

void Slots::clear()
{
	for (uint32_t i = 0; i < used; i++) {
		if (slot[i].fd >= 0)
			close_hard(slot[i].fd);
	}
	first += used;
	used = 0;
}

int Listeners::watch(uint32_t id, bool on, int op)
{
	return core.watch(op, listeners[id].fd, on ? (uint32_t)EPOLLIN : 0u, id | (uint32_t)TAG_LISTENER);
}

int Listeners::add(uint32_t id, const ListenSock &l, const Local &where, bool foreign)
{
	if (id >= LISTENERS_MAX)
		return EINVAL;
	if (find(id))
		return EEXIST;
	if (id >= listeners.size())
		listeners.resize(id + 1, ListenSock{});
	listeners[id] = l;
	listeners[id].serial = ++serials;
	const int e = watch(id, true, EPOLL_CTL_ADD);
	if (e)
		listeners[id] = ListenSock{};
	else if (l.kind == Kind::Udp) /* its flows answer from the same port */
		table.own_ports[l.ns].add(l.fd, where, 1 + id, foreign);
	return e;
}

/** Highest descriptor for a listener: some are left, for the flows that listeners bring and for all else. */
static int last_for_listeners()
{
	rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur > INT_MAX)
		return INT_MAX;
	return (int)(r.rlim_cur - std::min<rlim_t>(r.rlim_cur / 8, LISTEN_SPARE));
}

/** Takes over its descriptor in any case. */
int Listeners::add_opened(uint32_t id, const ListenSock &l, const Local &where)
{
	/* getrlimit() only for a descriptor above the last bound that is known */
	if (l.fd > last_fd)
		last_fd = last_for_listeners();
	const int e = l.fd > last_fd ? EMFILE : add(id, l, where);
	if (e)
		::close(l.fd);
	return e;
}

int Listeners::listen(uint32_t id, Kind kind, const ListenAt &at)
{
	if (id >= LISTENERS_MAX || core.epoll < 0)
		return EINVAL;
	if (find(id))
		return EEXIST;
	Local where;
	const int fd = open_listener(kind, at, &table.own_ports[0], &where);
	if (fd < 0)
		return -fd;
	return add_opened(id, {fd, kind, at.device != nullptr, at.freebind, false, false}, where);
}

int Listeners::listen_in_namespace(uint32_t id, const ListenAt &at, int fd)
{
	const bool v6 = !Target::is_v4(at.addr);
	Local where;
	const int e = id >= LISTENERS_MAX ? EINVAL
		      : find(id)          ? EEXIST
					  : bind_listener(fd, Kind::Udp, at, v6, &table.own_ports[1], &where);
	if (!e)
		return add_opened(id, {fd, Kind::Udp, at.device != nullptr, at.freebind, false, true}, where);
	::close(fd);
	return e;
}

int Listeners::adopt(uint32_t id, int fd, Kind kind, uint32_t flags)
{
	int domain = 0, type = 0;
	socklen_t n = sizeof(domain), m = sizeof(type);
	char device[64];
	socklen_t len = sizeof(device);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &m))
		return errno;
	const bool local = flags & LISTEN_UNIX;
	if ((local ? domain != AF_UNIX : domain != AF_INET && domain != AF_INET6) || type != (kind == Kind::Tcp ? SOCK_STREAM : SOCK_DGRAM))
		return EPROTOTYPE;
	if (const int e = local ? 0 : set_listener_options(fd, kind, domain == AF_INET6))
		return e;
	if (const int e = set_nonblocking(fd))
		return e;
	if (local)
		return add(id, {fd, kind, false, false, false, false}, Local());
	const bool bound = !getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &len) && len;
	const bool ns = flags & LISTEN_IN_NAMESPACE, freebind = flags & LISTEN_FREEBIND;
	/* Somebody else may have made it and handed it over */
	struct stat st;
	const bool foreign = kind == Kind::Udp && !ns && !fstat(fd, &st) && st.st_uid != geteuid();
	return add(id, {fd, kind, bound, freebind, false, ns}, kind == Kind::Udp ? Local(fd) : Local(), foreign);
}

bool Listeners::close(uint32_t id)
{
	ListenSock *const l = find(id);
	if (!l)
		return false;
	/* Another process may hold the socket as well: closing alone would leave it in the set (#regression-70) */
	core.unwatch(l->fd);
	if (l->kind == Kind::Udp)
		table.own_ports[l->ns].remove(l->fd);
	::close(l->fd);
	*l = ListenSock{};
	return true;
}

/** Out of the state in which it accepts, though bound: so SO_REUSEADDR lets another one in (socket(7)). */
bool Listeners::silence(uint32_t id)
{
	ListenSock *const l = find(id);
	if (!l || l->kind != Kind::Tcp)
		return false;
	core.unwatch(l->fd); /* it hangs up, which cannot be masked */
	/* Only what listens: shut down a second time, it would hand its state down to all that it accepts later */
	int listens = 0;
	socklen_t len = sizeof(listens);
	if (!getsockopt(l->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) && listens)
		shutdown(l->fd, SHUT_RDWR);
	l->paused = false;
	return true;
}

int Listeners::listen_again(uint32_t id)
{
	ListenSock *const l = find(id);
	if (!l || l->kind != Kind::Tcp)
		return ENOENT;
	if (::listen(l->fd, BACKLOG))
		return errno;
	const int e = watch(id, true, EPOLL_CTL_ADD);
	return e == EEXIST ? 0 : e;
}

/** The kernel lets sockets of one user share a port: listeners opened by root are the later user's (inode(7), fchown(2)). */
int Listeners::give(uint32_t uid, uint32_t gid)
{
	for (const ListenSock &l : listeners) {
		if (l.kind == Kind::Udp && fchown(l.fd, uid, gid))
			return errno;
	}
	table.own_ports[0].own();
	return 0;
}

/** Errors of accept() by which nothing is wrong with the listener: accept(2), "Error handling". */
static bool only_this_one(int e)
{
	return e == EINTR || e == ECONNABORTED || e == EPROTO || e == EPERM || e == ENETDOWN || e == ENOPROTOOPT ||
	       e == EHOSTDOWN || e == ENONET || e == EHOSTUNREACH || e == EOPNOTSUPP || e == ENETUNREACH;
}

void Listeners::ready(uint32_t id, ListenSock &l)
{
	for (uint32_t i = 0; i < ACCEPT_BURST && !slots.full() && rings.room(); i++) {
		sockaddr_storage peer = {}, local = {};
		socklen_t peer_len = sizeof(peer), local_len = sizeof(local);
		const int fd = accept4(l.fd, reinterpret_cast<sockaddr *>(&peer), &peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EAGAIN)
				return;
			if (only_this_one(errno))
				continue;
			return pause(id, errno);
		}
		if (getsockname(fd, reinterpret_cast<sockaddr *>(&local), &local_len)) {
			close_hard(fd);
			continue;
		}
		auto &e = rings.post<ev::Accepted>(id);
		uint16_t peer_port = 0, local_port = 0;
		from_sockaddr(peer, e.peer_addr, &peer_port);
		from_sockaddr(local, e.local_addr, &local_port);
		/* From a dual-stack listener IPv4 comes mapped, and so does the socket stay: AF_INET6 */
		e.slot = slots.put(fd, peer.ss_family == AF_INET6);
		e.ports = peer_port | (uint32_t)local_port << 16;
		e.scope = peer.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6 &>(peer).sin6_scope_id : 0;
	}
}

/** Out of descriptors, memory: let the backlog wait instead of looping around a listener that stays readable. */
void Listeners::pause(uint32_t id, int error)
{
	const bool passing = is_want(error);
	const bool said = passing && !paused.empty();

	if (passing) {
		watch(id, false, EPOLL_CTL_MOD);
		listeners[id].paused = true;
		paused.push_back(id);
		if (!said)
			resume_at = *rings.clock + ACCEPT_PAUSE;
	} else { /* a hang-up cannot be masked, so out of the set */
		core.unwatch(listeners[id].fd);
	}
	if (!said)
		results.add<ev::ListenTrouble>(id, 0).error = (uint32_t)error;
}

void Listeners::resume()
{
	if (paused.empty() || *rings.clock < resume_at)
		return;
	for (const uint32_t id : paused) {
		ListenSock *const l = find(id);
		if (!l || !l->paused)
			continue;
		l->paused = false;
		watch(id, true, EPOLL_CTL_MOD);
	}
	paused.clear();
}

void Listeners::inherit_from_listener(Target &t, uint32_t id)
{
	const ListenSock *const l = find(id);
	char device[64];
	socklen_t len = sizeof(device);

	if (!l)
		return;
	t.freebind = l->freebind;
	t.exact = true;
	if (l->device && !getsockopt(l->fd, SOL_SOCKET, SO_BINDTODEVICE, device, &len) && len)
		t.device.assign(device, strnlen(device, len));
}

double Listeners::due() const
{
	return paused.empty() ? INFINITY : resume_at;
}

Listeners::~Listeners()
{
	for (uint32_t id = 0; id < listeners.size(); id++)
		close(id);
}

} // namespace passt
