/* Effect records that JS should never write: nothing out of range is touched, nothing hangs. And what else is plain C++. */
#include "../addon/ctl.h"
#include "../addon/isolate.h"
#include "../addon/netlink.h"
#include "forward.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <atomic>
#include <csignal>
#include <thread>
#include <unistd.h>

TEST(ranges_outside_the_slab_are_refused)
{
	Rig r;
	Listener l;
	Datagrams d;
	const uint32_t total = r.engine.rings.size.tx + r.engine.rings.size.rx;
	const uint32_t bad[][2] = {{total, 1}, {total - 1, 2}, {0, total + 1}, {UINT32_MAX, 1}, {1, UINT32_MAX}, {UINT32_MAX, UINT32_MAX}};
	for (const auto &b : bad) {
		r.open(EF_TCP_CONNECT, 1, l.port);
		r.await(EV_CONNECTED);
		r.effect({EF_SEND, 1, b[0], b[1]});
		CHECK(r.await(EV_FAILED)[13] == EFAULT);
		r.open(EF_TCP_CONNECT, 1, l.port);
		r.await(EV_CONNECTED);
		r.effect({EF_PEEK, 1, b[0], b[1], 100, 100});
		CHECK(r.await(EV_FAILED)[13] == EFAULT);
		r.open(EF_UDP_OPEN, 2, d.port);
		r.effect({EF_UDP_SEND, 2, b[0], b[1]});
		CHECK(r.await(EV_FAILED)[13] == EFAULT);
		r.effect({EF_TAP_WRITE, 0, b[0], b[1]});
		CHECK(r.await(EV_TAP_DROPPED)[3] == EFAULT);
		CHECK(r.frame().empty());
	}
}

TEST(handles_outside_the_table_are_ignored)
{
	Rig r;
	for (uint32_t kind = 0; kind < 40; kind++) {
		for (const uint32_t h : {64u, 65u, 1u << 20, 1u << 24, UINT32_MAX})
			r.effect({kind == EF_TAP_WRITE ? 99 : kind, h, 0, 0, 0xffff, 0x7f000001, 9});
	}
	CHECK(r.turn(5).empty());
}

TEST(wrong_header_templates_are_refused)
{
	Rig r;
	Listener l;
	for (int i = 0; i < 60; i++) {
		const bool v6 = i & 1;
		Octets t = tcp_template(v6, 1);
		uint32_t len = (uint32_t)t.size() - VNET_LEN, flags = v6 ? IS_V6 : 0u, mss = 1400;
		switch (i / 2 % 6) {
		case 0: flags ^= IS_V6; break;
		case 1: len--; break;
		case 2: len = 257; break;
		case 3: mss = 0; break;
		case 4: t[VNET_LEN + 14] ^= 0x10; break;
		case 5: t[VNET_LEN + len - 8] = 0xf0; break;
		}
		r.open(EF_TCP_CONNECT, 1, l.port);
		r.await(EV_CONNECTED);
		close(l.accept());
		r.effect({EF_PEEK, 1, r.put(t), len, 1000, mss, flags});
		const Ev e = r.await(EV_FAILED);
		CHECK(e[13] == EFAULT || e[13] == ECONNRESET);
	}
}

/** The first `n` of both, as the launcher would send them; both are closed here. */
static void send_sockets(int ctl, const uint32_t *request, const int *fds, uint32_t n)
{
	uint32_t m[4] = {CTL_SOCKETS, request[1], request[2], n};
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 2)] = {};
	iovec iov = {m, sizeof(m)};
	msghdr h = {};
	h.msg_iov = &iov, h.msg_iovlen = 1;
	if (n) {
		h.msg_control = control, h.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		cmsghdr *const c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	}
	CHECK(sendmsg(ctl, &h, 0) == sizeof(m));
	close(fds[0]), close(fds[1]);
}

TEST(random_effects)
{
	Rig r(true, OFF_CSUM, {1 << 16, 1 << 20, 8, 256, 64});
	Listener l;
	Datagrams d;
	std::vector<int> peers;
	std::vector<Client> clients;
	const uint32_t total = (1 << 16) + (1 << 20);
	int ctl[2];
	uint32_t slot = 0;
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ctl) && !r.engine.set_ctl(ctl[0]));
	const uint16_t tcp = listen_at(r, 1, Kind::Tcp), udp = listen_at(r, 2, Kind::Udp);

	r.engine.pending_max = 1 << 20;
	for (int round = 0; round < 1500; round++) {
		r.put(tcp_template(chance(2), chance(UINT32_MAX)), 0);
		if (!chance(4))
			r.put(noise(200), 128 * chance(100));
		for (uint32_t n = chance(40); n; n--) {
			const uint32_t kind = chance(28), h = chance(10);
			if (kind == EF_TCP_CONNECT || kind == EF_UDP_OPEN || kind == EF_PING_OPEN || kind == EF_SPLICE) {
				/* loopback only; all the rest may be anything */
				const uint16_t port = kind == EF_UDP_OPEN ? d.port : l.port;
				const uint32_t word8 = kind == EF_SPLICE ? slot - chance(3) : chance(3) ? 0 : chance(70000);
				r.effect({kind, h, 0, 0, 0xffff, 0x7f000001, port, chance(9), word8, 0, 0,
					  chance(9) ? 0 : 0xffffu, 0, chance(4), chance(5)});
			} else if (kind == EF_UNLISTEN) {
				r.effect({kind, chance(40) ? chance(UINT32_MAX) : 1 + chance(2)});
			} else if (kind >= EF_ADOPT && chance(4)) {
				r.effect({kind, h, chance(2) ? slot - chance(3) : chance(10)});
			} else {
				const uint32_t off = chance(5) ? chance(1 << 16) : chance(UINT32_MAX);
				const uint32_t len = chance(5) ? chance(3000) : chance(2) ? chance(total) : chance(UINT32_MAX);
				const bool template_like = kind == EF_PEEK && chance(4);
				r.effect({kind, h, template_like ? 0 : off, template_like ? 54 : len, chance(70000), chance(3000),
					  chance(2), chance(9)});
			}
		}
		for (const Ev &e : r.turn(chance(2))) {
			if (e[0] == EV_ACCEPTED)
				slot = e[2];
		}
		r.seen.clear();
		/* listeners that were closed come back */
		ListenAt at = {{0, 0, 0xffff, INADDR_LOOPBACK}, tcp, false, false, nullptr};
		r.engine.listen(1, Kind::Tcp, at);
		at.port = udp;
		r.engine.listen(2, Kind::Udp, at);
		if (chance(2))
			clients.emplace_back(tcp);
		if (clients.size() > 20 || (!clients.empty() && !chance(5)))
			clients.erase(clients.begin() + chance((uint32_t)clients.size()));
		for (Client &c : clients) {
			char b[70000] = {};
			if (chance(2))
				::send(c.fd, b, chance(3) ? chance(5000) : sizeof(b), MSG_DONTWAIT | MSG_NOSIGNAL);
			if (chance(2) && recv(c.fd, b, sizeof(b), MSG_DONTWAIT) < 0)
				errno = 0;
		}
		d.send_to(udp, noise(chance(100)));
		for (uint32_t q[4]; recv(ctl[1], q, 16, MSG_DONTWAIT) == 16 && chance(2);) {
			int fds[2];
			for (int &fd : fds)
				fd = socket((int)q[1], (int)q[2] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
			send_sockets(ctl[1], q, fds, chance(3));
		}
		if (wait_for(l.fd, 1, 0))
			peers.push_back(l.accept());
		for (size_t i = 0; i < peers.size(); i++) {
			char b[5000] = {};
			if (chance(3))
				::send(peers[i], b, chance(5000), MSG_DONTWAIT | MSG_NOSIGNAL);
			if (!chance(3) && recv(peers[i], b, sizeof(b), MSG_DONTWAIT) < 0 && errno != EAGAIN)
				errno = 0;
			if (!chance(60)) {
				close(peers[i]);
				peers.erase(peers.begin() + (std::ptrdiff_t)i--);
			}
		}
		while (!chance(2) && !r.frame().empty()) {
		}
		const Octets f = noise(VNET_LEN + chance(200));
		if (chance(2))
			CHECK(write(r.guest, f.data(), f.size()) > 0 || errno == EAGAIN);
	}
	for (const int p : peers)
		close(p);
	for (uint32_t h = 0; h < 8; h++)
		r.effect({EF_CLOSE, h});
	r.turn();
	CHECK(!r.engine.pending_all && !r.engine.pipes.in_use);
	close(ctl[0]), close(ctl[1]);
}

TEST(impossible_sizes_are_refused)
{
	for (const Sizes s : {Sizes{0, 0, 1, 1, 16}, Sizes{0, 1 << 20, 0, 1, 16}, Sizes{0, 1 << 20, 1, 0, 16},
			      Sizes{0, 1 << 20, 1, 1, 1}, Sizes{UINT32_MAX, UINT32_MAX, 1, 1, 16}}) {
		Engine e;
		CHECK(e.open(s) == EINVAL);
	}
	Engine e;
	CHECK(e.turn(0, 0) == -1);
}

TEST(timeouts_have_fractions)
{
	Rig r;
	r.turn();
	const double t = Engine::now_ms();
	r.turn(3.5);
	CHECK(Engine::now_ms() - t >= 3.4 && *r.engine.rings.clock >= t + 3.4);
}

TEST(launcher_messages)
{
	Rig r;
	int s[2];
	std::vector<int> passed;
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s));
	CHECK(!r.engine.set_ctl(s[0]));
	const Octets big = noise(100000);
	CHECK(write(s[1], "ready", 5) == 5 && write(s[1], big.data(), big.size()) > 0);
	Ev e = r.await(EV_CTL);
	CHECK(text(r.slab(e[2], e[3])) == "ready");
	e = r.await(EV_CTL);
	CHECK(r.slab(e[2], e[3]) == big);

	/* one answer with a descriptor, waited for on the same (nonblocking) socket */
	std::thread other([&] {
		char b[16];
		CHECK(wait_for(s[1], 1) && read(s[1], b, sizeof(b)) == 3);
		const int fds[2] = {1, 2};
		alignas(cmsghdr) char control[CMSG_SPACE(sizeof(fds))] = {};
		iovec iov = {const_cast<uint8_t *>(big.data()), big.size()};
		msghdr m = {};
		m.msg_iov = &iov, m.msg_iovlen = 1, m.msg_control = control, m.msg_controllen = sizeof(control);
		cmsghdr *const c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(c), fds, sizeof(fds));
		CHECK(sendmsg(s[1], &m, 0) > 0);
	});
	Bytes answer;
	const uint8_t ask[] = {1, 2, 3};
	CHECK(!ctl_send(s[0], ask, 3) && !ctl_receive(s[0], answer, passed));
	other.join();
	CHECK(answer == big && passed.size() == 2 && fcntl(passed[1], F_GETFD) == FD_CLOEXEC);
	for (const int fd : passed)
		close(fd);
	CHECK(r.turn(5).empty());

	close(s[1]);
	e = r.await(EV_CTL);
	CHECK(!e[3] && r.turn(20).empty());
	CHECK(ctl_receive(s[0], answer, passed) == ECONNRESET && ctl_send(s[0], ask, 3) == EPIPE);
	close(s[0]);
}

TEST(netlink_dump_single_and_error)
{
	struct {
		nlmsghdr h;
		ifinfomsg i;
	} q = {};
	std::vector<Bytes> a;
	q.h.nlmsg_len = sizeof(q), q.h.nlmsg_type = RTM_GETLINK, q.h.nlmsg_seq = 7;
	q.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	const auto *const bytes = reinterpret_cast<const uint8_t *>(&q);
	CHECK(!netlink_exchange(bytes, sizeof(q), a) && !a.empty());
	nlmsghdr last = {};
	for (size_t at = 0; at < a.back().size(); at += NLMSG_ALIGN(last.nlmsg_len))
		memcpy(&last, a.back().data() + at, sizeof(last));
	CHECK(last.nlmsg_type == NLMSG_DONE);
	a.clear();
	q.h.nlmsg_flags = NLM_F_REQUEST;
	q.i.ifi_index = 1;
	CHECK(!netlink_exchange(bytes, sizeof(q), a) && a.size() == 1);
	a.clear();
	q.i.ifi_index = 123456;
	CHECK(!netlink_exchange(bytes, sizeof(q), a) && a.size() == 1);
	memcpy(&last, a[0].data(), sizeof(last));
	CHECK(last.nlmsg_type == NLMSG_ERROR);
	CHECK(netlink_exchange(bytes, 3, a) == EINVAL);
}

static bool unprivileged_here()
{
	__user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	__user_cap_data_struct c[2] = {};
	CHECK(!syscall(SYS_capget, &head, c));
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && !(c[0].effective | c[0].permitted | c[0].inheritable) &&
	       !(c[1].effective | c[1].permitted | c[1].inheritable) && geteuid() != 0 && setuid(0) < 0;
}

TEST(privileges_go_on_every_thread)
{
	if (geteuid() != 0)
		return;
	const pid_t child = fork();
	CHECK(child >= 0);
	if (!child) {
		/* A thread that blocks every signal it can, as V8's do */
		std::atomic<int> stage{0};
		bool good = false;
		std::thread t([&] {
			sigset_t all;
			sigfillset(&all);
			pthread_sigmask(SIG_SETMASK, &all, nullptr);
			stage = 1;
			while (stage != 2)
				usleep(1000);
			good = unprivileged_here();
		});
		while (stage != 1)
			usleep(1000);
		const int e = drop_privileges(65534, 65534);
		stage = 2;
		t.join();
		_exit(e ? 2 : good && unprivileged_here() ? 0 : 1);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status));
}

TEST(effects_in_the_middle_of_a_turn_leave_its_events_and_connections_alone)
{
	Rig r;
	Listener l;
	r.open(EF_TCP_CONNECT, 1, l.port);
	const std::vector<Ev> before = r.turn(100);
	const uint32_t posted = r.engine.rings.posted;
	for (int i = 0; i < 5000; i++) {
		r.effect({EF_INFO, 1});
		r.engine.carry_out(r.effects);
		r.effects = 0;
		CHECK(r.engine.rings.posted == posted);
	}
	for (size_t i = 0; i < before.size(); i++)
		CHECK(!memcmp(r.engine.rings.events[i], before[i].data(), sizeof(Record)));
	r.await(EV_INFO);
}
