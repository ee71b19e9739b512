#include "vhost.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace passt {

/** ms between looks at a ring whose driver has no way to kick. */
enum : uint32_t { POLL_PERIOD = 1 };

static uint64_t both(const uint32_t *words)
{
	return words[0] | (uint64_t)words[1] << 32;
}

static void close_fd(int &fd)
{
	if (fd >= 0)
		::close(fd);
	fd = -1;
}

void Vhost::use(int fd)
{
	close();
	channel.use(fd);
	asked = true, end_said = false;
	armed = EPOLLIN;
	registered = !core.watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT, ID_LINK);
}

void Vhost::end_session()
{
	Port &port = tap.vhost;

	port.flush();
	for (Vring *const ring : {&port.rx, &port.tx}) {
		if (ring->kick >= 0)
			core.unwatch(ring->kick);
	}
	port.reset();
	tap.offloads = 0;
	close_fd(log_fd);
}

void Vhost::close()
{
	if (registered && channel.fd >= 0)
		core.unwatch(channel.fd);
	registered = asked = false;
	channel.close();
	end_session();
}

void Vhost::done(int error)
{
	results.add(EV_VHOST_DONE, 0, 0)[13] = (uint32_t)error;
}

/** Rings in new memory. One that runs and is not there any more is broken. */
void Vhost::translate()
{
	Port &port = tap.vhost;

	for (Vring *const ring : {&port.rx, &port.tx}) {
		if (ring->size() && !ring->translate() && ring->mode != VRING_OFF)
			ring->fail(VRING_BAD_ADDRESS, 0);
	}
}

void Vhost::memory(const uint32_t *e)
{
	RegionSpec all[VHOST_REGIONS_MAX] = {};
	const uint32_t n = e[0] == EF_VHOST_MEMORY ? e[3] : 1;
	Memory &m = tap.vhost.memory;

	if (n > VHOST_REGIONS_MAX || !rings.in_slab(e[2], n * VHOST_REGION_LEN))
		return done(EFAULT);
	memcpy(all, rings.slab + e[2], n * VHOST_REGION_LEN);
	const int error = e[0] == EF_VHOST_MEMORY ? m.replace(all, n) : m.add(all[0]);
	for (uint32_t i = 0; i < n; i++)
		close_fd(all[i].fd);
	translate();
	done(error);
}

void Vhost::log(const uint32_t *e)
{
	int fd = (int)e[2];
	const int error = tap.vhost.memory.log(fd, both(e + 4), both(e + 6));

	close_fd(fd);
	done(error);
}

/** It shall never block us, whoever else has it: the front-end made it for us. */
static void nonblocking(int fd)
{
	const int flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void Vhost::set_fd(const uint32_t *e)
{
	Port &port = tap.vhost;
	int fd = (int)e[4];

	if (e[2] >= VRINGS || e[3] > VRING_ERR)
		return close_fd(fd);
	Vring &ring = e[2] == VRING_RX ? port.rx : port.tx;
	int &place = e[3] == VRING_KICK ? ring.kick : e[3] == VRING_CALL ? ring.call : ring.err;
	if (e[3] == VRING_KICK && place >= 0)
		core.unwatch(place);
	close_fd(place);
	place = fd;
	if (fd < 0)
		return;
	if (e[3] != VRING_KICK)
		nonblocking(fd);
	if (e[3] == VRING_CALL) {
		const uint64_t one = 1;
		if (write(fd, &one, sizeof(one)) < 0) {
			/* it has a count already, or is no eventfd at all: then nobody will hear of it */
		}
	}
	/* Each kick is an edge, so nobody has to read it away. What cannot be watched is looked at in each turn */
	if (e[3] == VRING_KICK && core.watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, ID_VHOST_RX - e[2]))
		close_fd(place);
}

void Vhost::run(Vring &ring, uint32_t number, uint32_t mode)
{
	const bool before = ring.mode != VRING_OFF;

	ring.mode = mode > VRING_ON ? (uint32_t)VRING_OFF : mode;
	if (ring.mode == VRING_OFF || !ring.placed())
		return;
	if (!before)
		tap.vhost.start(ring);
	/* The guest need not kick for buffers while there are some */
	if (number == VRING_RX && ring.live() && !tap.vhost.starved())
		ring.hush();
}

bool Vhost::effect(const uint32_t *e)
{
	Port &port = tap.vhost;

	if (e[0] < EF_VHOST_NEXT || e[0] > EF_VRING_STOP)
		return false;
	if (e[0] != EF_VHOST_NEXT && e[0] != EF_VHOST_REPLY)
		port.flush(); /* what was given back belongs to the state before */
	Vring &ring = e[2] == VRING_RX ? port.rx : port.tx;
	const bool is_ring = e[2] < VRINGS;
	switch (e[0]) {
	case EF_VHOST_NEXT:
		asked = true;
		break;
	case EF_VHOST_REPLY:
		if (rings.in_slab(e[2], e[3]))
			channel.reply(rings.slab + e[2], e[3]);
		break;
	case EF_VHOST_FEATURES:
		tap.vnet = true;
		tap.offloads = port.use_features(both(e + 2));
		break;
	case EF_VHOST_MEMORY:
	case EF_VHOST_ADD_REGION:
		memory(e);
		break;
	case EF_VHOST_REMOVE_REGION: {
		const int error = port.memory.remove(both(e + 2), both(e + 4), both(e + 6));
		translate();
		done(error);
		break;
	}
	case EF_VHOST_LOG:
		log(e);
		break;
	case EF_VHOST_LOG_FD:
		close_fd(log_fd);
		log_fd = (int)e[2];
		if (log_fd >= 0)
			nonblocking(log_fd);
		break;
	case EF_VRING_ADDR:
		done(is_ring ? ring.place({both(e + 4), both(e + 6), both(e + 8), both(e + 10), e[12], e[3]}) : EINVAL);
		break;
	case EF_VRING_BASE:
		if (is_ring)
			ring.base((uint16_t)e[3]);
		break;
	case EF_VRING_FD:
		set_fd(e);
		break;
	case EF_VRING_RUN:
		if (is_ring)
			run(ring, e[2], e[3]);
		break;
	default: /* EF_VRING_STOP */
		if (is_ring) {
			ring.mode = VRING_OFF;
			uint32_t *const r = results.add(EV_VRING_STOPPED, 0, 0);
			r[2] = e[2], r[3] = ring.index();
		}
	}
	return true;
}

void Vhost::watch_channel()
{
	if (!registered)
		return;
	if (channel.ended) {
		core.unwatch(channel.fd);
		registered = false;
		return;
	}
	/* One event each time: while JS has a message, what follows it must not wake anybody */
	const uint32_t want = (asked ? (uint32_t)EPOLLIN : 0) | (channel.blocked() ? (uint32_t)EPOLLOUT : 0);
	if (want == armed)
		return;
	armed = want;
	core.watch(EPOLL_CTL_MOD, channel.fd, want | EPOLLONESHOT, ID_LINK);
}

void Vhost::ready(uint32_t events)
{
	armed = 0;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		channel.flush();
}

void Vhost::kicked(uint32_t ring)
{
	if (ring == VRING_RX)
		tap.vhost.look_for_buffers();
}

void Vhost::look()
{
	Port &port = tap.vhost;

	if (channel.fd < 0)
		return;
	if (asked && rings.room() && rings.rx_left() >= VHOST_HEAD + VHOST_MESSAGE_MAX && channel.read()) {
		uint32_t *const e = rings.post(EV_VHOST_MESSAGE, 0);
		e[2] = rings.rx_next(), e[3] = channel.length();
		memcpy(rings.slab + e[2], channel.message(), e[3]);
		rings.rx_take(e[3]);
		e[4] = channel.fd_count + (channel.too_many ? 1 : 0);
		for (uint32_t i = 0; i < channel.fd_count; i++)
			e[5 + i] = (uint32_t)channel.fds[i];
		channel.taken();
		asked = false;
	}
	port.look_for_buffers();
	port.read(rings, TAP_FRAMES, core.guests_share(), tap.pcap);
	report();
}

void Vhost::stop_broken(Vring &ring, uint32_t number)
{
	const uint64_t one = 1;

	if (!ring.failed())
		return;
	ring.mode = VRING_OFF;
	uint32_t *const e = results.add(EV_VRING_BROKEN, 0, 0);
	e[2] = number, e[3] = ring.why, e[4] = ring.detail;
	if (ring.err >= 0 && write(ring.err, &one, sizeof(one)) < 0) {
		/* nobody who would hear of it */
	}
}

void Vhost::report()
{
	Port &port = tap.vhost;

	if (channel.fd < 0)
		return;
	port.flush();
	if (port.broken()) {
		stop_broken(port.rx, VRING_RX);
		stop_broken(port.tx, VRING_TX);
	}
	if (port.dropped) {
		tap.dropped += port.dropped, tap.drop_errno = EINVAL;
		port.dropped = 0;
	}
	if (log_fd >= 0 && port.memory.marked()) {
		const uint64_t one = 1;
		if (write(log_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
			close_fd(log_fd);
	}
	if (port.room_again())
		results.add(EV_TAP_ROOM, 0, 0);
	if (channel.ended && !end_said) {
		end_said = true;
		end_session();
		uint32_t *const e = results.add(EV_LINK_END, 0, 0);
		e[2] = channel.ended, e[3] = channel.detail;
		if (port.room_again())
			results.add(EV_TAP_ROOM, 0, 0);
	}
	watch_channel();
}

bool Vhost::may_sleep()
{
	Port &port = tap.vhost;

	if (channel.fd < 0 || !port.tx.live())
		return true;
	if (!port.tx.asked())
		port.tx.ask();
	port.tx.refresh();
	return !port.more() && !port.broken();
}

double Vhost::due() const
{
	const Port &port = tap.vhost;
	const auto polled = [](const Vring &r) { return r.live() && r.kick < 0; };

	return channel.fd >= 0 && (polled(port.tx) || (polled(port.rx) && port.starved())) ? *rings.clock + POLL_PERIOD : INFINITY;
}

} // namespace passt
