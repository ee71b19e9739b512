#include "nspool.h"
#include "ctl.h"
#include "engine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>

namespace passt {

static uint32_t pool_of(Kind kind, bool v6)
{
	return (kind == Kind::Udp ? (uint32_t)NS_UDP4 : (uint32_t)NS_TCP4) + (v6 ? 1 : 0);
}

/** Takes all of them, the pool's or not. */
int Engine::add_ns_sockets(uint32_t kind, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (kind >= NS_KINDS || ns[kind].fds.size() >= 4 * NS_POOL)
			close(fds[i]);
		else
			ns[kind].fds.push_back(fds[i]);
	}
	if (kind >= NS_KINDS)
		return EINVAL;
	ns_serve(kind);
	return 0;
}

/** Open what waited, in order, as far as there are sockets. */
void Engine::ns_serve(uint32_t kind)
{
	NsPool &p = ns[kind];

	while (!p.waiting.empty() && !p.fds.empty()) {
		const NsPool::Waiting w = p.waiting.front();
		p.waiting.pop_front();
		if (generation(w.effect[1]) != w.generation)
			continue; /* closed while it waited */
		const int fd = p.fds.back();
		p.fds.pop_back();
		socket_came(socks[w.effect[1]], w.effect, fd);
	}
}

/** A socket from the pool, -EAGAIN = `s` is in the queue for one, or another -errno. */
int Engine::ns_take(const Sock &s, const uint32_t *effect)
{
	const uint32_t kind = pool_of(s.kind == Kind::Splice ? Kind::Tcp : s.kind, s.v6);
	NsPool &p = ns[kind];
	int fd = -EAGAIN;

	if (!p.fds.empty()) {
		fd = p.fds.back();
		p.fds.pop_back();
	} else if (!ctl_registered) {
		fd = -ENOENT; /* none will ever come */
	} else if (p.waiting.size() >= NS_WAITING) {
		fd = -EMFILE;
	} else {
		p.waiting.emplace_back();
		memcpy(p.waiting.back().effect, effect, sizeof(Record));
		p.waiting.back().generation = s.generation;
	}
	ns_ask(kind);
	return fd;
}

/** One request for each pool at a time. If the launcher's socket is full the next turn tries again. */
void Engine::ns_ask(uint32_t kind)
{
	NsPool &p = ns[kind];

	if (p.asked || !p.low() || !ctl_registered)
		return;
	const uint32_t m[4] = {RQ_SOCKETS, kind == NS_TCP6 || kind == NS_UDP6 ? (uint32_t)AF_INET6 : (uint32_t)AF_INET,
				  kind >= NS_UDP4 ? (uint32_t)SOCK_DGRAM : (uint32_t)SOCK_STREAM,
				  (uint32_t)(NS_POOL - p.fds.size())};
	p.asked = send(ctl, m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(m);
	p.retry = !p.asked;
}

void Engine::ns_ask_again()
{
	for (uint32_t k = 0; k < NS_KINDS; k++) {
		if (ns[k].retry)
			ns_ask(k);
	}
}

/** SOCKETS? Takes over the descriptors then. */
bool Engine::take_sockets(const uint8_t *message, size_t len, const std::vector<int> &passed)
{
	SocketsMessage m = {};

	if (len < SOCKETS_HEAD)
		return false;
	memcpy(&m, message, std::min(len, sizeof(m)));
	if (m.kind != SOCKETS)
		return false;
	const bool known = (m.family == AF_INET || m.family == AF_INET6) && (m.type == SOCK_STREAM || m.type == SOCK_DGRAM);
	const uint32_t kind = known ? pool_of(m.type == SOCK_DGRAM ? Kind::Udp : Kind::Tcp, m.family == AF_INET6)
				    : (uint32_t)NS_KINDS;
	if (known)
		ns[kind].asked = false;
	add_ns_sockets(kind, passed.data(), passed.size());
	if (!known)
		return true;
	/* It could make none: those that wait would do so for ever */
	while (passed.empty() && !ns[kind].waiting.empty()) {
		const NsPool::Waiting w = ns[kind].waiting.front();
		ns[kind].waiting.pop_front();
		if (generation(w.effect[1]) == w.generation)
			abandon(socks[w.effect[1]], m.error ? (int)m.error : EMFILE);
	}
	if (!ns[kind].waiting.empty())
		ns_ask(kind);
	return true;
}

} // namespace passt
