/* Large frames of the guest's, whose payload goes from its memory to a socket (vhost/outside.h). */
#include "guest.h"

#include <algorithm>
#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>

namespace {

enum : uint64_t { CUTS = MERGED | 1ull << NET_CSUM | 1ull << NET_HOST_TSO4 };
enum : size_t { HEADERS = 54 };

/** A guest with a connection to a peer. */
struct Upload : Guest {
	Listener listener;
	int peer;
	Octets sent;

	explicit Upload(Layout l, uint32_t size = 1024) : Guest(CUTS | (l.indirect ? bit(RING_INDIRECT) : 0), size, 65530, l)
	{
		open(EF_TCP_CONNECT, 1, listener.port, false, 1400);
		await(EV_CONNECTED);
		peer = listener.accept();
	}
	~Upload() { close(peer); }

	/** The guest sends a frame to be cut, of `n` octets of payload. */
	void offer_payload(size_t n)
	{
		Vnet v = {};
		v.flags = VNET_NEEDS_CSUM, v.csum_start = 34, v.csum_offset = 16;
		v.gso_type = GSO_TCPV4, v.gso_size = 1400, v.hdr_len = HEADERS;
		Octets f = tcp_template(false, 1);
		f.erase(f.begin(), f.begin() + VNET_LEN);
		CHECK(f.size() == HEADERS);
		put16(f.data() + 16, (uint16_t)(HEADERS - ETH_LEN + n));
		const Octets data = noise(n);
		f.insert(f.end(), data.begin(), data.end());
		sent.insert(sent.end(), data.begin(), data.end());
		CHECK(send(f, v));
	}
	/** As JS does it: what comes in a turn is sent in the next one. That is to follow for the last of `n` frames. */
	void forward(uint32_t n)
	{
		for (int i = 0; i < 10 && n; i++) {
			turn(0);
			for (Ev e; !(e = take(EV_TAP_FRAME)).empty(); n--)
				effect({EF_SEND, 1, e[2] + (uint32_t)HEADERS, e[3] - (uint32_t)HEADERS, 0});
		}
		CHECK(!n);
	}
	/** All that was sent has come, in order. */
	void check()
	{
		Octets got;
		for (int i = 0; i < 500 && got.size() < sent.size(); i++) {
			const Octets more = read_all(peer, std::min<size_t>(sent.size() - got.size(), 100000));
			got.insert(got.end(), more.begin(), more.end());
			turn(0);
		}
		CHECK(got == sent);
		sent.clear();
	}
	/** Memory of buffers that were given back is the guest's own again. */
	void scribble() { memset(at(rings[VRING_TX].from), 0xee, rings[VRING_TX].to - rings[VRING_TX].from); }
};

} // namespace

TEST(vhost_payload_goes_from_the_guests_memory_to_the_socket)
{
	/* As a driver has them; such that one part lies in both regions; too many parts, which are copied */
	for (const uint32_t part : {70000u, 4096u, 0u, 333u}) {
		Upload g({part, part == 4096u, false});
		for (int round = 0; round < 40; round++) {
			const size_t lens[] = {60000, OUTSIDE_MIN - HEADERS, OUTSIDE_MIN - HEADERS - 1, 1401, OUTSIDE_HEAD, 30001};
			const size_t len = lens[round % 6];
			g.offer_payload(lens[(round + 1) % 6]), g.offer_payload(len);
			g.forward(2);
			const size_t early = g.back(VRING_TX).size();
			const bool stays = len + HEADERS >= OUTSIDE_MIN && (len + HEADERS + NET_HEAD) / std::max(part, 1u) < OUTSIDE_PIECES - 2;
			CHECK(!part || (early < 2) >= stays);
			CHECK(!early || g.called(VRING_TX));
			g.turn(0);
			CHECK(early + g.back(VRING_TX).size() == 2);
			CHECK(early == 2 || g.called(VRING_TX));
			g.scribble();
			g.check();
		}
	}
}

TEST(vhost_payload_that_a_socket_does_not_take_is_kept)
{
	Upload g({70000, false, false});
	for (int round = 0; round < 60; round++) { /* 3.6 MB: more than the buffers of both sockets */
		g.offer_payload(60000);
		g.forward(1);
		g.turn(0);
		CHECK(g.back(VRING_TX).size() == 1);
		g.scribble();
	}
	uint32_t pending = 0;
	for (Ev e; !(e = g.take(EV_SENT)).empty();)
		pending = std::max(pending, e[3]);
	CHECK(pending > 100000);
	g.check();
}

TEST(vhost_payload_outlives_its_ring_and_its_memory)
{
	for (const int change : {0, 1, 2, 3}) {
		Upload g({70000, false, false});
		g.offer_payload(50000), g.offer_payload(40000);
		g.turn(0);
		const Ev a = g.take(EV_TAP_FRAME), b = g.take(EV_TAP_FRAME);
		CHECK(!a.empty() && !b.empty() && a[3] == HEADERS + 50000 && b[3] == HEADERS + 40000);
		g.effect({EF_SEND, 1, a[2] + (uint32_t)HEADERS, 50000, 0});
		if (change == 0) {
			g.effect({EF_VRING_STOP, 0, VRING_TX});
		} else if (change == 1) {
			g.share();
			g.sent.resize(50000); /* no turn is left for the other one */
		} else if (change == 2) {
			g.effect({EF_LINK_CLOSE, 0});
		} else {
			g.effect({EF_VHOST_REMOVE_REGION, 0, (uint32_t)Guest::LOW, 0, (uint32_t)Guest::LOW_LEN, 0, (uint32_t)Guest::USER, (uint32_t)(Guest::USER >> 32)});
		}
		if (change != 1)
			g.effect({EF_SEND, 1, b[2] + (uint32_t)HEADERS, 40000, 0});
		g.turn(0);
		if (change == 0) {
			CHECK(g.take(EV_VRING_STOPPED)[3] == (uint16_t)(65530 + 2));
			CHECK(g.back(VRING_TX).size() == 2);
		}
		g.check();
	}
}

TEST(vhost_payload_whose_memory_is_gone_ends_the_connection_and_the_ring)
{
	Upload g({70000, false, false});
	g.offer_payload(60000);
	g.turn(0);
	const Ev e = g.take(EV_TAP_FRAME);
	CHECK(!e.empty() && !ftruncate(g.memfd, 0));
	g.effect({EF_SEND, 1, e[2] + (uint32_t)HEADERS, 60000, 0});
	g.turn(0), g.turn(0);
	CHECK(g.take(EV_VRING_BROKEN)[3] == VRING_BAD_MEMORY);
	CHECK(g.take(EV_SENT)[13] == EFAULT);
	CHECK(!g.take(EV_FAILED).empty());
}

TEST(vhost_payload_is_taken_whole_while_somebody_writes_it_down)
{
	for (const bool whole : {false, true}) {
		Upload g({70000, false, false});
		g.engine.tap.vhost.whole = whole;
		/* What lay there before */
		CHECK(g.send(some_frame(60000)));
		g.turn(0);
		g.take(EV_TAP_FRAME);
		g.offer_payload(50000);
		g.turn(0);
		const Ev e = g.take(EV_TAP_FRAME);
		CHECK(!e.empty() && e[3] == HEADERS + 50000);
		CHECK((g.slab(e[2] + HEADERS, 50000) == g.sent) == whole);
		g.effect({EF_SEND, 1, e[2] + (uint32_t)HEADERS, 50000, 0});
		g.turn(0);
		g.check();
	}
}
