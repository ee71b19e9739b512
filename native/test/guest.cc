#include "guest.h"

#include <algorithm>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

Guest::Guest(uint64_t features, uint32_t size, uint16_t base, Layout l) : Rig(false, 0, {4 << 20, 8 << 20, 64, 4096, 512}), layout(l)
{
	int s[2];
	uint64_t next = LOW + 4096;
	const auto part = [&](uint64_t octets) {
		const uint64_t at = next;
		next += (octets + 4095) & ~4095ull;
		return at;
	};

	layout.event_idx = features & bit(RING_EVENT_IDX);
	memfd = memfd_create("guest", MFD_CLOEXEC);
	CHECK(memfd >= 0 && !ftruncate(memfd, LOW_LEN + GAP + HIGH_LEN));
	file = static_cast<uint8_t *>(mmap(nullptr, LOW_LEN + GAP + HIGH_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0));
	CHECK(file != MAP_FAILED);
	for (DriverRing &r : rings) {
		r.size = size;
		r.desc = part(16 * size), r.avail = part(6 + 2 * size), r.used = part(6 + 8 * size);
		for (uint32_t i = size; i--;)
			r.free.push_back((uint16_t)i);
		r.held.resize(size);
		r.avail_idx = r.used_idx = base;
	}
	for (uint32_t i = 0; i < 2; i++) {
		*avail16(i, 2) = base, *used16(i, 2) = base;
		if (layout.event_idx)
			*avail16(i, 4 + 2 * size) = base, *used16(i, 4 + 8 * size) = base;
	}
	/* Buffers: the receive ring's over both regions, the other's as well */
	rings[VRING_RX].from = rings[VRING_RX].next = HIGH - (1 << 20), rings[VRING_RX].to = HIGH + (12 << 20);
	rings[VRING_TX].from = rings[VRING_TX].next = HIGH + (12 << 20), rings[VRING_TX].to = HIGH + HIGH_LEN;
	CHECK(next < rings[VRING_RX].from);

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s));
	front = s[1];
	CHECK(!engine.clients.offer(s[0], true));
	effect({EF_LINK_USE, 0, (uint32_t)s[0]});
	words({EF_VHOST_FEATURES, 0, (uint32_t)features, (uint32_t)(features >> 32)});
	CHECK(share() == 0);
	for (uint32_t i = 0; i < 2; i++) {
		call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		effect({EF_VRING_BASE, 0, i, base});
		place(i);
		effect({EF_VRING_FD, 0, i, VRING_KICK, (uint32_t)dup(kick[i])});
		effect({EF_VRING_FD, 0, i, VRING_CALL, (uint32_t)dup(call[i])});
		run(i, VRING_ON);
	}
	CHECK(await(EV_VHOST_DONE)[13] == 0 && await(EV_VHOST_DONE)[13] == 0);
	called(0), called(1);
}

Guest::~Guest()
{
	for (const int fd : {memfd, logfd, front, call[0], call[1], kick[0], kick[1]}) {
		if (fd >= 0)
			close(fd);
	}
	munmap(file, LOW_LEN + GAP + HIGH_LEN);
	if (log)
		munmap(log, LOG_LEN);
}

uint8_t *Guest::at(uint64_t gpa)
{
	return file + (gpa - LOW) + (gpa >= HIGH ? (uint64_t)GAP : 0);
}

void Guest::words(const std::vector<uint32_t> &w)
{
	uint32_t *const e = engine.rings.effects[effects++];
	memset(e, 0, sizeof(Record));
	std::copy(w.begin(), w.end(), e);
}

void Guest::u64(std::vector<uint32_t> &w, uint64_t v)
{
	w.push_back((uint32_t)v), w.push_back((uint32_t)(v >> 32));
}

uint32_t Guest::share()
{
	const RegionSpec all[2] = {{LOW, LOW_LEN, USER, 0, dup(memfd), 0},
				   {HIGH, HIGH_LEN, USER + 0x100000000, LOW_LEN + GAP, dup(memfd), 0}};
	Octets b(sizeof(all));
	memcpy(b.data(), all, sizeof(all));
	effect({EF_VHOST_MEMORY, 0, put(b, 1024), 2});
	return await(EV_VHOST_DONE)[13];
}

void Guest::place(uint32_t ring, uint32_t flags)
{
	const DriverRing &r = rings[ring];
	std::vector<uint32_t> w = {EF_VRING_ADDR, 0, ring, flags};
	for (const uint64_t a : {r.desc, r.used, r.avail})
		u64(w, a - LOW + USER);
	u64(w, r.used);
	w.push_back(r.size);
	words(w);
}

void Guest::run(uint32_t ring, uint32_t mode)
{
	effect({EF_VRING_RUN, 0, ring, mode});
}

void Guest::start_log()
{
	logfd = memfd_create("log", MFD_CLOEXEC);
	CHECK(logfd >= 0 && !ftruncate(logfd, LOG_LEN));
	log = static_cast<uint8_t *>(mmap(nullptr, LOG_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, logfd, 0));
	std::vector<uint32_t> w = {EF_VHOST_LOG, 0, (uint32_t)dup(logfd), 0};
	u64(w, LOG_LEN), u64(w, 0);
	words(w);
	CHECK(await(EV_VHOST_DONE)[13] == 0);
	place(0, VRING_LOG_USED), place(1, VRING_LOG_USED);
	CHECK(await(EV_VHOST_DONE)[13] == 0 && await(EV_VHOST_DONE)[13] == 0);
	snapshot();
}

void Guest::snapshot()
{
	before.assign(file, file + LOW_LEN + GAP + HIGH_LEN);
	memset(log, 0, LOG_LEN);
}

void Guest::check_log()
{
	for (uint64_t page = 0; page < LOG_LEN * 8; page++) {
		const uint64_t gpa = page * 4096;
		const bool marked = log[page / 8] >> page % 8 & 1;
		if (gpa < LOW || gpa >= HIGH + HIGH_LEN) {
			CHECK(!marked);
			continue;
		}
		const size_t off = (size_t)(at(gpa) - file);
		const bool changed = memcmp(file + off, before.data() + off, 4096) != 0;
		if (changed && !marked) {
			fprintf(stderr, "page %llx is not marked\n", (unsigned long long)gpa);
			abort();
		}
	}
}

uint64_t Guest::buffer(DriverRing &r, uint32_t len)
{
	if (r.next + len > r.to)
		r.next = r.from;
	const uint64_t at = r.next;
	r.next += len;
	return at;
}

bool Guest::offer(uint32_t ring, size_t len, bool writable, const uint8_t *octets)
{
	DriverRing &r = rings[ring];
	std::vector<std::pair<uint64_t, uint32_t>> parts;
	const uint64_t table_room = 16 * 64;

	for (size_t left = len; left;) {
		const size_t most = layout.part ? layout.part : 1 + chance(chance(4) ? 3000 : 20);
		/* An indirect table of 64 at most */
		const auto n = (uint32_t)(layout.indirect && parts.size() == 63 ? left : std::min(left, most));
		parts.push_back({buffer(r, n), n});
		if (octets) {
			for (uint32_t i = 0; i < n; i++) /* a part may lie in both regions */
				*at(parts.back().first + i) = *octets++;
		}
		left -= n;
		r.next += chance(3); /* parts that are not neighbours */
	}
	const size_t need = layout.indirect ? 1 : parts.size();
	if (r.free.size() < need)
		return false;
	DriverRing::Held held;
	held.parts = parts;
	const auto write = [&](uint64_t to, uint64_t addr, uint32_t n, uint16_t flags, uint16_t next) {
		memcpy(at(to), &addr, 8), memcpy(at(to + 8), &n, 4), memcpy(at(to + 12), &flags, 2), memcpy(at(to + 14), &next, 2);
	};
	const auto wr = (uint16_t)(writable ? 2 : 0);
	for (size_t i = 0; i < need; i++) {
		held.descs.push_back(r.free.back());
		r.free.pop_back();
	}
	const uint16_t head = held.descs[0];
	if (layout.indirect) {
		const uint64_t table = (buffer(r, (uint32_t)table_room + 16) + 15) & ~15ull;
		for (size_t i = 0; i < parts.size(); i++)
			write(table + 16 * i, parts[i].first, parts[i].second, (uint16_t)(wr | (i + 1 < parts.size() ? 1 : 0)), (uint16_t)(i + 1));
		write(r.desc + 16 * head, table, (uint32_t)(16 * parts.size()), 4, 0);
	} else {
		for (size_t i = 0; i < need; i++) {
			const bool more = i + 1 < need;
			write(r.desc + 16 * held.descs[i], parts[i].first, parts[i].second, (uint16_t)(wr | (more ? 1 : 0)), more ? held.descs[i + 1] : 0);
		}
	}
	r.held[head] = held;
	*avail16(ring, 4 + 2 * (r.avail_idx & (r.size - 1))) = head;
	__atomic_store_n(avail16(ring, 2), ++r.avail_idx, __ATOMIC_RELEASE);
	return true;
}

bool Guest::send(const Octets &frame, const Vnet &v)
{
	Octets b(NET_HEAD);
	memcpy(b.data(), &v, sizeof(v));
	b.insert(b.end(), frame.begin(), frame.end());
	return offer(VRING_TX, b.size(), false, b.data());
}

uint32_t Guest::give(uint32_t n, size_t len)
{
	uint32_t done = 0;
	while (done < n && offer(VRING_RX, len, true))
		done++;
	return done;
}

std::vector<Guest::Used> Guest::back(uint32_t ring)
{
	DriverRing &r = rings[ring];
	std::vector<Used> all;

	for (const uint16_t end = __atomic_load_n(used16(ring, 2), __ATOMIC_ACQUIRE); r.used_idx != end; r.used_idx++) {
		uint32_t entry[2];
		memcpy(entry, used16(ring, 4 + 8 * (r.used_idx & (r.size - 1))), 8);
		CHECK(entry[0] < r.size && !r.held[entry[0]].descs.empty());
		DriverRing::Held &h = r.held[entry[0]];
		Used u = {entry[1], {}};
		size_t left = entry[1];
		for (const auto &p : h.parts) {
			for (uint32_t i = 0; i < p.second && left; i++, left--)
				u.octets.push_back(*at(p.first + i));
		}
		CHECK(!left);
		r.free.insert(r.free.end(), h.descs.begin(), h.descs.end());
		h = {};
		all.push_back(u);
	}
	if (layout.event_idx) /* the next one is to be told */
		*avail16(ring, 4 + 2 * r.size) = r.used_idx;
	return all;
}

std::vector<Octets> Guest::received()
{
	std::vector<Octets> frames;
	uint32_t more = 0;

	for (const Used &u : back(VRING_RX)) {
		if (more) {
			more--;
			frames.back().insert(frames.back().end(), u.octets.begin(), u.octets.end());
			continue;
		}
		frames.push_back(u.octets);
		/* The header may lie in several chains, if they are that short: then the tests look at one chain only */
		if (u.octets.size() >= NET_HEAD) {
			more = u.octets[10] | (uint32_t)u.octets[11] << 8;
			CHECK(more);
			more--;
		}
	}
	CHECK(!more);
	return frames;
}

uint64_t Guest::called(uint32_t ring)
{
	uint64_t n = 0;
	return read(call[ring], &n, sizeof(n)) == sizeof(n) ? n : 0;
}

void Guest::kick_it(uint32_t ring)
{
	const uint64_t one = 1;
	CHECK(write(kick[ring], &one, sizeof(one)) == sizeof(one));
}

Octets some_frame(size_t len)
{
	Octets f = noise(len);
	f[12] = 0x88, f[13] = 0xb5;
	return f;
}
