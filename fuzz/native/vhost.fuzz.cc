/* A front-end of vhost-user that means harm: octets and descriptors on the channel, effects of the session in any order, and a
 * guest that writes what it likes into rings, tables and buffers, at any time. What is told lies inside the slab; nothing is
 * written but in regions of the guest's, and each page of those that is written is in the log; no descriptor is left. */
#include "../../native/addon/checksum.h"
#include "../../native/addon/engine.h"
#include "input.h"

#include <cstring>
#include <dirent.h>
#include <memory>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace passt;

namespace {

using Octets = std::vector<uint8_t>;
enum : size_t { TX = 1 << 18, RX = 1 << 20, EFFECTS = 64 };
enum : uint64_t { PAGE = 4096 };

/** A region as it is, and where it is in the file; what lies between them is nobody's. */
struct Place {
	uint64_t gpa, size, user, offset;
};
constexpr Place PLACES[] = {{0x10000, 0x8000, 0x7f0000000000, 0x1000}, {0x18000, 0x8000, 0x7f0100000000, 0xa000}};
enum : uint64_t { FILE_LEN = 0x13000, LOG_LEN = 4096 };
/** Rings by gpa, all of the first region; what is behind them are buffers, up to the end of the second one, or beyond. */
enum : uint64_t { RING_STEP = 0x1000, DESC = 0x10000, AVAIL = 0x10800, USED = 0x10c00, BUFFERS = 0x12000 };
enum : uint32_t { RING_MAX = 64 };

size_t open_fds()
{
	size_t n = 0;
	DIR *const d = opendir("/proc/self/fd");

	MUST(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

struct Session {
	std::unique_ptr<Engine> own{new Engine};
	Engine &engine = *own;
	int memfd = memfd_create("guest", MFD_CLOEXEC), logfd = memfd_create("log", MFD_CLOEXEC), front = -1;
	int events[4];
	uint8_t *file = nullptr, *log = nullptr;
	uint32_t effects = 0, put_at = 0;
	/** Of each ring as the driver has it. */
	uint32_t size[2] = {16, 16};
	uint16_t avail_idx[2] = {0, 0};
	/** Of the next segment, so that they come together. */
	uint32_t seq = 0;
	/** What the engine may have mapped: part of PLACES, all of them, any octets of the file. Now, and behind the effects that wait. */
	enum { PART, ALL, ANY } table = PART, next_table = PART;
	/** The log is on, for used rings too. */
	bool logged = false;
	/** The log may lie in the guest's file, where nobody's octets are as well. */
	bool log_in_file = false;
	/** Buffers may lie in the rings. */
	bool overlap = false;
	/** JS has asked for the next message by itself. */
	bool asks = true;

	Session()
	{
		int s[2];
		MUST(memfd >= 0 && logfd >= 0 && !ftruncate(memfd, FILE_LEN) && !ftruncate(logfd, LOG_LEN));
		file = static_cast<uint8_t *>(mmap(nullptr, FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0));
		log = static_cast<uint8_t *>(mmap(nullptr, LOG_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, logfd, 0));
		MUST(file != MAP_FAILED && log != MAP_FAILED);
		for (int &e : events)
			e = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		MUST(!engine.open({TX, RX, 16, EFFECTS, 64}));
		MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s));
		front = s[1];
		MUST(!engine.clients.offer(s[0], true));
		effect({EF_LINK_USE, 0, (uint32_t)s[0]});
		turn();
	}
	~Session()
	{
		const Rings rings = engine.rings;

		own.reset();
		munmap(rings.slab, TX + RX), munmap(rings.clock, 2 * sizeof(double));
		munmap(rings.effects, sizeof(Record) * rings.size.effects), munmap(rings.events, sizeof(Record) * rings.size.events);
		munmap(file, FILE_LEN), munmap(log, LOG_LEN);
		for (const int fd : {memfd, logfd, front, events[0], events[1], events[2], events[3]})
			close(fd);
	}

	void effect(std::initializer_list<uint32_t> words)
	{
		if (effects == EFFECTS)
			turn();
		uint32_t *const e = engine.rings.effects[effects++];
		memset(e, 0, sizeof(Record));
		std::copy(words.begin(), words.end(), e);
	}
	uint32_t put(const void *from, size_t n)
	{
		if (effects == EFFECTS || put_at + n > TX)
			turn();
		std::copy_n(static_cast<const uint8_t *>(from), n, engine.rings.slab + put_at);
		const uint32_t at = put_at;
		put_at += (uint32_t)(n + 7) & ~7u;
		return at;
	}

	void event(const uint32_t *e)
	{
		Rings &r = engine.rings;
		switch (e[0]) {
		case EV_TAP_FRAME:
			MUST(e[3] >= ETH_LEN && e[3] <= FRAME_MAX && r.in_slab(e[2], e[3]));
			if (!(e[4] & VNET_NEEDS_CSUM))
				MUST(e[7] == sum_fold(sum_octets(r.slab + e[2] + ETH_LEN, e[3] - ETH_LEN)));
			break;
		case EV_VHOST_MESSAGE:
			MUST(e[3] >= VHOST_HEAD && e[3] <= VHOST_HEAD + VHOST_MESSAGE_MAX && r.in_slab(e[2], e[3]));
			MUST(e[4] <= VHOST_FDS_MAX + 1);
			for (uint32_t i = 0; i < e[4] && i < VHOST_FDS_MAX; i++)
				close((int)e[5 + i]);
			if (asks)
				effect({EF_VHOST_NEXT});
			break;
		case EV_LINK_END:
			logged = false;
			break;
		case EV_VRING_BROKEN:
			MUST(e[2] <= VRING_TX && e[3]);
			break;
		case EV_VRING_STOPPED:
			MUST(e[2] <= VRING_TX && e[3] <= UINT16_MAX);
			break;
		default:
			break;
		}
	}
	/** What was written of used rings names chains of the ring. */
	void used_entries(const uint8_t *before)
	{
		for (uint32_t i = 0; i < 2 * RING_MAX; i++) {
			const uint8_t *const entry = at(of(i / RING_MAX, USED) + 4 + 8 * (i % RING_MAX));
			uint32_t id;
			memcpy(&id, entry, sizeof(id));
			MUST(id < RING_MAX || !memcmp(&id, before + (entry - file), sizeof(id)));
		}
	}
	/** Effects and what is there. Only what the guest gave is written to, and each page of it is marked. */
	void turn(double sleep_ms = 0)
	{
		const bool marks = logged && table == ALL && next_table == ALL, known = table != ANY && next_table != ANY && !log_in_file;
		static uint8_t before[FILE_LEN];
		memcpy(before, file, FILE_LEN);
		if (marks)
			memset(log, 0, LOG_LEN);
		const int n = engine.turn(effects, sleep_ms);
		effects = 0, put_at = 0, table = next_table;
		MUST(n >= 0);
		for (uint64_t at = 0; known && at < FILE_LEN; at += PAGE) {
			if (!memcmp(file + at, before + at, PAGE))
				continue;
			const Place *in = nullptr;
			for (const Place &p : PLACES)
				in = at - p.offset < p.size ? &p : in;
			MUST(in);
			if (in == &PLACES[0] && table == ALL && !overlap)
				used_entries(before);
			const uint64_t page = (in->gpa + at - in->offset) / PAGE;
			MUST(!marks || log[page / 8] >> page % 8 & 1);
		}
		for (int i = 0; i < n; i++)
			event(engine.rings.events[i]);
		uint8_t sink[4096];
		while (recv(front, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
	}

	uint8_t *at(uint64_t gpa)
	{
		for (const Place &p : PLACES) {
			if (gpa - p.gpa < p.size)
				return file + p.offset + (gpa - p.gpa);
		}
		return file; /* nobody's: the first page */
	}
	template <typename T> void store(uint64_t gpa, T v)
	{
		for (size_t i = 0; i < sizeof(v); i++)
			if (uint8_t *const p = at(gpa + i); p != file)
				*p = (uint8_t)((uint64_t)v >> 8 * i);
	}
	static uint64_t of(uint32_t ring, uint64_t what) { return what + ring * RING_STEP; }

	int descriptor(uint8_t which)
	{
		const int all[] = {memfd, logfd, events[0], events[1], events[2], events[3], front};
		return which % 8 < 7 ? dup(all[which % 8]) : -1;
	}
	void features(uint64_t f)
	{
		if (!(f >> VHOST_LOG_ALL & 1))
			logged = false;
		effect({EF_VHOST_FEATURES, 0, (uint32_t)f, (uint32_t)(f >> 32)});
	}
	void share()
	{
		RegionSpec all[2];
		for (int i = 0; i < 2; i++)
			all[i] = {PLACES[i].gpa, PLACES[i].size, PLACES[i].user, PLACES[i].offset, dup(memfd), 0};
		const uint32_t at = put(all, sizeof(all));
		effect({EF_VHOST_MEMORY, 0, at, 2});
		next_table = ALL;
	}
	void place(uint32_t ring, uint32_t flags, uint64_t more = 0)
	{
		const auto user = [](uint64_t gpa) { return gpa - PLACES[0].gpa + PLACES[0].user; };
		const uint64_t d = user(of(ring, DESC)) + more, u = user(of(ring, USED)), a = user(of(ring, AVAIL)), l = of(ring, USED);
		effect({EF_VRING_ADDR, 0, ring, flags, (uint32_t)d, (uint32_t)(d >> 32), (uint32_t)u, (uint32_t)(u >> 32), (uint32_t)a,
			(uint32_t)(a >> 32), (uint32_t)l, (uint32_t)(l >> 32), size[ring]});
	}
	/** What a hypervisor does before its guest runs. */
	void start(uint64_t f)
	{
		features(f);
		share();
		for (uint32_t ring = 0; ring < 2; ring++) {
			effect({EF_VRING_BASE, 0, ring, avail_idx[ring]});
			place(ring, VRING_LOG_USED);
			effect({EF_VRING_FD, 0, ring, VRING_KICK, (uint32_t)dup(events[ring])});
			effect({EF_VRING_FD, 0, ring, VRING_CALL, (uint32_t)dup(events[2 + ring])});
			effect({EF_VRING_RUN, 0, ring, VRING_ON});
		}
		turn();
	}
	/** The log as vhost-user has it: used rings marked as well. */
	void start_log(uint64_t f)
	{
		effect({EF_VHOST_LOG, 0, (uint32_t)dup(logfd), 0, LOG_LEN, 0, 0, 0});
		features(f | 1ull << VHOST_LOG_ALL);
		place(0, VRING_LOG_USED), place(1, VRING_LOG_USED);
		turn();
		logged = true;
	}

	void describe(uint64_t table, uint32_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
	{
		const uint64_t d = table + 16 * i;
		store(d, addr), store(d + 8, len), store(d + 12, flags), store(d + 14, next);
	}
	void push(uint32_t ring, uint16_t head)
	{
		store(of(ring, AVAIL) + 4 + 2 * (avail_idx[ring] & (size[ring] - 1)), head);
		store(of(ring, AVAIL) + 2, ++avail_idx[ring]);
	}
	void pass(const Octets &b, Input &in)
	{
		alignas(cmsghdr) uint8_t control[CMSG_SPACE(12 * sizeof(int))] = {};
		int fds[12];
		const size_t n = in.u8() % 16 < 12 ? in.u8() % 12 : 0;
		iovec iov = {const_cast<uint8_t *>(b.data()), b.size()};
		msghdr m = {};
		if (b.empty())
			return;
		m.msg_iov = &iov, m.msg_iovlen = 1;
		if (n) {
			m.msg_control = control, m.msg_controllen = CMSG_SPACE(n * sizeof(int));
			cmsghdr *const c = CMSG_FIRSTHDR(&m);
			c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(n * sizeof(int));
			for (size_t i = 0; i < n; i++)
				fds[i] = events[i % 4];
			memcpy(CMSG_DATA(c), fds, n * sizeof(int));
		}
		if (sendmsg(front, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			turn();
	}
};

/** Any features: those of the ring, of offloads, of the log. */
uint64_t some_features(Input &in)
{
	static const uint8_t bits[] = {NET_CSUM, NET_GUEST_CSUM, NET_GUEST_TSO4, NET_GUEST_TSO6, NET_HOST_TSO4, NET_HOST_TSO6, NET_MRG_RXBUF,
				       RING_INDIRECT, RING_EVENT_IDX, NET_GUEST_USO4, NET_GUEST_USO6, NET_HOST_USO};
	const uint16_t wish = in.u16();
	uint64_t f = 1ull << 32 | 1ull << 30;

	for (size_t i = 0; i < sizeof(bits); i++)
		f |= wish >> i & 1 ? 1ull << bits[i] : 0;
	return f;
}

/** A virtio-net header, mostly one that a driver sends, and a TCP segment behind it, so long that its payload may stay where it is. */
Octets segment_of(Session &s, Input &in)
{
	const uint8_t kind = in.u8();
	const bool v6 = kind & 1, cut = kind & 2;
	const size_t l4 = ETH_LEN + (v6 ? 40 : 20), head = l4 + 20;
	const Octets data = in.octets(in.u8());
	const size_t len = head + (kind & 4 ? 3000 : 0) + (kind & 16 ? 9000 : 0) + data.size();
	Octets f(NET_HEAD + len);
	uint8_t *const eth = f.data() + NET_HEAD, *const h = eth + ETH_LEN, *const t = eth + l4;

	std::copy(data.begin(), data.end(), f.end() - (std::ptrdiff_t)data.size());
	put16(eth + 12, v6 ? 0x86dd : 0x0800);
	h[0] = v6 ? 0x60 : 0x45;
	if (v6)
		put16(h + 4, (uint16_t)(len - l4)), h[6] = 6, h[7] = 64;
	else
		put16(h + 2, (uint16_t)(len - ETH_LEN)), h[6] = 0x40, h[8] = 64, h[9] = 6;
	put16(t, 40000), put16(t + 2, 80), put32(t + 4, s.seq), put32(t + 8, 1), t[12] = 0x50, t[13] = 0x10, put16(t + 14, 500);
	s.seq += (uint32_t)(len - head);
	if (!v6)
		put16(h + 10, (uint16_t)~sum_fold(sum_octets(h, 20)));
	put16(t + 16, (uint16_t)~sum_fold(sum_octets(t, len - l4, sum_pseudo(h, v6, 6, (uint32_t)(len - l4)))));
	Vnet v = {};
	if (cut) {
		v.flags = VNET_NEEDS_CSUM, v.csum_start = (uint16_t)l4, v.csum_offset = TCP_CSUM;
		if (kind & 8)
			v.gso_type = v6 ? GSO_TCPV6 : GSO_TCPV4, v.gso_size = 1000, v.hdr_len = (uint16_t)head;
	}
	memcpy(f.data(), &v, sizeof(v));
	for (int n = in.u8() & 3; n; n--) {
		const size_t at = in.u16() % f.size();
		f[at] = in.u8();
	}
	return f;
}

/** One chain of the driver's, perhaps in a table of its own: `octets` in it, or as much room. */
void chain(Session &s, Input &in, uint32_t ring, const Octets &octets, size_t room)
{
	const uint32_t parts = 1 + in.u8() % 4, how = in.u8(), size = s.size[ring], first = how % size;
	const bool indirect = how & 128;
	uint64_t addr = BUFFERS + in.u16();
	const uint64_t table = indirect ? addr : Session::of(ring, DESC);
	const auto index = [&](uint32_t i) { return indirect ? i : (first + i) % size; };
	const size_t all = octets.empty() ? room : octets.size();
	size_t done = 0;

	if (indirect) {
		s.overlap = true;
		s.describe(Session::of(ring, DESC), first, table, 16 * parts, 4, 0);
		addr += 16 * parts;
	}
	for (uint32_t i = 0; i < parts; i++) {
		const bool last = i + 1 == parts;
		const size_t n = last ? all - done : std::min<size_t>(in.u8(), all - done);
		for (size_t k = 0; k < n && !octets.empty(); k++)
			s.store(addr + k, octets[done + k]);
		s.describe(table, index(i), addr, (uint32_t)n, (uint16_t)((ring == VRING_RX ? 2 : 0) | (last ? 0 : 1)), (uint16_t)index(i + 1));
		addr += n, done += n;
	}
	s.push(ring, (uint16_t)first);
}

void session_effect(Session &s, Input &in)
{
	const uint32_t ring = in.u8() % 16 ? in.u8() & 1 : 2;

	switch (in.u8() % 12) {
	case 0:
		s.features(some_features(in));
		break;
	case 1:
		s.share();
		break;
	case 2: { /* any table */
		RegionSpec all[VHOST_REGIONS_MAX + 1];
		const uint32_t n = in.u8() % (VHOST_REGIONS_MAX + 2);
		for (uint32_t i = 0; i < n; i++) {
			const Place &p = PLACES[in.u8() & 1];
			const uint8_t odd = in.u8();
			all[i] = {p.gpa + (odd & 1 ? in.u32() : 0) + i * PAGE * (odd >> 4), odd & 2 ? in.u32() : PAGE, p.user + i * PAGE * (odd >> 4),
				  p.offset, odd & 4 ? -1 : dup(s.memfd), 0};
			if (odd & 8)
				all[i].gpa = all[i].user = UINT64_MAX - in.u16();
		}
		const uint32_t at = s.put(all, n * sizeof(RegionSpec));
		s.next_table = Session::ANY;
		if (n <= VHOST_REGIONS_MAX) {
			s.effect({in.u8() & 1 ? (uint32_t)EF_VHOST_MEMORY : (uint32_t)EF_VHOST_ADD_REGION, 0, at, n});
			if (s.engine.rings.effects[s.effects - 1][0] == EF_VHOST_ADD_REGION) {
				for (uint32_t i = 1; i < n; i++)
					if (all[i].fd >= 0)
						close(all[i].fd);
				if (!n)
					s.effects--;
			}
		} else {
			for (uint32_t i = 0; i < n; i++)
				if (all[i].fd >= 0)
					close(all[i].fd);
			s.effect({EF_VHOST_MEMORY, 0, at, n});
		}
		break;
	}
	case 3: {
		const Place &p = PLACES[in.u8() & 1];
		s.next_table = s.next_table == Session::ALL ? Session::PART : s.next_table;
		s.effect({EF_VHOST_REMOVE_REGION, 0, (uint32_t)p.gpa, 0, (uint32_t)p.size, 0, (uint32_t)p.user, (uint32_t)(p.user >> 32)});
		break;
	}
	case 4: /* sizes that are none, places that are not aligned or nowhere */
		if (ring < 2) {
			const uint8_t odd = in.u8();
			s.size[ring] = 1u << in.u8() % 7;
			s.logged = s.logged && odd;
			s.place(ring, odd ? (uint32_t)VRING_LOG_USED : 0, odd & 2 ? in.u16() : 0);
		}
		break;
	case 5:
		s.effect({EF_VRING_BASE, 0, ring, in.u16()});
		break;
	case 6:
		s.effect({EF_VRING_FD, 0, ring, in.u8() % 4u, (uint32_t)s.descriptor(in.u8())});
		break;
	case 7:
		s.effect({EF_VRING_RUN, 0, ring, in.u8() % 4u});
		break;
	case 8:
		s.effect({EF_VRING_STOP, 0, ring});
		break;
	case 9:
		s.effect({EF_VHOST_LOG_FD, 0, (uint32_t)s.descriptor(in.u8())});
		break;
	case 10: {
		const uint8_t which = in.u8();
		s.logged = false;
		/* Stays: so do the marks that are in the file by then */
		s.log_in_file = s.log_in_file || which % 8 == 0;
		s.effect({EF_VHOST_LOG, 0, (uint32_t)s.descriptor(which), 0, in.u16(), 0, in.u16(), 0});
		break;
	}
	default:
		s.start_log(some_features(in));
	}
}

void run(const uint8_t *data, size_t len)
{
	Input in(data, len);
	Session s;

	if (in.u8() & 1)
		s.start(some_features(in));
	while (!in.done()) {
		switch (in.u8() % 14) {
		case 0: /* octets of the channel: any, or what says its own length */
			s.pass(in.octets(in.u8()), in);
			break;
		case 1: {
			Octets b(VHOST_HEAD);
			b[0] = in.u8(), b[4] = in.u8(), b[8] = in.u8(), b[9] = in.u8() & 15;
			const Octets payload = in.octets(b[8] | (size_t)b[9] << 8);
			b.insert(b.end(), payload.begin(), payload.end());
			s.pass(b, in);
			break;
		}
		case 2:
			s.asks = in.u8() & 3;
			s.effect({EF_VHOST_NEXT});
			break;
		case 3: {
			const Octets b = in.octets(in.u8());
			const uint32_t at = s.put(b.data(), b.size());
			s.effect({EF_VHOST_REPLY, 0, at, (uint32_t)b.size() + (in.u8() == 255 ? in.u32() : 0)});
			break;
		}
		case 4:
			session_effect(s, in);
			break;
		case 5: /* what the guest writes, anywhere */
			s.overlap = true;
			for (uint64_t gpa = PLACES[0].gpa + in.u16() % 0x2000, n = in.u8() % 32; n; n--)
				s.store(gpa++, in.u8());
			break;
		case 6: {
			const uint32_t ring = in.u8() & 1, i = in.u8();
			/* Anywhere but in the rings, which nobody but us checks */
			const uint64_t any = in.u8() & 7 ? BUFFERS + in.u16() : (uint64_t)in.u32() << 32 | in.u32();
			const uint64_t addr = any + 5000 - DESC < BUFFERS + 5000 - DESC ? any + BUFFERS : any;
			const uint32_t n = in.u8() & 7 ? in.u16() % 5000 : in.u32();
			const uint16_t flags = in.u8(), next = in.u8() & 7 ? in.u8() : in.u16();
			s.overlap = s.overlap || flags & 4;
			s.describe(Session::of(ring, DESC), i % RING_MAX, addr, n, flags, next);
			break;
		}
		case 7:
			s.push(in.u8() & 1, in.u8() & 15 ? in.u8() % RING_MAX : in.u16());
			break;
		case 8:
			chain(s, in, VRING_TX, segment_of(s, in), 0);
			break;
		case 9:
		case 10:
			chain(s, in, VRING_RX, {}, 1 + in.u16() % 5000);
			break;
		case 11: { /* a frame to the guest */
			const Octets f = segment_of(s, in), v(f.begin(), f.begin() + VNET_LEN);
			Octets b = v;
			b.insert(b.end(), f.begin() + NET_HEAD, f.end());
			const uint32_t at = s.put(b.data(), b.size());
			s.effect({EF_TAP_WRITE, 0, at, (uint32_t)b.size()});
			break;
		}
		case 12: /* the file gets shorter, and longer again */
			if (in.u8() & 7)
				break;
			s.turn();
			MUST(!ftruncate(s.memfd, (off_t)(in.u8() % (FILE_LEN / PAGE) * PAGE)));
			MUST(s.engine.turn(0, 0) >= 0);
			for (uint32_t i = 0; i < s.engine.rings.posted; i++)
				s.event(s.engine.rings.events[i]);
			MUST(!ftruncate(s.memfd, FILE_LEN));
			s.table = s.next_table = s.table == Session::ALL ? Session::PART : s.table;
			break;
		default:
			s.turn(in.u8() & 1 ? 0.01 : 0);
		}
	}
	s.turn();
	if (in.u8() & 1)
		s.effect({EF_LINK_CLOSE});
	s.turn();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	/* What comes with the first engine stays */
	static const bool once = (run(nullptr, 0), true);
	const size_t before = open_fds();

	(void)once;
	run(data, len);
	MUST(open_fds() == before);
	return 0;
}
