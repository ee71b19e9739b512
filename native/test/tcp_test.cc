/* Host TCP sockets against real ones on loopback. */
#include "../addon/sock.h"
#include "harness.h"

#include <algorithm>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/** A rig with handle 1 connected to `peer`. */
struct Connected : Rig {
	Listener listener;
	int peer;
	explicit Connected(bool v6 = false, int rcvbuf = 0, bool peek_off = true, bool vnet = true,
			   uint32_t offloads = OFF_CSUM | OFF_TSO4 | OFF_TSO6)
	    : Rig(vnet, offloads), listener(v6, rcvbuf)
	{
		engine.tcp.peek_off_works = peek_off;
		open(EF_TCP_CONNECT, 1, listener.port, v6, 1400);
		const Ev e = await(EV_CONNECTED);
		CHECK(e[1] == 1 && e[4] && e[11]);
		peer = listener.accept();
	}
	~Connected() { close(peer); }

	void send(const Octets &b, uint32_t flags = 0, uint32_t at = 4096)
	{
		effect({EF_SEND, 1, put(b, at), (uint32_t)b.size(), flags});
	}
	/** EF_PEEK of up to `budget`; returns its result. */
	Ev peek(bool v6, uint32_t seq, uint32_t budget, uint32_t mss = 1400)
	{
		const Octets t = tcp_template(v6, seq);
		effect({EF_PEEK, 1, put(t, 0), (uint32_t)t.size() - VNET_LEN, budget, mss, v6 ? IS_V6 : 0u});
		return await(EV_PEEKED);
	}
	/** Payload of all frames on the tap, whose SEQ must follow from `seq` on. */
	Octets delivered(bool v6, uint32_t seq, size_t head, size_t *frames = nullptr)
	{
		const size_t l4 = ETH_LEN + (v6 ? 40 : 20);
		Octets all;
		for (Octets f = frame(); !f.empty(); f = frame()) {
			const uint8_t *const p = f.data() + head;
			const uint8_t *const ip = p + ETH_LEN;
			CHECK(get32(p + l4 + 4) == seq + (uint32_t)all.size());
			const size_t end = v6 ? ETH_LEN + 40 + get16(ip + 4) : ETH_LEN + get16(ip + 2);
			CHECK(end <= f.size() - head && f.size() - head >= 60);
			CHECK(v6 || sum_fold(sum_octets(ip, 20)) == 0xffff);
			if (!head)
				CHECK(l4_sum_ok(f, l4, 6));
			all.insert(all.end(), p + l4 + 20, p + end);
			if (frames)
				++*frames;
		}
		return all;
	}
};

TEST(connect_send_close)
{
	for (const bool v6 : {false, true}) {
		Connected c(v6);
		c.send(octets("hello "));
		c.send(octets("world"), 0, 8192);
		c.effect({EF_SHUTDOWN_WR, 1});
		const Ev e = c.await(EV_SENT);
		CHECK(e[2] == 11 && !e[3] && !e[12] && !e[13] && e[11]);
		CHECK(c.take(EV_SENT).empty()); /* one for all of the turn */
		CHECK(text(read_all(c.peer, 100)) == "hello world");
		c.send(octets("late"));
		const Ev late = c.await(EV_SENT);
		CHECK(late[12] == 4 && late[13] == EPIPE);
		CHECK(write(c.peer, "x", 1) == 1);
		CHECK(c.await(EV_READY)[2] & READY_IN); /* the other direction goes on */
		c.effect({EF_CLOSE, 1});
		c.turn();
	}
}

TEST(connection_refused_is_told)
{
	Rig r;
	uint16_t port;
	{
		Listener l;
		port = l.port;
	}
	r.open(EF_TCP_CONNECT, 3, port);
	const Ev e = r.await(EV_FAILED);
	CHECK(e[1] == 3 && e[13] == ECONNREFUSED);
	CHECK(r.turn(30).empty());
	r.effect({EF_CLOSE, 3});
	CHECK(r.turn(30).empty());
}

TEST(descriptor_zero_is_a_socket_row_1)
{
	const int saved = dup(0);
	close(0);
	{
		Connected c;
		c.send(octets("zero"));
		CHECK(c.await(EV_SENT)[2] == 4 && text(read_all(c.peer, 4)) == "zero");
	}
	dup2(saved, 0);
	close(saved);
}

TEST(pending_octets_keep_their_order)
{
	Connected c(false, 4096);
	c.engine.sender.pending_max = 64 << 20;
	Octets all, got;
	uint64_t taken = 0;
	uint32_t pending = 0;
	bool held_back = false;
	for (int i = 0; i < 400; i++) {
		const Octets part = noise(1 + chance(40000));
		c.send(part, i & 1 ? SEND_REPORT_ACK : 0u);
		all.insert(all.end(), part.begin(), part.end());
		if (i == 200) {
			Octets more = noise(3);
			c.send(more, 0, 500000);
			all.insert(all.end(), more.begin(), more.end());
		}
		c.turn();
		for (Ev e = c.take(EV_SENT); !e.empty(); e = c.take(EV_SENT)) {
			taken += e[2], pending = e[3];
			CHECK(!e[12] && !e[13]);
			held_back |= pending > 0;
		}
	}
	c.effect({EF_SHUTDOWN_WR, 1});
	CHECK(held_back && taken + pending == all.size());
	while (got.size() < all.size()) {
		Octets b(65536);
		const ssize_t n = recv(c.peer, b.data(), b.size(), MSG_DONTWAIT);
		if (n > 0)
			got.insert(got.end(), b.begin(), b.begin() + n);
		CHECK(n);
		c.turn(n < 0 ? 1 : 0);
		for (Ev e = c.take(EV_SENT); !e.empty(); e = c.take(EV_SENT))
			taken += e[2], pending = e[3];
	}
	CHECK(got == all && taken == all.size() && !pending && !c.engine.table.pending_all);
	CHECK(read_all(c.peer, 1).empty()); /* shutdown() came behind them */
}

TEST(pending_limit_drops_the_last_ones)
{
	Connected c(false, 4096);
	c.engine.sender.pending_max = 100000;
	Octets all;
	Ev e;
	do {
		const Octets part = noise(60000);
		c.send(part);
		all.insert(all.end(), part.begin(), part.end());
		c.turn();
		e = c.take(EV_SENT);
		CHECK(!e.empty() && e[3] <= 100000);
	} while (!e[12]);
	const size_t kept = all.size() - e[12];
	CHECK(e[3] == 100000);
	/* in the execution that drops, a small one that would still fit is dropped as well */
	c.send(noise(70000));
	c.send(noise(1), 0, 300000);
	CHECK(c.await(EV_SENT)[12] == 70001);
	Octets got;
	while (got.size() < kept) {
		Octets b(65536);
		const ssize_t n = recv(c.peer, b.data(), b.size(), MSG_DONTWAIT);
		if (n > 0)
			got.insert(got.end(), b.begin(), b.begin() + n);
		c.turn(n < 0 ? 1 : 0);
	}
	all.resize(kept);
	CHECK(got == all);
	c.effect({EF_RESET, 1});
	c.turn();
	CHECK(!c.engine.table.pending_all);
}

TEST(await_writable_tells_now_or_later)
{
	Connected c(false, 4096);
	c.turn(20);
	c.seen.clear();
	c.effect({EF_AWAIT_WRITABLE, 1});
	Ev e = c.await(EV_READY);
	CHECK(e[2] & READY_OUT && e[2] & READY_INFO && e[11]);
	do {
		c.send(noise(60000));
		c.turn();
		e = c.take(EV_SENT);
	} while (!e[3]);
	c.effect({EF_AWAIT_WRITABLE, 1});
	c.turn(20);
	CHECK(c.take(EV_READY).empty());
	for (int i = 0; i < 2000; i++) {
		Octets b(65536);
		if (recv(c.peer, b.data(), b.size(), MSG_DONTWAIT) < 0)
			c.turn(1);
		if (!(e = c.take(EV_READY)).empty())
			break;
	}
	CHECK(!e.empty() && e[2] & READY_OUT && e[2] & READY_INFO);
	CHECK(!c.take(EV_SENT).empty());
}

TEST(peer_acknowledgements_are_reported)
{
	for (const bool v6 : {false, true}) {
		Connected c(v6);
		c.send(noise(1000));
		c.turn();
		c.send(noise(500), SEND_REPORT_ACK);
		CHECK(c.await(EV_ACKED)[2] == 1499); /* counted from 0, what went before included */
		c.send(noise(5));
		c.send(noise(5), SEND_REPORT_ACK, 9000);
		CHECK(c.await(EV_ACKED)[2] == 1509);
		CHECK(c.take(EV_FAILED).empty());
		c.effect({EF_INFO, 1});
		CHECK(c.await(EV_INFO)[9] == 1511); /* the SYN counts */
	}
}

static void check_peek(bool v6, bool peek_off, bool vnet)
{
	Connected c(v6, 0, peek_off, vnet, vnet ? OFF_CSUM | OFF_TSO4 | OFF_TSO6 : 0u);
	const size_t head = vnet ? (size_t)VNET_LEN : 0;
	const Octets data = noise(20000);
	CHECK(write(c.peer, data.data(), data.size()) == (ssize_t)data.size());
	CHECK(c.await(EV_READY)[2] & READY_IN);

	Ev e = c.peek(v6, 100, 5000);
	CHECK(e[2] == 5000 && !e[3] && !e[13]);
	size_t frames = 0;
	Octets got = c.delivered(v6, 100, head, &frames);
	CHECK(got == Octets(data.begin(), data.begin() + 5000));
	CHECK(frames == (vnet ? 1 : 4));

	e = c.peek(v6, 5100, 1 << 20);
	CHECK(e[2] == 15000 && e[3] == PEEK_DRAINED);
	CHECK(c.delivered(v6, 5100, head) == Octets(data.begin() + 5000, data.end()));
	e = c.peek(v6, 20100, 1000);
	CHECK(!e[2] && e[3] == PEEK_DRAINED);

	/* the guest acknowledges 4000, then wants everything from there again */
	c.effect({EF_DISCARD, 1, 4000});
	c.effect({EF_REWIND, 1, 0});
	e = c.peek(v6, 4100, 1 << 20);
	CHECK(e[2] == 16000 && e[3] == PEEK_DRAINED);
	CHECK(c.delivered(v6, 4100, head) == Octets(data.begin() + 4000, data.end()));
	/* a discard leaves the peek offset where it was in the stream */
	c.effect({EF_REWIND, 1, 6000});
	c.effect({EF_DISCARD, 1, 1000});
	e = c.peek(v6, 10100, 2000);
	CHECK(e[2] == 2000);
	CHECK(c.delivered(v6, 10100, head) == Octets(data.begin() + 10000, data.begin() + 12000));
	c.effect({EF_DISCARD, 1, 7000});
	c.turn();
	e = c.peek(v6, 12100, 1 << 20);
	CHECK(e[2] == 8000);
	c.delivered(v6, 12100, head);
	CHECK(shutdown(c.peer, SHUT_WR) == 0);
	while (!(c.await(EV_READY)[2] & READY_RDHUP)) {
	}
	e = c.peek(v6, 20100, 1000);
	CHECK(!e[2] && e[3] == (PEEK_DRAINED | PEEK_EOF));
	c.effect({EF_REWIND, 1, 7000});
	e = c.peek(v6, 19100, 1000);
	CHECK(e[2] == 1000 && e[3] == (PEEK_DRAINED | PEEK_EOF));
	CHECK(c.take(EV_FAILED).empty());
	/* more than there is: the stream is out of step */
	c.effect({EF_DISCARD, 1, 9000});
	CHECK(c.await(EV_FAILED)[13]);
}

TEST(peek_discard_rewind)
{
	for (const bool v6 : {false, true})
		for (const bool peek_off : {false, true})
			for (const bool vnet : {false, true})
				check_peek(v6, peek_off, vnet);
}

TEST(push_is_on_the_last_segment_of_a_batch_row_51)
{
	Connected c;
	const Octets data = noise(300000);
	std::vector<Octets> frames;
	uint32_t budget = 150000, got = 0;

	/* the receive window grows only as data is taken */
	for (int i = 0; i < 200 && got < budget; i++) {
		while (::send(c.peer, data.data(), data.size(), MSG_DONTWAIT) > 0) {
		}
		c.turn(5);
		frames.clear();
		got = c.peek(false, 0, budget)[2];
		for (Octets f = c.frame(); !f.empty(); f = c.frame())
			frames.push_back(f);
		c.effect({EF_DISCARD, 1, got});
	}
	CHECK(got == budget && frames.size() == 3);
	for (size_t i = 0; i < frames.size(); i++) {
		const uint8_t *const f = frames[i].data();
		Vnet v;
		memcpy(&v, f, sizeof(v));
		CHECK(v.gso_type == GSO_TCPV4 && v.gso_size == 1400 && v.flags == VNET_NEEDS_CSUM && v.hdr_len == 54);
		CHECK((f[VNET_LEN + 34 + 13] & 0x08) == (i + 1 == frames.size() ? 0x08 : 0));
		CHECK(i + 1 == frames.size() || (frames[i].size() - VNET_LEN - 54) % 1400 == 0);
	}
}

TEST(full_tap_winds_back_to_the_first_octet_not_sent_row_18)
{
	for (const bool vnet : {true, false}) {
		Connected c(false, 0, true, vnet, vnet ? OFF_CSUM | OFF_TSO4 : 0u);
		const size_t head = vnet ? (size_t)VNET_LEN : 0;
		Octets junk(60000), data = noise(1000000), got;
		while (write(c.tap, junk.data(), junk.size()) > 0) {
		}
		Octets first = c.frame(); /* room for a little */
		CHECK(!first.empty());
		size_t fed = 0, polls = 0;
		uint32_t seq = 0;
		bool was_full = false;
		while (got.size() < data.size() && polls++ < 10000) {
			if (fed < data.size()) {
				const ssize_t n = ::send(c.peer, data.data() + fed, data.size() - fed, MSG_DONTWAIT);
				fed += n > 0 ? (size_t)n : 0;
			}
			const Ev e = c.peek(false, seq, 400000);
			CHECK(!e[13]);
			was_full |= (e[3] & PEEK_TAP_FULL) != 0;
			seq += e[2];
			Octets part;
			for (Octets f = c.frame(); !f.empty(); f = c.frame()) {
				if (f.size() == junk.size())
					continue;
				const size_t l4 = head + 34;
				CHECK(get32(f.data() + l4 + 4) == (uint32_t)(got.size() + part.size()));
				const size_t end = head + ETH_LEN + get16(f.data() + head + ETH_LEN + 2);
				part.insert(part.end(), f.begin() + (std::ptrdiff_t)l4 + 20, f.begin() + (std::ptrdiff_t)end);
			}
			CHECK(part.size() == e[2]);
			got.insert(got.end(), part.begin(), part.end());
			c.effect({EF_DISCARD, 1, (uint32_t)part.size()});
		}
		CHECK(was_full && got == data);
	}
}

TEST(urgent_octets_stay_in_the_stream_row_E)
{
	Connected c;
	CHECK(::send(c.peer, "ab", 2, 0) == 2 && ::send(c.peer, "!", 1, MSG_OOB) == 1 && ::send(c.peer, "cd", 2, 0) == 2);
	c.await(EV_READY);
	c.turn(20);
	Octets got;
	for (int i = 0; i < 5 && got.size() < 5; i++) {
		const Ev e = c.peek(false, (uint32_t)got.size(), 100);
		const Octets part = c.delivered(false, (uint32_t)got.size(), VNET_LEN);
		CHECK(part.size() == e[2]);
		got.insert(got.end(), part.begin(), part.end());
	}
	CHECK(text(got) == "ab!cd");
}

static void reset_by_peer(Connected &c)
{
	close_hard(c.peer);
	c.peer = dup(2);
}

/** The peer says "data", ends its stream or not, and resets. */
static void say_and_reset(Connected &c, bool ends)
{
	CHECK(write(c.peer, "data", 4) == 4 && (!ends || shutdown(c.peer, SHUT_WR) == 0));
	reset_by_peer(c);
}

TEST(reset_is_told_behind_what_was_said_before_rows_4_86)
{
	/* What finds it: epoll; epoll, but the guest speaks before it is looked what came; sendmsg(), twice; recvmsg() behind what it has read */
	enum { EPOLL, SPEAKS, SEND, PEEK };
	for (const bool peek_off : {true, false})
		for (const int finder : {EPOLL, SPEAKS, SEND, PEEK})
			for (const bool ends : {false, true}) {
				Connected c(false, 0, peek_off);
				say_and_reset(c, ends);
				if (finder == EPOLL || finder == SPEAKS || !peek_off)
					CHECK(c.await(EV_READY)[2] & READY_IN);
				for (int i = 0; (finder == SEND || finder == SPEAKS) && i < 2; i++) {
					c.send(octets("lost"));
					const Ev sent = c.await(EV_SENT);
					CHECK(sent[2] == 4 && !sent[12] && !sent[13]);
				}
				const Ev first = c.peek(false, 0, 2);
				CHECK(first[2] == 2 && !first[13]);
				Ev e = c.peek(false, 2, 100);
				CHECK(e[2] == 2 && !e[13]);
				CHECK(text(c.delivered(false, 0, VNET_LEN)) == "data");
				/* A reset never looks like an end of stream; and one before it is told */
				e = c.peek(false, 4, 100);
				CHECK(!e[2] && e[3] == (PEEK_DRAINED | (ends ? (uint32_t)PEEK_EOF : 0u)) && !e[13]);
				/* The guest may want it again, and what it still says is taken, for nothing */
				c.effect({EF_REWIND, 1, 0});
				CHECK(c.peek(false, 0, 100)[2] == 4);
				CHECK(text(c.delivered(false, 0, VNET_LEN)) == "data");
				c.send(octets("lost as well"));
				const Ev sent = c.await(EV_SENT);
				CHECK(sent[2] == 12 && !sent[12] && !sent[13]);
				c.effect({EF_DISCARD, 1, 3});
				c.turn(5);
				CHECK(c.take(EV_FAILED).empty());
				c.effect({EF_DISCARD, 1, 1});
				CHECK(c.await(EV_FAILED)[13]);
				CHECK(c.turn(30).empty());
			}
}

TEST(reset_gives_up_what_waits_to_be_sent_but_not_what_is_unread)
{
	Connected c(false, 4096);
	const Octets much = noise(60000);
	uint32_t handed = 0, taken = 0, waits = 0;
	while (!waits && handed < (64u << 20)) {
		c.send(much);
		handed += (uint32_t)much.size();
		const Ev sent = c.await(EV_SENT);
		taken += sent[2], waits = sent[3];
	}
	CHECK(waits && taken < handed && c.engine.table.pending_all == waits);
	say_and_reset(c, false);
	const Ev sent = c.await(EV_SENT);
	CHECK(!sent[3] && !sent[12] && !sent[13] && taken + sent[2] == handed && !c.engine.table.pending_all);
	CHECK(c.take(EV_FAILED).empty());
	CHECK(c.peek(false, 0, 100)[2] == 4);
	c.effect({EF_DISCARD, 1, 4});
	CHECK(c.await(EV_FAILED)[13]);
}

TEST(reset_with_nothing_unread_is_told_at_once)
{
	Connected c;
	say_and_reset(c, false);
	CHECK(c.await(EV_READY)[2] & READY_IN);
	CHECK(c.peek(false, 0, 100)[2] == 4);
	c.effect({EF_DISCARD, 1, 4});
	CHECK(c.await(EV_FAILED)[13] == ECONNRESET);
	const Ev e = c.peek(false, 0, 100);
	CHECK(!e[2] && !(e[3] & PEEK_EOF) && e[13] == ECONNRESET);
	CHECK(c.turn(30).empty());
	Connected d;
	d.send(octets("unread"));
	d.await(EV_SENT);
	reset_by_peer(d);
	CHECK(d.await(EV_FAILED)[13] == ECONNRESET);
}

TEST(reset_makes_the_peer_see_a_reset_row_82)
{
	Connected c;
	c.effect({EF_RESET, 1});
	c.turn();
	char b;
	CHECK(wait_for(c.peer, POLLIN));
	CHECK(read(c.peer, &b, 1) == -1 && errno == ECONNRESET);
}

TEST(handle_used_again_gets_nothing_of_its_predecessor_row_70)
{
	Connected c;
	Listener other;
	c.seen.clear();
	CHECK(write(c.peer, "x", 1) == 1);
	c.send(octets("abc"), SEND_REPORT_ACK);
	const Octets t = tcp_template(false, 0);
	c.effect({EF_PEEK, 1, c.put(t, 0), (uint32_t)t.size() - VNET_LEN, 100, 1400, 0});
	c.effect({EF_CLOSE, 1});
	c.open(EF_TCP_CONNECT, 1, other.port);
	c.turn(50);
	for (const Ev &e : c.seen)
		CHECK(e[0] == EV_CONNECTED);
	CHECK(text(read_all(c.peer, 3)) == "abc"); /* what was given before the close went out */
	CHECK(c.seen.size() == 1 || !c.await(EV_CONNECTED).empty());
}

TEST(octets_sent_while_connecting_wait)
{
	Rig r;
	Listener l;
	r.open(EF_TCP_CONNECT, 1, l.port);
	r.effect({EF_SEND, 1, r.put(octets("early")), 5, SEND_REPORT_ACK});
	r.effect({EF_SHUTDOWN_WR, 1});
	r.turn();
	const int peer = l.accept();
	r.await(EV_CONNECTED);
	r.await(EV_ACKED);
	CHECK(text(read_all(peer, 100)) == "early");
	close(peer);
}

TEST(full_event_ring_keeps_what_must_not_be_lost)
{
	Rig r(true, OFF_CSUM, {1 << 20, 1 << 20, 64, 4096, 16});
	Listener l;
	for (uint32_t h = 0; h < 40; h++)
		r.open(EF_TCP_CONNECT, h, l.port);
	std::vector<int> peers;
	size_t n = 0;
	for (int i = 0; i < 100 && n < 40; i++) {
		const auto e = r.turn(5);
		CHECK(e.size() <= 16);
		for (const Ev &x : e)
			n += x[0] == EV_CONNECTED;
		while (wait_for(l.fd, POLLIN, 0))
			peers.push_back(l.accept());
	}
	CHECK(n == 40);
	for (const int p : peers)
		close(p);
}

/** Local port of handle's peer socket */
static uint16_t port_of_peer(int fd)
{
	sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	uint32_t addr[4];
	uint16_t port = 0;

	CHECK(!getpeername(fd, reinterpret_cast<sockaddr *>(&ss), &len));
	from_sockaddr(ss, addr, &port);
	return port;
}

TEST(ports_come_from_the_part_that_is_the_guests)
{
	enum : uint16_t { FIRST = 40000, COUNT = 4 };

	for (const bool v6 : {false, true}) {
		Rig r;
		Listener l(v6);
		const bool works = r.engine.opener.set_ports(FIRST, FIRST + COUNT - 1);
		CHECK(works == (r.engine.outbound.ports != 0)); /* before Linux 6.3: from all */
		for (uint32_t i = 0; i < COUNT; i++) {
			r.open(EF_TCP_CONNECT, 1 + i, l.port, v6, 1400);
			r.await(EV_CONNECTED);
			const int peer = l.accept();
			const uint16_t port = port_of_peer(peer);
			CHECK(!works || (port >= FIRST && port < FIRST + COUNT));
			close(peer);
		}
		r.open(EF_TCP_CONNECT, 1 + COUNT, l.port, v6, 1400);
		if (works)
			CHECK(r.await(EV_FAILED)[13] == EADDRNOTAVAIL);
		else
			r.await(EV_CONNECTED);
	}
}

TEST(tcp_what_the_buffers_hold_is_never_below_0)
{
	const auto minus = [](uint32_t n) { return 0u - n; };

	CHECK(held_by(100, 4096, 7) == 4203);
	CHECK(held_by(100, minus(60), 7) == 47);
	CHECK(held_by(0, minus(4096), 0) == 0);
}

TEST(tcp_what_has_moved_is_told_at_every_look)
{
	for (const bool freeze : {false, true}) {
		Connected c;
		c.send(octets("four"));
		c.await(EV_SENT);
		CHECK(text(read_all(c.peer, 4)) == "four");
		CHECK(write(c.peer, "answer", 6) == 6);
		CHECK(c.await(EV_READY)[2] & READY_IN);
		const auto moved = [&] { return c.engine.table.memory_of_handle(1, freeze).moved; };
		/* the SYN may count, and the acknowledgement may be on its way */
		for (int i = 0; i < 100 && moved() < 10; i++)
			c.turn(5);
		CHECK(moved() >= 10 && moved() <= 11);
	}
}
