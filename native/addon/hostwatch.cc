#include "hostwatch.h"
#include "sock.h"

#include <cerrno>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

namespace passt {

/** Octets. A bell needs no more; what the kernel cannot put there is not copied either. */
enum : int { BELL_BUFFER = 2048 };
/** Octets that are read at once: the kernel makes datagrams of a dump as large, so each is a slice of the work. */
enum : size_t { DATAGRAM_MAX = 16 << 10 };
/** Octets of a file that the watcher sends (native/launcher/resolver.h). */
enum : size_t { FILE_MAX = 64 << 10 };
/** Datagrams thrown away at once: more than a bell's buffer holds. */
enum : int { DRAINED = 64 };

HostWatch::~HostWatch()
{
	for (const int fd : {bell, tables, watcher}) {
		if (fd >= 0)
			close(fd);
	}
}

int HostWatch::watch(uint32_t groups)
{
	if (bell >= 0)
		return EBUSY;
	bell = netlink_socket(groups);
	tables = bell < 0 ? -1 : netlink_socket(0);
	int e = tables < 0 ? errno : 0;
	if (!e) {
		set_int(bell, SOL_SOCKET, SO_RCVBUF, BELL_BUFFER);
		set_int(bell, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1);
		e = core.watch(EPOLL_CTL_ADD, bell, EPOLLIN | EPOLLONESHOT, ID_HOST_TABLES);
	}
	if (e) {
		core.drop(bell);
		core.drop(tables);
	}
	return e;
}

int HostWatch::resolver(int fd)
{
	return core.adopt(watcher, fd, EPOLLIN | EPOLLONESHOT, ID_HOST_RESOLVER);
}

/** What rang before is thrown away first: whoever arms looks at everything then. */
int HostWatch::arm(uint32_t which)
{
	char none;
	const int fd = which == HOST_TABLES ? bell : watcher;

	if (fd < 0)
		return EBADF;
	if (which == HOST_TABLES) {
		for (int i = 0; i < DRAINED && (recv(fd, &none, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0 || errno == ENOBUFS); i++)
			;
	}
	return core.watch(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT, which == HOST_TABLES ? ID_HOST_TABLES : ID_HOST_RESOLVER);
}

int HostWatch::ask(const uint8_t *request, size_t len)
{
	if (tables < 0)
		return EBADF;
	return send(tables, request, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len ? 0 : errno ? errno : EMSGSIZE;
}

bool HostWatch::answer(std::string &datagram, int &error)
{
	datagram.resize(DATAGRAM_MAX);
	const ssize_t n = tables < 0 ? -1 : recv(tables, &datagram[0], datagram.size(), MSG_DONTWAIT | MSG_TRUNC);
	const bool whole = n > 0 && (size_t)n <= DATAGRAM_MAX;
	error = whole ? 0 : n > 0 ? EMSGSIZE : tables < 0 ? EBADF : n < 0 ? errno : ECONNRESET;
	datagram.resize(whole ? (size_t)n : 0);
	return whole;
}

bool HostWatch::resolver_said(std::string &text)
{
	std::string one(FILE_MAX, '\0');
	bool any = false;

	for (;;) {
		const ssize_t n = watcher < 0 ? -1 : recv(watcher, &one[0], one.size(), MSG_DONTWAIT);
		if (n > 0) {
			text.assign(one, 0, (size_t)n);
			any = true;
			continue;
		}
		if (!n)
			core.drop(watcher); /* it is gone: the file is followed no more */
		return any;
	}
}

bool HostWatch::ready(uint64_t what)
{
	if (what != ID_HOST_TABLES && what != ID_HOST_RESOLVER)
		return false;
	/* One shot: epoll is silent about it from here on */
	results.add<ev::HostBell>(what == ID_HOST_TABLES ? uint32_t(HOST_TABLES) : uint32_t(HOST_RESOLVER), 0);
	return true;
}

void HostWatch::report()
{
	while (!told.empty() && rings.room() && rings.rx_left() > told.front().size()) {
		const std::string &text = told.front();
		const uint32_t at = rings.rx_next(), len = (uint32_t)text.size();
		memcpy(rings.slab + at, text.data(), len);
		auto &e = rings.post<ev::Host>(0);
		e.off = at, e.len = len;
		rings.rx_take(len);
		told.pop_front();
	}
}

} // namespace passt
