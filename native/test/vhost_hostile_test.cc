/* vhost-user: rings that cannot be, memory that goes away, messages in pieces and with descriptors that nobody asked for. */
#include "guest.h"

#include "../addon/seccomp.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

/** VRING_BAD_* that a driver gets for this; 0: the ring goes on. */
uint32_t broken_by(uint64_t features, uint32_t ring, const std::function<void(Guest &, uint8_t *desc)> &what)
{
	Guest g(features, 16, 0, {2000, false, false});
	if (ring == VRING_RX)
		g.give(1, 2000);
	else
		g.send(some_frame(100));
	g.turn(0);
	const uint16_t head = *g.avail16(ring, 4);
	if (ring == VRING_TX) { /* the next one, since that one is gone */
		g.back(ring);
		g.send(some_frame(100));
	}
	uint8_t *const desc = g.at(g.rings[ring].desc) + 16 * (ring == VRING_TX ? *g.avail16(ring, 4 + 2) : head);
	what(g, desc);
	if (ring == VRING_RX) {
		const Octets f = some_frame(100);
		Octets b(VNET_LEN);
		b.insert(b.end(), f.begin(), f.end());
		g.effect({EF_TAP_WRITE, 0, g.put(b), (uint32_t)b.size()});
	}
	g.turn(0);
	const Ev e = g.take(EV_VRING_BROKEN);
	if (e.empty())
		return 0;
	CHECK(e[2] == ring);
	/* It is told once, nothing is touched any more, and nobody spins */
	const Octets used(g.at(g.rings[ring].used), g.at(g.rings[ring].used) + 6 + 8 * 16);
	g.seen.clear();
	g.send(some_frame(60));
	g.turn(0);
	CHECK(g.take(EV_VRING_BROKEN).empty() && g.take(EV_TAP_FRAME).empty() == (ring == VRING_TX));
	CHECK(!memcmp(used.data(), g.at(g.rings[ring].used), used.size()));
	CHECK(g.turn(30).empty());
	return e[3];
}

void put64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}
void le32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}
void le16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}
enum : size_t { LEN = 8, FLAGS = 12, NEXT = 14 };

Octets message(uint32_t request, uint32_t size)
{
	Octets m(VHOST_HEAD + size, (uint8_t)request);
	le32(m.data(), request), le32(m.data() + 4, 1), le32(m.data() + 8, size);
	return m;
}
void pass(int to, const uint8_t *from, size_t n, const std::vector<int> &fds)
{
	iovec iov = {const_cast<uint8_t *>(from), n};
	std::vector<uint8_t> control(CMSG_SPACE(fds.size() * sizeof(int)));
	msghdr m = {};
	m.msg_iov = &iov, m.msg_iovlen = 1;
	if (!fds.empty()) {
		m.msg_control = control.data(), m.msg_controllen = control.size();
		cmsghdr *const c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
		memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
	}
	CHECK(sendmsg(to, &m, 0) == (ssize_t)n);
}

} // namespace

TEST(vhost_rings_that_cannot_be_are_broken_not_believed)
{
	const uint64_t all = MERGED | bit(RING_INDIRECT);
	for (const uint32_t ring : {VRING_RX, VRING_TX}) {
		const auto why = [&](const std::function<void(Guest &, uint8_t *)> &f) { return broken_by(all, ring, f); };
		const uint16_t wr = ring == VRING_RX ? 2 : 0;
		CHECK(why([](Guest &, uint8_t *) {}) == 0);
		CHECK(why([&](Guest &g, uint8_t *) { *g.avail16(ring, 2) = (uint16_t)(g.rings[ring].used_idx + 18); }) == VRING_BAD_INDEX);
		CHECK(why([&](Guest &g, uint8_t *) {
			for (size_t i = 0; i < 16; i++)
				*g.avail16(ring, 4 + 2 * i) = 16;
		}) == VRING_BAD_INDEX);
		CHECK(why([&](Guest &, uint8_t *d) { le16(d + FLAGS, wr | 1), le16(d + NEXT, 16); }) == VRING_BAD_INDEX);
		CHECK(why([&](Guest &g, uint8_t *d) {
			le16(d + FLAGS, wr | 1), le16(d + NEXT, (uint16_t)((d - g.at(g.rings[ring].desc)) / 16));
		}) == VRING_LOOP);
		CHECK(why([](Guest &, uint8_t *d) { put64(d, 0); }) == VRING_BAD_ADDRESS);
		CHECK(why([](Guest &, uint8_t *d) { put64(d, Guest::HIGH + Guest::HIGH_LEN - 10); }) == VRING_BAD_ADDRESS);
		CHECK(why([](Guest &, uint8_t *d) { put64(d, UINT64_MAX - 3); }) == VRING_BAD_LENGTH);
		CHECK(why([](Guest &, uint8_t *d) { put64(d, Guest::LOW - 1); }) == VRING_BAD_ADDRESS);
		CHECK(why([](Guest &, uint8_t *d) { le32(d + LEN, UINT32_MAX); }) == VRING_BAD_ADDRESS);
		CHECK(why([&](Guest &, uint8_t *d) { le16(d + FLAGS, wr ? 0 : 2); }) == (ring == VRING_RX ? (uint32_t)VRING_BAD_ORDER : 0u));
		CHECK(why([](Guest &, uint8_t *d) { le16(d + FLAGS, 4), le32(d + LEN, 15); }) == VRING_BAD_INDIRECT);
		CHECK(why([](Guest &, uint8_t *d) { le16(d + FLAGS, 4), le32(d + LEN, 0); }) == VRING_BAD_INDIRECT);
		CHECK(why([](Guest &, uint8_t *d) { le16(d + FLAGS, 5), le32(d + LEN, 16); }) == VRING_BAD_INDIRECT);
		CHECK(why([](Guest &, uint8_t *d) { le16(d + FLAGS, 4), le32(d + LEN, 0xfffffff0); }) == VRING_BAD_INDIRECT);
		CHECK(why([](Guest &, uint8_t *d) { le16(d + FLAGS, 4), le32(d + LEN, 32), put64(d, 5); }) == VRING_BAD_ADDRESS);
		const auto table = [&](const std::function<void(uint8_t *)> &f) {
			return why([&](Guest &g, uint8_t *d) {
				/* Across both regions */
				const uint64_t at = Guest::HIGH - 24;
				Octets t(48);
				f(t.data());
				for (size_t i = 0; i < t.size(); i++)
					*g.at(at + i) = t[i];
				put64(d, at), le32(d + LEN, 48), le16(d + FLAGS, 4);
			});
		};
		const auto entry = [&](uint8_t *t, uint16_t flags, uint16_t next) {
			put64(t, Guest::LOW + (2 << 20)), le32(t + LEN, 500), le16(t + FLAGS, flags), le16(t + NEXT, next);
		};
		CHECK(table([&](uint8_t *t) { entry(t, wr | 1, 2), entry(t + 32, wr | 1, 1), entry(t + 16, wr, 0); }) == 0);
		CHECK(table([&](uint8_t *t) { entry(t, wr | 1, 1), entry(t + 16, wr | 1, 0); }) == VRING_LOOP);
		CHECK(table([&](uint8_t *t) { entry(t, wr | 1, 3); }) == VRING_BAD_INDEX);
		CHECK(table([&](uint8_t *t) { entry(t, 4, 0); }) == VRING_BAD_INDIRECT);
	}
	CHECK(broken_by(MERGED, VRING_TX, [](Guest &, uint8_t *d) { le16(d + FLAGS, 4), le32(d + LEN, 16); }) == VRING_BAD_INDIRECT);
	CHECK(broken_by(MERGED, VRING_RX, [](Guest &, uint8_t *d) { le32(d + LEN, 0); }) == VRING_BAD_LENGTH);
	/* To be written before to be read */
	CHECK(broken_by(PLAIN, VRING_TX, [](Guest &g, uint8_t *d) {
		const auto other = (uint16_t)(g.rings[VRING_TX].free.back());
		memcpy(g.at(g.rings[VRING_TX].desc) + 16 * other, d, 16);
		le16(d + FLAGS, 3), le16(d + NEXT, other);
	}) == VRING_BAD_ORDER);
}

TEST(vhost_places_and_tables_that_cannot_be_change_nothing)
{
	Guest g(PLAIN, 16);
	const auto table = [&](std::vector<RegionSpec> all) {
		for (RegionSpec &r : all)
			r.fd = r.fd ? r.fd : dup(g.memfd);
		Octets b(all.size() * sizeof(RegionSpec));
		memcpy(b.data(), all.data(), b.size());
		const size_t before = open_fds();
		g.effect({EF_VHOST_MEMORY, 0, g.put(b), (uint32_t)all.size()});
		const uint32_t e = g.await(EV_VHOST_DONE)[13];
		CHECK(open_fds() == before - all.size());
		/* The ring is where it was */
		g.send(some_frame(100));
		g.turn(0);
		CHECK(!g.take(EV_TAP_FRAME).empty() && g.back(VRING_TX).size() == 1);
		return e;
	};
	const uint64_t size = Guest::LOW_LEN + Guest::GAP + Guest::HIGH_LEN;
	CHECK(table({{0, size + 1, 0, 0, 0, 0}}) == EFBIG);
	CHECK(table({{0, 4096, 0, size - 4095, 0, 0}}) == EFBIG);
	CHECK(table({{0, 4096, 0, UINT64_MAX - 4000, 0, 0}}) == EFBIG);
	CHECK(table({{0, 0, 0, 0, 0, 0}}) == EINVAL);
	CHECK(table({{UINT64_MAX - 10, 4096, 0, 0, 0, 0}}) == EINVAL);
	CHECK(table({{0, 4096, UINT64_MAX - 10, 0, 0, 0}}) == EINVAL);
	CHECK(table({{0, 8192, 0, 0, 0, 0}, {8191, 4096, 1 << 20, 0, 0, 0}}) == EEXIST);
	CHECK(table({{0, 8192, 0, 0, 0, 0}, {8192, 4096, 4096, 0, 0, 0}}) == EEXIST);
	/* Sizes cost nothing where nothing is: no more than half of all addresses, what is mapped already included */
	const int huge = memfd_create("huge", MFD_CLOEXEC);
	const uint64_t half = 1ull << 45;
	CHECK(!ftruncate(huge, (off_t)(2 * half)));
	CHECK(table({{0, half, 0, 0, dup(huge), 0}, {half, half, half, 0, dup(huge), 0}}) == ENOMEM);
	CHECK(table({{0, 4096, 0, 2 * half - 4096, dup(huge), 0}}) == ENOMEM);
	close(huge);
	int p[2];
	CHECK(!pipe(p));
	CHECK(table({{0, 8192, 0, 0, p[0], 0}}) == EINVAL);
	close(p[1]);
	const auto place = [&](uint64_t desc, uint64_t used, uint64_t avail, uint32_t n) {
		std::vector<uint32_t> w = {EF_VRING_ADDR, 0, VRING_TX, 0};
		for (const uint64_t a : {desc, used, avail, (uint64_t)0})
			g.u64(w, a);
		w.push_back(n);
		g.words(w);
		return g.await(EV_VHOST_DONE)[13];
	};
	const uint64_t u = Guest::USER, end = u + Guest::LOW_LEN;
	CHECK(place(u, u, u, 0) == EINVAL && place(u, u, u, 3) == EINVAL && place(u, u, u, 65536) == EINVAL);
	CHECK(place(end - 255, u, u, 16) == EFAULT && place(u, end - 133, u, 16) == EFAULT && place(u, u, end - 37, 16) == EFAULT);
	CHECK(place(u + 8, u, u, 16) == EFAULT && place(u, u + 2, u, 16) == EFAULT && place(u, u, u + 1, 16) == EFAULT);
	CHECK(place(u - 1, u, u, 16) == EFAULT && place(0, 0, 0, 16) == EFAULT && place(UINT64_MAX - 15, u, u, 16) == EFAULT);
	g.send(some_frame(100));
	g.turn(0);
	CHECK(!g.take(EV_TAP_FRAME).empty());
}

TEST(vhost_memory_changes_while_rings_run)
{
	Guest g(PLAIN, 16);
	for (int i = 0; i < 100; i++) {
		g.send(some_frame(100));
		CHECK(g.share() == 0);
		g.turn(0);
		CHECK(!g.take(EV_TAP_FRAME).empty() && g.back(VRING_TX).size() == 1);
	}
	/* One region goes: what lies in it cannot be had, the rings are in the other one */
	g.effect({EF_VHOST_REMOVE_REGION, 0, (uint32_t)Guest::HIGH, 0, (uint32_t)Guest::HIGH_LEN, 0, 0, 0x7f01});
	CHECK(g.await(EV_VHOST_DONE)[13] == 0);
	g.send(some_frame(100));
	g.turn(0);
	CHECK(g.take(EV_VRING_BROKEN)[3] == VRING_BAD_ADDRESS);
	g.effect({EF_VHOST_REMOVE_REGION, 0, 1, 0, 1, 0, 1, 0});
	CHECK(g.await(EV_VHOST_DONE)[13] == ENOENT);
	/* The table without the rings */
	Guest h(PLAIN, 16);
	h.effect({EF_VHOST_MEMORY, 0, 0, 0});
	CHECK(h.await(EV_VHOST_DONE)[13] == 0);
	h.turn(0);
	CHECK(h.take(EV_VRING_BROKEN)[3] == VRING_BAD_ADDRESS && h.take(EV_VRING_BROKEN)[3] == VRING_BAD_ADDRESS);
}

TEST(vhost_a_file_that_gets_shorter_breaks_rings_not_the_process)
{
	for (const uint32_t part : {0, 1, 2}) {
		Guest g(MERGED, 16, 0, {3000, false, false});
		g.give(4, 3000);
		g.send(some_frame(100));
		g.turn(0);
		g.back(VRING_TX);
		g.seen.clear();
		if (part != 2)
			g.send(some_frame(100));
		if (part == 0) /* all of it, the rings with it */
			CHECK(!ftruncate(g.memfd, 0));
		else
			CHECK(!ftruncate(g.memfd, Guest::LOW_LEN - (1 << 20)));
		const Octets f = some_frame(200);
		Octets b(VNET_LEN);
		b.insert(b.end(), f.begin(), f.end());
		g.effect({EF_TAP_WRITE, 0, g.put(b), (uint32_t)b.size()});
		g.turn(0);
		g.turn(0);
		CHECK(g.take(EV_TAP_FRAME).empty());
		CHECK(g.take(EV_VRING_BROKEN)[3] == VRING_BAD_MEMORY);
		CHECK(g.turn(20).empty() || !g.take(EV_VRING_BROKEN).empty());
	}
	/* The next one is served */
	Guest g(PLAIN, 16);
	g.send(some_frame(100));
	g.turn(0);
	CHECK(!g.take(EV_TAP_FRAME).empty() && g.take(EV_VRING_BROKEN).empty());
}

/** Octets of addresses at which this file is mapped. */
static uint64_t mapped(int fd)
{
	struct stat st;
	FILE *const f = fopen("/proc/self/maps", "re");
	char line[4096];
	unsigned long from, to, inode;
	uint64_t n = 0;

	CHECK(f && !fstat(fd, &st));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &from, &to, &inode) == 3 && inode == st.st_ino)
			n += to - from;
	fclose(f);
	return n;
}

/**
 * Guests on hugetlbfs: munmap(2) takes whole huge pages only. To map them takes none of the machine's, to touch them does: where it
 * has none to give, that is memory that was lost, and both are tried here by what the machine has.
 */
TEST(vhost_memory_of_huge_pages_is_given_back_and_may_be_missing)
{
	enum : uint64_t { HUGE = 2 << 20, AT = HUGE + 0x3000, GPA = 0x40000000, USER = 0x7f0000000000 };
	int fd = memfd_create("huge pages", MFD_CLOEXEC | MFD_HUGETLB | 21u << 26 /* MFD_HUGE_2MB */);
	CHECK(fd >= 0 && !ftruncate(fd, 3 * HUGE));
	RegionSpec part = {GPA, HUGE / 2, USER, AT, fd, 0}, first = {0, 0x1000, 0x1000, 0, fd, 0};
	Memory m;
	/* From the file's beginning, up to the end of the page that the region ends in */
	CHECK(!m.add(part) && mapped(fd) == 2 * HUGE);
	CHECK(!m.add(first) && mapped(fd) == 3 * HUGE);
	CHECK(!m.remove(0, 0x1000, 0x1000) && mapped(fd) == 2 * HUGE);
	CHECK(!m.replace(&first, 1) && mapped(fd) == HUGE);
	CHECK(!m.log(fd, 100, 2 * HUGE) && mapped(fd) == 4 * HUGE);
	m.no_log();
	CHECK(mapped(fd) == HUGE);
	m.clear();
	CHECK(!mapped(fd));
	RegionSpec beyond = {GPA, HUGE, USER, 2 * HUGE + 1, fd, 0};
	CHECK(m.add(beyond) == EFBIG && !mapped(fd));

	Mapping::reset_lost();
	CHECK(!m.add(part));
	uint8_t *const p = m.whole(GPA, HUGE / 2);
	CHECK(p && m.whole_user(USER + 5, 1) == p + 5 && !m.whole(GPA, HUGE / 2 + 1));
	*(volatile uint8_t *)p = 0x5a;
	if (Mapping::lost()) {
		fprintf(stderr, "# no huge pages here: missing ones only\n");
		CHECK(*(volatile uint8_t *)p == 0x5a && !mapped(fd)); /* ours, in its place */
	} else {
		fprintf(stderr, "# with huge pages\n");
		auto *const file = static_cast<uint8_t *>(mmap(nullptr, 3 * HUGE, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0));
		CHECK(file != MAP_FAILED && file[AT] == 0x5a && !munmap(file, 3 * HUGE));
		/* The page is taken away */
		CHECK(!ftruncate(fd, HUGE) && !*(volatile uint8_t *)p && Mapping::lost() && !mapped(fd));
	}
	m.clear();
	Mapping::reset_lost();
	close(fd);
}

TEST(vhost_messages_in_pieces_one_at_a_time_with_their_descriptors)
{
	const size_t before = open_fds();
	{
		Guest g(PLAIN, 16);
		const size_t with = open_fds();
		const Octets m = message(5, 40), n = message(1, 0);
		pass(g.front, m.data(), 5, {g.memfd});
		g.turn(0);
		pass(g.front, m.data() + 5, 20, {});
		g.turn(0);
		pass(g.front, m.data() + 25, m.size() - 25, {g.memfd, g.memfd});
		pass(g.front, n.data(), n.size(), {g.memfd});
		g.turn(0);
		Ev e = g.take(EV_VHOST_MESSAGE);
		CHECK(!e.empty() && e[3] == m.size() && e[4] == 3 && g.slab(e[2], e[3]) == m);
		for (uint32_t i = 0; i < 3; i++)
			g.effect({EF_CLOSE_FD, 0, e[5 + i]});
		for (int i = 0; i < 3; i++)
			g.turn(1);
		CHECK(g.take(EV_VHOST_MESSAGE).empty());
		g.effect({EF_VHOST_NEXT});
		g.turn(0);
		e = g.take(EV_VHOST_MESSAGE);
		CHECK(!e.empty() && g.slab(e[2], e[3]) == n && e[4] == 1);
		g.effect({EF_CLOSE_FD, 0, e[5]});
		/* More than there may be: eight are handed on, the others closed */
		pass(g.front, n.data(), n.size(), std::vector<int>(20, g.memfd));
		g.effect({EF_VHOST_NEXT});
		g.turn(0);
		e = g.take(EV_VHOST_MESSAGE);
		CHECK(!e.empty() && e[4] == 9);
		CHECK(open_fds() == with + 8);
		for (uint32_t i = 0; i < 8; i++)
			g.effect({EF_CLOSE_FD, 0, e[5 + i]});
		/* The longest there is */
		const Octets most = message(7, VHOST_MESSAGE_MAX);
		pass(g.front, most.data(), most.size(), {});
		g.effect({EF_VHOST_NEXT});
		g.turn(0);
		e = g.take(EV_VHOST_MESSAGE);
		CHECK(!e.empty() && g.slab(e[2], e[3]) == most && open_fds() == with);
		/* A reply, and the end in the middle of a message, which has descriptors already */
		g.effect({EF_VHOST_REPLY, 0, g.put(n), (uint32_t)n.size()});
		g.turn(0);
		CHECK(read_all(g.front, n.size()) == n);
		pass(g.front, n.data(), 3, {g.memfd});
		shutdown(g.front, SHUT_WR);
		g.effect({EF_VHOST_NEXT});
		g.turn(0);
		e = g.take(EV_LINK_END);
		CHECK(!e.empty() && e[2] == LINK_ERROR && e[3] == EPROTO);
		/* The end ends everything: kicks and calls of both rings, and the descriptor that came last */
		CHECK(open_fds() == with - 4);
		CHECK(g.turn(20).empty());
		g.effect({EF_LINK_CLOSE});
		g.turn(0);
		CHECK(open_fds() == with - 5);
	}
	CHECK(open_fds() == before);
	{
		Guest g(PLAIN, 16);
		Octets m = message(5, 0);
		le32(m.data() + 8, VHOST_MESSAGE_MAX + 1);
		pass(g.front, m.data(), m.size(), {});
		g.turn(0);
		const Ev e = g.take(EV_LINK_END);
		CHECK(!e.empty() && e[2] == LINK_BAD_LENGTH && e[3] == VHOST_MESSAGE_MAX + 1);
	}
	{
		/* A front-end that reads nothing */
		Guest g(PLAIN, 16);
		const Octets m(4096);
		for (int i = 0; i < 1000 && g.take(EV_LINK_END).empty(); i++) {
			g.effect({EF_VHOST_REPLY, 0, g.put(m), (uint32_t)m.size()});
			g.turn(0);
			CHECK(i < 900);
		}
		close(g.front);
		g.front = -1;
	}
	CHECK(open_fds() == before);
}

/** Descriptors that are something else than what a message says, and a log's. */
TEST(vhost_descriptors_of_any_kind_block_nobody_and_are_closed)
{
	const size_t before = open_fds();
	{
		Guest g(MERGED, 16);
		int p[2], s[2];
		CHECK(!pipe(p) && !socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		for (const int fd : {p[0], p[1], s[0], g.memfd}) {
			for (const uint32_t which : {VRING_KICK, VRING_CALL, VRING_ERR})
				g.effect({EF_VRING_FD, 0, VRING_TX, which, (uint32_t)dup(fd)});
			for (int i = 0; i < 20; i++) {
				g.send(some_frame(60));
				g.turn(0);
				g.back(VRING_TX);
			}
			g.seen.clear();
		}
		for (const int fd : {p[0], p[1], s[0], s[1]})
			close(fd);
		g.effect({EF_VRING_FD, 0, 7, VRING_KICK, (uint32_t)dup(g.memfd)});
		g.effect({EF_VRING_FD, 0, 0, 7, (uint32_t)dup(g.memfd)});
		g.effect({EF_VHOST_LOG_FD, 0, (uint32_t)dup(g.memfd)});
		g.effect({EF_VHOST_LOG, 0, (uint32_t)dup(g.memfd), 0, 0, 1u << 31, 0, 0});
		CHECK(g.await(EV_VHOST_DONE)[13] == EFBIG);
	}
	CHECK(open_fds() == before);
}

/** A file would grow for ever, and a set of epoll may hold what makes us wait. */
TEST(vhost_only_eventfds_are_told)
{
	Guest g(MERGED, 16);
	const int file = memfd_create("file", MFD_CLOEXEC), set = epoll_create1(EPOLL_CLOEXEC);
	int p[2], waiting = 0;
	CHECK(!pipe(p));
	g.start_log();
	g.words({EF_VHOST_FEATURES, 0, (uint32_t)(MERGED | bit(VHOST_LOG_ALL)), MERGED >> 32});
	for (const int fd : {file, p[1], set}) {
		for (const uint32_t which : {VRING_KICK, VRING_CALL, VRING_ERR})
			g.effect({EF_VRING_FD, 0, VRING_TX, which, (uint32_t)dup(fd)});
		g.effect({EF_VHOST_LOG_FD, 0, (uint32_t)dup(fd)});
		g.turn(0);
		g.send(some_frame(60));
		/* Without a kick the ring is looked at by the clock */
		g.turn(50);
		CHECK(g.back(VRING_TX).size() == 1);
	}
	*g.avail16(VRING_TX, 2) = 1000; /* broken, which the descriptor for errors would hear of */
	CHECK(!g.await(EV_VRING_BROKEN).empty());
	struct stat st;
	CHECK(!fstat(file, &st) && !st.st_size && !ioctl(p[0], FIONREAD, &waiting) && !waiting);
	for (const int fd : {file, p[0], p[1], set})
		close(fd);
}

/**
 * A header that says TCP in front of what is something else, or not surely TCP. JS believes the IP header, so what it sends is the
 * guest's own octets, never those that lay in that place before.
 */
TEST(vhost_offloads_that_contradict_the_packet_bring_no_octets_of_others)
{
	enum : size_t { LEN_ALL = 20000, V4 = ETH_LEN + IPV4_LEN, V6 = ETH_LEN + IPV6_LEN };
	enum : uint8_t { HOP_BY_HOP = 0, FRAGMENT = 44 };
	struct Case {
		bool v6;
		uint8_t type;
		size_t start;
		/** Of IPv4, or IPv6's first one. */
		uint8_t protocol;
		std::function<void(uint8_t *ip)> change;
		/** Refused, taken whole, left in the guest's memory. */
		enum { NO, WHOLE, OUTSIDE } what;
	};
	const auto extension = [](uint8_t *ip, uint8_t next) { ip[IPV6_LEN] = next, ip[IPV6_LEN + 1] = 0; };
	const auto tcp_at = [](uint8_t *l4) { l4[TCP_OFFSET] = 0x50; };
	const Case cases[] = {
		{false, GSO_TCPV4, V4, IPPROTO_TCP, {}, Case::OUTSIDE},
		{false, GSO_TCPV4, V4, IPPROTO_UDP, {}, Case::NO},
		{false, GSO_TCPV4, V4, IPPROTO_ICMP, {}, Case::NO},
		{false, GSO_TCPV4 | GSO_ECN, V4, IPPROTO_UDP, {}, Case::NO},
		{false, GSO_UDP_L4, V4, IPPROTO_TCP, {}, Case::NO},
		{false, GSO_UDP_L4, V4, IPPROTO_UDP, {}, Case::WHOLE},
		{false, GSO_TCPV4, V4, IPPROTO_TCP, [](uint8_t *ip) { put16(ip + IPV4_FRAGMENT, 0x2000); }, Case::WHOLE},
		{false, GSO_TCPV4, V4, IPPROTO_TCP, [](uint8_t *ip) { put16(ip + IPV4_FRAGMENT, 1); }, Case::WHOLE},
		{false, GSO_TCPV4, V4, IPPROTO_TCP, [](uint8_t *ip) { put16(ip + IPV4_TOTAL, 100); }, Case::WHOLE},
		{false, GSO_TCPV4, V4 + 4, IPPROTO_TCP, [&](uint8_t *ip) { ip[0] = 0x46, tcp_at(ip + 24); }, Case::WHOLE},
		{true, GSO_TCPV6, V6, IPPROTO_TCP, {}, Case::OUTSIDE},
		{true, GSO_TCPV6, V6, IPPROTO_UDP, {}, Case::NO},
		{true, GSO_TCPV6, V6, IPPROTO_ICMPV6, {}, Case::NO},
		{true, GSO_TCPV6, V6 + 20, IPPROTO_TCP, [&](uint8_t *ip) { tcp_at(ip + IPV6_LEN + 20); }, Case::NO},
		{true, GSO_TCPV6, 1000, IPPROTO_UDP, [&](uint8_t *ip) { tcp_at(ip + 1000 - ETH_LEN); }, Case::NO},
		{true, GSO_TCPV6, V6 + 8, HOP_BY_HOP, [&](uint8_t *ip) { extension(ip, IPPROTO_TCP), tcp_at(ip + IPV6_LEN + 8); }, Case::WHOLE},
		{true, GSO_TCPV6, V6 + 8, FRAGMENT, [&](uint8_t *ip) { extension(ip, IPPROTO_TCP), tcp_at(ip + IPV6_LEN + 8); }, Case::WHOLE},
		{true, GSO_TCPV6, V6 + 8, HOP_BY_HOP, [&](uint8_t *ip) { extension(ip, IPPROTO_UDP), tcp_at(ip + IPV6_LEN + 8); }, Case::NO},
		{true, GSO_TCPV6, V6 + 12, HOP_BY_HOP, [&](uint8_t *ip) { extension(ip, IPPROTO_TCP), tcp_at(ip + IPV6_LEN + 12); }, Case::NO},
		{true, GSO_TCPV6, V6, IPPROTO_TCP, [](uint8_t *ip) { put16(ip + IPV6_PAYLOAD, 100); }, Case::WHOLE},
	};
	Guest g(MERGED | bit(NET_CSUM) | bit(NET_HOST_TSO4) | bit(NET_HOST_TSO6) | bit(NET_HOST_USO), 256, 0, {30000, false, false});
	for (const Case &c : cases) {
		/* What somebody else has sent */
		for (int i = 0; i < 2; i++)
			CHECK(g.send(some_frame(LEN_ALL)));
		g.turn(0);
		g.back(VRING_TX);
		g.seen.clear();
		Octets f(LEN_ALL, 0x11);
		put16(f.data() + ETH_TYPE, c.v6 ? TYPE_IPV6 : TYPE_IPV4);
		uint8_t *const ip = f.data() + ETH_LEN;
		if (c.v6) {
			ip[0] = 0x60, ip[IPV6_NEXT] = c.protocol;
			put16(ip + IPV6_PAYLOAD, LEN_ALL - V6);
		} else {
			ip[0] = 0x45, ip[IPV4_PROTO] = c.protocol;
			put16(ip + IPV4_TOTAL, LEN_ALL - ETH_LEN), put16(ip + IPV4_FRAGMENT, 0);
		}
		tcp_at(f.data() + (c.v6 ? V6 : V4));
		if (c.change)
			c.change(ip);
		Vnet v = {};
		v.flags = VNET_NEEDS_CSUM, v.gso_type = c.type, v.gso_size = 1000;
		v.csum_start = (uint16_t)c.start, v.csum_offset = 16;
		CHECK(g.send(f, v));
		g.turn(0);
		g.turn(0);
		const Ev e = g.take(EV_TAP_FRAME), lost = g.take(EV_TAP_DROPPED);
		const auto fail = [&](const char *why) {
			fprintf(stderr, "case %d: %s\n", (int)(&c - cases), why);
			exit(1);
		};
		if (lost.empty() == (c.what == Case::NO) || e.empty() != (c.what == Case::NO))
			fail("refused, or not");
		const bool whole = !e.empty() && !memcmp(g.engine.rings.slab + e[2], f.data(), f.size());
		if (whole != (c.what == Case::WHOLE))
			fail("whole, or not");
	}
}

/** Chains of as many descriptors as there can be, of no octets: a turn's work has an end, and the rest is for the next one. */
TEST(vhost_long_chains_take_no_turn_for_themselves)
{
	enum : uint32_t { ENTRIES = 32768, SIZE = 256 };
	Guest g(MERGED | bit(RING_INDIRECT), SIZE);
	const uint64_t table = Guest::HIGH + (4 << 20);
	for (const uint32_t ring : {VRING_TX, VRING_RX}) {
		const auto flags = (uint16_t)(ring == VRING_RX ? 2 : 0);
		for (uint32_t i = 0; i < ENTRIES; i++) {
			uint8_t *const d = g.at(table) + 16 * i;
			put64(d, table), le32(d + LEN, i + 1 == ENTRIES), le16(d + FLAGS, (uint16_t)(flags | (i + 1 < ENTRIES)));
			le16(d + NEXT, (uint16_t)(i + 1));
		}
		for (uint32_t i = 0; i < SIZE; i++) {
			uint8_t *const d = g.at(g.rings[ring].desc) + 16 * i;
			put64(d, table), le32(d + LEN, 16 * ENTRIES), le16(d + FLAGS, 4);
			*g.avail16(ring, 4 + 2 * i) = (uint16_t)i;
		}
		*g.avail16(ring, 2) = SIZE;
		if (ring == VRING_TX) {
			uint16_t before = 0;
			for (int turns = 0; before < SIZE; turns++) {
				CHECK(turns < 200);
				g.turn(1000);
				const uint16_t now = *g.used16(ring, 2);
				CHECK(now > before && now - before <= 2);
				before = now;
			}
		} else {
			Octets b(VNET_LEN);
			const Octets f = some_frame(200);
			b.insert(b.end(), f.begin(), f.end());
			g.turn(0);
			g.seen.clear();
			g.effect({EF_TAP_WRITE, 0, g.put(b), (uint32_t)b.size()});
			CHECK(g.await(EV_TAP_DROPPED)[3] == EMSGSIZE);
		}
	}
}

/**
 * Rings, descriptors and tables with octets changed at any time, and messages of any octets: whatever the engine makes of it,
 * it lives. VHOST_CORRUPTIONS=1000000 in the environment for the whole run; a short one belongs to each.
 */
TEST(vhost_survives_corruption_of_all_that_is_shared)
{
	const char *const wish = getenv("VHOST_CORRUPTIONS");
	const long total = wish ? atol(wish) : 5000;
	const size_t before = open_fds();
	uint64_t broken = 0, frames = 0;

	for (long done = 0; done < total;) {
		const uint64_t f = PLAIN | (chance(2) ? bit(NET_MRG_RXBUF) : 0) | (chance(2) ? bit(RING_INDIRECT) : 0) |
				   (chance(2) ? bit(RING_EVENT_IDX) : 0) | (chance(2) ? bit(NET_CSUM) | bit(NET_HOST_TSO4) : 0) |
				   (chance(2) ? bit(NET_GUEST_CSUM) | bit(NET_GUEST_TSO4) : 0);
		Guest g(f, 1u << (1 + chance(8)), (uint16_t)chance(65536), {0, (f & bit(RING_INDIRECT)) != 0, false});
		bool alive = true;
		for (int i = 0; i < 200 && done < total; i++, done++) {
			if (chance(2))
				g.give(1, 1 + chance(3000));
			if (chance(2))
				g.send(some_frame(14 + chance(2000)));
			for (uint32_t n = 1 + chance(3); n; n--) {
				DriverRing &r = g.rings[chance(2)];
				const uint32_t where = chance(8);
				const uint64_t at = where < 4   ? r.desc + chance(16 * r.size)
						    : where < 5 ? r.avail + chance(6 + 2 * r.size)
						    : where < 6 ? r.used + chance(6 + 8 * r.size)
								: r.from + (r.next - r.from) * chance(1000) / 1000;
				if (where == 4 && chance(4)) /* an index that goes on is no corruption most of the time */
					continue;
				uint8_t *const p = g.at(at);
				if (chance(2))
					*p = (uint8_t)chance(256);
				else
					*p = (uint8_t)(*p ^ 1u << chance(8));
			}
			if (chance(3) == 0) {
				Octets b(VNET_LEN), one = some_frame(14 + chance(4000));
				b.insert(b.end(), one.begin(), one.end());
				g.effect({EF_TAP_WRITE, 0, g.put(b, 8192), (uint32_t)b.size()});
			}
			if (chance(50) == 0) {
				const Octets any = noise(1 + chance(100));
				if (send(g.front, any.data(), any.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
					CHECK(errno == EPIPE || errno == EAGAIN || errno == ECONNRESET);
			}
			if (alive && chance(100) == 0)
				g.share();
			for (const Ev &e : g.turn(0)) {
				if (e[0] == EV_TAP_FRAME) {
					CHECK(e[3] >= ETH_LEN && e[3] <= FRAME_MAX && g.engine.rings.in_slab(e[2], e[3]));
					frames++;
				}
				if (e[0] == EV_VHOST_MESSAGE) {
					for (uint32_t k = 0; k < e[4] && k < 8; k++)
						close((int)e[5 + k]);
					g.effect({EF_VHOST_NEXT});
				}
				if (e[0] == EV_VRING_BROKEN) {
					broken++;
					/* As a front-end that knows no better: it starts again */
					g.effect({EF_VRING_BASE, 0, e[2], *g.avail16(e[2], 2)});
					g.place(e[2]);
					g.run(e[2], VRING_ON);
				}
				if (e[0] == EV_LINK_END)
					alive = false;
			}
			g.seen.clear();
			if (!alive)
				break;
			for (DriverRing &r : g.rings) { /* the driver forgets what it has given */
				if (r.free.size() < r.size / 2) {
					r.free.clear();
					for (uint32_t k = r.size; k--;)
						r.free.push_back((uint16_t)k);
				}
			}
		}
	}
	CHECK(open_fds() == before);
	CHECK(total < 5000 || (broken > 10 && frames > 100));
}

TEST(vhost_works_behind_the_filter_of_system_calls)
{
	fflush(nullptr);
	const pid_t pid = fork();
	if (pid == 0) {
		Guest g(PLAIN, 16);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		CHECK(!seal());
		CHECK(g.share() == 0);
		const Octets m = message(1, 0);
		pass(g.front, m.data(), m.size(), {g.memfd});
		g.send(some_frame(100));
		g.turn(0);
		CHECK(!g.take(EV_TAP_FRAME).empty() && g.back(VRING_TX).size() == 1 && g.called(VRING_TX) == 1);
		const Ev e = g.take(EV_VHOST_MESSAGE);
		CHECK(!e.empty() && e[4] == 1);
		g.effect({EF_VRING_FD, 0, VRING_TX, VRING_CALL, e[5]});
		g.effect({EF_VRING_FD, 0, VRING_TX, VRING_KICK, (uint32_t)dup(g.kick[0])});
		g.turn(0);
		CHECK(!ftruncate(g.memfd, 0));
		g.turn(0);
		CHECK(g.take(EV_VRING_BROKEN)[3] == VRING_BAD_MEMORY);
		g.effect({EF_LINK_CLOSE});
		g.turn(0);
		_exit(0);
	}
	int status = 0;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}
