#include "splices.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

namespace passt {

enum : size_t {
	/* Up to here a read is copied: two calls, no pipe, and what is short of it tells that nothing more is there */
	COPY_MAX = 16384,
	/* Splices that bring less than this for long are better copied */
	BULK_MIN = 8192,
	/* What one pair moves each way before the others have their share: alone; among others at least; and the first time,
	 * before all that have more to move. And what all that have more move before the rest of the turn */
	SHARE = 1 << 20, SHARE_MIN = 256 << 10, SHARE_FIRST = 64 << 10,
	SHARE_ALL = 4 << 20,
	/* Copied and not yet written, of all pairs: beyond that reads are small */
	REST_ALL = 64 << 20, COPY_SMALL = 4096,
};

static bool would_block(int e)
{
	return e == EAGAIN || e == EWOULDBLOCK;
}

/** EF_SPLICE: the accepted socket is side 0, side 1 is still to be made. */
void Splices::open(const fx::Open &e)
{
	bool v6 = false;
	const int accepted = listeners.slots.take(e.slot, v6);
	Sock *const s = table.new_sock(e.handle, Kind::Splice);

	if (!s) {
		if (accepted >= 0)
			close_hard(accepted);
		return;
	}
	const Target t(e);
	s->v6 = t.v6();
	s->splice = new Splice;
	s->splice->side[0].fd = accepted;
	s->splice->side[1].fd = -1;
	s->splice->side[0].local = t.from_unix, s->splice->side[1].local = t.to_unix;
	s->splice->way[0].limited = e.flags & READ_LIMIT;
	s->splice->way[1].limited = e.flags & READ_LIMIT_1;
	if (accepted < 0)
		return table.fail_splice(*s, 0, EBADF);
	set_int(accepted, IPPROTO_TCP, TCP_QUICKACK, 1);
	if (const int error = watch(*s, 0, EPOLL_CTL_ADD))
		return table.fail_splice(*s, 0, error);
	const bool by_launcher = t.in_namespace || t.to_unix;
	const int fd = t.to_unix ? pools.connect(*s, e) : by_launcher ? pools.take(*s, e) : make_socket(Kind::Tcp, s->v6);
	if (fd >= 0)
		connect(*s, t, fd);
	else if (!by_launcher || fd != -EAGAIN)
		table.fail_splice(*s, 1, -fd);
}

int Splices::watch(const Sock &s, uint32_t side, int op)
{
	const SpliceSide &k = s.splice->side[side];
	/* Ordinary data wakes those who wait for urgent data as well */
	const uint32_t events = (k.deaf ? 0u : (uint32_t)(EPOLLIN | EPOLLPRI)) | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	return core.watch(op, k.fd, events, table.word(s, side ? (uint32_t)TAG_SIDE_1 : 0u));
}

void Splices::connect(Sock &s, Target t, int fd)
{
	s.splice->side[1].fd = fd;
	if (t.to_unix) { /* it is connected */
		const int e = watch(s, 1, EPOLL_CTL_ADD);
		return e ? table.fail_splice(s, 1, e) : connected(s);
	}
	t.mss = 0; /* that word is the slot */
	int error = prepare_socket(fd, Kind::Tcp, t, outbound);
	if (!error) {
		set_int(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
		error = watch(s, 1, EPOLL_CTL_ADD); /* before connect(): #regression-77 */
	}
	if (!error) {
		sockaddr_storage ss;
		const socklen_t len = to_sockaddr(ss, t.dst, t.port, t.scope, s.v6);
		error = ::connect(fd, reinterpret_cast<sockaddr *>(&ss), len) ? errno : 0;
	}
	if (error && error != EINPROGRESS)
		return table.fail_splice(s, 1, error);
	if (!error)
		connected(s);
}

void Splices::connected(Sock &s)
{
	s.phase = Phase::Open;
	s.splice->side[0].writable = s.splice->side[1].writable = true;
	table.splice_event<ev::SpliceConnected>(s, 1);
	queue(s);
}

void Splices::queue(Sock &s)
{
	if (s.splice->queued)
		return;
	s.splice->queued = true;
	woken.push_back(table.moving(s));
}

void Splices::ready(Sock &s, uint32_t which, uint32_t events)
{
	Splice &x = *s.splice;
	SpliceSide &k = x.side[which];

	if (s.phase == Phase::Failed)
		return;
	/* The other side is full, or a limit is: each segment that comes meanwhile would wake us to hear what is known */
	if (k.readable && events & EPOLLIN && (!x.side[!which].writable || x.way[which].asked) && !k.deaf) {
		k.deaf = true;
		watch(s, which, EPOLL_CTL_MOD);
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		k.readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		k.writable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		k.hup = true;
	if (events & EPOLLPRI)
		k.urgent = true;

	if (s.phase == Phase::Connecting) {
		if (events & (EPOLLHUP | EPOLLERR) && !(k.local && which == 0)) {
			const int e = take_error(k.fd);
			return table.fail_splice(s, which, e ? e : ECONNRESET);
		}
		if (which == 1 && events & EPOLLOUT)
			connected(s);
		return;
	}
	/* Behind the end of its stream nobody reads from it, and nobody else would notice its reset */
	if (k.eof && events & (EPOLLHUP | EPOLLERR) && !k.broken) {
		k.broken = take_error(k.fd);
		k.read_over = k.read_over || k.broken;
	}
	queue(s);
}

/** Write what way `i` holds. False: it cannot go on now. */
bool Splices::push(Splice &x, uint32_t i)
{
	SpliceWay &w = x.way[i];
	SpliceSide &to = x.side[!i];
	ssize_t n;

	do { /* #regression-63: just this call again */
		if (w.rest.size())
			n = send(to.fd, w.rest.data(), w.rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
		else
			n = ::splice(w.pipe.read, nullptr, to.fd, nullptr, w.inside, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		w.moved += (size_t)n;
		if (w.rest.size()) {
			w.rest.consume((size_t)n);
			table.pending_all -= (size_t)n;
		} else {
			w.inside -= (uint32_t)n;
		}
		return true;
	}
	to.writable = false;
	if (!n || !would_block(errno)) {
		to.broken = to.broken ? to.broken : n ? errno : EPIPE;
		to.write_failed = true;
	}
	return false;
}

/** Read from side `i` by copying, and write at once. False: it cannot go on now. */
bool Splices::copy(Splice &x, uint32_t i)
{
	alignas(4096) static uint8_t copied[COPY_MAX];
	SpliceWay &w = x.way[i];
	SpliceSide &from = x.side[i], &to = x.side[!i];
	const size_t room = table.pending_all < REST_ALL ? (size_t)COPY_MAX : (size_t)COPY_SMALL;
	const size_t most = w.limited ? std::min<size_t>(room, w.allowed) : room;
	ssize_t n, m;

	do
		n = recv(from.fd, copied, most, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return end(from, n ? errno : 0);
	if (w.limited)
		w.allowed -= (uint32_t)n;
	const bool full = (size_t)n == most;
	w.bulk = full && most == COPY_MAX;
	/* All there was; what comes now has an edge of its own. Urgent data cuts reads short, an end stands behind them. */
	if (!full && !from.hup && !from.urgent && !from.local)
		from.readable = false;
	do
		m = send(to.fd, copied, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (m < 0 && errno == EINTR);
	if (m < 0) {
		to.writable = false;
		if (!would_block(errno)) {
			to.broken = to.broken ? to.broken : errno;
			to.write_failed = true;
			return false;
		}
		m = 0;
	}
	w.moved += (size_t)m;
	if (m == n)
		return true;
	if (!w.rest.append(copied + m, (size_t)(n - m))) {
		to.broken = ENOMEM;
		to.write_failed = true;
		return false;
	}
	table.pending_all += (size_t)(n - m);
	return true;
}

/** A read brought nothing: `error`, or 0 = end of stream. Always false. */
bool Splices::end(SpliceSide &from, int error)
{
	if (would_block(error)) {
		from.readable = false;
		return false;
	}
	from.read_over = true;
	if (!error && !from.broken)
		from.eof = true;
	else if (!from.broken)
		from.broken = error;
	return false;
}

/**
 * Do tokens let side `i` be read? Without any an end of its stream is found all the same, which costs none; data is asked for, once,
 * and stays where the sender's window counts it.
 */
bool Splices::may_read(Splice &x, uint32_t i)
{
	SpliceWay &w = x.way[i];
	SpliceSide &from = x.side[i];
	uint8_t first;
	ssize_t n;
	int unread = 0;

	if (!w.limited || w.allowed)
		return true;
	if (w.asked)
		return false;
	do
		n = recv(from.fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return end(from, n ? errno : 0);
	w.ask = !ioctl(from.fd, SIOCINQ, &unread) && unread > 1 ? (uint32_t)unread : 1;
	w.asked = true;
	return false;
}

void Splices::allow(Sock &s, uint32_t way, uint32_t octets)
{
	if (way > 1)
		return;
	SpliceWay &w = s.splice->way[way];
	w.allowed += octets;
	w.asked = false;
	if (s.phase == Phase::Open)
		queue(s);
}

/** Read from side `i` into a pipe, `most` octets. False: it cannot go on now. */
bool Splices::pull(Splice &x, uint32_t i, size_t most)
{
	SpliceWay &w = x.way[i];
	SpliceSide &from = x.side[i];
	ssize_t n;

	/* splice() stops at an urgent mark for ever, whatever SO_OOBINLINE says; recv() does not */
	const bool bulk = w.bulk && !from.urgent;
	if (w.limited)
		most = std::min<size_t>(most, w.allowed);
	if (bulk && !w.pipe)
		w.pipe = table.pipes.get();
	if (!bulk || !w.pipe)
		return copy(x, i);
	/* The pipe is empty: EAGAIN is about the socket (#regression-31, #regression-39, #regression-89) */
	do
		n = ::splice(from.fd, nullptr, w.pipe.write, nullptr, std::min<size_t>(w.pipe.size, most),
			     SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	if (!n) /* the end, or an urgent mark with the end behind it: recv() knows */
		return copy(x, i);
	if (n < 0)
		return end(from, errno);
	w.inside = (uint32_t)n;
	if (w.limited)
		w.allowed -= (uint32_t)n;
	w.bulk = (size_t)n >= BULK_MIN;
	return true;
}

/** Way `i` until nothing goes on or its `share` is used up. True: there is more to do. */
bool Splices::move(Splice &x, uint32_t i, size_t share)
{
	SpliceWay &w = x.way[i];
	SpliceSide &from = x.side[i], &to = x.side[!i];
	const uint64_t limit = w.moved + share;
	bool more = true;

	while (more && w.moved < limit) {
		if (to.broken) {
			more = false;
		} else if (!w.empty()) {
			more = to.writable && push(x, i);
		} else {
			/* Nothing is read that cannot be written: it stays where the sender's window counts it */
			more = from.readable && !from.read_over && to.writable && !to.shut && may_read(x, i) &&
			       pull(x, i, (size_t)(limit - w.moved));
		}
	}
	if (w.pipe && (!more || to.broken) && (w.empty() || to.broken)) {
		table.pipes.put(w.pipe, w.inside);
		w.inside = 0;
	}
	return more;
}

/** Both ways, then what is to be said. True: there is more to do. */
bool Splices::run(Sock &s, size_t share)
{
	Splice &x = *s.splice;
	bool more = false;

	for (uint32_t i = 0; i < 2; i++)
		more = move(x, i, share) || more;
	/* A side whose write failed is read to its end: what it said before it broke counts (#regression-86). Its reset woke
	 * epoll, so it is readable, now or soon */
	for (uint32_t i = 0; i < 2; i++) {
		if (x.side[i].write_failed && x.side[i].readable && !x.side[i].read_over)
			more = move(x, i, share) || more;
	}
	for (uint32_t i = 0; i < 2; i++) {
		if (const uint32_t octets = std::exchange(x.way[i].ask, 0)) {
			auto &e = table.event<ev::ReadAsks>(s);
			e.side = i, e.octets = octets;
		}
	}
	for (uint32_t i = 0; i < 2; i++) {
		SpliceSide &k = x.side[i], &o = x.side[!i];
		/* The other side takes nothing now, but has something to say to a side that is gone: it shall know */
		const bool stuck = !o.writable && (k.write_failed || (o.readable && !o.read_over));
		if (k.broken && (k.read_over || stuck || o.broken))
			return table.fail_splice(s, i, k.broken), false;
		if (k.eof && !k.eof_said && !o.broken) {
			k.eof_said = true;
			table.splice_event<ev::SpliceEof>(s, i);
		}
		if (o.shut_due && x.way[i].empty())
			shut(s, !i);
	}
	for (uint32_t i = 0; i < 2; i++) {
		SpliceSide &k = x.side[i];
		if (k.deaf && !k.readable) { /* the kernel looks at once: nothing is missed */
			k.deaf = false;
			watch(s, i, EPOLL_CTL_MOD);
		}
	}
	return more;
}

/** The pair of `m`, if there still is one: its share. Whoever has more to do comes behind the others. */
void Splices::turn(Moving m, size_t share)
{
	if (table.generation(m.handle) != m.generation)
		return;
	Sock &s = table.at(m.handle);
	Splice &x = *s.splice;
	const uint64_t was = x.way[0].moved + x.way[1].moved;

	x.queued = false;
	if (s.phase == Phase::Open && run(s, share) && !x.queued) {
		x.queued = true;
		moving.push_back(m);
	}
	core.volume += x.way[0].moved + x.way[1].moved - was;
}

void Splices::run_all()
{
	const size_t small = woken.size(), large = moving.size();
	const auto run = [&](std::vector<Moving> &list, size_t n, size_t share) {
		const uint64_t before = core.volume;
		size_t done = 0;
		while (done < n && core.volume - before < SHARE_ALL)
			turn(list[done++], share);
		list.erase(list.begin(), list.begin() + (std::ptrdiff_t)done);
	};

	run(woken, small, small + large == 1 ? SHARE : SHARE_FIRST);
	if (large)
		run(moving, large, std::max<size_t>(SHARE_MIN, std::min<size_t>(SHARE, SHARE_ALL / large)));
}

void Splices::shut(Sock &s, uint32_t side)
{
	if (side > 1 || s.phase == Phase::Connecting)
		return;
	SpliceSide &k = s.splice->side[side], &o = s.splice->side[!side];
	/* A reset behind the end of the stream: the end was heard first, and nothing was dropped in front of it */
	if (s.phase == Phase::Failed && !o.eof_said)
		return;
	k.shut_due = false;
	if (k.shut)
		return;
	if (!s.splice->way[!side].empty()) {
		k.shut_due = true;
		return;
	}
	k.shut = true;
	::shutdown(k.fd, SHUT_WR);
	/* The reset may have come with the end, and so before anybody looked: no edge will tell */
	if (s.phase == Phase::Open && o.eof && !o.broken && (o.broken = take_error(o.fd)))
		queue(s);
}

} // namespace passt
