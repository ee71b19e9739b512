/* Datagram sockets, ping sockets and error queues on loopback. */
#include "harness.h"

#include <linux/udp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/** Datagrams in `seen`, GRO ones cut again. */
static std::vector<Octets> datagrams(Rig &r)
{
	std::vector<Octets> out;
	for (Ev e = r.take(EV_DATAGRAM); !e.empty(); e = r.take(EV_DATAGRAM)) {
		Octets b = r.slab(e[2], e[3]);
		do {
			const size_t n = e[4] && e[4] < b.size() ? e[4] : b.size();
			out.emplace_back(b.begin(), b.begin() + (std::ptrdiff_t)n);
			b.erase(b.begin(), b.begin() + (std::ptrdiff_t)n);
		} while (!b.empty());
	}
	return out;
}

static void send(Rig &r, uint32_t handle, const Octets &b, uint32_t at, uint32_t ttl = 0, uint32_t segment = 0)
{
	r.effect({EF_UDP_SEND, handle, r.put(b, at), (uint32_t)b.size(), ttl, segment});
}

TEST(datagrams_both_ways_empty_ones_too_row_6)
{
	for (const bool v6 : {false, true}) {
		Rig r;
		Datagrams d(v6), reserve(v6);
		const uint16_t port = reserve.port;
		close(reserve.fd), reserve.fd = dup(2);
		r.open(EF_UDP_OPEN, 2, d.port, v6, port);
		send(r, 2, octets("one"), 4096);
		send(r, 2, {}, 4200);
		send(r, 2, octets("three"), 4300);
		r.turn();
		uint16_t from = 0;
		CHECK(text(d.receive(&from)) == "one" && from == port); /* source port kept */
		CHECK(d.receive().empty() && text(d.receive()) == "three");
		d.send_to(port, {});
		d.send_to(port, octets("answer"));
		d.send_to(port, noise(65507));
		Ev e = r.await(EV_DATAGRAM);
		CHECK(e[1] == 2 && !e[3] && e[2] >= 1 << 20);
		e = r.await(EV_DATAGRAM);
		CHECK(text(r.slab(e[2], e[3])) == "answer" && e[2] >= (1 << 20) + HEADROOM);
		CHECK(r.await(EV_DATAGRAM)[3] == 65507);
		CHECK(r.take(EV_FAILED).empty());
		r.effect({EF_CLOSE, 2});
		r.turn();
	}
}

static void check_runs(bool v6, bool offload)
{
	Rig r;
	Datagrams d(v6);
	r.engine.sender.udp_segment_works = offload;
	r.open(EF_UDP_OPEN, 2, d.port, v6);
	std::vector<Octets> sent;
	uint32_t at = 4096;
	const int big = 4 << 20;
	setsockopt(d.fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
	const auto add = [&](size_t n, uint32_t ttl = 0) {
		sent.push_back(noise(n));
		send(r, 2, sent.back(), at, ttl);
		at += (uint32_t)n + 16;
	};
	for (int i = 0; i < 70; i++)
		add(1000);
	add(400), add(1000), add(1000, 33), add(1001), add(0), add(0), add(1), add(1);
	/* a USO frame: 3 datagrams */
	const Octets whole = noise(2500);
	send(r, 2, whole, at, 0, 1000);
	for (size_t i = 0; i < 3; i++)
		sent.emplace_back(whole.begin() + (std::ptrdiff_t)i * 1000, whole.begin() + (std::ptrdiff_t)(i < 2 ? i * 1000 + 1000 : 2500));
	r.turn();
	CHECK(r.take(EV_FAILED).empty());
	for (const Octets &s : sent)
		CHECK(d.receive() == s);
	CHECK(!wait_for(d.fd, POLLIN, 0));
}

TEST(runs_of_datagrams_keep_their_borders_and_order)
{
	for (const bool v6 : {false, true})
		for (const bool offload : {false, true})
			check_runs(v6, offload);
}

TEST(more_datagrams_than_the_kernel_cuts_go_in_several_messages)
{
	Rig r;
	Datagrams d;
	const int on = 1, big = 4 << 20;
	CHECK(!setsockopt(d.fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)));
	setsockopt(d.fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
	r.open(EF_UDP_OPEN, 2, d.port);
	const Octets whole = noise(200 * 300 + 7);
	send(r, 2, whole, 4096, 0, 300);
	r.turn();
	CHECK(r.take(EV_FAILED).empty());
	/* Not one by one: that is what comes of a message that the kernel refused */
	Octets got;
	size_t calls = 0;
	for (; got.size() < whole.size(); calls++) {
		const Octets b = d.receive();
		got.insert(got.end(), b.begin(), b.end());
	}
	CHECK(got == whole && calls == 4);
}

TEST(coalesced_datagrams_come_with_their_segment)
{
	Rig r;
	Datagrams d;
	r.open(EF_UDP_OPEN, 2, d.port);
	send(r, 2, octets("x"), 4096);
	r.turn();
	uint16_t port;
	d.receive(&port);
	const int size = 500;
	CHECK(!setsockopt(d.fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)));
	const Octets b = noise(1700);
	d.send_to(port, b);
	const Ev e = r.await(EV_DATAGRAM);
	CHECK(e[3] == 1700 && e[4] == 500 && r.slab(e[2], e[3]) == b);
}

TEST(many_datagrams_come_over_several_turns)
{
	Rig r;
	Datagrams d;
	r.open(EF_UDP_OPEN, 2, d.port);
	send(r, 2, octets("x"), 4096);
	r.turn();
	uint16_t port;
	d.receive(&port);
	std::vector<Octets> sent, got;
	for (int i = 0; i < 150; i++)
		sent.push_back(noise(1 + chance(300)));
	for (const Octets &b : sent)
		d.send_to(port, b);
	for (int i = 0; i < 50 && got.size() < sent.size(); i++) {
		CHECK(r.turn(5).size() <= DATAGRAMS + 8);
		for (Octets &b : datagrams(r))
			got.push_back(b);
	}
	CHECK(got == sent);
}

TEST(limited_datagrams_wait_in_the_socket)
{
	Rig r;
	Datagrams d;
	r.effect({EF_UDP_OPEN, 2, 0, 0, 0xffff, INADDR_LOOPBACK, d.port, 0, 0, 0, 0, 0, 0, READ_LIMIT});
	send(r, 2, octets("x"), 4096);
	r.turn();
	uint16_t port;
	d.receive(&port);
	std::vector<Octets> sent, got;
	for (int i = 0; i < 60; i++)
		sent.push_back(noise(chance(300)));
	for (const Octets &b : sent)
		d.send_to(port, b);
	Ev e = r.await(EV_READ_ASKS);
	CHECK(e[1] == 2 && !e[2] && e[3] == sent[0].size() + 8);
	/* Once, and nothing is read meanwhile */
	for (int i = 0; i < 3; i++)
		CHECK(r.turn(20).empty());
	uint64_t allowed = 0, read = 0;
	for (int i = 0; i < 2000 && got.size() < sent.size(); i++) {
		if (!e.empty()) {
			const uint32_t n = 1 + chance(e[3]);
			allowed += n;
			r.effect({EF_READ_ALLOW, 2, 0, n});
		}
		r.turn(1);
		for (Octets &b : datagrams(r)) {
			read += b.size() + 8;
			got.push_back(b);
		}
		/* Of one look, which may bring a few more */
		CHECK(read <= allowed + 2 * 308);
		e = r.take(EV_READ_ASKS);
	}
	CHECK(got == sent);
	/* An answer to nobody's question, and to no socket */
	r.effect({EF_READ_ALLOW, 2, 0, 100});
	r.effect({EF_READ_ALLOW, 5, 0, 100});
	r.effect({EF_CLOSE, 2});
	r.effect({EF_READ_ALLOW, 2, 0, 100});
	r.turn();
}

TEST(strangers_before_connect_are_not_heard_row_66)
{
	/* What slipped in between bind() and connect() cannot be timed here; that a stranger is refused afterwards can */
	Rig r;
	Datagrams d, stranger;
	r.open(EF_UDP_OPEN, 2, d.port);
	send(r, 2, octets("x"), 4096);
	r.turn();
	uint16_t port;
	d.receive(&port);
	stranger.send_to(port, octets("no"));
	d.send_to(port, octets("yes"));
	r.turn(50);
	const auto got = datagrams(r);
	CHECK(got.size() == 1 && text(got[0]) == "yes");
}

/** A socket towards a group, as EF_UDP_OPEN makes it. Return: its port. */
static uint16_t ask(Rig &r, uint32_t handle, uint32_t group, uint16_t port)
{
	r.effect({EF_UDP_OPEN, handle, 0, 0, 0xffff, group, port, 0, 4444, 0, 0, 0, 0, TO_GROUP});
	return (uint16_t)r.await(EV_BOUND)[2];
}

TEST(who_answers_a_group_is_told_with_address_and_interface)
{
	Rig r;
	Datagrams d, stranger;
	/* 127.255.255.255: the broadcast address of lo */
	const uint16_t own = ask(r, 2, 0x7fffffff, d.port);
	CHECK(own && own != 4444);
	/* nobody gets a share of its port, and it hears nothing that is not for its own address */
	const int other = socket(AF_INET, SOCK_DGRAM, 0);
	const int on = 1;
	setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	sockaddr_storage ss;
	const uint32_t any[4] = {0, 0, 0xffff, 0};
	const socklen_t len = to_sockaddr(ss, any, own, 0, false);
	CHECK(bind(other, reinterpret_cast<sockaddr *>(&ss), len) && errno == EADDRINUSE);
	close(other);
	send(r, 2, octets("who?"), 4096);
	send(r, 2, octets("who else?"), 4200);
	r.turn();
	stranger.send_to(own, octets("me"));
	const Ev e = r.await(EV_ANSWER);
	CHECK(e[1] == 2 && text(r.slab(e[2], e[3])) == "me" && e[5] == stranger.port && e[9] == INADDR_LOOPBACK);
	CHECK(e[12] == 0xffff && e[13] >> 24 == 127 && e[14] == 1);
	CHECK(r.take(EV_DATAGRAM).empty() && r.take(EV_FAILED).empty());
	r.effect({EF_CLOSE, 2});
	r.turn();
}

static int bind_with(int option, uint16_t port)
{
	const int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
	if (option)
		setsockopt(fd, SOL_SOCKET, option, &on, sizeof(on));
	sockaddr_storage ss;
	const uint32_t any[4] = {0, 0, 0xffff, 0};
	const socklen_t len = to_sockaddr(ss, any, port, 0, false);
	if (!bind(fd, reinterpret_cast<sockaddr *>(&ss), len))
		return fd;
	close(fd);
	return -1;
}

/** Not even by a process of this user, which we are as well. */
static bool bind_fails_everyhow(uint16_t port)
{
	for (const bool reuseaddr : {false, true}) {
		for (const bool reuseport : {false, true}) {
			for (const uint32_t addr : {INADDR_ANY, INADDR_LOOPBACK}) {
				const int fd = socket(AF_INET, SOCK_DGRAM, 0);
				set_int(fd, SOL_SOCKET, SO_REUSEADDR, reuseaddr);
				set_int(fd, SOL_SOCKET, SO_REUSEPORT, reuseport);
				sockaddr_storage ss;
				const uint32_t to[4] = {0, 0, 0xffff, addr};
				const socklen_t len = to_sockaddr(ss, to, port, 0, false);
				const bool failed = bind(fd, reinterpret_cast<sockaddr *>(&ss), len) && errno == EADDRINUSE;
				close(fd);
				if (!failed)
					return false;
			}
		}
	}
	return true;
}

TEST(a_port_of_ours_is_shared_among_us_and_with_nobody_else)
{
	Rig r;
	Datagrams d, d2, reserve;
	const uint16_t port = reserve.port;
	close(reserve.fd), reserve.fd = dup(2);
	r.open(EF_UDP_OPEN, 2, d.port, false, port);
	r.open(EF_UDP_OPEN, 3, d2.port, false, port);
	send(r, 2, octets("a"), 4096);
	send(r, 3, octets("b"), 4200);
	r.turn();
	uint16_t from = 0;
	CHECK(text(d.receive(&from)) == "a" && from == port && text(d2.receive(&from)) == "b" && from == port);
	CHECK(bind_fails_everyhow(port));
	r.effect({EF_CLOSE, 2});
	r.turn();
	/* the guard is gone: the other one is it now */
	CHECK(bind_fails_everyhow(port));
	r.open(EF_UDP_OPEN, 2, d.port, false, port);
	send(r, 2, octets("a"), 4096);
	r.turn();
	CHECK(text(d.receive(&from)) == "a" && from == port && bind_fails_everyhow(port));
	r.effect({EF_CLOSE, 2});
	r.effect({EF_CLOSE, 3});
	r.turn();
	/* somebody's, and he would share it: still not ours */
	for (const int option : {0, SO_REUSEADDR, SO_REUSEPORT}) {
		const int held = bind_with(option, port);
		CHECK(held >= 0);
		r.open(EF_UDP_OPEN, 2, d.port, false, port);
		send(r, 2, octets("c"), 4096);
		r.turn();
		CHECK(text(d.receive(&from)) == "c" && from != port);
		close(held);
		r.effect({EF_CLOSE, 2});
		r.turn();
	}
}

TEST(port_unreachable_is_an_icmp_error_and_no_storm_row_38)
{
	for (const bool v6 : {false, true}) {
		Rig r;
		uint16_t port;
		{
			Datagrams d(v6);
			port = d.port;
		}
		r.open(EF_UDP_OPEN, 2, port, v6);
		for (uint32_t i = 0; i < 3; i++) {
			send(r, 2, octets("hello"), 4096 + i * 64);
			r.turn();
			const Ev e = r.await(EV_ICMP_ERROR);
			CHECK(e[1] == 2 && e[4] == ECONNREFUSED && e[5] == (v6 ? 1u : 3u) && e[6] == (v6 ? 4u : 3u));
			CHECK(text(r.slab(e[2], e[3])) == "hello");
			CHECK(v6 ? e[11] == 1 : e[10] == 0xffff && e[11] == INADDR_LOOPBACK);
		}
		CHECK(r.turn(30).empty());
		/* an error pending from before must not eat the next datagram */
		send(r, 2, octets("a"), 4096);
		r.turn();
		usleep(1000);
		int late = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
		sockaddr_storage ss;
		const uint32_t lo4[4] = {0, 0, 0xffff, INADDR_LOOPBACK}, lo6[4] = {0, 0, 0, 1};
		const socklen_t len = to_sockaddr(ss, v6 ? lo6 : lo4, port, 0, v6);
		CHECK(!bind(late, reinterpret_cast<sockaddr *>(&ss), len));
		r.seen.clear();
		send(r, 2, octets("b"), 4096);
		r.turn();
		CHECK(wait_for(late, POLLIN));
		char b;
		CHECK(recv(late, &b, 1, 0) == 1 && b == 'b');
		close(late);
	}
}

TEST(ttl_is_what_was_asked_for)
{
	for (const bool v6 : {false, true}) {
		Rig r;
		Datagrams d(v6);
		const int on = 1;
		setsockopt(d.fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, &on, sizeof(on));
		r.open(EF_UDP_OPEN, 2, d.port, v6);
		const uint32_t ttls[] = {7, 7, 0, 33, 0};
		for (uint32_t i = 0; i < 5; i++)
			send(r, 2, octets("x"), 4096 + i * 16, ttls[i]);
		r.turn();
		for (const int want : {7, 7, 7, 33, 33}) {
			char b, control[64];
			iovec iov = {&b, 1};
			msghdr m = {};
			m.msg_iov = &iov, m.msg_iovlen = 1, m.msg_control = control, m.msg_controllen = sizeof(control);
			CHECK(wait_for(d.fd, POLLIN) && recvmsg(d.fd, &m, 0) == 1);
			int ttl;
			memcpy(&ttl, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(ttl));
			CHECK(ttl == want);
		}
	}
}

TEST(refused_opening_is_told_row_28)
{
	Rig r;
	r.effect({EF_UDP_OPEN, 2, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, 0, 0, 0, 0xffff, 0x08080808});
	const Ev bound = r.await(EV_FAILED);
	CHECK(bound[13] == EADDRNOTAVAIL && !bound[12]); /* not for the destination's sake */
	r.effect({EF_UDP_OPEN, 2, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, 0, 0x20010db8, 0, 0, 1});
	CHECK(r.await(EV_FAILED)[13] == EAFNOSUPPORT);
	r.engine.outbound.if4 = "no-such-device";
	r.effect({EF_UDP_OPEN, 2, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, 0, 0, 0, 0, 0, BIND_OUTBOUND});
	CHECK(r.await(EV_FAILED)[13] == ENODEV);
	r.engine.outbound.if4 = "lo";
	r.effect({EF_TCP_CONNECT, 2, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, 0, 0, 0, 0, 0, BIND_OUTBOUND});
	CHECK(r.await(EV_FAILED)[13] == ECONNREFUSED);
	CHECK(r.turn(20).empty());
}

TEST(ping_answers_or_says_why_not)
{
	for (const bool v6 : {false, true}) {
		Rig r;
		r.open(EF_PING_OPEN, 2, 0, v6);
		r.effect({EF_PING_SEND, 2, r.put({(uint8_t)(v6 ? 128 : 8), 0, 0, 0, 0, 0, 0, 9, 'h', 'i'}), 10, 64});
		r.turn(20);
		const Ev failed = r.take(EV_FAILED);
		if (!failed.empty()) {
			CHECK(failed[13] == EACCES || failed[13] == EAFNOSUPPORT);
			printf("   (no ping sockets here)\n");
			continue;
		}
		const Ev e = r.await(EV_DATAGRAM);
		const Octets b = r.slab(e[2], e[3]);
		CHECK(b.size() == 10 && b[0] == (v6 ? 129 : 0) && b[7] == 9 && b[9] == 'i');
	}
}
