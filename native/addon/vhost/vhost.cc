#include "vhost.h"
#include "../sock.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace passt {

/** ms between looks at a ring whose driver has no way to kick. */
enum : uint32_t { POLL_PERIOD = 1 };

/** A 64-bit number of a record: the low half first. */
static uint64_t both(const uint32_t (&halves)[2])
{
	return halves[0] | (uint64_t)halves[1] << 32;
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
	asked = true, readable = end_said = false;
	armed = EPOLLIN;
	registered = !core.watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT, ID_LINK);
}

bool Vhost::resume(const std::string &came, const std::vector<int> &passed, const std::string &unsent)
{
	asked = false, readable = true;
	return channel.resume(came, passed, unsent);
}

std::vector<uint64_t> Vhost::held() const
{
	const Port &port = tap.vhost;
	const Memory &m = port.memory;
	const RegionSpec log = m.log_file();
	std::vector<uint64_t> words = {port.features_used(), log.size, log.offset, log_fd >= 0};

	for (const Vring *const r : {&port.rx, &port.tx}) {
		const RingPlace &p = r->place();
		const uint64_t fds = (uint64_t)(r->kick >= 0) << VRING_KICK | (uint64_t)(r->call >= 0) << VRING_CALL |
				     (uint64_t)(r->err >= 0) << VRING_ERR;
		words.insert(words.end(), {p.size, p.desc, p.used, p.avail, p.log, p.flags, r->index(), fds});
	}
	for (uint32_t i = 0; i < m.regions_count(); i++) {
		const RegionSpec r = m.region(i);
		words.insert(words.end(), {r.gpa, r.size, r.user, r.offset});
	}
	return words;
}

int Vhost::descriptor(uint32_t what, uint32_t which) const
{
	const Port &port = tap.vhost;

	if (what == HAND_REGION)
		return which < port.memory.regions_count() ? port.memory.region(which).fd : -1;
	if (what == HAND_LOG)
		return which ? log_fd : port.memory.log_file().fd;
	if (what == HAND_CAME)
		return which < channel.fd_count ? channel.fds[which] : -1;
	const Vring &ring = which / VRING_FDS == VRING_RX ? port.rx : port.tx;
	if (what != HAND_VRING || which / VRING_FDS >= VRINGS)
		return -1;
	const uint32_t kind = which % VRING_FDS;
	return kind == VRING_KICK ? ring.kick : kind == VRING_CALL ? ring.call : ring.err;
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
	results.add<ev::VhostDone>(0, 0).error = (uint32_t)error;
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

void Vhost::memory(const fx::Regions &e)
{
	RegionSpec all[VHOST_REGIONS_MAX] = {};
	const uint32_t n = e.kind == EF_VHOST_MEMORY ? e.regions : 1;
	Memory &m = tap.vhost.memory;

	if (n > VHOST_REGIONS_MAX || !rings.in_slab(e.off, n * VHOST_REGION_LEN))
		return done(EFAULT);
	memcpy(all, rings.slab + e.off, n * VHOST_REGION_LEN);
	const int error = e.kind == EF_VHOST_MEMORY ? m.replace(all, n) : m.add(all[0]);
	for (uint32_t i = 0; i < n; i++)
		close_fd(all[i].fd);
	translate();
	done(error);
}

void Vhost::log(const fx::DirtyLog &e)
{
	int fd = (int)e.descriptor;
	const int error = tap.vhost.memory.log(fd, both(e.size), both(e.mmap_offset));

	close_fd(fd);
	done(error);
}

/**
 * Only an eventfd may tell or be told: a file would grow, and a file, or a set of epoll with one in it, may have us wait for
 * whoever serves it (FUSE). The kind is asked for without a word to that one; of all that is no file but an eventfd takes a zero.
 */
static bool is_eventfd(int fd)
{
	const uint64_t zero = 0;
	struct statx st;

	return !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) && !(st.stx_mode & S_IFMT) &&
	       write(fd, &zero, sizeof(zero)) == sizeof(zero);
}

/** To be written to. It shall never block us, whoever else has it: the front-end made it for us. */
static int notifier(int fd)
{
	if (fd >= 0 && !is_eventfd(fd))
		close_fd(fd);
	if (fd >= 0)
		set_nonblocking(fd);
	return fd;
}

void Vhost::set_fd(const fx::VringFd &e)
{
	Port &port = tap.vhost;
	int fd = (int)e.descriptor;

	if (e.ring >= VRINGS || e.which > VRING_ERR)
		return close_fd(fd);
	Vring &ring = e.ring == VRING_RX ? port.rx : port.tx;
	int &place = e.which == VRING_KICK ? ring.kick : e.which == VRING_CALL ? ring.call : ring.err;
	if (e.which == VRING_KICK && place >= 0)
		core.unwatch(place);
	close_fd(place);
	place = fd = notifier(fd);
	if (fd < 0)
		return;
	if (e.which == VRING_CALL) {
		const uint64_t one = 1;
		if (write(fd, &one, sizeof(one)) < 0) {
			/* it has a count already */
		}
	}
	/* Each kick is an edge, so nobody has to read it away. What cannot be watched is looked at in each turn */
	if (e.which == VRING_KICK && core.watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, ID_VHOST_RX - e.ring))
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

bool Vhost::effect(const Record &e)
{
	Port &port = tap.vhost;
	const uint32_t kind = as<Head>(e).kind;

	if (kind < EF_VHOST_NEXT || kind > EF_VRING_STOP)
		return false;
	if (kind != EF_VHOST_NEXT && kind != EF_VHOST_REPLY) {
		port.fetch();
		port.flush(); /* what was given back belongs to the state before */
	}
	/* Of EF_VRING_* only */
	const uint32_t number = as<fx::VringStop>(e).ring;
	Vring &ring = number == VRING_RX ? port.rx : port.tx;
	const bool is_ring = number < VRINGS;
	switch (kind) {
	case EF_VHOST_NEXT:
		asked = true;
		break;
	case EF_VHOST_REPLY: {
		const auto &o = as<fx::Octets>(e);
		if (rings.in_slab(o.off, o.len))
			channel.reply(rings.slab + o.off, o.len);
		break;
	}
	case EF_VHOST_FEATURES:
		tap.vnet = true;
		tap.offloads = port.use_features(both(as<fx::Features>(e).features));
		break;
	case EF_VHOST_MEMORY:
	case EF_VHOST_ADD_REGION:
		memory(as<fx::Regions>(e));
		break;
	case EF_VHOST_REMOVE_REGION: {
		const auto &gone = as<fx::RemoveRegion>(e);
		const int error = port.memory.remove(both(gone.guest_physical_address), both(gone.size), both(gone.user_address));
		translate();
		done(error);
		break;
	}
	case EF_VHOST_LOG:
		log(as<fx::DirtyLog>(e));
		break;
	case EF_VHOST_LOG_FD:
		close_fd(log_fd);
		log_fd = notifier((int)as<fx::Descriptor>(e).descriptor);
		break;
	case EF_VRING_ADDR: {
		const auto &a = as<fx::VringAddr>(e);
		done(is_ring ? ring.place({both(a.desc), both(a.used), both(a.avail), both(a.log), a.ring_size, a.flags}) : EINVAL);
		break;
	}
	case EF_VRING_BASE:
		if (is_ring)
			ring.base((uint16_t)as<fx::VringBase>(e).next_avail_index);
		break;
	case EF_VRING_FD:
		set_fd(as<fx::VringFd>(e));
		break;
	case EF_VRING_RUN:
		if (is_ring)
			run(ring, number, as<fx::VringRun>(e).mode);
		break;
	default: /* EF_VRING_STOP */
		if (is_ring) {
			ring.mode = VRING_OFF;
			auto &r = results.add<ev::VringStopped>(0, 0);
			r.ring = number, r.next_avail_index = ring.index();
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
	readable = readable || events & (EPOLLIN | EPOLLHUP | EPOLLERR);
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		channel.flush();
}

void Vhost::kicked(uint32_t ring)
{
	if (ring == VRING_RX)
		tap.vhost.look_for_buffers(*rings.clock);
}

void Vhost::look()
{
	Port &port = tap.vhost;

	if (channel.fd < 0)
		return;
	if (readable && asked && rings.room() && rings.rx_left() >= VHOST_HEAD + VHOST_MESSAGE_MAX && (readable = channel.read())) {
		auto &e = rings.post<ev::VhostMessage>(0);
		e.off = rings.rx_next(), e.len = channel.length();
		memcpy(rings.slab + e.off, channel.message(), e.len);
		rings.rx_take(e.len);
		e.number_of_descriptors = channel.fd_count + (channel.too_many ? 1 : 0);
		for (uint32_t i = 0; i < channel.fd_count; i++)
			e.descriptors[i] = (uint32_t)channel.fds[i];
		channel.taken();
		asked = false;
	}
	port.look_for_buffers(*rings.clock);
	port.read(rings, TAP_FRAMES, core.guests_share(), tap.pcap);
	report();
}

void Vhost::stop_broken(Vring &ring, uint32_t number)
{
	const uint64_t one = 1;

	if (!ring.failed())
		return;
	ring.mode = VRING_OFF;
	auto &e = results.add<ev::VringBroken>(0, 0);
	e.ring = number, e.why = ring.why, e.detail = ring.detail;
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
		results.add<ev::TapRoom>(0, 0);
	if (channel.ended && !end_said) {
		end_said = true;
		end_session();
		auto &e = results.add<ev::LinkEnd>(0, 0);
		e.why = channel.ended, e.detail = channel.detail;
		if (port.room_again())
			results.add<ev::TapRoom>(0, 0);
	}
	watch_channel();
}

bool Vhost::may_sleep()
{
	Port &port = tap.vhost;

	if (channel.fd < 0 || !port.tx.live())
		return true;
	/* Soon we are awake anyway */
	if (port.naps())
		return !port.broken();
	if (!port.tx.asked())
		port.tx.ask();
	port.tx.refresh();
	return !port.more() && !port.broken();
}

double Vhost::due() const
{
	const Port &port = tap.vhost;
	const auto polled = [](const Vring &r) { return r.live() && r.kick < 0; };

	if (channel.fd < 0)
		return INFINITY;
	return std::min(port.due(), polled(port.tx) || (polled(port.rx) && port.starved()) ? *rings.clock + POLL_PERIOD : INFINITY);
}

} // namespace passt
