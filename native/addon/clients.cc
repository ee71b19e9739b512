/* Who is at the other end of the guest link: clients are accepted and offered to JS, which says who is served. */
#include "engine.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace passt {

/** Is `p` free to be bound, after what a dead program of ours left there is removed? */
static Fault make_way(const FilePlace &p, const sockaddr_un &at)
{
	struct stat st;

	if (fstatat(p.dir, p.name.c_str(), &st, AT_SYMLINK_NOFOLLOW))
		return {errno == ENOENT ? 0 : errno, ""};
	if (!S_ISSOCK(st.st_mode))
		return {EEXIST, ""}; /* never somebody's file */
	const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return {errno, ""};
	const int e = connect(probe, reinterpret_cast<const sockaddr *>(&at), sizeof(at)) ? errno : 0;
	close(probe);
	if (e != ECONNREFUSED && e != EACCES && e != ENOENT)
		return {EADDRINUSE, ""};
	if (e != ENOENT && st.st_uid != geteuid())
		return {EPERM, "a socket of another user's (" + user(st.st_uid) + ") is there, which nobody serves"};
	if (e != ENOENT && unlinkat(p.dir, p.name.c_str(), 0) && errno != ENOENT)
		return {errno, ""};
	return {};
}

Fault Engine::link_listen(const char *path, uint32_t &mode)
{
	sockaddr_un at = {};
	FilePlace p;
	struct stat st;

	at.sun_family = AF_UNIX;
	if (!*path || strlen(path) >= sizeof(at.sun_path))
		return {ENAMETOOLONG, ""};
	strcpy(at.sun_path, path);
	if (Fault r = find_place(path, false, p); r.err)
		return r;
	if (Fault r = make_way(p, at); r.err)
		return r;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	epoll_event ev = {};
	ev.events = EPOLLIN;
	ev.data.u64 = ID_CLIENTS;
	if (fd < 0 || bind(fd, reinterpret_cast<sockaddr *>(&at), sizeof(at)) || ::listen(fd, 0) ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev)) {
		const int e = errno;
		if (fd >= 0)
			close(fd);
		return {e, ""};
	}
	mode = fstatat(p.dir, p.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) ? 0 : st.st_mode & 07777;
	clients = fd;
	keep_spare();
	tap.link.on = true;
	return {};
}

int Engine::link_offer(int fd)
{
	if (offered >= 0)
		return EBUSY;
	if (const int e = Link::check(fd))
		return e;
	offered = fd;
	tap.link.on = true;
	return 0;
}

void Engine::keep_spare()
{
	if (spare < 0 && clients >= 0)
		spare = fcntl(clients, F_DUPFD_CLOEXEC, 0);
}

void Engine::watch_clients(bool on)
{
	epoll_event ev = {};

	ev.events = on ? (uint32_t)EPOLLIN : 0;
	ev.data.u64 = ID_CLIENTS;
	if (clients >= 0)
		epoll_ctl(epoll, EPOLL_CTL_MOD, clients, &ev);
}

/** Another client: JS decides. Until it has, nobody else is accepted. */
void Engine::client_ready()
{
	if (offered >= 0 || !rings.room())
		return;
	/* The end of the old one is told first, if it is known at all */
	link_ready(0);
	int fd = accept4(clients, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 && errno == EMFILE && spare >= 0) {
		close(spare);
		spare = -1;
		fd = accept4(clients, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			watch_clients(false);
			clients_resume_at = *rings.clock + ACCEPT_PAUSE;
		}
		return;
	}
	offered = fd;
	watch_clients(false);
	ucred who = {};
	socklen_t len = sizeof(who);
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
	pollfd p = {tap.link.fd, POLLRDHUP, 0};
	/* With the end of the one before, whose event waits for its turn as well, in order */
	uint32_t *const e = results.add(EV_LINK_CLIENT, 0, 0);
	e[2] = (uint32_t)fd, e[3] = (uint32_t)who.pid;
	e[4] = tap.link.fd >= 0 && ::poll(&p, 1, 0) == 1 ? (uint32_t)LINK_HUNG_UP : 0;
}

void Engine::link_use(int fd)
{
	if (fd < 0 || fd != offered)
		return;
	link_close();
	offered = -1;
	tap.link.use(fd);
	epoll_event ev = {};
	ev.events = EPOLLIN;
	ev.data.u64 = ID_LINK;
	link_registered = !epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
	link_out = false, link_end_said = false;
	watch_clients(true);
}

void Engine::link_refuse(int fd)
{
	if (fd < 0 || fd != offered)
		return;
	close(fd);
	offered = -1;
	keep_spare();
	watch_clients(true);
}

void Engine::link_close()
{
	tap.link.close(); /* out of epoll with it */
	link_registered = false;
	keep_spare();
}

/** In epoll as long as it is of use, for output only while the socket is full. */
void Engine::link_watch()
{
	Link &l = tap.link;

	if (link_registered && l.ended) {
		epoll_ctl(epoll, EPOLL_CTL_DEL, l.fd, nullptr);
		link_registered = false;
	}
	if (!link_registered || l.blocked() == link_out)
		return;
	link_out = l.blocked();
	epoll_event ev = {};
	ev.events = EPOLLIN | (link_out ? (uint32_t)EPOLLOUT : 0);
	ev.data.u64 = ID_LINK;
	epoll_ctl(epoll, EPOLL_CTL_MOD, l.fd, &ev);
}

/** Send what the effects of this turn brought; say what there is to say. */
void Engine::link_report()
{
	Link &l = tap.link;

	l.flush();
	if (l.room_again())
		results.add(EV_TAP_ROOM, 0, 0);
	if (l.ended && !link_end_said) {
		link_end_said = true;
		uint32_t *const e = results.add(EV_LINK_END, 0, 0);
		e[2] = l.ended, e[3] = l.detail;
	}
	link_watch();
}

/** `events` 0: whatever is left from before. */
void Engine::link_ready(uint32_t events)
{
	Link &l = tap.link;

	if (events & EPOLLOUT)
		l.writable();
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) || l.more())
		l.read(rings, TAP_FRAMES, rings.size.rx / 4 * 3, tap.pcap);
	if (clients_resume_at > 0 && *rings.clock >= clients_resume_at) {
		clients_resume_at = 0;
		watch_clients(offered < 0);
	}
	if (l.fd >= 0)
		link_report();
}

} // namespace passt
