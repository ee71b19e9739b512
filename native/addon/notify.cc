/* What the kernel tells of its own accord: a netlink socket that hears groups (rtnetlink(7)). */
#include "engine.h"

#include <cerrno>
#include <linux/netlink.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace passt {

/** Datagrams read at a time; there is more to a turn. */
enum : int { NOTICES = 16 };

int Engine::watch_netlink(uint32_t groups)
{
	if (netlink >= 0)
		return EBUSY;
	const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
	sockaddr_nl own = {}, kernel = {};
	own.nl_family = kernel.nl_family = AF_NETLINK;
	own.nl_groups = groups;
	epoll_event ev = {};
	ev.events = EPOLLIN;
	ev.data.u64 = ID_NETLINK;
	/* Connected: nobody but the kernel can send to it */
	if (fd < 0 || bind(fd, reinterpret_cast<sockaddr *>(&own), sizeof(own)) ||
	    connect(fd, reinterpret_cast<sockaddr *>(&kernel), sizeof(kernel)) ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev)) {
		const int e = errno;
		if (fd >= 0)
			close(fd);
		return e;
	}
	netlink = fd;
	return 0;
}

void Engine::netlink_ready()
{
	for (int i = 0; i < NOTICES && rings.room(); i++) {
		ssize_t n = recv(netlink, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
		if (n > 0 && (size_t)n > rings.rx_left())
			return; /* next turn: level-triggered */
		const uint32_t at = rings.rx_next();
		if (n >= 0)
			n = recv(netlink, rings.slab + at, (size_t)n, MSG_DONTWAIT);
		if (n < 0 && errno != ENOBUFS) {
			if (errno != EAGAIN && errno != EINTR)
				epoll_ctl(epoll, EPOLL_CTL_DEL, netlink, nullptr);
			return;
		}
		if (!n)
			continue;
		uint32_t *const e = rings.post(EV_NETLINK, 0);
		e[2] = at, e[3] = n < 0 ? 0 : (uint32_t)n;
		if (n > 0)
			rings.rx_take((uint32_t)n);
	}
}

/** What the kernel does not take is as lost as what it could not tell. */
void Engine::netlink_send(const uint32_t *e)
{
	if (netlink < 0 || !rings.in_slab(e[2], e[3]))
		return;
	if (send(netlink, rings.slab + e[2], e[3], MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)e[3])
		results.add(EV_NETLINK, 0, 0);
}

} // namespace passt
