/* Sockets from the namespace: a second network namespace where the test may make one, this one otherwise. */
#include "forward.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

/** The launcher's end: answers requests for sockets from another network namespace. */
struct Agent {
	Rig r;
	int ctl[2];
	/** of that namespace; -1: there is none, all is here */
	int ns = -1, home = -1;
	size_t requests = 0;

	Agent()
	{
		CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ctl));
		CHECK(!r.engine.pools.set_ctl(ctl[0]));
		home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		if (unshare(CLONE_NEWNET))
			return;
		ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		const int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		ifreq up = {};
		strcpy(up.ifr_name, "lo");
		up.ifr_flags = IFF_UP;
		CHECK(!ioctl(s, SIOCSIFFLAGS, &up));
		close(s);
		CHECK(!setns(home, CLONE_NEWNET));
	}
	~Agent()
	{
		close(ctl[0]), close(ctl[1]), close(home);
		if (ns >= 0)
			close(ns);
	}
	template <typename F> auto inside(F f)
	{
		CHECK(ns < 0 || !setns(ns, CLONE_NEWNET));
		auto v = f();
		CHECK(ns < 0 || !setns(home, CLONE_NEWNET));
		return v;
	}
	std::vector<int> sockets(uint32_t family, uint32_t type, uint32_t n)
	{
		return inside([&] {
			std::vector<int> v;
			while (v.size() < n)
				v.push_back(socket((int)family, (int)type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
			return v;
		});
	}
	void send(std::initializer_list<uint32_t> words, const std::vector<int> &fds)
	{
		const std::vector<uint32_t> m(words);
		alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 100)] = {};
		iovec iov = {const_cast<uint32_t *>(m.data()), m.size() * 4};
		msghdr h = {};
		h.msg_iov = &iov, h.msg_iovlen = 1;
		if (!fds.empty()) {
			h.msg_control = control, h.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
			cmsghdr *const c = CMSG_FIRSTHDR(&h);
			c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
			memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
		}
		CHECK(sendmsg(ctl[1], &h, 0) > 0);
		for (const int fd : fds)
			close(fd);
	}
	/** One request, if there is one. */
	bool request(uint32_t *q)
	{
		const ssize_t n = recv(ctl[1], q, 16, MSG_DONTWAIT);
		if (n < 0)
			return false;
		CHECK(n == 16 && q[0] == RQ_SOCKETS && (q[1] == AF_INET || q[1] == AF_INET6) &&
		      (q[2] == SOCK_STREAM || q[2] == SOCK_DGRAM) && q[3] > 0 && q[3] <= PASSED_MAX);
		requests++;
		return true;
	}
	void serve(uint32_t most = 64)
	{
		for (uint32_t q[4]; request(q);) {
			const uint32_t n = std::min(q[3], most);
			send({SOCKETS, q[1], q[2], n}, sockets(q[1], q[2], n));
		}
	}
};

} // namespace

TEST(ns_sockets_reach_a_server_inside)
{
	Agent a;
	auto server = a.inside([] { return std::make_unique<Listener>(); });
	const uint16_t port = listen_at(a.r, 0, Kind::Tcp);
	a.r.engine.add_ns_sockets(NS_TCP4, a.sockets(AF_INET, SOCK_STREAM, 40).data(), 40);
	Client c(port);
	const Ev e = a.r.await(EV_ACCEPTED);
	a.r.effect({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_LOOPBACK, server->port, 0, e[2], 0, 0, 0, 0, IN_NAMESPACE});
	a.r.await(EV_SPLICE_CONNECTED);
	const int s = server->accept();
	c.send("hello");
	a.r.turn(20);
	CHECK(text(read_all(s, 5)) == "hello");
	/* the handle can be an ordinary one as well */
	a.r.effect({EF_TCP_CONNECT, 4, 0, 0, 0xffff, INADDR_LOOPBACK, server->port, 0, 1400, 0, 0, 0, 0, IN_NAMESPACE});
	CHECK(a.r.await(EV_CONNECTED)[1] == 4);
	close(server->accept());
	close(s);
	CHECK(!a.requests);
}

TEST(ns_pool_asks_for_more_below_half_one_request_at_a_time)
{
	Agent a;
	auto server = a.inside([] { return std::make_unique<Datagrams>(); });
	a.r.engine.add_ns_sockets(NS_UDP4, a.sockets(AF_INET, SOCK_DGRAM, 64).data(), 64);
	uint32_t q[4];
	for (uint32_t i = 0; i < 50; i++) {
		a.r.effect({EF_UDP_OPEN, i, 0, 0, 0xffff, INADDR_LOOPBACK, server->port, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
		a.r.turn();
		if (i < 32)
			CHECK(!a.request(q));
	}
	CHECK(a.request(q) && q[1] == AF_INET && q[2] == SOCK_DGRAM && q[3] == 33);
	CHECK(!a.request(q)); /* not another one while that is under way */
	a.send({SOCKETS, AF_INET, SOCK_DGRAM, 33}, a.sockets(AF_INET, SOCK_DGRAM, 33));
	CHECK(a.r.turn(20).empty()); /* no EV_CTL */
	for (uint32_t i = 0; i < 20; i++)
		a.r.effect({EF_UDP_OPEN, i, 0, 0, 0xffff, INADDR_LOOPBACK, server->port, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
	a.r.turn();
	CHECK(a.request(q) && q[3] >= 33 && a.r.take(EV_FAILED).empty());
}

TEST(ns_empty_pool_makes_connections_wait_not_fail)
{
	for (const bool v6 : {false, true}) {
		Agent a;
		auto server = a.inside([=] { return std::make_unique<Listener>(v6); });
		const uint16_t port = listen_at(a.r, 0, Kind::Tcp);
		std::vector<Client> clients;
		const uint32_t n = 20;
		for (uint32_t i = 0; i < n; i++) {
			clients.emplace_back(port);
			clients.back().send("x");
			const Ev e = a.r.await(EV_ACCEPTED);
			if (v6)
				a.r.effect({EF_SPLICE, i, 0, 0, 0, 1, server->port, 0, e[2], 0, 0, 0, 0, IN_NAMESPACE});
			else
				a.r.effect({EF_SPLICE, i, 0, 0, 0xffff, INADDR_LOOPBACK, server->port, 0, e[2], 0, 0, 0, 0, IN_NAMESPACE});
			a.r.turn();
		}
		check_idle(a.r);
		/* some are given up meanwhile */
		a.r.effect({EF_SPLICE_RESET, 0});
		a.r.effect({EF_SPLICE_CLOSE, 7});
		clients[9].close_it();
		a.r.turn(5);
		uint32_t connected = 0;
		for (int i = 0; i < 100 && connected < n - 2; i++) {
			a.serve(3); /* the launcher has not as many as were asked for */
			for (const Ev &e : a.r.turn(5))
				connected += e[0] == EV_SPLICE_CONNECTED;
		}
		CHECK(connected >= n - 3);
		for (uint32_t i = 0; i < connected; i++)
			close(server->accept());
		CHECK(!wait_for(server->fd, POLLIN, 20)); /* nobody connects for those that were given up */
		CHECK(a.r.take(EV_CTL).empty());
	}
}

TEST(ns_empty_pool_keeps_datagrams)
{
	Agent a;
	auto server = a.inside([] { return std::make_unique<Datagrams>(); });
	a.r.effect({EF_UDP_OPEN, 3, 0, 0, 0xffff, INADDR_LOOPBACK, server->port, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
	a.r.effect({EF_UDP_SEND, 3, a.r.put(octets("one")), 3});
	a.r.turn();
	a.r.effect({EF_UDP_SEND, 3, a.r.put({}), 0});
	a.r.effect({EF_UDP_SEND, 3, a.r.put(octets("twothr")), 6, 0, 3});
	for (int i = 0; i < 100; i++) /* beyond what is kept: lost, no more */
		a.r.effect({EF_UDP_SEND, 3, 8192, 60000});
	a.r.turn();
	CHECK(a.r.engine.table.pending_all && a.r.engine.table.pending_all <= 1 << 18);
	/* another one is closed while it waits */
	a.r.effect({EF_UDP_OPEN, 4, 0, 0, 0xffff, INADDR_LOOPBACK, server->port, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
	a.r.effect({EF_UDP_SEND, 4, a.r.put(octets("never")), 5});
	a.r.turn();
	a.r.effect({EF_CLOSE, 4});
	a.r.turn();
	a.serve();
	a.r.turn(20);
	for (const char *want : {"one", "", "two", "thr"})
		CHECK(text(server->receive()) == want);
	while (wait_for(server->fd, POLLIN, 5))
		CHECK(server->receive().size() == 60000);
	CHECK(!a.r.engine.table.pending_all && a.r.take(EV_FAILED).empty());
}

TEST(ns_listener_comes_back_beside_its_flows)
{
	Agent a;
	const auto peer = a.inside([] { return std::make_unique<Datagrams>(); });
	const ListenAt at = {{}, free_port(), false, false, "lo"};
	const std::vector<int> six = a.sockets(AF_INET6, SOCK_DGRAM, 3), four = a.sockets(AF_INET, SOCK_DGRAM, 3);
	NsPools &pools = a.r.engine.pools;
	CHECK(!pools.add(NS_UDP6, six.data(), six.size()) && !pools.add(NS_UDP4, four.data(), four.size()));
	for (uint32_t id = 3; id < 6; id++) {
		CHECK(!a.r.engine.listeners.listen_in_namespace(id, at, pools.spare(true)));
		a.r.effect({EF_UDP_OPEN, id, 0, 0, 0xffff, INADDR_LOOPBACK, peer->port, 0, at.port, 0, 0, 0xffff, INADDR_LOOPBACK, IN_NAMESPACE, 1 + id});
		a.r.turn();
		CHECK(a.r.take(EV_FAILED).empty());
		peer->send_to(at.port, octets("to us"));
		CHECK(a.r.await(EV_DATAGRAM)[1] == id);
		for (const bool listens : {true, false}) { /* whoever else asks for the port */
			for (const int fd : a.sockets(AF_INET6, SOCK_DGRAM, 1)) {
				set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1), set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
				sockaddr_in6 all = {};
				all.sin6_family = AF_INET6, all.sin6_port = htons(at.port);
				CHECK(bind(fd, reinterpret_cast<sockaddr *>(&all), sizeof(all)) && errno == EADDRINUSE);
				close(fd);
			}
			CHECK(!listens || a.r.engine.listeners.close(id));
		}
	}
	CHECK(pools.spare(true) == -ENOENT);
}

TEST(ns_launcher_has_none)
{
	Agent a;
	uint32_t q[4];
	a.r.effect({EF_UDP_OPEN, 3, 0, 0, 0, 1, 9, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
	a.r.effect({EF_UDP_SEND, 3, a.r.put(octets("x")), 1});
	a.r.effect({EF_PING_OPEN, 5, 0, 0, 0, 1, 9, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
	CHECK(a.r.await(EV_FAILED)[13] == EOPNOTSUPP);
	CHECK(a.request(q) && q[1] == AF_INET6);
	a.send({SOCKETS, AF_INET6, SOCK_DGRAM, 0}, {});
	const Ev e = a.r.await(EV_FAILED);
	CHECK(e[1] == 3 && e[13] == EMFILE && !a.r.engine.table.pending_all);
	CHECK(a.r.turn(20).empty() && !a.request(q)); /* it is not asked over and over */
	/* another one tries again, and is told why not */
	a.r.effect({EF_UDP_OPEN, 3, 0, 0, 0, 1, 9, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
	a.r.turn();
	CHECK(a.request(q));
	a.send({SOCKETS, AF_INET6, SOCK_DGRAM, 0, EAFNOSUPPORT}, {});
	CHECK(a.r.await(EV_FAILED)[13] == EAFNOSUPPORT);
}

TEST(ns_messages_that_are_not_what_they_seem)
{
	Agent a;
	const size_t fds = open_fds();
	a.send({SOCKETS, 99, SOCK_STREAM, 2}, a.sockets(AF_INET, SOCK_STREAM, 2));
	a.send({SOCKETS, AF_INET, 99, 2}, a.sockets(AF_INET, SOCK_STREAM, 2));
	a.send({SOCKETS, AF_INET, SOCK_STREAM, 2}, {}); /* says two, has none */
	CHECK(a.r.turn(20).empty() && open_fds() == fds);
	/* another kind of message with descriptors: JS is told of it, they are closed */
	a.send({77, 1, 2, 3}, a.sockets(AF_INET, SOCK_STREAM, 3));
	CHECK(a.r.await(EV_CTL)[3] == 16 && open_fds() == fds);
	a.send({SOCKETS, AF_INET}, a.sockets(AF_INET, SOCK_STREAM, 1));
	CHECK(a.r.await(EV_CTL)[3] == 8 && open_fds() == fds);
	/* more than ever was asked for is not hoarded */
	for (int i = 0; i < 10; i++)
		a.send({SOCKETS, AF_INET, SOCK_STREAM, 64}, a.sockets(AF_INET, SOCK_STREAM, 64)), a.r.turn(5);
	CHECK(open_fds() == fds + 4 * NS_POOL && a.r.turn(5).empty());
	CHECK(a.r.engine.add_ns_sockets(4, a.sockets(AF_INET, SOCK_STREAM, 2).data(), 2) == EINVAL);
	CHECK(open_fds() == fds + 4 * NS_POOL);
}

TEST(ns_requests_wait_for_room_in_the_launchers_socket)
{
	Agent a;
	Octets junk(1000);
	while (send(a.ctl[0], junk.data(), junk.size(), MSG_DONTWAIT) > 0) {
	}
	a.r.effect({EF_UDP_OPEN, 3, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
	CHECK(a.r.turn(5).empty());
	while (recv(a.ctl[1], junk.data(), junk.size(), MSG_DONTWAIT) > 0) {
	}
	uint32_t q[4];
	a.r.turn(5);
	CHECK(a.request(q));
}

TEST(ns_too_many_waiting_fail)
{
	Rig r(true, 0, {1 << 16, 1 << 20, 5000, 5000, 512});
	int s[2];
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s) && !r.engine.pools.set_ctl(s[0]));
	for (uint32_t h = 0; h < 4100; h++)
		r.effect({EF_UDP_OPEN, h, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
	r.turn();
	size_t failed = 0;
	for (const Ev &e : r.seen)
		failed += e[0] == EV_FAILED && e[13] == EMFILE;
	CHECK(failed == 4);
	close(s[0]), close(s[1]);
}

/** Whoever failed while it waited for a socket has failed: the socket does not open it again. */
TEST(ns_socket_for_whom_it_comes_too_late_is_closed)
{
	Agent a;
	auto server = a.inside([] { return std::make_unique<Listener>(); });
	const uint16_t port = listen_at(a.r, 0, Kind::Tcp);
	Client c(port);
	const Ev e = a.r.await(EV_ACCEPTED);
	a.r.effect({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_LOOPBACK, server->port, 0, e[2], 0, 0, 0, 0, IN_NAMESPACE});
	/* And a datagram from nowhere */
	a.r.effect({EF_UDP_OPEN, 4, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, 0, 0, 0, 0, 0, IN_NAMESPACE});
	a.r.turn();
	a.r.effect({EF_UDP_SEND, 4, 0xfffffff0, 100, 0});
	a.r.turn();
	close_hard(c.fd), c.fd = -1;
	CHECK(a.r.await(EV_SPLICE_FAILED)[1] == 3);
	a.r.seen.clear();
	const size_t before = open_fds();
	const size_t asked = a.requests;
	a.serve(1);
	CHECK(a.requests == asked + 2);
	for (int i = 0; i < 5; i++)
		a.r.turn(5);
	/* Nothing is said, nothing is connected, nothing stays */
	CHECK(a.r.seen.empty() && !wait_for(server->fd, POLLIN, 20) && open_fds() == before);
	CHECK(a.r.engine.table.at(3).phase == Phase::Failed && a.r.engine.table.at(4).phase == Phase::Failed);
	a.r.effect({EF_SPLICE_RESET, 3});
	a.r.effect({EF_RESET, 4});
	a.r.turn();
}
