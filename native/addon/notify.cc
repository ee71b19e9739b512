#include "notify.h"
#include "sock.h"

#include <cerrno>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace passt {

/** Datagrams read at a time; there is more to a turn. */
enum : int { NOTICES = 16 };

int Notices::watch(uint32_t groups)
{
	if (fd >= 0)
		return EBUSY;
	fd = netlink_socket(groups);
	const int e = fd < 0 ? errno : core.watch(EPOLL_CTL_ADD, fd, EPOLLIN, ID_NETLINK);
	if (e)
		core.drop(fd);
	return e;
}

void Notices::ready()
{
	for (int i = 0; i < NOTICES && rings.room(); i++) {
		ssize_t n = recv(fd, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
		if (n > 0 && (size_t)n > rings.rx_left())
			return; /* next turn: level-triggered */
		const uint32_t at = rings.rx_next();
		if (n >= 0)
			n = recv(fd, rings.slab + at, (size_t)n, MSG_DONTWAIT);
		if (n < 0 && errno != ENOBUFS) {
			if (errno != EAGAIN && errno != EINTR)
				core.unwatch(fd);
			return;
		}
		if (!n)
			continue;
		auto &e = rings.post<ev::Netlink>(0);
		e.off = at, e.len = n < 0 ? 0 : (uint32_t)n;
		if (n > 0)
			rings.rx_take((uint32_t)n);
	}
}

/** What the kernel does not take is as lost as what it could not tell. */
void Notices::send(const fx::Octets &e)
{
	if (fd < 0 || !rings.in_slab(e.off, e.len))
		return;
	if (::send(fd, rings.slab + e.off, e.len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)e.len)
		results.add<ev::Netlink>(0, 0);
}

Notices::~Notices()
{
	if (fd >= 0)
		close(fd);
}

} // namespace passt
