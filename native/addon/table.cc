#include "table.h"

#include <cerrno>
#include <cstring>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace passt {

Table::~Table()
{
	for (uint32_t i = 0; socks && i < rings.size.handles; i++) {
		if (socks[i].kind != Kind::None)
			close_sock(socks[i], false);
	}
	if (socks)
		munmap(socks, sizeof(Sock) * rings.size.handles);
}

int Table::open(uint32_t handles)
{
	void *const p = mmap(nullptr, sizeof(Sock) * handles, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return ENOMEM;
	socks = static_cast<Sock *>(p);
	return 0;
}

void Table::fill(ev::SpliceFailed &e, const Splice &x, uint32_t side, int error)
{
	e.side = side;
	e.error = (uint32_t)error;
	for (uint32_t i = 0; i < 2; i++) {
		e.moved[2 * i] = (uint32_t)x.way[i].moved;
		e.moved[2 * i + 1] = (uint32_t)(x.way[i].moved >> 32);
	}
}

void Table::unregister(const Sock &s)
{
	core.unwatch(s.fd);
}

void Table::fail(Sock &s, int error, bool refused)
{
	if (s.phase == Phase::Failed)
		return;
	unregister(s); /* #regression-28, #regression-70 */
	drop_pending(s);
	s.phase = Phase::Failed;
	s.error = error;
	auto &e = event<ev::Failed>(s);
	e.refused = refused, e.error = (uint32_t)error;
}

bool Table::keeps(Sock &s, int error)
{
	Info info = {};
	int unread = 0;

	if (s.kind != Kind::Tcp || s.phase != Phase::Open || read_info(s.fd, info) != STATE_CLOSE || ioctl(s.fd, SIOCINQ, &unread) || unread <= 0)
		return false;
	s.over = true;
	s.shut = true; /* what the guest still says gets nowhere */
	if (!s.broken)
		s.broken = error;
	/* As the kernel says it of a reset that came behind the end of the stream (tcp_reset()) */
	s.fin |= error == EPIPE;
	return true;
}

void Table::close_sock(Sock &s, bool reset)
{
	forget_port(s);
	if (s.kind == Kind::Splice) {
		close_splice(s, reset);
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
	end_move(s);
	s = Sock{};
	s.generation = ++generations;
}

/** Before the socket is closed: another may have to guard the port now. */
void Table::forget_port(const Sock &s)
{
	if (s.kind == Kind::Udp && s.fd >= 0)
		own_ports[s.in_namespace].remove(s.fd);
}

int Table::register_sock(const Sock &s)
{
	const uint32_t events = s.kind == Kind::Tcp ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN;
	return core.watch(EPOLL_CTL_ADD, s.fd, events, word(s));
}

Sock *Table::new_sock(uint32_t handle, Kind kind)
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

void Table::abandon(Sock &s, int error, bool refused)
{
	if (s.kind == Kind::Splice)
		return fail_splice(s, 1, error);
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
	auto &e = event<ev::Failed>(s);
	e.refused = refused, e.error = (uint32_t)error;
}

void Table::local_end(uint32_t handle, uint32_t *addr, uint32_t &port)
{
	if (const Sock *const s = sock(handle))
		end_of(s->fd, addr, port);
}

void Table::end_of(int fd, uint32_t *addr, uint32_t &port)
{
	sockaddr_storage own = {};
	socklen_t len = sizeof(own);
	uint16_t number = 0;

	if (getsockname(fd, reinterpret_cast<sockaddr *>(&own), &len))
		return;
	from_sockaddr(own, addr, &number);
	port = number;
}

Table::Held Table::memory_of_handle(uint32_t handle, bool freeze)
{
	Held all = {};
	const auto add = [&](int fd) {
		if (fd < 0)
			return;
		all.octets += memory_of(fd, freeze);
		all.moved += moved_of(fd);
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

void Table::drop_pending(Sock &s)
{
	if (!s.pending)
		return;
	pending_all -= s.pending->size();
	s.pending->consume(s.pending->size());
	s.unreported = 0;
}

void Table::end_move(Sock &s)
{
	if (!s.move)
		return;
	dumped_all -= s.move->send.size() + s.move->receive.size();
	delete s.move;
	s.move = nullptr;
}

void Table::drop_splice(Splice &x)
{
	for (SpliceWay &w : x.way) {
		pipes.put(w.pipe, w.inside);
		w.inside = 0;
		pending_all -= w.rest.size();
		w.rest.consume(w.rest.size());
	}
}

void Table::fail_splice(Sock &s, uint32_t side, int error)
{
	if (s.phase == Phase::Failed)
		return;
	for (const SpliceSide &k : s.splice->side) {
		if (k.fd >= 0)
			core.unwatch(k.fd);
	}
	drop_splice(*s.splice);
	s.phase = Phase::Failed;
	s.error = error;
	splice_event<ev::SpliceFailed>(s, side, error);
}

void Table::close_splice(Sock &s, bool reset)
{
	for (const SpliceSide &k : s.splice->side) {
		if (k.fd < 0)
			continue;
		if (s.phase != Phase::Failed) /* #regression-70 */
			core.unwatch(k.fd);
		if (reset)
			close_hard(k.fd);
		else
			close(k.fd);
	}
	drop_splice(*s.splice);
	delete s.splice;
}

} // namespace passt
