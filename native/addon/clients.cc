#include "clients.h"
#include "sock.h"
#include "../common/unixsocket.h"

#include <cerrno>
#include <utility>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace passt {

Fault Clients::listen(const char *path, bool vhost_user, uint32_t &mode)
{
	int fd = -1;

	if (Fault r = listen_at_path(path, fd, mode); r.err)
		return r;
	if (const int e = adopt(fd, vhost_user)) {
		::close(fd);
		return {e, ""};
	}
	return {};
}

/** A socket that listens already. 0 or errno; it is taken over with 0 only. */
int Clients::adopt(int fd, bool vhost_user)
{
	if (const int e = core.adopt(listener, fd, EPOLLIN, ID_CLIENTS))
		return e;
	keep_spare();
	link_on(vhost_user);
	return 0;
}

void Clients::resume(std::string came, std::string unsent, std::vector<int> passed)
{
	came_before = std::move(came), unsent_before = std::move(unsent), passed_before = std::move(passed);
	resumes = true;
}

void Clients::give_away()
{
	core.drop(listener);
	if (tap.link.fd >= 0)
		core.unwatch(tap.link.fd);
	core.drop(tap.fd);
	tap.link.close();
	if (tap.vhost.on)
		vhost.close();
	registered = false;
	link_on(false);
}

int Clients::offer(int fd, bool vhost_user)
{
	if (offered >= 0)
		return EBUSY;
	if (const int e = Link::check(fd))
		return e;
	offered = fd;
	link_on(vhost_user);
	return 0;
}

void Clients::link_on(bool vhost_user)
{
	tap.vhost.on = vhost_user, tap.link.on = !vhost_user;
}

void Clients::keep_spare()
{
	if (spare < 0 && listener >= 0)
		spare = another(listener);
}

void Clients::watch(bool on)
{
	if (listener >= 0)
		core.watch(EPOLL_CTL_MOD, listener, on ? (uint32_t)EPOLLIN : 0, ID_CLIENTS);
}

/** Another client: JS decides. Until it has, nobody else is accepted. */
void Clients::ready()
{
	if (offered >= 0 || !rings.room())
		return;
	/* The end of the old one is told first, if it is known at all */
	link_ready(tap.vhost.on ? (uint32_t)EPOLLIN : 0);
	int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 && errno == EMFILE && spare >= 0) {
		::close(spare);
		spare = -1;
		fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	if (fd < 0) {
		if (is_want(errno)) {
			watch(false);
			pause.begin(*rings.clock);
		}
		return;
	}
	offered = fd;
	watch(false);
	ucred who = {};
	read_peer(fd, who);
	pollfd p = {served(), POLLRDHUP, 0};
	/* With the end of the one before, whose event waits for its turn as well, in order */
	auto &e = results.add<ev::LinkClient>(0, 0);
	e.descriptor = (uint32_t)fd, e.process_id = (uint32_t)who.pid;
	e.flags = served() >= 0 && ::poll(&p, 1, 0) == 1 ? (uint32_t)LINK_HUNG_UP : 0;
}

void Clients::use(int fd)
{
	if (fd < 0 || fd != offered)
		return;
	close();
	offered = -1;
	const std::string came = std::move(came_before), unsent = std::move(unsent_before);
	const bool goes_on = std::exchange(resumes, false);
	came_before.clear(), unsent_before.clear();
	if (tap.vhost.on) {
		vhost.use(fd);
		if (goes_on && !vhost.resume(came, std::exchange(passed_before, {}), unsent))
			vhost.close();
		return watch(true);
	}
	tap.link.use(fd);
	if (!tap.link.resume(came, unsent))
		tap.link.close();
	registered = !core.watch(EPOLL_CTL_ADD, fd, EPOLLIN, ID_LINK);
	out = false, end_said = false;
	watch(true);
}

void Clients::refuse(int fd)
{
	if (fd < 0 || fd != offered)
		return;
	::close(fd);
	offered = -1;
	keep_spare();
	watch(true);
}

void Clients::close()
{
	if (tap.vhost.on)
		vhost.close();
	tap.link.close(); /* out of epoll with it */
	registered = false;
	keep_spare();
}

/** In epoll as long as it is of use, for output only while the socket is full. */
void Clients::watch_link()
{
	Link &l = tap.link;

	if (registered && l.ended) {
		core.unwatch(l.fd);
		registered = false;
	}
	if (!registered || l.blocked() == out)
		return;
	out = l.blocked();
	core.watch(EPOLL_CTL_MOD, l.fd, EPOLLIN | (out ? (uint32_t)EPOLLOUT : 0), ID_LINK);
}

/** Send what the effects of this turn brought; say what there is to say. */
void Clients::report()
{
	Link &l = tap.link;

	if (tap.vhost.on)
		return vhost.report();
	l.flush();
	if (l.room_again())
		results.add<ev::TapRoom>(0, 0);
	if (l.ended && !end_said) {
		end_said = true;
		auto &e = results.add<ev::LinkEnd>(0, 0);
		e.why = l.ended, e.detail = l.detail;
	}
	watch_link();
}

/** `events` 0: whatever is left from before. */
void Clients::link_ready(uint32_t events)
{
	Link &l = tap.link;

	if (tap.vhost.on) {
		if (events)
			vhost.ready(events);
		vhost.look();
	} else {
		if (events & EPOLLOUT)
			l.writable();
		if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) || l.more())
			l.read(rings, TAP_FRAMES, core.guests_share(), tap.pcap);
	}
	if (pause.over(*rings.clock))
		watch(offered < 0);
	if (l.fd >= 0)
		report();
}

Clients::~Clients()
{
	for (const int fd : {listener, offered, spare}) {
		if (fd >= 0)
			::close(fd);
	}
	for (const int fd : passed_before)
		::close(fd);
}

} // namespace passt
