/* Joined UDP handles: datagrams from socket to socket without JS. */
#include "forward.h"

#include <linux/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

/** Client — listener 0 — handle 2, joined with handle 3 — server; the first datagram has gone through. */
struct Bed {
	Rig r;
	Datagrams client, server;
	uint16_t port, far = 0;
	explicit Bed(bool v6 = false, uint32_t flags = 0) : client(v6), server(v6), port(listen_at(r, 0, Kind::Udp, v6))
	{
		client.send_to(port, octets("first"));
		const Ev e = r.await(EV_LISTEN_DATAGRAM);
		r.effect({EF_UDP_OPEN, 2, e[6], e[7], e[8], e[9], e[5], 0, port, e[10], e[11], e[12], e[13], 0, 1});
		if (flags)
			r.effect({EF_UDP_OPEN, 3, 0, 0, 0xffff, INADDR_LOOPBACK, server.port, 0, 0, 0, 0, 0, 0, flags});
		else
			r.open(EF_UDP_OPEN, 3, server.port, v6);
		r.effect({EF_UDP_JOIN, 2, 3});
		r.effect({EF_UDP_SEND, 3, e[2], e[3]});
		r.turn();
		CHECK(text(server.receive(&far)) == "first");
	}
};

uint32_t count_moved(Rig &r, uint32_t handle)
{
	uint32_t n = 0;
	for (const Ev &e : r.seen)
		n += e[0] == EV_UDP_MOVED && e[1] == handle ? e[2] : 0;
	return n;
}

} // namespace

TEST(joined_limited_datagrams_wait_in_the_socket)
{
	Bed b(false, READ_LIMIT);
	/* This way has no limit */
	b.client.send_to(b.port, octets("question"));
	b.r.turn(20);
	CHECK(text(b.server.receive()) == "question");
	std::vector<Octets> sent;
	for (int i = 0; i < 50; i++) {
		sent.push_back(noise(1 + chance(1400)));
		b.server.send_to(b.far, sent.back());
	}
	Ev e = b.r.await(EV_READ_ASKS);
	CHECK(e[1] == 3 && !e[2] && e[3] == sent[0].size() + 8);
	b.r.turn(20);
	pollfd p = {b.client.fd, POLLIN, 0};
	CHECK(!poll(&p, 1, 0) && b.r.take(EV_READ_ASKS).empty());
	size_t got = 0;
	for (int i = 0; i < 1000 && got < sent.size(); i++) {
		if (!e.empty())
			b.r.effect({EF_READ_ALLOW, 3, 0, 1 + chance(e[3])});
		b.r.turn(1);
		while (got < sent.size() && poll(&p, 1, 0) > 0)
			CHECK(b.client.receive() == sent[got++]);
		e = b.r.take(EV_READ_ASKS);
	}
	CHECK(got == sent.size());
}

TEST(joined_datagrams_pass_both_ways)
{
	for (const bool v6 : {false, true}) {
		Bed b(v6);
		const double start = Engine::now_ms();
		for (int i = 0; i < 100; i++) {
			const Octets q = noise(chance(3) ? chance(1500) : chance(65000)), a = noise(chance(2000));
			b.client.send_to(b.port, q);
			b.r.turn(3);
			CHECK(b.server.receive() == q);
			b.server.send_to(b.far, a);
			b.r.turn(3);
			uint16_t from;
			CHECK(b.client.receive(&from) == a && from == b.port);
		}
		b.client.send_to(b.port, {});
		b.r.turn(20);
		CHECK(b.server.receive().empty());
		for (const Ev &e : b.r.seen)
			CHECK(e[0] == EV_UDP_MOVED);
		/* activity: at once the first time, then once a second */
		CHECK(count_moved(b.r, 2) > 0 && (double)b.r.seen.size() <= 4 + (Engine::now_ms() - start) / 500);
		b.r.turn(1100);
		CHECK(count_moved(b.r, 2) == 101 && count_moved(b.r, 3) == 100);
		b.r.seen.clear();
		check_idle(b.r);
	}
}

TEST(joined_bursts_keep_borders_and_order)
{
	for (const bool offload : {true, false}) {
		Bed b;
		b.r.engine.sender.udp_segment_works = offload;
		/* Runs of one length, shorter ones behind them or between, empty ones, some too large for one run */
		std::vector<Octets> sent;
		for (const size_t n : {700, 700, 700, 300, 700, 700, 0, 700, 0, 0, 1, 1, 1, 2, 1, 30000, 30000, 30000, 30000, 5})
			sent.push_back(noise(n));
		for (int i = 0; i < 100; i++)
			sent.push_back(noise(chance(2) ? 100 : chance(200)));
		for (size_t at = 0; at < sent.size(); at += 40) {
			const size_t end = std::min(sent.size(), at + 40);
			for (size_t i = at; i < end; i++)
				b.client.send_to(b.port, sent[i]);
			b.r.turn(20);
			b.r.turn(5);
			for (size_t i = at; i < end; i++)
				CHECK(b.server.receive() == sent[i]);
		}
		b.r.turn(1100);
		CHECK(count_moved(b.r, 2) == sent.size());
	}
}

TEST(joined_datagrams_keep_their_borders)
{
	for (const bool offload : {true, false}) {
		Bed b;
		b.r.engine.sender.udp_segment_works = offload;
		const int size = 700;
		CHECK(!setsockopt(b.client.fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)));
		const Octets all = noise(700 * 20 + 5);
		b.client.send_to(b.port, all);
		b.r.turn(20);
		for (size_t at = 0; at < all.size(); at += 700) {
			const size_t n = std::min<size_t>(700, all.size() - at);
			CHECK(b.server.receive() == Octets(all.begin() + (std::ptrdiff_t)at, all.begin() + (std::ptrdiff_t)(at + n)));
		}
		b.r.turn(1100);
		CHECK(count_moved(b.r, 2) == 21);
	}
}

TEST(joined_many_at_once_share_the_turn)
{
	Bed b;
	const int big = 8 << 20;
	setsockopt(b.server.fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
	for (int i = 0; i < 200; i++)
		b.client.send_to(b.port, noise(100));
	for (int i = 0; i < 20; i++)
		b.r.turn();
	for (int i = 0; i < 200; i++)
		CHECK(b.server.receive().size() == 100);
}

TEST(joined_side_that_is_refused_tells_and_does_not_spin_row_38)
{
	Bed b;
	close(b.server.fd), b.server.fd = dup(0);
	b.client.send_to(b.port, octets("to nobody"));
	const Ev e = b.r.await(EV_ICMP_ERROR);
	CHECK(e[1] == 3 && e[4] == ECONNREFUSED && text(b.r.slab(e[2], e[3])) == "to nobody");
	b.r.turn(5);
	b.r.seen.clear();
	check_idle(b.r);
}

TEST(joined_until_one_is_closed)
{
	Bed b;
	b.r.effect({EF_CLOSE, 3});
	b.r.turn();
	b.client.send_to(b.port, octets("again"));
	const Ev e = b.r.await(EV_DATAGRAM);
	CHECK(e[1] == 2 && text(b.r.slab(e[2], e[3])) == "again");
	/* another socket on the same handle is not its partner */
	b.r.open(EF_UDP_OPEN, 3, b.server.port);
	b.client.send_to(b.port, octets("still"));
	CHECK(b.r.await(EV_DATAGRAM)[1] == 2);
	/* joins that mean nothing */
	for (const uint32_t other : {2u, 64u, UINT32_MAX, 9u, 0x20002u})
		b.r.effect({EF_UDP_JOIN, 2, other});
	b.r.effect({EF_UDP_JOIN, 70000, 2});
	b.r.turn();
	b.client.send_to(b.port, octets("still"));
	CHECK(b.r.await(EV_DATAGRAM)[1] == 2);
}

TEST(joined_hands_up_strangers_row_66)
{
	Rig r;
	Datagrams peer, stranger, pool, server;
	const uint16_t port = listen_at(r, 3, Kind::Udp);
	(void)port;
	stranger.send_to(pool.port, octets("stranger"));
	peer.send_to(pool.port, octets("own"));
	const int fd = dup(pool.fd);
	CHECK(!set_nonblocking(fd) && !r.engine.add_ns_sockets(NS_UDP4, &fd, 1));
	r.effect({EF_UDP_OPEN, 2, 0, 0, 0xffff, INADDR_LOOPBACK, peer.port, 0, 0, 0, 0, 0, 0, IN_NAMESPACE, 4});
	r.open(EF_UDP_OPEN, 3, server.port);
	r.effect({EF_UDP_JOIN, 3, 2});
	const Ev e = r.await(EV_LISTEN_DATAGRAM);
	CHECK(e[1] == 3 && e[5] == stranger.port && text(r.slab(e[2], e[3])) == "stranger");
	CHECK(text(server.receive()) == "own" && !wait_for(server.fd, POLLIN, 10) && r.take(EV_DATAGRAM).empty());
}

TEST(joined_with_one_that_waits_for_its_socket)
{
	Rig r;
	Datagrams client, server;
	int s[2];
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s) && !r.engine.pools.set_ctl(s[0]));
	const uint16_t port = listen_at(r, 0, Kind::Udp);
	client.send_to(port, octets("first"));
	const Ev e = r.await(EV_LISTEN_DATAGRAM);
	r.effect({EF_UDP_OPEN, 2, e[6], e[7], e[8], e[9], e[5], 0, port, e[10], e[11], e[12], e[13], 0, 1});
	r.effect({EF_UDP_OPEN, 3, 0, 0, 0xffff, INADDR_LOOPBACK, server.port, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
	r.effect({EF_UDP_JOIN, 2, 3});
	r.effect({EF_UDP_SEND, 3, e[2], e[3]});
	r.turn();
	client.send_to(port, octets("second"));
	r.turn(20);
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(!r.engine.add_ns_sockets(NS_UDP4, &fd, 1));
	CHECK(text(server.receive()) == "first" && text(server.receive()) == "second");
	client.send_to(port, octets("third"));
	r.turn(20);
	CHECK(text(server.receive()) == "third" && r.take(EV_FAILED).empty());
	close(s[0]), close(s[1]);
}
