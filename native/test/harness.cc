#include "harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

std::vector<Test> &tests()
{
	static std::vector<Test> all;
	return all;
}

/** State of the sequence that chance() draws from. Never zero. */
static uint64_t drawn;

/** Each test starts a sequence of its own: how often an earlier one drew, which may depend on time, changes nothing. */
static void begin_sequence()
{
	const char *seed = getenv("SEED");
	drawn = 0x9e3779b97f4a7c15 + (seed ? strtoull(seed, nullptr, 0) << 1 : 0);
	for (int i = 0; i < 20; i++)
		chance(1);
}

uint32_t chance(uint32_t below)
{
	uint64_t &x = drawn;
	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	return (uint32_t)((x >> 16) % below);
}

Octets noise(size_t n)
{
	Octets b(n);
	for (uint8_t &o : b)
		o = (uint8_t)chance(256);
	return b;
}

Rig::Rig(bool vnet, uint32_t offloads, Sizes sizes)
{
	int s[2], big = 4 << 20;
	CHECK(!engine.open(sizes));
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s));
	for (const int fd : s) {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof(big));
	}
	tap = s[0], guest = s[1];
	CHECK(!engine.tap_port.use(tap, vnet));
	engine.tap.offloads = vnet ? offloads : 0;
}

Rig::~Rig()
{
	close(tap);
	if (guest >= 0)
		close(guest);
}

void Rig::effect(std::initializer_list<uint32_t> words)
{
	uint32_t *const e = engine.rings.effects[effects++];
	memset(e, 0, sizeof(Record));
	size_t i = 0;
	for (const uint32_t w : words)
		e[i++] = w;
}

void Rig::open(uint32_t kind, uint32_t handle, uint16_t port, bool v6, uint32_t word8)
{
	if (v6)
		effect({kind, handle, 0, 0, 0, 1, port, 0, word8});
	else
		effect({kind, handle, 0, 0, 0xffff, INADDR_LOOPBACK, port, 0, word8});
}

std::vector<Ev> Rig::turn(double timeout_ms)
{
	const int n = engine.turn(effects, timeout_ms);
	std::vector<Ev> out;

	effects = 0;
	CHECK(n >= 0);
	for (int i = 0; i < n; i++)
		out.emplace_back(engine.rings.events[i], engine.rings.events[i] + ABI_WORDS);
	seen.insert(seen.end(), out.begin(), out.end());
	return out;
}

Ev Rig::take(uint32_t kind)
{
	for (size_t i = 0; i < seen.size(); i++) {
		if (seen[i][0] != kind)
			continue;
		const Ev e = seen[i];
		seen.erase(seen.begin() + (std::ptrdiff_t)i);
		return e;
	}
	return {};
}

Ev Rig::await(uint32_t kind)
{
	for (int i = 0; i < 100; i++) {
		const Ev e = take(kind);
		if (!e.empty())
			return e;
		turn(20);
	}
	fprintf(stderr, "no event %u\n", kind);
	abort();
}

uint32_t Rig::put(const Octets &b, uint32_t at)
{
	if (!b.empty())
		memcpy(engine.rings.slab + at, b.data(), b.size());
	return at;
}

Octets Rig::slab(uint32_t off, uint32_t len)
{
	return Octets(engine.rings.slab + off, engine.rings.slab + off + len);
}

Octets Rig::frame()
{
	Octets b(70000);
	const ssize_t n = read(guest, b.data(), b.size());
	b.resize(n > 0 ? (size_t)n : 0);
	return b;
}

static socklen_t loopback(sockaddr_storage &ss, bool v6, uint16_t port)
{
	memset(&ss, 0, sizeof(ss));
	if (v6) {
		auto *const in6 = reinterpret_cast<sockaddr_in6 *>(&ss);
		in6->sin6_family = AF_INET6, in6->sin6_addr = in6addr_loopback, in6->sin6_port = htons(port);
		return sizeof(*in6);
	}
	auto *const in = reinterpret_cast<sockaddr_in *>(&ss);
	in->sin_family = AF_INET, in->sin_addr.s_addr = htonl(INADDR_LOOPBACK), in->sin_port = htons(port);
	return sizeof(*in);
}

static uint16_t bound_port(int fd, bool v6)
{
	sockaddr_storage ss;
	socklen_t len = loopback(ss, v6, 0);
	uint32_t addr[4];
	uint16_t port = 0;
	CHECK(!bind(fd, reinterpret_cast<sockaddr *>(&ss), len));
	len = sizeof(ss);
	CHECK(!getsockname(fd, reinterpret_cast<sockaddr *>(&ss), &len));
	from_sockaddr(ss, addr, &port);
	return port;
}

Listener::Listener(bool v6, int rcvbuf)
{
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	if (rcvbuf)
		CHECK(!setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf)));
	port = bound_port(fd, v6);
	CHECK(!listen(fd, 64));
}

Listener::~Listener()
{
	close(fd);
}

int Listener::accept()
{
	CHECK(wait_for(fd, POLLIN));
	const int s = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
	CHECK(s >= 0);
	return s;
}

Datagrams::Datagrams(bool six) : v6(six)
{
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	port = bound_port(fd, v6);
}

Datagrams::~Datagrams()
{
	close(fd);
}

void Datagrams::send_to(uint16_t to, const Octets &b)
{
	sockaddr_storage ss;
	const socklen_t len = loopback(ss, v6, to);
	CHECK(sendto(fd, b.data(), b.size(), 0, reinterpret_cast<sockaddr *>(&ss), len) == (ssize_t)b.size());
}

Octets Datagrams::receive(uint16_t *from, int ms)
{
	Octets b(70000);
	sockaddr_storage ss = {};
	socklen_t len = sizeof(ss);
	uint32_t addr[4];
	CHECK(wait_for(fd, POLLIN, ms));
	const ssize_t n = recvfrom(fd, b.data(), b.size(), 0, reinterpret_cast<sockaddr *>(&ss), &len);
	CHECK(n >= 0);
	if (from)
		from_sockaddr(ss, addr, from);
	b.resize((size_t)n);
	return b;
}

Octets tcp_template(bool v6, uint32_t seq)
{
	const size_t l4 = ETH_LEN + (v6 ? 40 : 20);
	Octets b(VNET_LEN + l4 + 20);
	uint8_t *const f = b.data() + VNET_LEN, *const ip = f + ETH_LEN;

	put16(f + 12, v6 ? 0x86dd : 0x0800);
	if (v6) {
		ip[0] = 0x60, ip[6] = 6, ip[7] = 255;
		ip[23] = 1, ip[39] = 2;
	} else {
		ip[0] = 0x45, ip[8] = 255, ip[9] = 6;
		put32(ip + 12, 0x0a000001), put32(ip + 16, 0x0a000002);
	}
	put16(f + l4, 80), put16(f + l4 + 2, 40000);
	put32(f + l4 + 4, seq), put32(f + l4 + 8, 77);
	f[l4 + 12] = 0x50, f[l4 + 13] = 0x10;
	put16(f + l4 + 14, 1000);
	return b;
}

void in_namespace(const std::function<void()> &body)
{
	const pid_t pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK(!unshare(CLONE_NEWNET));
		body();
		_exit(0);
	}
	int status;
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
}

bool wait_for(int fd, short events, int ms)
{
	pollfd p = {fd, events, 0};
	return poll(&p, 1, ms) == 1;
}

Octets read_all(int fd, size_t n)
{
	Octets b(n);
	size_t have = 0;
	while (have < n) {
		CHECK(wait_for(fd, POLLIN, 2000));
		const ssize_t got = read(fd, b.data() + have, n - have);
		CHECK(got >= 0);
		if (!got)
			break;
		have += (size_t)got;
	}
	b.resize(have);
	return b;
}

std::string text(const Octets &b)
{
	return std::string(b.begin(), b.end());
}

Octets octets(const std::string &s)
{
	return Octets(s.begin(), s.end());
}

bool l4_sum_ok(const Octets &frame, size_t l4, uint8_t protocol)
{
	const uint8_t *const ip = frame.data() + ETH_LEN;
	const bool v6 = ip[0] >> 4 == 6;
	/* what IP says, not what the frame has: padding does not count */
	const size_t len = v6 ? ETH_LEN + 40 + get16(ip + 4) - l4 : ETH_LEN + get16(ip + 2) - l4;
	const uint64_t pseudo = sum_pseudo(ip, v6, protocol, (uint32_t)len);
	return sum_fold(sum_octets(frame.data() + l4, len, pseudo)) == 0xffff;
}

int main(int argc, char **argv)
{
	for (const Test &t : tests()) {
		if (argc > 1 && !strstr(t.name, argv[1]))
			continue;
		begin_sequence();
		t.run();
		printf("ok %s\n", t.name);
		fflush(stdout);
	}
	printf("%zu tests\n", tests().size());
}
