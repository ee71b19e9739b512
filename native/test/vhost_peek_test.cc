/* What a host's socket holds, peeked into a guest's own buffers (peek.cc). */
#include "guest.h"

#include <algorithm>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace {

/** TCP payload of the frames, whose SEQ must follow from `seq` on; sums and lengths are right, or left to the guest as it said it could. */
Octets payload(const std::vector<Octets> &frames, uint32_t seq, uint64_t features, uint32_t mss)
{
	Octets all;
	for (const Octets &b : frames) {
		Vnet v;
		memcpy(&v, b.data(), sizeof(v));
		Octets f(b.begin() + NET_HEAD, b.end());
		CHECK(f.size() >= 60 && get32(f.data() + 38) == seq + (uint32_t)all.size());
		const size_t end = ETH_LEN + get16(f.data() + 16);
		CHECK(end <= f.size() && sum_fold(sum_octets(f.data() + 14, 20)) == 0xffff);
		if (features & bit(NET_GUEST_CSUM)) {
			CHECK(v.flags == VNET_NEEDS_CSUM && v.csum_start == 34 && v.csum_offset == 16);
			CHECK(get16(f.data() + 50) == sum_fold(sum_pseudo(f.data() + 14, false, 6, (uint32_t)end - 34)));
		} else {
			CHECK(!v.flags && l4_sum_ok(Octets(f.begin(), f.begin() + (std::ptrdiff_t)end), 34, 6));
		}
		if (end - 54 > mss)
			CHECK(features & bit(NET_GUEST_TSO4) && v.gso_type == GSO_TCPV4 && v.gso_size == mss && v.hdr_len == 54);
		else
			CHECK(!v.gso_type);
		all.insert(all.end(), f.begin() + 54, f.begin() + (std::ptrdiff_t)end);
	}
	return all;
}

/** Times that a socket was asked how much it holds. */
unsigned asked = 0;

} // namespace

/* By the linker (Makefile) */
extern "C" int __real_ioctl(int fd, unsigned long request, void *arg);
extern "C" int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	asked += request == SIOCINQ;
	return __real_ioctl(fd, request, arg);
}

TEST(vhost_a_sockets_data_is_peeked_into_the_guests_buffers)
{
	const uint64_t csum = bit(NET_GUEST_CSUM), tso = csum | bit(NET_GUEST_TSO4);
	for (const uint64_t f : std::initializer_list<uint64_t>{MERGED, MERGED | csum, MERGED | tso, PLAIN, PLAIN | tso, MERGED | tso | bit(RING_INDIRECT)}) {
		/* Parts: as a driver has them; odd ones; of a few octets, more than one recvmsg() takes */
		for (const uint32_t part : {70000u, 0u, 333u, 7u}) {
			if (part == 7 && f & bit(RING_INDIRECT))
				continue;
			Guest g(f, 4096, 65000, {part, (f & bit(RING_INDIRECT)) != 0, false});
			Listener listener;
			g.open(EF_TCP_CONNECT, 1, listener.port, false, 1400);
			g.await(EV_CONNECTED);
			const int peer = listener.accept();
			Octets sent, got;
			for (int round = 0; round < 300 && (round < 20 || got.size() < sent.size()); round++) {
				if (round < 20) {
					const Octets more = noise(1 + chance(round % 2 ? 200 : 60000));
					const ssize_t n = ::send(peer, more.data(), more.size(), MSG_DONTWAIT);
					sent.insert(sent.end(), more.begin(), more.begin() + std::max<ssize_t>(n, 0));
				}
				g.give(1 + chance(60), f & bit(NET_MRG_RXBUF) ? 1526 : f & tso ? 20000 + 1526 : 1526);
				const uint32_t seq = 0xfffff000u + (uint32_t)got.size();
				const Octets t = tcp_template(false, seq);
				g.effect({EF_PEEK, 1, g.put(t, 0), (uint32_t)t.size() - VNET_LEN, 200000, 1400, 0});
				Ev e;
				for (int k = 0; k < 50 && (e = g.take(EV_PEEKED)).empty(); k++) {
					if (k)
						g.give(20, f & bit(NET_MRG_RXBUF) ? 1526 : 22000);
					g.turn(1);
				}
				CHECK(!e.empty() && !e[13]);
				const Octets one = payload(g.received(), seq, f, 1400);
				CHECK(one.size() == e[2]);
				got.insert(got.end(), one.begin(), one.end());
				CHECK(got.size() <= sent.size());
				if (e[2])
					g.effect({EF_DISCARD, 1, e[2]});
				else if (round >= 20 && !(e[3] & PEEK_TAP_FULL)) /* the sender's kernel has it still */
					wait_for(peer, 0, 5);
				g.seen.clear();
			}
			CHECK(got.size() == sent.size() && std::equal(got.begin(), got.end(), sent.begin()));
			close(peer);
		}
	}
}

/** An answer is looked for once. Much waits for its turn, is looked for there, and behind as much as one frame takes there may be more. */
TEST(vhost_a_short_answer_is_looked_for_once)
{
	for (const size_t octets : {size_t(1), size_t(1400), size_t(65000)}) {
		Guest g(MERGED | bit(NET_GUEST_CSUM) | bit(NET_GUEST_TSO4), 256, 0, {70000, false, false});
		Listener listener;
		g.open(EF_TCP_CONNECT, 1, listener.port, false, 1400);
		g.await(EV_CONNECTED);
		const int peer = listener.accept();
		const Octets sent = noise(octets);
		CHECK(::send(peer, sent.data(), sent.size(), 0) == (ssize_t)sent.size());
		g.give(60, 1526);
		g.await(EV_READY);
		const Octets t = tcp_template(false, 1);
		g.effect({EF_PEEK, 1, g.put(t, 0), (uint32_t)t.size() - VNET_LEN, 200000, 1400, 0});
		asked = 0;
		const Ev e = g.await(EV_PEEKED);
		CHECK(e[2] == octets && asked == (octets < 65000 ? 1u : 3u));
		close(peer);
	}
}

TEST(vhost_chains_that_a_frame_does_not_need_are_the_next_ones)
{
	Guest g(MERGED, 16, 65530, {2000, false, false});
	Port &p = g.engine.tap.vhost;
	Slot a, b;
	CHECK(g.give(6, 100) == 6);
	p.begin();
	CHECK(!p.reserve(100, 1000, a) && a.chains == 6 && a.room == 600);
	p.shorten(a, 450);
	CHECK(a.chains == 5 && a.pieces >= 5 && a.room == 500);
	/* The guest gives some in between */
	CHECK(g.give(2, 100) == 2);
	CHECK(!p.reserve(150, 300, b) && b.chain == 5 && b.chains == 3 && b.room == 300);
	p.commit(a, Vnet{}, nullptr, 0, 450 - NET_HEAD);
	p.commit(b, Vnet{}, nullptr, 0, 300 - NET_HEAD);
	p.flush();
	const auto back = g.back(VRING_RX);
	const uint32_t lens[] = {100, 100, 100, 100, 50, 100, 100, 100};
	CHECK(back.size() == 8 && std::equal(back.begin(), back.end(), lens, [](const auto &u, uint32_t n) { return u.len == n; }));
}

/** Buffers that come while frames are laid out: no chain is left out, none is given back twice. */
TEST(vhost_buffers_that_come_during_a_peek)
{
	const auto write_idx = [](Guest &g, uint16_t v) { __atomic_store_n(g.avail16(VRING_RX, 2), v, __ATOMIC_RELEASE); };
	Guest g(MERGED | bit(NET_GUEST_CSUM), 4096, 0, {2000, false, false});
	Listener listener;
	g.open(EF_TCP_CONNECT, 1, listener.port, false, 1400);
	g.await(EV_CONNECTED);
	const int peer = listener.accept();
	uint32_t seq = 1;
	for (int round = 0; round < 100; round++) {
		const uint16_t from = g.rings[VRING_RX].avail_idx;
		const Octets data = noise(100000);
		CHECK(::send(peer, data.data(), data.size(), 0) == (ssize_t)data.size());
		const uint32_t n = g.give(2000, 100);
		write_idx(g, (uint16_t)(from + 50));
		g.turn(0);
		std::thread giver([&] {
			for (uint32_t i = 50; i <= n; i++) {
				write_idx(g, (uint16_t)(from + i));
				for (int k = 0; k < 20; k++)
					asm volatile("");
			}
		});
		const Octets t = tcp_template(false, seq);
		g.effect({EF_PEEK, 1, g.put(t, 0), (uint32_t)t.size() - VNET_LEN, 200000, 1400, 0});
		const Ev e = g.await(EV_PEEKED);
		giver.join();
		g.turn(0);
		/* Whole frames of 100 octets each, one behind the other */
		uint32_t got = 0;
		Octets all;
		const auto back = g.back(VRING_RX);
		for (size_t i = 0; i < back.size();) {
			const uint32_t chains = back[i].octets[10] | (uint32_t)back[i].octets[11] << 8;
			Octets f;
			for (uint32_t k = 0; k < chains; k++, i++) {
				CHECK(i < back.size());
				f.insert(f.end(), back[i].octets.begin(), back[i].octets.end());
			}
			const size_t len = NET_HEAD + ETH_LEN + get16(f.data() + NET_HEAD + 16);
			CHECK(len <= f.size());
			all.insert(all.end(), f.begin() + NET_HEAD + 54, f.begin() + (std::ptrdiff_t)len);
			got += (uint32_t)(len - NET_HEAD - 54);
		}
		CHECK(got == e[2] && got <= data.size() && std::equal(all.begin(), all.end(), data.begin()));
		/* The rest is not of use: the next round begins with new octets */
		if (got)
			g.effect({EF_DISCARD, 1, got});
		while (got < data.size()) {
			g.give(2000, 100);
			const Octets more = tcp_template(false, seq + got);
			g.effect({EF_PEEK, 1, g.put(more, 0), (uint32_t)more.size() - VNET_LEN, 200000, 1400, 0});
			const Ev rest = g.await(EV_PEEKED);
			g.turn(0);
			g.back(VRING_RX);
			g.effect({EF_DISCARD, 1, rest[2]});
			got += rest[2];
		}
		seq += got;
		g.turn(0);
		g.seen.clear();
	}
	close(peer);
}

/** All of it has come to socket 1. */
static void say(Guest &g, int peer, const Octets &data)
{
	CHECK(::send(peer, data.data(), data.size(), 0) == (ssize_t)data.size());
	for (int have = 0; have < (int)data.size(); g.turn(1))
		CHECK(!ioctl(g.engine.table.sock(1)->fd, FIONREAD, &have));
}

TEST(vhost_peeks_wait_for_buffers_and_go_on_by_the_kick)
{
	Guest g(MERGED | bit(NET_GUEST_CSUM) | bit(NET_GUEST_TSO4), 256, 0, {70000, false, false});
	Listener listener;
	g.open(EF_TCP_CONNECT, 1, listener.port, false, 1400);
	g.await(EV_CONNECTED);
	const int peer = listener.accept();
	const Octets data = noise(100000);
	say(g, peer, data);
	/* And all that there is to say of it */
	while (!g.turn(20).empty())
		;
	g.seen.clear();
	const Octets t = tcp_template(false, 1);
	const auto peek = [&] { g.effect({EF_PEEK, 1, g.put(t, 0), (uint32_t)t.size() - VNET_LEN, 200000, 1400, 0}); };
	peek();
	g.turn(0);
	Ev e = g.take(EV_PEEKED);
	CHECK(!e.empty() && e[2] == 0 && e[3] == (PEEK_TAP_FULL | PEEK_TAP_TELLS));
	/* The next one waits by itself */
	peek();
	CHECK(g.turn(20).empty());
	CHECK(g.give(100, 2000) == 100);
	g.kick_it(VRING_RX);
	g.turn(2000);
	CHECK(!g.take(EV_TAP_ROOM).empty());
	for (int i = 0; i < 20 && (e = g.take(EV_PEEKED)).empty(); i++)
		g.turn(10);
	CHECK(!e.empty() && e[2] == 100000);
	const Octets got = payload(g.received(), 1, MERGED | bit(NET_GUEST_CSUM) | bit(NET_GUEST_TSO4), 1400);
	CHECK(got == data);
	/* Nobody there: what is peeked counts as sent, and nobody spins */
	g.run(VRING_RX, VRING_DISCARD);
	g.effect({EF_REWIND, 1, 0});
	peek();
	g.turn(0);
	for (int i = 0; i < 20 && (e = g.take(EV_PEEKED)).empty(); i++)
		g.turn(10);
	CHECK(!e.empty() && e[2] == 100000 && g.back(VRING_RX).empty());
	close(peer);
}

/** Kernels without SO_PEEK_OFF for TCP (before 6.9): what was seen is read again in front, in parts that count as well. */
TEST(vhost_peeks_of_many_parts_leave_room_for_what_was_seen)
{
	Guest g(MERGED | bit(NET_GUEST_CSUM), 4096, 0, {7, false, false});
	Listener listener;
	g.engine.tcp.peek_off_works = false;
	g.open(EF_TCP_CONNECT, 1, listener.port, false, 1400);
	g.await(EV_CONNECTED);
	const int peer = listener.accept();
	const Octets data = noise(60000);
	say(g, peer, data);
	Octets got;
	/* Five segments of 201 parts and one of 19, behind their headers: as many as one call takes */
	const uint32_t most = 5 * 1400 + 130;
	for (int round = 0; round < 20 && got.size() < 20000; round++) {
		g.give(10, 1526);
		const uint32_t seq = 1 + (uint32_t)got.size();
		const Octets t = tcp_template(false, seq);
		g.effect({EF_PEEK, 1, g.put(t, 0), (uint32_t)t.size() - VNET_LEN, most, 1400, 0});
		const Ev e = g.await(EV_PEEKED);
		CHECK(!e[13]);
		const Octets more = payload(g.received(), seq, MERGED | bit(NET_GUEST_CSUM), 1400);
		CHECK(more.size() == e[2]);
		got.insert(got.end(), more.begin(), more.end());
		g.turn(0);
	}
	CHECK(got.size() >= 20000 && std::equal(got.begin(), got.end(), data.begin()));
	close(peer);
}
