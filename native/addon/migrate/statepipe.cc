#include "statepipe.h"
#include "../nowait.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace passt {

/** Octets of one execution or readiness, pieces of one call. */
enum : size_t { AT_ONCE = 4u << 20, PIECES = 64 };

/** A file may have us wait for whoever serves it (FUSE), whatever its flags: of all that has a name, a pipe alone does not. */
static bool is_stream(int fd)
{
	struct statx st;
	int type = 0;
	socklen_t len = sizeof(type);

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st))
		return false;
	return S_ISFIFO(st.stx_mode) ||
	       (S_ISSOCK(st.stx_mode) && !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_STREAM);
}

static ssize_t send_parts(int fd, iovec *iov, size_t parts)
{
	msghdr m = {};

	m.msg_iov = iov, m.msg_iovlen = parts;
	const ssize_t n = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 && errno == ENOTSOCK ? writev_now(fd, iov, (int)parts) : n;
}

static ssize_t receive_some(int fd, uint8_t *to, size_t most)
{
	const iovec iov = {to, most};
	const ssize_t n = recv(fd, to, most, MSG_DONTWAIT);

	return n < 0 && errno == ENOTSOCK ? readv_now(fd, &iov, 1) : n;
}

StatePipe::~StatePipe()
{
	if (fd >= 0)
		::close(fd);
}

void StatePipe::drop()
{
	if (registered)
		core.unwatch(fd);
	if (fd >= 0)
		::close(fd);
	fd = -1;
	out.clear();
	octets = 0, written = 0, said = 0, armed = 0, wanted = 0;
	registered = closing = fresh = false;
}

void StatePipe::end(int error)
{
	drop();
	results.add<ev::StateEnded>(0, 0).error = (uint32_t)error;
}

void StatePipe::open(const fx::StateOpen &e)
{
	drop();
	fd = (int)e.descriptor, direction = e.direction;
	if (fd < 0 || !is_stream(fd))
		return end(fd < 0 ? EBADF : EINVAL);
	if (const int error = set_nonblocking(fd))
		return end(error);
	/* The other end may go before there is anything to write. A reader asks first */
	if (direction == STATE_SAVE)
		watch(0);
}

/** Once, each time: a pipe without a writer is always ready. */
void StatePipe::watch(uint32_t events)
{
	armed = events;
	if (const int e = core.watch(registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, events | EPOLLONESHOT, ID_STATE))
		return end(e);
	registered = true;
}

void StatePipe::push(Block &&b)
{
	if (!b.size())
		return;
	octets += b.size();
	fresh = true;
	out.push_back(std::move(b));
}

void StatePipe::write(const fx::Octets &e)
{
	Block b;

	if (fd < 0 || direction != STATE_SAVE || closing)
		return;
	if (!rings.in_slab(e.off, e.len))
		return end(EFAULT);
	uint8_t *const to = b.make(e.len);
	if (!to)
		return end(ENOMEM);
	memcpy(to, rings.slab + e.off, e.len);
	b.fill(0, e.len);
	push(std::move(b));
}

void StatePipe::queues(Sock &s)
{
	Move *const m = s.move;

	if (!m)
		return;
	table.dumped_all -= m->send.size() + m->receive.size();
	Block send = std::move(m->send), receive = std::move(m->receive);
	if (fd < 0 || direction != STATE_SAVE || closing)
		return;
	push(std::move(send));
	push(std::move(receive));
}

void StatePipe::close(const fx::Flags &e)
{
	if (fd < 0)
		return;
	if (e.flags & STATE_NOW || direction == STATE_LOAD)
		return end(ECANCELED);
	closing = true;
}

void StatePipe::next(const fx::Count &e)
{
	if (fd < 0 || direction != STATE_LOAD)
		return;
	wanted = std::clamp<uint32_t>(e.octets, 1, STATE_OCTETS_MAX);
	watch(EPOLLIN);
}

void StatePipe::flush()
{
	size_t left = AT_ONCE;

	if (fd < 0 || direction != STATE_SAVE)
		return;
	while (!out.empty() && left) {
		iovec iov[PIECES];
		size_t parts = 0, want = 0;
		for (const Block &b : out) {
			if (parts == PIECES || want == left)
				break;
			const size_t n = std::min(b.size(), left - want);
			iov[parts++] = {const_cast<uint8_t *>(b.data()), n};
			want += n;
		}
		const ssize_t n = send_parts(fd, iov, parts);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return end(errno);
		written += (uint64_t)n, octets -= (size_t)n, left -= (size_t)n;
		for (size_t gone = (size_t)n; gone;) {
			Block &b = out.front();
			const size_t part = std::min(gone, b.size());
			b.consume(part), gone -= part;
			if (!b.size())
				out.pop_front();
		}
	}
	if (!out.empty()) {
		if (written - said >= STATE_TOLD) {
			said = written;
			results.add<ev::StateProgress>(0, 0).octets = (uint32_t)written;
		}
		if (!(armed & EPOLLOUT))
			watch(EPOLLOUT);
		return;
	}
	if (fresh) {
		fresh = false;
		said = written;
		results.add<ev::StateWritten>(0, 0).octets = (uint32_t)written;
	}
	if (closing)
		end(0);
}

void StatePipe::read()
{
	/* Another time, where this turn has brought much already: that is posted, so the next one is near */
	if (!rings.room() || rings.rx_left() < wanted)
		return watch(EPOLLIN);
	const uint32_t off = rings.rx_next();
	ssize_t n;
	do
		n = receive_some(fd, rings.slab + off, wanted);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return watch(EPOLLIN);
	if (n <= 0)
		return end(n ? errno : 0);
	wanted = 0;
	auto &e = rings.post<ev::StateOctets>(0);
	e.off = off, e.len = (uint32_t)n;
	rings.rx_take((uint32_t)n);
}

void StatePipe::ready(uint32_t events)
{
	if (fd < 0)
		return;
	armed = 0;
	if (direction == STATE_LOAD) {
		if (wanted)
			read();
		return;
	}
	/* Nobody will read it */
	if (events & (EPOLLERR | EPOLLHUP))
		return end(EPIPE);
	flush();
}

} // namespace passt
