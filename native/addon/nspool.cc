#include "nspool.h"
#include "ctl.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <tuple>
#include <unistd.h>

namespace passt {

static uint32_t pool_of(Kind kind, bool v6)
{
	return (kind == Kind::Udp ? (uint32_t)NS_UDP4 : (uint32_t)NS_TCP4) + (v6 ? 1 : 0);
}

/** Takes all of them, the pool's or not. */
int NsPools::add(uint32_t kind, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (kind >= NS_KINDS || ns[kind].fds.size() >= 4 * NS_POOL)
			close(fds[i]);
		else
			ns[kind].fds.push_back(fds[i]);
	}
	return kind < NS_KINDS ? 0 : EINVAL;
}

int NsPools::connect(const Sock &s, const fx::Open &effect)
{
	if (!registered)
		return -ENOENT;
	if (connecting.size() >= NS_WAITING)
		return -EMFILE;
	connecting.push_back({effect, s.generation});
	unasked++;
	ask_connections();
	return -EAGAIN;
}

void NsPools::ask_connections()
{
	while (unasked && registered) {
		const uint32_t m[2] = {RQ_CONNECT, connecting[connecting.size() - unasked].effect.dst_port};
		if (send(ctl, m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(m))
			return;
		unasked--;
	}
}

/** The answer to the first of those that were asked for. */
void NsPools::take_connection(int error, const std::vector<int> &passed)
{
	const bool mine = connecting.size() > unasked;
	const NsPool::Waiting w = mine ? connecting.front() : NsPool::Waiting{};

	if (mine)
		connecting.pop_front();
	const bool there = mine && table.generation(w.effect.handle) == w.generation;
	if (there && passed.size() == 1)
		return connected.emplace_back(w, passed[0]), void();
	for (const int fd : passed)
		close(fd);
	if (there)
		table.abandon(table.at(w.effect.handle), error ? error : EMFILE);
}

bool NsPools::next(NsPool::Waiting &w, int &fd)
{
	while (!connected.empty()) {
		std::tie(w, fd) = connected.front();
		connected.pop_front();
		if (table.generation(w.effect.handle) == w.generation)
			return true;
		close(fd);
	}
	for (NsPool &p : ns) {
		while (!p.waiting.empty() && !p.fds.empty()) {
			w = p.waiting.front();
			p.waiting.pop_front();
			if (table.generation(w.effect.handle) != w.generation)
				continue; /* closed while it waited */
			fd = p.fds.back();
			p.fds.pop_back();
			return true;
		}
	}
	return false;
}

/** A socket from the pool, -EAGAIN = `s` is in the queue for one, or another -errno. */
int NsPools::take(const Sock &s, const fx::Open &effect)
{
	const uint32_t kind = pool_of(s.kind == Kind::Splice ? Kind::Tcp : s.kind, s.v6);
	NsPool &p = ns[kind];
	int fd = -EAGAIN;

	if (!p.fds.empty()) {
		fd = p.fds.back();
		p.fds.pop_back();
	} else if (!registered) {
		fd = -ENOENT; /* none will ever come */
	} else if (p.waiting.size() >= NS_WAITING) {
		fd = -EMFILE;
	} else {
		p.waiting.push_back({effect, s.generation});
	}
	ask(kind);
	return fd;
}

int NsPools::spare(bool v6)
{
	const uint32_t kind = pool_of(Kind::Udp, v6);
	std::vector<int> &fds = ns[kind].fds;
	const int fd = fds.empty() ? -ENOENT : fds.back();

	if (fd >= 0)
		fds.pop_back();
	ask(kind);
	return fd;
}

/** One request for each pool at a time. If the launcher's socket is full the next turn tries again. */
void NsPools::ask(uint32_t kind)
{
	NsPool &p = ns[kind];

	if (p.asked || !p.low() || !registered)
		return;
	const uint32_t m[4] = {RQ_SOCKETS, kind == NS_TCP6 || kind == NS_UDP6 ? (uint32_t)AF_INET6 : (uint32_t)AF_INET,
				  kind >= NS_UDP4 ? (uint32_t)SOCK_DGRAM : (uint32_t)SOCK_STREAM,
				  (uint32_t)(NS_POOL - p.fds.size())};
	p.asked = send(ctl, m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(m);
	p.retry = !p.asked;
}

void NsPools::ask_again()
{
	ask_connections();
	for (uint32_t k = 0; k < NS_KINDS; k++) {
		if (ns[k].retry)
			ask(k);
	}
}

void NsPools::ask_for_waiting()
{
	for (uint32_t k = 0; k < NS_KINDS; k++) {
		if (!ns[k].waiting.empty())
			ask(k);
	}
}

/** SOCKETS? Takes over the descriptors then. */
bool NsPools::take_sockets(const uint8_t *message, size_t len, const std::vector<int> &passed)
{
	SocketsMessage m = {};

	if (len < SOCKETS_HEAD)
		return false;
	memcpy(&m, message, std::min(len, sizeof(m)));
	if (m.kind != SOCKETS)
		return false;
	if (m.family == AF_UNIX)
		return take_connection((int)m.error, passed), true;
	const bool known = (m.family == AF_INET || m.family == AF_INET6) && (m.type == SOCK_STREAM || m.type == SOCK_DGRAM);
	const uint32_t kind = known ? pool_of(m.type == SOCK_DGRAM ? Kind::Udp : Kind::Tcp, m.family == AF_INET6)
				    : (uint32_t)NS_KINDS;
	if (known)
		ns[kind].asked = false;
	add(kind, passed.data(), passed.size());
	if (!known)
		return true;
	/* It could make none: those that wait would do so for ever */
	while (passed.empty() && !ns[kind].waiting.empty()) {
		const NsPool::Waiting w = ns[kind].waiting.front();
		ns[kind].waiting.pop_front();
		if (table.generation(w.effect.handle) == w.generation)
			table.abandon(table.at(w.effect.handle), m.error ? (int)m.error : EMFILE);
	}
	return true;
}

int NsPools::set_ctl(int fd)
{
	if (registered)
		core.unwatch(ctl);
	registered = false;
	if (const int e = core.watch(EPOLL_CTL_ADD, fd, EPOLLIN, ID_CTL))
		return e;
	ctl = fd, registered = true;
	return 0;
}

bool NsPools::ctl_ready()
{
	ssize_t n = recv(ctl, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (!rings.room() || (n > 0 && (uint32_t)n > rings.rx_left() && (size_t)n <= MESSAGE_MAX))
		return false; /* next turn: level-triggered */
	if (n <= 0) {
		core.unwatch(ctl);
		registered = false;
		rings.post<ev::Ctl>(0);
		return false;
	}
	const uint32_t at = rings.rx_next();
	std::vector<int> passed;
	n = ctl_read(ctl, rings.slab + at, std::min((size_t)n, (size_t)rings.rx_left()), passed);
	if (n <= 0)
		return false;
	if (take_sockets(rings.slab + at, (size_t)n, passed))
		return true;
	for (const int fd : passed)
		close(fd);
	auto &e = rings.post<ev::Ctl>(0);
	e.off = at, e.len = (uint32_t)n;
	rings.rx_take((uint32_t)n);
	return false;
}

NsPools::~NsPools()
{
	for (const auto &[w, fd] : connected)
		close(fd);
	for (const NsPool &p : ns) {
		for (const int fd : p.fds)
			close(fd);
	}
}

} // namespace passt
