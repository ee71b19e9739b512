#include "handover.h"
#include "../common/unixsocket.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace passt {

/** Octets: the longest question. */
enum : uint32_t { QUESTION_MAX = 4096 };

int connect_to_predecessor(const char *path, std::string &why)
{
	sockaddr_un at;
	FilePlace p;
	struct stat st;

	if (Fault r = socket_place(path, at, p); r.err) {
		why = r.text;
		return -r.err;
	}
	if (fstatat(p.dir, p.name.c_str(), &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	/* It tells us what to do, and with which sockets */
	if (st.st_uid != geteuid()) {
		why = "the socket there is another user's";
		return -EPERM;
	}
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int e = connect(fd, reinterpret_cast<const sockaddr *>(&at), sizeof(at)) ? errno : 0;
	if (!e) {
		/* Another file may stand there by now: whoever listens counts (unix(7), SO_PEERCRED) */
		ucred who = {};
		if (read_peer(fd, who) && who.uid == geteuid())
			return fd;
		why = "another user serves there";
		e = EPERM;
	}
	close(fd);
	return -e;
}

int ask_predecessor(int fd, const uint8_t *question, size_t len)
{
	if (send(fd, question, len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	return errno == EPIPE ? ECONNRESET : errno;
}

int hear_predecessor(int fd, int ms, Bytes &answer, std::vector<int> &passed)
{
	const double deadline = Core::now_ms() + ms;

	answer.resize(HAND_OVER_MAX);
	for (;;) {
		const ssize_t n = ctl_read(fd, answer.data(), answer.size(), passed);
		if (n > 0)
			answer.resize((size_t)n);
		if (n >= 0)
			return n ? 0 : ECONNRESET;
		if (errno != EAGAIN)
			return errno;
		const double left = deadline - Core::now_ms();
		pollfd p = {fd, POLLIN, 0};
		if (left <= 0)
			return ETIMEDOUT;
		poll(&p, 1, (int)std::ceil(left));
	}
}

HandOver::~HandOver()
{
	for (const int fd : {listener, peer}) {
		if (fd >= 0)
			close(fd);
	}
}

Fault HandOver::listen(const char *path)
{
	int fd = -1;
	uint32_t mode = 0;

	if (Fault r = listen_at_path(path, fd, mode, {SOCK_SEQPACKET, 0600}); r.err)
		return r;
	if (const int e = adopt(fd)) {
		close(fd);
		return {e, ""};
	}
	return {};
}

int HandOver::adopt(int fd)
{
	/* By edges: whoever has to wait wakes nobody again and again */
	if (const int e = core.adopt(listener, fd, EPOLLIN | EPOLLET, ID_PLACE))
		return e;
	tap.vhost.memory.keeps = true;
	return 0;
}

/** Whoever comes while one is there is sent away: it may come again. */
void HandOver::accept_one()
{
	for (;;) {
		const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0) {
			if (is_want(errno))
				pause.begin(*rings.clock);
			return;
		}
		if (peer >= 0 || core.watch(EPOLL_CTL_ADD, fd, EPOLLIN, ID_PLACE_PEER)) {
			close(fd);
			continue;
		}
		peer = fd;
		conf.accepting(false); /* rules that came now would be lost */
		results.add<ev::HandOverPeer>(0, 0).there = 1;
	}
}

void HandOver::resume()
{
	if (pause.over(*rings.clock) && listener >= 0)
		core.watch(EPOLL_CTL_MOD, listener, EPOLLIN | EPOLLET, ID_PLACE);
}

void HandOver::end()
{
	if (peer < 0)
		return;
	core.drop(peer);
	busy = false;
	conf.accepting(true);
	results.add<ev::HandOverPeer>(0, 0).there = 0;
}

void HandOver::asked()
{
	std::vector<int> passed;

	if (peer < 0 || (!busy && (!rings.room() || rings.rx_left() < QUESTION_MAX)))
		return; /* asked again */
	uint8_t early[1];
	const uint32_t at = rings.rx_next();
	const ssize_t n = busy ? ctl_read(peer, early, sizeof(early), passed) : ctl_read(peer, rings.slab + at, QUESTION_MAX, passed);
	for (const int fd : passed)
		close(fd);
	if (n < 0 && errno == EAGAIN)
		return;
	/* Gone, or it does not wait for its answer */
	if (n <= 0 || busy || !passed.empty())
		return end();
	auto &e = rings.post<ev::HandOverAsked>(0);
	e.off = at, e.len = (uint32_t)n;
	rings.rx_take((uint32_t)n);
	busy = true;
}

int HandOver::descriptor(uint32_t what, uint32_t which) const
{
	if (what == HAND_LISTENER) {
		ListenSock *const l = listeners.find(which);
		return l ? l->fd : -1;
	}
	if (what == HAND_FLOW) {
		const Sock *const s = table.sock(which);
		return s ? s->fd : -1;
	}
	if (what == HAND_GUEST)
		return tap.vhost.on ? vhost.channel.fd : tap.link.on ? tap.link.fd : tap.fd;
	if (what == HAND_CLIENTS)
		return clients.listens_at();
	if (what == HAND_HELPERS)
		return repair.listens_at();
	if (what == HAND_CONF)
		return conf.listens_at();
	if (what == HAND_API)
		return conf.api_listens_at();
	return what == HAND_OVER ? listener : vhost.descriptor(what, which);
}

void HandOver::answer(const fx::HandOverAnswer &e)
{
	int fds[HAND_OVER_FDS];

	if (peer < 0 || !busy)
		return;
	if (e.len > HAND_OVER_MAX || e.descriptors > HAND_OVER_FDS || !rings.in_slab(e.off, e.len) ||
	    !rings.in_slab(e.names_off, e.descriptors * 8))
		return end();
	for (uint32_t i = 0; i < e.descriptors; i++) {
		uint32_t name[2];
		memcpy(name, rings.slab + e.names_off + i * sizeof(name), sizeof(name));
		fds[i] = descriptor(name[0], name[1]);
		if (fds[i] < 0)
			return end();
	}
	const ssize_t n = send_with(peer, rings.slab + e.off, e.len, fds, e.descriptors);
	busy = false;
	if (n < 0)
		end();
}

void HandOver::effect(const Record &e)
{
	switch (as<Head>(e).kind) {
	case EF_HAND_OVER_ANSWER:
		answer(as<fx::HandOverAnswer>(e));
		return;
	case EF_HAND_OVER_HOLD:
		hold = as<fx::Flags>(e).flags & HAND_HOLD;
		return;
	case EF_HAND_OVER_GUEST:
		clients.give_away();
		repair.give_away();
		conf.give_away();
		core.drop(listener); /* who connects there is not for us any more */
		return;
	default: /* EF_HAND_OVER_CLOSE */
		end();
	}
}

bool HandOver::ready(uint64_t what)
{
	if (what == ID_PLACE)
		accept_one();
	else if (what == ID_PLACE_PEER)
		asked();
	else
		return false;
	return true;
}

void HandOver::wait(double ms)
{
	pollfd p = {peer, POLLIN, 0}; /* a negative descriptor is passed over */

	poll(&p, 1, ms < 0 || ms > 1e9 ? -1 : (int)std::ceil(ms));
	*rings.clock = Core::now_ms();
	if (p.revents)
		asked();
}

} // namespace passt
