/* vhost-user: the guest's two rings, whatever their layout, and a guest that means harm (virtio 1.2 §2.7, §5.1). */
#include "guest.h"

#include <algorithm>
#include <atomic>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace {

/** Turns until `n` frames of the guest's have come; they are compared with `sent` from `at` on. */
void expect(Guest &g, const std::vector<Octets> &sent, size_t at, size_t n)
{
	for (int i = 0; i < 50 && n; i++) {
		for (const Ev &e : g.turn(0)) {
			if (e[0] != EV_TAP_FRAME)
				continue;
			CHECK(n && e[3] == sent[at].size() && !memcmp(g.engine.rings.slab + e[2], sent[at].data(), e[3]));
			CHECK(!e[4] && e[7] == sum_fold(sum_octets(sent[at].data() + 14, e[3] - 14)));
			n--, at++;
		}
		g.seen.clear();
	}
	CHECK(!n);
}

/** Frames of any length through the transmit ring, given back one for one. */
void through_tx(Guest &g, uint32_t rounds, uint32_t together)
{
	std::vector<Octets> sent;
	for (uint32_t i = 0; i < rounds; i++) {
		const size_t before = sent.size();
		for (uint32_t k = 0; k < together; k++) {
			const Octets f = some_frame(14 + chance(chance(3) ? 200 : 4000));
			if (!g.send(f))
				break;
			sent.push_back(f);
		}
		CHECK(sent.size() > before);
		expect(g, sent, before, sent.size() - before);
		const auto back = g.back(VRING_TX);
		CHECK(back.size() == sent.size() - before);
		for (const auto &u : back)
			CHECK(u.len == 0);
	}
}

/** EF_TAP_WRITE of a frame behind a virtio-net header. */
void write_frame(Guest &g, const Octets &f, uint32_t at, const Vnet &v = {})
{
	Octets b(VNET_LEN);
	memcpy(b.data(), &v, sizeof(v));
	b.insert(b.end(), f.begin(), f.end());
	g.effect({EF_TAP_WRITE, 0, g.put(b, at), (uint32_t)b.size()});
}

/** Frames of any length through the receive ring; buffers of `len` octets. */
void through_rx(Guest &g, uint32_t rounds, size_t len, size_t longest)
{
	for (uint32_t i = 0; i < rounds; i++) {
		std::vector<Octets> sent;
		uint32_t at = 8192;
		g.give(std::min(g.rings[VRING_RX].size, 1024u), len);
		for (uint32_t k = 0; k < 3; k++) {
			const Octets f = some_frame(14 + chance((uint32_t)longest - 13));
			write_frame(g, f, at);
			at += VNET_LEN + (uint32_t)f.size();
			sent.push_back(f);
		}
		g.turn(0);
		const auto got = g.received();
		for (size_t k = 0; k < sent.size(); k++)
			sent[k].resize(std::max<size_t>(sent[k].size(), 60)); /* #regression-V9 */
		CHECK(got.size() <= sent.size());
		/* The last ones may have found no buffers */
		CHECK(got.size() == sent.size() || !g.take(EV_TAP_DROPPED).empty());
		for (size_t k = 0; k < got.size(); k++) {
			CHECK(got[k].size() == NET_HEAD + sent[k].size());
			CHECK(std::all_of(got[k].begin(), got[k].begin() + 10, [](uint8_t o) { return !o; }));
			CHECK(std::equal(sent[k].begin(), sent[k].end(), got[k].begin() + NET_HEAD));
		}
		g.seen.clear();
	}
}

} // namespace

TEST(vhost_frames_from_the_guest_in_any_layout)
{
	for (const bool indirect : {false, true}) {
		for (const bool event : {false, true}) {
			const uint64_t f = PLAIN | (indirect ? bit(RING_INDIRECT) : 0) | (event ? bit(RING_EVENT_IDX) : 0);
			{
				Guest g(f, 256, 65530, {0, indirect, false});
				through_tx(g, 60, 20);
			}
			{
				Guest g(f, 1024, 0, {1, indirect, false}); /* parts of one octet */
				for (int i = 0; i < 20; i++) {
					const Octets one = some_frame(14 + chance(indirect ? 900 : 400));
					CHECK(g.send(one));
					expect(g, {one}, 0, 1);
					CHECK(g.back(VRING_TX).size() == 1);
				}
			}
			{
				Guest g(f, 2, 65535, {4000, indirect, false});
				through_tx(g, 40, 1);
			}
			{
				Guest g(f, 32768, 40000, {0, indirect, false});
				through_tx(g, 40, 100);
			}
		}
	}
}

TEST(vhost_frames_to_the_guest_in_any_layout)
{
	for (const bool merged : {false, true}) {
		for (const bool indirect : {false, true}) {
			const uint64_t f = (merged ? MERGED : PLAIN) | (indirect ? bit(RING_INDIRECT) : 0) | (indirect == merged ? bit(RING_EVENT_IDX) : 0);
			{
				Guest g(f, 256, 65530, {0, indirect, false});
				through_rx(g, 60, merged ? 1526 : 9012, 9000);
			}
			{
				Guest g(f, 1024, 65500, {1, indirect, false});
				through_rx(g, 8, merged ? 16 : 500, 300);
			}
			{
				Guest g(f, 2, 65530, {9012, indirect, false});
				through_rx(g, 20, 9012, 9000);
			}
			{
				Guest g(f, 32768, 1, {0, indirect, false});
				through_rx(g, 3, merged ? 256 : 3000, 2900);
			}
		}
	}
}

TEST(vhost_exact_fits)
{
	for (const bool merged : {false, true}) {
		for (const size_t len : {60, 61, 1514}) {
			for (int off = -1; off <= 1; off++) {
				Guest g(merged ? MERGED : PLAIN, 256, 0, {70000, false, false});
				CHECK(g.give(2, NET_HEAD + len + (size_t)off) == 2);
				write_frame(g, some_frame(len), 8192);
				g.turn(0);
				const bool fits = off >= 0, dropped = !g.take(EV_TAP_DROPPED).empty();
				CHECK(dropped == (!fits && !merged));
				const auto back = g.back(VRING_RX);
				CHECK(back.size() == (fits ? 1u : merged ? 2u : 0u));
				if (fits)
					CHECK(back[0].len == NET_HEAD + len && back[0].octets[10] == 1);
				else if (merged)
					CHECK(back[0].len == NET_HEAD + len - 1 && back[1].len == 1 && back[0].octets[10] == 2);
			}
		}
	}
}

TEST(vhost_notifies_once_a_turn_and_only_who_wants_it)
{
	for (const bool event : {false, true}) {
		Guest g(MERGED | (event ? bit(RING_EVENT_IDX) : 0), 256, 65530);
		for (int round = 0; round < 5; round++) {
			g.give(20, 2000);
			for (int i = 0; i < 10; i++)
				write_frame(g, some_frame(60), 8192 + 128 * (uint32_t)i);
			for (int i = 0; i < 3; i++)
				g.send(some_frame(60));
			g.turn(0);
			CHECK(g.called(VRING_RX) == 1 && g.called(VRING_TX) == 1);
			CHECK(g.received().size() == 10);
			g.back(VRING_TX);
			if (!event) {
				*g.avail16(VRING_RX, 0) = 1;
				write_frame(g, some_frame(60), 8192);
				g.turn(0);
				CHECK(g.called(VRING_RX) == 0 && g.received().size() == 1);
				*g.avail16(VRING_RX, 0) = 0;
			} else {
				/* The second of two from here */
				*g.avail16(VRING_RX, 4 + 2 * 256) = (uint16_t)(g.rings[VRING_RX].used_idx + 1);
				write_frame(g, some_frame(60), 8192);
				g.turn(0);
				CHECK(g.called(VRING_RX) == 0);
				write_frame(g, some_frame(60), 8192);
				g.turn(0);
				CHECK(g.called(VRING_RX) == 1 && g.received().size() == 2);
			}
		}
	}
}

TEST(vhost_kicks_wake_a_sleeper_and_are_asked_for_then_only)
{
	for (const bool event : {false, true}) {
		Guest g(PLAIN | (event ? bit(RING_EVENT_IDX) : 0), 256, 7);
		for (int i = 0; i < 5; i++) {
			g.turn(1);
			/* It sleeps: a kick is wanted for the next chain */
			if (event)
				CHECK(*g.used16(VRING_TX, 4 + 8 * 256) == g.rings[VRING_TX].avail_idx);
			else
				CHECK(!(*g.used16(VRING_TX, 0) & 1));
			const Octets f = some_frame(100);
			g.send(f);
			g.kick_it(VRING_TX);
			const auto e = g.turn(2000);
			CHECK(e.size() == 1 && e[0][0] == EV_TAP_FRAME && e[0][3] == 100);
			if (!event)
				CHECK(*g.used16(VRING_TX, 0) & 1);
			g.back(VRING_TX);
		}
	}
}

/** One octet there and back, between two of which each sleeps until the other one tells it, and tells only who asks for it. */
TEST(vhost_no_wake_up_is_lost_between_two_that_sleep)
{
	enum : uint32_t { ROUNDS = 10000, SIZE = 256 };
	for (const bool event : {false, true}) {
		Guest g(MERGED | (event ? bit(RING_EVENT_IDX) : 0), SIZE, 65000, {2000, false, false});
		CHECK(g.give(100, 2000) == 100);
		std::thread driver([&] {
			const auto tell = [&](uint32_t ring) {
				std::atomic_thread_fence(std::memory_order_seq_cst);
				if (event ? *g.used16(ring, 4 + 8 * SIZE) == (uint16_t)(g.rings[ring].avail_idx - 1) : !(*g.used16(ring, 0) & 1))
					g.kick_it(ring);
			};
			const auto came = [&] { return __atomic_load_n(g.used16(VRING_RX, 2), __ATOMIC_ACQUIRE) != g.rings[VRING_RX].used_idx; };
			const auto want = [&](bool on) {
				if (event)
					*g.avail16(VRING_RX, 4 + 2 * SIZE) = (uint16_t)(g.rings[VRING_RX].used_idx - !on);
				else
					*g.avail16(VRING_RX, 0) = !on;
				std::atomic_thread_fence(std::memory_order_seq_cst);
			};
			for (uint32_t i = 0; i < ROUNDS; i++) {
				/* As long as the engine looks, or longer: whatever it is about to do */
				for (volatile uint32_t idle = chance(2) * chance(100000); idle; idle = idle - 1)
					;
				CHECK(g.send(some_frame(60)));
				tell(VRING_TX);
				while (!came()) {
					want(true);
					if (!came()) {
						CHECK(wait_for(g.call[VRING_RX], POLLIN, 20000));
						g.called(VRING_RX);
					}
					want(false);
				}
				CHECK(g.received().size() == 1 && g.give(1, 2000) == 1);
				tell(VRING_RX);
				g.back(VRING_TX);
			}
		});
		for (uint32_t i = 0; i < ROUNDS;) {
			const auto events = g.turn(20000);
			CHECK(!events.empty());
			g.seen.clear();
			for (const Ev &e : events) {
				if (e[0] == EV_TAP_FRAME)
					write_frame(g, Octets(60, 0x88), 8192), i++;
			}
		}
		g.turn(0);
		driver.join();
	}
}

/** Whatever a stop, or the back-end before, has left in the ring: who sleeps has asked for the next chain, and not for buffers. */
TEST(vhost_a_ring_that_starts_again_is_asked_for_kicks_again)
{
	for (const bool event : {false, true}) {
		Guest g(MERGED | (event ? bit(RING_EVENT_IDX) : 0), 256, 7);
		const auto wanted = [&](uint32_t ring) {
			return event ? *g.used16(ring, 4 + 8 * 256) == g.rings[ring].avail_idx : !(*g.used16(ring, 0) & 1);
		};
		g.give(4, 2000);
		g.turn(1);
		CHECK(wanted(VRING_TX) && !wanted(VRING_RX));
		/* Stopped while nobody has to kick */
		g.send(some_frame(100));
		g.turn(0);
		CHECK(g.back(VRING_TX).size() == 1 && !wanted(VRING_TX));
		for (const uint16_t left : {uint16_t(1), uint16_t(0)}) {
			for (const uint32_t ring : {VRING_TX, VRING_RX}) {
				g.effect({EF_VRING_STOP, 0, ring});
				g.turn(0);
				*g.used16(ring, 0) = left;
				g.effect({EF_VRING_BASE, 0, ring, g.take(EV_VRING_STOPPED)[3]});
				g.run(ring, VRING_ON);
			}
			g.turn(1);
			CHECK(wanted(VRING_TX) && !wanted(VRING_RX));
		}
	}
}

TEST(vhost_without_buffers_frames_are_refused_until_the_guest_gives_some)
{
	for (const bool event : {false, true}) {
		Guest g(MERGED | (event ? bit(RING_EVENT_IDX) : 0), 256, 65535);
		write_frame(g, some_frame(60), 8192);
		g.turn(0);
		const Ev lost = g.take(EV_TAP_DROPPED);
		CHECK(!lost.empty() && lost[2] == 1 && lost[3] == EAGAIN);
		CHECK(!g.engine.tap.takes_bulk() && g.take(EV_TAP_ROOM).empty());
		/* Without an event index: once it gave nothing for a while */
		g.turn(event ? 0 : 5);
		if (event)
			CHECK(*g.used16(VRING_RX, 4 + 8 * 256) == g.rings[VRING_RX].avail_idx);
		else
			CHECK(!(*g.used16(VRING_RX, 0) & 1));
		CHECK(g.give(2, 2000) == 2);
		g.kick_it(VRING_RX);
		g.turn(1000);
		CHECK(!g.take(EV_TAP_ROOM).empty() && g.engine.tap.takes_bulk());
		write_frame(g, some_frame(60), 8192);
		g.turn(0);
		CHECK(g.received().size() == 1);
		/* Not usable at all: who waits is told, and frames vanish */
		write_frame(g, some_frame(6000), 8192);
		g.turn(0);
		CHECK(!g.take(EV_TAP_DROPPED).empty());
		g.effect({EF_VRING_STOP, 0, VRING_RX});
		g.turn(0);
		const Ev stopped = g.take(EV_VRING_STOPPED);
		CHECK(!stopped.empty() && stopped[3] == (uint16_t)(65535 + 1));
		CHECK(!g.take(EV_TAP_ROOM).empty());
		write_frame(g, some_frame(60), 8192);
		g.turn(0);
		CHECK(g.take(EV_TAP_DROPPED).empty() && g.back(VRING_RX).empty());
	}
}

TEST(vhost_few_buffers_are_left_to_become_more_but_not_for_long)
{
	for (const bool event : {false, true}) {
		Guest g(MERGED | (event ? bit(RING_EVENT_IDX) : 0), 256, 65535);
		const auto use_up = [&](size_t frames) {
			for (size_t i = 0; i <= frames; i++)
				write_frame(g, some_frame(1900), 8192);
			g.turn(0);
			CHECK(g.received().size() == frames && !g.take(EV_TAP_DROPPED).empty() && !g.engine.tap.takes_bulk());
			g.seen.clear();
		};
		g.turn(0.01); /* it sleeps, so it asks for kicks */
		CHECK(!(*g.used16(VRING_TX, 0) & 1));
		CHECK(g.give(40, 2000) == 40);
		use_up(40);
		CHECK(g.give(2, 2000) == 2);
		g.kick_it(VRING_RX);
		g.turn(0);
		CHECK(g.take(EV_TAP_ROOM).empty() && !g.engine.tap.takes_bulk());
		/* A kick is wanted once enough are there. Where that cannot be said, it would come for each of them: so none is */
		if (event)
			CHECK(*g.used16(VRING_RX, 4 + 8 * 256) == (uint16_t)(g.rings[VRING_RX].avail_idx + 7));
		else
			CHECK(*g.used16(VRING_RX, 0) & 1);
		/* Nor for what it sends, since we look soon */
		g.send(some_frame(80));
		g.turn(0);
		CHECK(!g.take(EV_TAP_FRAME).empty());
		g.turn(0.01);
		CHECK(event || *g.used16(VRING_TX, 0) & 1);
		g.send(some_frame(80));
		Ev sent;
		for (int i = 0; i < 20 && (sent = g.take(EV_TAP_FRAME)).empty(); i++)
			g.turn(100);
		CHECK(!sent.empty());
		g.seen.clear();
		write_frame(g, some_frame(60), 8192);
		write_frame(g, some_frame(60), 8192);
		write_frame(g, some_frame(60), 8192);
		g.turn(0);
		CHECK(g.received().size() == 2 && !g.engine.tap.takes_bulk());
		g.seen.clear();
		CHECK(g.give(2, 2000) == 2);
		g.kick_it(VRING_RX);
		g.turn(0);
		CHECK(!g.engine.tap.takes_bulk());
		/* What is not bulk uses them at once */
		write_frame(g, some_frame(60), 8192);
		g.turn(0);
		CHECK(g.received().size() == 1);
		/* Once there are none for a while, a kick is wanted again */
		write_frame(g, some_frame(60), 8192);
		write_frame(g, some_frame(60), 8192);
		g.turn(0);
		CHECK(g.received().size() == 1 && !g.take(EV_TAP_DROPPED).empty());
		CHECK(event || *g.used16(VRING_RX, 0) & 1);
		g.turn(5);
		CHECK(event || !(*g.used16(VRING_RX, 0) & 1));
		g.seen.clear();
		CHECK(g.give(2, 2000) == 2);
		g.kick_it(VRING_RX);
		g.turn(0);
		CHECK(!g.engine.tap.takes_bulk());
		/* Nobody kicks: the time is over soon, long before the turn is */
		for (int i = 0; i < 20 && !g.engine.tap.takes_bulk(); i++)
			g.turn(100);
		CHECK(g.engine.tap.takes_bulk());
		use_up(2);
		CHECK(g.give(10, 2000) == 10);
		g.kick_it(VRING_RX);
		g.turn(0);
		CHECK(!g.take(EV_TAP_ROOM).empty() && g.engine.tap.takes_bulk());
	}
}

/** The kick is on its way, or was not needed by then: that they are there is seen by a look alone. */
TEST(vhost_buffers_that_are_seen_before_the_kick_wake_whoever_goes_to_sleep)
{
	for (const bool event : {false, true}) {
		for (const uint32_t few : {2u, 40u}) {
			Guest g(MERGED | (event ? bit(RING_EVENT_IDX) : 0), 256, 65535);
			CHECK(g.give(40, 2000) == 40);
			for (size_t i = 0; i <= 40; i++)
				write_frame(g, some_frame(1900), 8192);
			g.turn(0);
			CHECK(g.received().size() == 40 && !g.engine.tap.takes_bulk());
			g.turn(5); /* without an event index: there were none for a while */
			g.seen.clear();
			CHECK(g.give(few, 2000) == few);
			const double before = Engine::now_ms();
			g.turn(1000);
			CHECK(!g.take(EV_TAP_ROOM).empty() && g.engine.tap.takes_bulk());
			CHECK(Engine::now_ms() - before < 500);
		}
	}
}

TEST(vhost_a_frame_that_no_buffers_could_hold_is_dropped_and_nobody_waits)
{
	Guest g(MERGED, 2, 0, {100, false, false});
	CHECK(g.give(2, 100) == 2);
	write_frame(g, some_frame(5000), 8192);
	g.turn(0);
	const Ev e = g.take(EV_TAP_DROPPED);
	CHECK(!e.empty() && e[3] == EMSGSIZE && g.engine.tap.takes_bulk());
}

TEST(vhost_disabled_rings_discard_and_stopped_ones_are_left_alone)
{
	Guest g(MERGED);
	g.give(4, 2000);
	g.run(VRING_RX, VRING_DISCARD);
	g.run(VRING_TX, VRING_DISCARD);
	for (int i = 0; i < 3; i++)
		g.send(some_frame(80));
	write_frame(g, some_frame(80), 8192);
	g.turn(0);
	CHECK(g.take(EV_TAP_FRAME).empty() && g.back(VRING_TX).size() == 3 && g.back(VRING_RX).empty());
	CHECK(g.take(EV_TAP_DROPPED).empty());
	g.effect({EF_VRING_STOP, 0, VRING_TX});
	g.turn(0);
	CHECK(g.take(EV_VRING_STOPPED)[3] == 3);
	const Octets left(g.at(g.rings[VRING_TX].used), g.at(g.rings[VRING_TX].used) + 2048);
	g.send(some_frame(90));
	g.kick_it(VRING_TX);
	g.turn(1);
	CHECK(g.take(EV_TAP_FRAME).empty() && !memcmp(left.data(), g.at(g.rings[VRING_TX].used), left.size()));
	/* It goes on where it was */
	g.effect({EF_VRING_BASE, 0, VRING_TX, 3});
	g.run(VRING_TX, VRING_ON);
	CHECK(g.turn(0).size() == 1 && g.take(EV_TAP_FRAME)[3] == 90);
}

TEST(vhost_frames_that_cannot_be_are_counted_and_given_back)
{
	Guest g(PLAIN | bit(NET_CSUM) | bit(NET_HOST_TSO4), 256, 0, {70000, false, false});
	Vnet v = {};
	Octets t = tcp_template(false, 1);
	t.erase(t.begin(), t.begin() + VNET_LEN);
	t.resize(3054);
	put16(t.data() + 16, 3040);
	const auto dropped = [&](const Octets &f, const Vnet &head) {
		CHECK(g.send(f, head));
		g.turn(0);
		const bool lost = !g.take(EV_TAP_DROPPED).empty();
		CHECK(lost == g.take(EV_TAP_FRAME).empty() && g.back(VRING_TX).size() == 1);
		return lost;
	};
	CHECK(dropped(some_frame(14), v) == false);
	CHECK(g.offer(VRING_TX, 12 + 13, false));
	g.turn(0);
	CHECK(!g.take(EV_TAP_DROPPED).empty() && g.back(VRING_TX).size() == 1);
	CHECK(!dropped(some_frame(FRAME_MAX), v) && dropped(some_frame(FRAME_MAX + 1), v));
	v.flags = VNET_NEEDS_CSUM, v.csum_start = 34, v.csum_offset = 16, v.gso_type = GSO_TCPV4, v.gso_size = 1000;
	CHECK(!dropped(t, v));
	const auto with = [&](auto change) {
		Vnet c = v;
		change(c);
		return dropped(t, c);
	};
	CHECK(with([](Vnet &c) { c.gso_size = 0; }));
	CHECK(with([](Vnet &c) { c.gso_type = GSO_TCPV6; }));
	CHECK(with([](Vnet &c) { c.gso_type = GSO_UDP_L4; }));
	CHECK(with([](Vnet &c) { c.gso_type = 3; }));
	CHECK(with([](Vnet &c) { c.gso_type = GSO_ECN; }));
	CHECK(with([](Vnet &c) { c.flags = 0; }));
	CHECK(with([](Vnet &c) { c.csum_start = 3054; }));
	CHECK(with([](Vnet &c) { c.csum_start = 65535, c.csum_offset = 65535; }));
	CHECK(with([](Vnet &c) { c.csum_start = 3; }));
	g.effect({EF_VHOST_FEATURES, 0, 1u << 30, 1});
	CHECK(dropped(t, v) && dropped(some_frame(100), Vnet{VNET_NEEDS_CSUM, 0, 0, 0, 34, 16}));
}

TEST(vhost_segments_without_offload_come_together)
{
	Guest g(PLAIN, 256, 0, {70000, false, false});
	Octets stream;
	for (uint32_t i = 0; i < 10; i++) {
		Octets f = tcp_template(false, 1000 + i * 1000);
		f.erase(f.begin(), f.begin() + VNET_LEN);
		const Octets data = noise(1000);
		f.insert(f.end(), data.begin(), data.end());
		stream.insert(stream.end(), data.begin(), data.end());
		Layers at;
		CHECK(read_headers(f.data(), f.size(), false, BEHIND_IP, at));
		put16(f.data() + 18, (uint16_t)i);
		f[20] = 0x40;
		put_lengths(f.data(), at, f.size());
		put_sum(f.data(), at, f.size(), sum_octets(data.data(), data.size()));
		CHECK(g.send(f));
	}
	g.turn(0);
	const Ev e = g.take(EV_TAP_FRAME);
	CHECK(!e.empty() && e[3] == 54 + 10000 && e[4] == (VNET_NEEDS_CSUM | GSO_TCPV4 << 8) && e[5] == 1000);
	const Octets got = g.slab(e[2] + 54, 10000);
	CHECK(got == stream && g.back(VRING_TX).size() == 10);
}

TEST(vhost_every_octet_that_is_written_is_logged)
{
	for (const bool event : {false, true}) {
		/* Index, entries and event index of the used ring lie on pages of their own */
		Guest g(MERGED | bit(VHOST_LOG_ALL) | (event ? bit(RING_EVENT_IDX) : 0), 4096, 65400);
		g.start_log();
		for (int round = 0; round < 20; round++) {
			for (int i = 0; i < 30; i++)
				g.give(1, 1 + chance(3000) + NET_HEAD);
			for (uint32_t i = 0; i < 3; i++)
				write_frame(g, some_frame(14 + chance(9000)), 8192 + i * 16384);
			g.send(some_frame(100));
			g.snapshot();
			g.turn(round % 2);
			g.turn(1); /* before it sleeps it asks for kicks */
			g.check_log();
			const auto all = g.received();
			CHECK(!all.empty());
			g.back(VRING_TX);
			g.seen.clear();
		}
		/* A log that is too short is not written behind its end */
		memset(g.log, 0, Guest::LOG_LEN);
		std::vector<uint32_t> w = {EF_VHOST_LOG, 0, (uint32_t)dup(g.logfd), 0, 40, 0, 0, 0};
		g.words(w);
		CHECK(g.await(EV_VHOST_DONE)[13] == 0);
		g.give(30, 3000);
		write_frame(g, some_frame(9000), 8192);
		g.send(some_frame(100));
		g.turn(0);
		CHECK(std::any_of(g.log, g.log + 40, [](uint8_t o) { return o; }));
		CHECK(std::all_of(g.log + 40, g.log + Guest::LOG_LEN, [](uint8_t o) { return !o; }));
	}
}
