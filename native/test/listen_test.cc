/* Listeners: opening, accepting, lack of descriptors, datagrams and their flows' sockets. */
#include "forward.h"

#include <fcntl.h>
#include <linux/udp.h>
#include <memory>
#include <net/if.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

TEST(accepted_connection_is_adopted)
{
	for (const bool v6 : {false, true}) {
		Rig r;
		const uint16_t port = listen_at(r, 5, Kind::Tcp, v6);
		Client c(port, v6);
		const Ev a = r.await(EV_ACCEPTED);
		CHECK(a[1] == 5 && (a[3] & 0xffff) == c.port && a[3] >> 16 == port);
		CHECK(addr_is(a, 4, v6) && addr_is(a, 8, v6));
		r.effect({EF_ADOPT, 7, a[2]});
		const Ev e = r.await(EV_CONNECTED);
		CHECK(e[1] == 7 && e[10] > 0 && e[11] >= e[10]);
		/* as a handle that connected: peek offset, sending, readiness */
		c.send("request");
		CHECK(r.await(EV_READY)[2] & READY_IN);
		const Octets t = tcp_template(v6, 1);
		r.effect({EF_PEEK, 7, r.put(t), (uint32_t)t.size() - VNET_LEN, 100, 1000, v6 ? IS_V6 : 0u});
		CHECK(r.await(EV_PEEKED)[2] == 7);
		r.effect({EF_DISCARD, 7, 7});
		r.effect({EF_SEND, 7, r.put(octets("answer"), 8192), 6});
		CHECK(r.await(EV_SENT)[2] == 6);
		CHECK(text(read_all(c.fd, 6)) == "answer");
		int on = 0;
		socklen_t len = sizeof(on);
		CHECK(!getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &on, &len) && !on);
		r.effect({EF_RESET, 7});
		r.turn();
		CHECK(c.reset());
	}
}

TEST(a_full_ring_carried_out_early_resets_no_connection)
{
	Rig r;
	const uint16_t port = listen_at(r, 0, Kind::Tcp);
	Client c(port);
	const Ev a = r.await(EV_ACCEPTED);
	r.effect({EF_INFO, 1});
	r.engine.carry_out(r.effects);
	r.effects = 0;
	CHECK(!wait_for(c.fd, POLLIN, 20));
	r.effect({EF_ADOPT, 7, a[2]});
	CHECK(r.await(EV_CONNECTED)[1] == 7);
}

TEST(slots_nobody_answers_are_reset_and_numbers_do_not_come_again)
{
	Rig r;
	const uint16_t port = listen_at(r, 0, Kind::Tcp);
	Client a(port), b(port), c(port);
	Ev e[3];
	for (Ev &x : e)
		x = r.await(EV_ACCEPTED);
	r.effect({EF_REJECT, 0, e[0][2]});
	r.effect({EF_ADOPT, 1, e[1][2]});
	r.effect({EF_ADOPT, 2, e[1][2]}); /* twice */
	r.turn();
	CHECK(r.await(EV_CONNECTED)[1] == 1);
	Ev failed = r.await(EV_FAILED);
	CHECK(failed[1] == 2 && failed[13] == EBADF);
	CHECK(a.reset() && c.reset() && !wait_for(b.fd, POLLIN, 20));
	/* a turn later the same number names nothing, even with another connection in the same place */
	Client d(port);
	const Ev later = r.await(EV_ACCEPTED);
	CHECK(later[2] != e[0][2]);
	r.effect({EF_ADOPT, 3, e[0][2]});
	r.effect({EF_ADOPT, 4, 12345678});
	r.effect({EF_REJECT, 0, UINT32_MAX});
	r.effect({EF_ADOPT, 99999, later[2]}); /* no such handle: reset */
	r.turn();
	CHECK(r.await(EV_FAILED)[13] == EBADF && r.await(EV_FAILED)[13] == EBADF);
	CHECK(d.reset() && r.turn(5).empty());
}

TEST(many_connections_come_over_several_turns_from_all_listeners)
{
	Rig r(true, 0, {1 << 20, 8 << 20, 64, 4096, 64}); /* 64 events a turn */
	const uint16_t busy = listen_at(r, 0, Kind::Tcp), quiet = listen_at(r, 1, Kind::Tcp);
	std::vector<Client> clients;
	clients.reserve(101);
	for (int i = 0; i < 100; i++)
		clients.emplace_back(busy);
	clients.emplace_back(quiet);
	size_t from_busy = 0, from_quiet = 0, quiet_at = 0;
	for (int i = 0; i < 50 && from_busy + from_quiet < 101; i++) {
		for (const Ev &e : r.turn(5)) {
			CHECK(e[0] == EV_ACCEPTED);
			if (e[1])
				from_quiet++, quiet_at = from_busy;
			else
				from_busy++;
			r.effect({EF_REJECT, 0, e[2]});
		}
	}
	CHECK(from_busy == 100 && from_quiet == 1 && quiet_at < 60);
}

TEST(without_descriptors_accepting_pauses_and_goes_on)
{
	Rig r;
	const uint16_t port = listen_at(r, 0, Kind::Tcp);
	Client a(port), b(port);
	rlimit was;
	CHECK(!getrlimit(RLIMIT_NOFILE, &was));
	const int next = dup(0);
	close(next);
	const rlimit tight = {(rlim_t)next, was.rlim_max};
	CHECK(!setrlimit(RLIMIT_NOFILE, &tight));
	const Ev e = r.await(EV_LISTEN_TROUBLE);
	CHECK(e[1] == 0 && e[13] == EMFILE);
	/* quiet until the pause is over, then once more, and no event storm: #regression-58's kin */
	const double t = Engine::now_ms(), cpu = cpu_ms();
	int troubles = 0;
	while (Engine::now_ms() - t < 350) {
		for (const Ev &x : r.turn(50))
			troubles += x[0] == EV_LISTEN_TROUBLE;
	}
	const double took = Engine::now_ms() - t;
	CHECK(troubles >= 2 && troubles <= took / ACCEPT_PAUSE + 1 && cpu_ms() - cpu < took / 4);
	CHECK(!setrlimit(RLIMIT_NOFILE, &was));
	r.seen.clear();
	for (int i = 0; i < 2; i++)
		r.effect({EF_REJECT, 0, r.await(EV_ACCEPTED)[2]});
	r.turn();
	CHECK(a.reset() && b.reset());
}

TEST(listener_options)
{
	Rig r;
	const auto at = [](bool v6, uint16_t port, bool v6only = false, const char *device = nullptr) {
		ListenAt a = {{0, 0, v6 ? 0u : 0xffffu, 0}, port, v6only, false, device};
		return a;
	};
	/* #regression-90: the dual-stack wildcard hears both; v6only does not */
	const uint16_t port = free_port();
	CHECK(!r.engine.listeners.listen(0, Kind::Tcp, at(true, port)));
	CHECK(r.engine.listeners.listen(0, Kind::Tcp, at(true, port)) == EEXIST);
	CHECK(r.engine.listeners.listen(1, Kind::Tcp, at(true, port)) == EADDRINUSE);
	Client four(port), six(port, true);
	Ev e = r.await(EV_ACCEPTED);
	CHECK(addr_is(e, 4, false) && addr_is(e, 8, false));
	e = r.await(EV_ACCEPTED);
	CHECK(addr_is(e, 4, true));
	CHECK(r.engine.listeners.close(0) && !r.engine.listeners.close(0));
	CHECK(!r.engine.listeners.listen(0, Kind::Tcp, at(true, port, true)) && !r.engine.listeners.listen(1, Kind::Tcp, at(false, port)));
	Client again(port);
	CHECK(r.await(EV_ACCEPTED)[1] == 1);
	/* The port is free, whoever waits is reset */
	CHECK(r.engine.listeners.close(1) && !r.engine.listeners.close(1) && !r.engine.listeners.close(7777));
	r.turn();
	CHECK(!r.engine.listeners.listen(1, Kind::Tcp, at(false, port)));

	CHECK(r.engine.listeners.listen(2, Kind::Tcp, at(false, free_port(), false, "no-such-device")) == ENODEV);
	CHECK(!r.engine.listeners.listen(2, Kind::Tcp, at(false, free_port(), false, "lo")));
	ListenAt foreign = {{0, 0, 0xffff, 0xc0000201}, free_port(), false, false, nullptr};
	CHECK(r.engine.listeners.listen(3, Kind::Udp, foreign) == EADDRNOTAVAIL);
	foreign.freebind = true;
	CHECK(!r.engine.listeners.listen(3, Kind::Udp, foreign));
	CHECK(r.engine.listeners.listen(LISTENERS_MAX, Kind::Tcp, at(false, 0)) == EINVAL);
}

TEST(dual_stack_means_ipv4_without_ipv6_rows_88_90)
{
	/* In a network namespace whose loopback is down not even ::1 is there; IPv6 itself cannot be unloaded here. What
	 * can be checked: an address family that is refused. */
	ListenAt any = {{0, 0, 0, 0}, 0, false, false, nullptr};
	const int fd = open_listener(Kind::Tcp, any);
	CHECK(fd >= 0);
	close(fd);
	ListenAt six = {{0x20010db8, 0, 0, 1}, 0, false, false, nullptr};
	CHECK(open_listener(Kind::Tcp, six) == -EADDRNOTAVAIL); /* an address of its own has no substitute */
}

TEST(listener_made_elsewhere)
{
	Rig r;
	Listener l;
	Datagrams d;
	CHECK(r.engine.listeners.adopt(0, l.fd, Kind::Udp, LISTEN_IN_NAMESPACE) == EPROTOTYPE);
	CHECK(r.engine.listeners.adopt(0, r.tap, Kind::Tcp, LISTEN_IN_NAMESPACE) == EPROTOTYPE);
	CHECK(r.engine.listeners.adopt(0, 987, Kind::Tcp, LISTEN_IN_NAMESPACE) == EBADF);
	const int tcp = dup(l.fd), udp = dup(d.fd);
	CHECK(!r.engine.listeners.adopt(0, tcp, Kind::Tcp, LISTEN_IN_NAMESPACE) && !r.engine.listeners.adopt(1, udp, Kind::Udp, LISTEN_IN_NAMESPACE));
	CHECK(fcntl(tcp, F_GETFL) & O_NONBLOCK);
	Client c(l.port);
	CHECK(r.await(EV_ACCEPTED)[1] == 0);
	Datagrams from;
	from.send_to(d.port, octets("hi"));
	const Ev e = r.await(EV_LISTEN_DATAGRAM);
	CHECK(e[1] == 1 && e[5] == from.port && addr_is(e, 10, false));
	/* closed here, open there: it must not come back from epoll (#regression-70) */
	CHECK(r.engine.listeners.close(0));
	Client later(l.port);
	check_idle(r);
}

TEST(datagrams_to_a_listener)
{
	for (int variant = 0; variant < 3; variant++) { /* IPv4, IPv6, IPv4 to a dual-stack socket */
		Rig r;
		const bool v6 = variant == 1;
		const uint16_t port = listen_at(r, 9, Kind::Udp, variant != 0, variant == 2);
		Datagrams d(v6);
		d.send_to(port, octets("one"));
		d.send_to(port, {});
		Ev e = r.await(EV_LISTEN_DATAGRAM);
		CHECK(e[1] == 9 && text(r.slab(e[2], e[3])) == "one" && e[2] >= (1 << 20) + HEADROOM);
		CHECK(e[5] == d.port && addr_is(e, 6, v6) && addr_is(e, 10, v6) && e[14] == if_nametoindex("lo"));
		CHECK(r.await(EV_LISTEN_DATAGRAM)[3] == 0);
		const int size = 400;
		CHECK(!setsockopt(d.fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)));
		const Octets b = noise(1000);
		d.send_to(port, b);
		e = r.await(EV_LISTEN_DATAGRAM);
		CHECK(e[3] == 1000 && e[4] == 400 && r.slab(e[2], e[3]) == b);
	}
}

TEST(multicast_tells_its_destination_row_91)
{
	Rig r;
	const uint16_t port = listen_at(r, 9, Kind::Udp);
	(void)port;
	ListenAt any = {{0, 0, 0xffff, 0}, free_port(), false, false, nullptr};
	CHECK(!r.engine.listeners.listen(1, Kind::Udp, any));
	const int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const in_addr lo = {htonl(INADDR_LOOPBACK)};
	CHECK(!setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof(lo)));
	sockaddr_storage ss;
	const uint32_t group[4] = {0, 0, 0xffff, 0xe00000fb};
	const socklen_t len = to_sockaddr(ss, group, any.port, 0, false);
	/* membership on any socket suffices: IP_MULTICAST_ALL */
	const ip_mreq m = {{htonl(group[3])}, lo};
	CHECK(!setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)));
	CHECK(sendto(s, "x", 1, 0, reinterpret_cast<sockaddr *>(&ss), len) == 1);
	const Ev e = r.await(EV_LISTEN_DATAGRAM);
	CHECK(e[1] == 1 && e[12] == 0xffff && e[13] == group[3] && e[15] == INADDR_LOOPBACK);
	close(s);
}

TEST(flow_of_a_listener_answers_from_its_port_row_65)
{
	for (const bool v6 : {false, true}) {
		Rig r;
		const uint16_t port = listen_at(r, 3, Kind::Udp, v6);
		Datagrams d(v6), other(v6);
		d.send_to(port, octets("first"));
		const Ev e = r.await(EV_LISTEN_DATAGRAM);
		r.effect({EF_UDP_OPEN, 8, e[6], e[7], e[8], e[9], e[5], 0, port, e[10], e[11], e[12], e[13], 0, 4});
		r.effect({EF_UDP_SEND, 8, r.put(octets("answer")), 6});
		r.turn();
		uint16_t from;
		CHECK(text(d.receive(&from)) == "answer" && from == port);
		/* from here on the kernel prefers the connected socket; others still find the listener */
		d.send_to(port, octets("second"));
		other.send_to(port, octets("third"));
		const Ev second = r.await(EV_DATAGRAM);
		CHECK(second[1] == 8 && text(r.slab(second[2], second[3])) == "second");
		const Ev third = r.await(EV_LISTEN_DATAGRAM);
		CHECK(third[1] == 3 && third[5] == other.port);
		/* the flow outlives its listener */
		CHECK(r.engine.listeners.close(3));
		d.send_to(port, octets("fourth"));
		CHECK(r.await(EV_DATAGRAM)[1] == 8);
	}
}

TEST(port_of_a_listener_is_ours_as_long_as_its_flows_live)
{
	enum : uint32_t { FLOWS = 40 }; /* more than the kernel looks through one by one: UDP's hash of ports has another beside it */
	for (const int kind : {0, 1, 2, 3}) {
		const bool v6 = kind & 1, handed = kind & 2; /* made by another user, and handed over */
		Rig r;
		const ListenAt any = {{0, 0, v6 ? 0u : 0xffffu, 0}, free_port(), false, false, nullptr};
		const uint32_t one[4] = {0, 0, v6 ? 0u : 0xffffu, v6 ? 1u : INADDR_LOOPBACK};
		const auto closed = [&] {
			for (int options = 0; options < 4; options++) {
				for (const uint32_t *addr : {any.addr, one}) {
					const int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
					set_int(fd, SOL_SOCKET, SO_REUSEADDR, options & 1);
					set_int(fd, SOL_SOCKET, SO_REUSEPORT, options >> 1);
					sockaddr_storage ss;
					const socklen_t len = to_sockaddr(ss, addr, any.port, 0, v6);
					const bool failed = bind(fd, reinterpret_cast<sockaddr *>(&ss), len) && errno == EADDRINUSE;
					close(fd);
					if (!failed)
						return false;
				}
			}
			return true;
		};
		if (handed) {
			const int fd = open_listener(Kind::Udp, any);
			CHECK(fd >= 0 && !fchown(fd, 12345, 12345));
			CHECK(!r.engine.listeners.adopt(3, fd, Kind::Udp, 0));
		} else {
			CHECK(!r.engine.listeners.listen(3, Kind::Udp, any));
		}
		std::vector<std::unique_ptr<Datagrams>> peers;
		for (uint32_t i = 0; i < FLOWS; i++) {
			peers.push_back(std::make_unique<Datagrams>(v6));
			/* every second one is the guest's, from that port */
			const uint32_t own = i & 1 ? 0 : one[3], listener = i & 1 ? 0 : 4;
			r.effect({EF_UDP_OPEN, 8 + i, 0, 0, one[2], one[3], peers[i]->port, 0, any.port, 0, 0, own ? one[2] : 0, own, 0,
				  listener});
			r.effect({EF_UDP_SEND, 8 + i, r.put(octets("from us")), 7});
			r.turn();
			uint16_t from;
			CHECK(text(peers[i]->receive(&from)) == "from us" && from == any.port && closed());
		}
		const auto heard = [&](uint32_t i) {
			peers[i]->send_to(any.port, octets("to us"));
			return r.await(EV_DATAGRAM)[1] == 8 + i;
		};
		for (uint32_t i = 0; i < FLOWS; i++)
			CHECK(heard(i));
		Datagrams stranger(v6);
		stranger.send_to(any.port, octets("new"));
		CHECK(r.await(EV_LISTEN_DATAGRAM)[5] == stranger.port);
		CHECK(r.engine.listeners.close(3));
		r.turn();
		/* first and last, and so on to the middle */
		for (uint32_t i = 0; i < FLOWS; i++) {
			CHECK(closed() && heard(i & 1 ? FLOWS - 1 - i / 2 : i / 2));
			r.effect({EF_CLOSE, 8 + (i & 1 ? FLOWS - 1 - i / 2 : i / 2)});
			r.turn();
		}
		CHECK(!closed());
	}
}

TEST(a_listener_comes_back_beside_its_flows)
{
	for (const bool wildcard : {false, true}) {
		Rig r;
		const ListenAt at = {{0, 0, wildcard ? 0u : 0xffffu, 0}, free_port(), false, false, nullptr};
		Datagrams peer, later;
		for (uint32_t id = 3; id < 6; id++) {
			CHECK(!r.engine.listeners.listen(id, Kind::Udp, at));
			CHECK(r.engine.listeners.listen(9, Kind::Udp, at) != 0);
			Datagrams stranger, six(true);
			stranger.send_to(at.port, octets("new"));
			Ev e = r.await(EV_LISTEN_DATAGRAM);
			CHECK(e[1] == id && e[5] == stranger.port);
			if (wildcard) {
				six.send_to(at.port, octets("new"));
				CHECK(r.await(EV_LISTEN_DATAGRAM)[5] == six.port);
			}
			if (id == 3) { /* a flow of the listener's, and one that the guest begins from its port */
				r.effect({EF_UDP_OPEN, 8, 0, 0, 0xffff, INADDR_LOOPBACK, peer.port, 0, at.port, 0, 0, 0xffff, INADDR_LOOPBACK, 0, 4});
				r.effect({EF_UDP_OPEN, 9, 0, 0, 0xffff, INADDR_LOOPBACK, later.port, 0, at.port});
				r.turn();
			}
			for (uint32_t handle : {8u, 9u}) {
				(handle == 8 ? peer : later).send_to(at.port, octets("to us"));
				CHECK(r.await(EV_DATAGRAM)[1] == handle);
			}
			CHECK(r.engine.listeners.close(id));
			r.turn();
		}
	}
}

TEST(device_and_freebind_go_from_listener_to_flow)
{
	Rig r;
	ListenAt at = {{0, 0, 0xffff, INADDR_LOOPBACK}, free_port(), false, true, "lo"};
	CHECK(!r.engine.listeners.listen(3, Kind::Udp, at));
	Datagrams d;
	const int before = dup(0);
	close(before);
	r.effect({EF_UDP_OPEN, 8, 0, 0, 0xffff, INADDR_LOOPBACK, d.port, 0, at.port, 0, 0, 0xffff, INADDR_LOOPBACK, 0, 4});
	r.turn();
	CHECK(r.take(EV_FAILED).empty());
	char device[32] = {};
	socklen_t len = sizeof(device);
	CHECK(!getsockopt(before, SOL_SOCKET, SO_BINDTODEVICE, device, &len) && !strcmp(device, "lo"));
	int on = 0;
	len = sizeof(on);
	CHECK(!getsockopt(before, IPPROTO_IP, IP_FREEBIND, &on, &len) && on);
	/* a listener that is not there: nothing to take over, no harm */
	r.effect({EF_UDP_OPEN, 9, 0, 0, 0xffff, INADDR_LOOPBACK, d.port, 0, 0, 0, 0, 0, 0, 0, 4000000000u});
	r.effect({EF_UDP_SEND, 9, r.put(octets("x")), 1});
	r.turn();
	CHECK(d.receive().size() == 1);
}

static void strangers_between(bool guests)
{
	/* The race itself, many times: a stranger sends on while a flow's socket is bound and connected. What is
	 * just being delivered to that one when it is closed again is lost: hardly ever any */
	Rig r;
	const uint16_t port = listen_at(r, 3, Kind::Udp);
	Datagrams d;
	std::atomic<bool> stop{false};
	std::atomic<size_t> sent{0}, got{0};
	std::thread flood([&] {
		Datagrams stranger;
		while (!stop) {
			if (sent - got < 100) /* no more than a receive queue takes */
				stranger.send_to(port, octets("stranger")), sent++;
		}
	});
	const auto look = [&](const std::vector<Ev> &events) {
		for (const Ev &e : events) {
			CHECK(e[0] == EV_LISTEN_DATAGRAM && e[1] == 3 && addr_is(e, 10, false));
			CHECK(text(r.slab(e[2], e[3])) == "stranger");
			got++;
		}
	};
	for (int i = 0; i < 1000; i++) {
		if (guests)
			r.effect({EF_UDP_OPEN, 8, 0, 0, 0xffff, INADDR_LOOPBACK, d.port, 0, port});
		else
			r.effect({EF_UDP_OPEN, 8, 0, 0, 0xffff, INADDR_LOOPBACK, d.port, 0, port, 0, 0, 0xffff, INADDR_LOOPBACK, 0, 4});
		/* its queue waits for the listener's, HOLDS times at most */
		for (uint32_t j = 0; j < HOLDS + 2; j++)
			look(r.turn());
		r.effect({EF_CLOSE, 8});
		look(r.turn());
	}
	stop = true;
	flood.join();
	for (int i = 0; i < 20; i++)
		look(r.turn(2));
	CHECK(sent - got <= 2 + sent / 200);
}

TEST(datagrams_between_bind_and_connect_are_the_listeners_row_66)
{
	strangers_between(false);
}

TEST(so_they_are_where_the_guest_begins_a_flow_from_its_port)
{
	strangers_between(true);
}

TEST(stranger_in_the_queue_of_a_new_flow_is_the_listeners_row_66)
{
	/* The same without luck: a socket (from the pool) that holds a stranger's datagram when it is connected */
	for (const bool known : {true, false}) {
		Rig r;
		const uint16_t port = listen_at(r, 3, Kind::Udp);
		(void)port;
		Datagrams peer, stranger, pool;
		stranger.send_to(pool.port, octets("stranger"));
		peer.send_to(pool.port, octets("own"));
		const int fd = dup(pool.fd);
		CHECK(!set_nonblocking(fd) && !r.engine.add_ns_sockets(NS_UDP4, &fd, 1));
		r.effect({EF_UDP_OPEN, 8, 0, 0, 0xffff, INADDR_LOOPBACK, peer.port, 0, 0, 0, 0, 0, 0, IN_NAMESPACE, known ? 4u : 0u});
		r.turn();
		const Ev own = r.take(EV_DATAGRAM), e = r.take(EV_LISTEN_DATAGRAM);
		CHECK(own[1] == 8 && text(r.slab(own[2], own[3])) == "own" && e.empty() != known);
		if (!known)
			continue;
		CHECK(e[1] == 3 && e[5] == stranger.port && text(r.slab(e[2], e[3])) == "stranger");
		CHECK(addr_is(e, 6, false) && addr_is(e, 10, false) && e[15] == INADDR_LOOPBACK);
	}
}

TEST(errors_on_a_listener_are_drained_rows_38_64)
{
	for (const bool v6 : {false, true}) {
		Rig r;
		Datagrams l(v6);
		uint16_t dead;
		{
			Datagrams d(v6);
			dead = d.port;
		}
		CHECK(!r.engine.listeners.adopt(3, dup(l.fd), Kind::Udp, LISTEN_IN_NAMESPACE));
		/* as if a flow had sent it and was closed before the answer came */
		l.send_to(dead, octets("to nobody"));
		const Ev e = r.await(EV_LISTEN_ICMP_ERROR);
		CHECK(e[1] == 3 && e[4] == ECONNREFUSED && e[5] == (v6 ? 1u | 4u << 8 : 3u | 3u << 8) && e[7] == dead);
		CHECK(text(r.slab(e[2], e[3])) == "to nobody" && addr_is(e, 8, v6) && addr_is(e, 12, v6));
		r.turn(5);
		r.seen.clear();
		check_idle(r);
		/* nothing of it is left for the next datagram to stumble over */
		Datagrams d(v6);
		d.send_to(l.port, octets("x"));
		CHECK(r.await(EV_LISTEN_DATAGRAM)[3] == 1);
	}
}

TEST(many_listeners_cost_little_to_open)
{
	Rig r;
	const double t = Engine::now_ms();
	std::vector<uint32_t> ids;
	for (uint32_t id = 0; id < 2000; id++) {
		ListenAt at = {{0, 0, 0, 0}, 0, false, false, nullptr};
		CHECK(!r.engine.listeners.listen(id, id & 1 ? Kind::Udp : Kind::Tcp, at));
	}
	printf("   (%.1f µs each, with sanitizers)\n", (Engine::now_ms() - t) / 2);
	CHECK(r.turn(5).empty());
}
