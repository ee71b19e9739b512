#include "repair.h"
#include "../ctl.h"
#include "../../common/unixsocket.h"

#include <cerrno>
#include <cstring>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace passt {

/** Helpers that are accepted at once: one that comes again and again takes no turn for itself. */
enum : int { AT_ONCE = 8 };

Repair::~Repair()
{
	for (const int fd : {listener, helper, spare}) {
		if (fd >= 0)
			::close(fd);
	}
}

Fault Repair::listen(const char *path, uint32_t &mode)
{
	int fd = -1;

	if (listener >= 0)
		return {EBUSY, ""};
	if (Fault r = listen_at_path(path, fd, mode); r.err)
		return r;
	if (const int e = adopt(fd)) {
		::close(fd);
		return {e, ""};
	}
	return {};
}

int Repair::adopt(int fd)
{
	/* By edges: whoever cannot be accepted now wakes nobody again and again */
	if (const int e = core.adopt(listener, fd, EPOLLIN | EPOLLET, ID_HELPERS))
		return e;
	keep_spare();
	return 0;
}

void Repair::give_away()
{
	core.drop(listener);
	if (spare >= 0)
		::close(spare);
	spare = -1;
	close();
}

void Repair::keep_spare()
{
	if (spare < 0 && listener >= 0)
		spare = another(listener);
}

void Repair::helpers()
{
	for (int i = 0; i < AT_ONCE; i++) {
		int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && errno == EMFILE && spare >= 0) {
			::close(spare);
			spare = -1;
			fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
		}
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0) {
			if (is_want(errno))
				pause.begin(*rings.clock);
			return;
		}
		/* Is the one that we have gone already? */
		if (helper >= 0)
			ready();
		if (helper >= 0 || core.watch(EPOLL_CTL_ADD, fd, EPOLLIN, ID_HELPER)) {
			::close(fd);
			keep_spare();
			continue;
		}
		helper = fd;
		most = REPAIR_MAX;
		results.add<ev::RepairHelper>(0, 0).there = 1;
	}
	rearm();
}

/** Whoever waits is an edge anew. */
void Repair::rearm()
{
	if (listener >= 0)
		core.watch(EPOLL_CTL_MOD, listener, EPOLLIN | EPOLLET, ID_HELPERS);
}

void Repair::resume()
{
	if (pause.over(*rings.clock))
		rearm();
}

void Repair::answered(int error)
{
	asked = false;
	rest.clear();
	results.add<ev::Repaired>(0, 0).error = (uint32_t)error;
}

/** The helper is of no further use. `error`: what becomes of its batch. */
void Repair::end(int error)
{
	if (helper < 0)
		return;
	core.drop(helper);
	keep_spare();
	if (asked)
		answered(error);
	results.add<ev::RepairHelper>(0, 0).there = 0;
}

void Repair::close()
{
	end(EPIPE);
}

void Repair::ready()
{
	uint8_t said[2];
	ssize_t n;

	if (helper < 0)
		return;
	do
		n = recv(helper, said, sizeof(said), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n == 1 && asked && said[0] == command)
		return send();
	end(n > 0 ? EPROTO : EPIPE);
}

/** The next message, or all have been answered. */
void Repair::send()
{
	int fds[REPAIR_MAX];
	size_t count = 0;

	for (; count < most && !rest.empty(); rest.pop_back()) {
		const Moving of = rest.back();
		const Sock *const s = table.sock(of.handle, Kind::Tcp);
		if (!s || s->generation != of.generation || s->fd < 0)
			continue;
		fds[count++] = s->fd;
		/* What comes lives from here on: it asks its peer for the window, and shall hear the answer */
		if (command != REPAIR_ON && s->move && !s->move->frozen)
			take_packets(s->fd);
	}
	if (!count)
		return answered(0);

	const ssize_t n = send_with(helper, &command, sizeof(command), fds, count);
	asked = true;
	most = count;
	if (n < 0)
		end(EPIPE);
}

void Repair::ask(const fx::Repair &e)
{
	/* The one at work is not answered by this */
	if (asked) {
		results.add<ev::Repaired>(0, 0).error = EBUSY;
		return;
	}
	if (e.sockets > REPAIR_MAX || !rings.in_slab(e.off, e.sockets * (uint32_t)sizeof(uint32_t)))
		return answered(EFAULT);
	if (helper < 0)
		return answered(ENOTCONN);
	command = (uint8_t)e.command;
	/* From the end: the first one is sent first */
	for (uint32_t i = e.sockets; i--;) {
		uint32_t handle;
		memcpy(&handle, rings.slab + e.off + i * sizeof(handle), sizeof(handle));
		if (const Sock *const s = table.sock(handle, Kind::Tcp))
			rest.push_back(table.moving(*s));
	}
	send();
}

} // namespace passt
