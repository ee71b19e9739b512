// crowd - what little there is to be sent while much is under way. Compiled by bench/run.ts with g++.
//
//   crowd server ADDR PORT    sends for ever to whoever connects and says D, drops what others send; prints "ready"
//   crowd down|up ADDR PORT STREAMS SECONDS ECHO_PORT
//                             STREAMS connections that download or upload; once all of them are under way, for SECONDS, each
//                             10 ms: a ping (RFC 792; needs CAP_NET_RAW), an octet there and back over a connection that
//                             stays, and one over a new one (to rr's server)
//
// Prints "under way", then one JSON object: octets in those seconds, seconds; ping, echo, connect: lost and n, mean, p50, p99,
// min, max in microseconds. What takes longer than the receive time-out of 2 s is lost, and counts as that long.
#include "probe.h"

#include <csignal>
#include <fcntl.h>
#include <netinet/ip_icmp.h>
#include <string>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace {

constexpr double PACE = 10e3;
char buf[1 << 17];

[[noreturn]] void server(const Address &a)
{
	const int ep = epoll_create1(0), tcp = listening(a, ep);
	std::vector<bool> sends;

	ready();
	for (;;) {
		epoll_event ev[64];
		const int n = epoll_wait(ep, ev, 64, -1);
		for (int i = 0; i < n; i++) {
			const int fd = ev[i].data.fd;
			if (fd == tcp) {
				const int c = accept4(tcp, nullptr, nullptr, SOCK_NONBLOCK);
				if (c < 0)
					continue;
				sends.resize(std::max<size_t>(sends.size(), static_cast<size_t>(c) + 1));
				sends[static_cast<size_t>(c)] = false;
				watch(ep, c, EPOLLIN);
				continue;
			}
			ssize_t r = 1;
			if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
				r = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
				if (r > 0 && buf[0] == 'D' && !sends[static_cast<size_t>(fd)]) {
					sends[static_cast<size_t>(fd)] = true;
					memset(buf, 'U', sizeof buf);
					epoll_event e{};
					e.events = EPOLLIN | EPOLLOUT;
					e.data.fd = fd;
					epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
				}
			}
			if (r > 0 && ev[i].events & EPOLLOUT)
				r = send(fd, buf, sizeof buf, MSG_NOSIGNAL | MSG_DONTWAIT);
			if (r == 0 || (r < 0 && errno != EAGAIN))
				close(fd);
		}
	}
}

/** What the processes of the client tell each other. */
struct Shared {
	volatile uint64_t octets;
	volatile int started;
};

[[noreturn]] void bulk(const Address &a, int streams, bool down, Shared &shared)
{
	const int ep = epoll_create1(0);
	std::vector<bool> begun(static_cast<size_t>(streams) + 64);

	memset(buf, down ? 'D' : 'U', sizeof buf);
	for (int i = 0; i < streams; i++) {
		const int s = connected(a, SOCK_STREAM);
		fcntl(s, F_SETFL, O_NONBLOCK);
		/* What was not sent would be kept for minutes behind our end, and slow the next sample by tcp_mem's limits (tcp(7)) */
		const linger none = {1, 0};
		must(setsockopt(s, SOL_SOCKET, SO_LINGER, &none, sizeof none), "SO_LINGER");
		if (down)
			must(static_cast<int>(send(s, buf, 1, MSG_NOSIGNAL)), "send");
		begun.resize(std::max<size_t>(begun.size(), static_cast<size_t>(s) + 1));
		watch(ep, s, down ? EPOLLIN : EPOLLOUT);
	}
	for (;;) {
		epoll_event ev[64];
		const int n = epoll_wait(ep, ev, 64, -1);
		for (int i = 0; i < n; i++) {
			const int fd = ev[i].data.fd;
			const ssize_t r = down ? recv(fd, buf, sizeof buf, 0) : send(fd, buf, sizeof buf, MSG_NOSIGNAL);
			if (r == 0 || (r < 0 && errno != EAGAIN))
				die("bulk");
			if (r < 0)
				continue;
			shared.octets = shared.octets + static_cast<uint64_t>(r);
			if (!begun[static_cast<size_t>(fd)]) {
				begun[static_cast<size_t>(fd)] = true;
				shared.started = shared.started + 1;
			}
		}
	}
}

uint16_t checksum(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;
	for (size_t i = 0; i + 1 < n; i += 2)
		sum += static_cast<uint32_t>(p[i] << 8 | p[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(static_cast<uint16_t>(~sum));
}

/** An echo request, and its reply. */
bool ping(int s, uint16_t seq)
{
	struct {
		icmphdr h;
		uint8_t data[56];
	} m{};
	m.h.type = ICMP_ECHO;
	m.h.un.echo.id = htons(static_cast<uint16_t>(getpid()));
	m.h.un.echo.sequence = htons(seq);
	m.h.checksum = checksum(reinterpret_cast<const uint8_t *>(&m), sizeof m);
	if (send(s, &m, sizeof m, 0) < 0 && errno != ENOBUFS)
		die("ping");
	const double until = now() + 2e6;
	while (now() < until) {
		uint8_t in[1500];
		const ssize_t r = recv(s, in, sizeof in, 0);
		if (r < 0)
			return false;
		icmphdr h;
		const size_t at = (in[0] & 15u) * 4u;
		if (static_cast<size_t>(r) < at + sizeof h)
			continue;
		memcpy(&h, in + at, sizeof h);
		if (h.type == ICMP_ECHOREPLY && h.un.echo.id == m.h.un.echo.id && h.un.echo.sequence == m.h.un.echo.sequence)
			return true;
	}
	return false;
}

/** `once` each PACE until `end`, as JSON; in a process of its own, which writes it to the pipe that is returned. */
template <typename Once> FILE *probe(double end, Once once)
{
	int p[2];
	must(pipe(p), "pipe");
	if (must(fork(), "fork")) {
		close(p[1]);
		return fdopen(p[0], "r");
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(p[1], 1);
	std::vector<double> v;
	int lost = 0;
	for (double t = now(); t < end; t = std::max(t + PACE, now())) {
		/* The clock is read once: what is left would be negative, and so an hour, where we lost the processor in between. */
		for (double left; (left = t - now()) > 0;)
			usleep(static_cast<useconds_t>(left) + 1);
		lost += !once();
		v.push_back(now() - t);
	}
	printf("{\"lost\":%d,", lost);
	print("", v);
	puts("}");
	fflush(stdout);
	_exit(0);
}

std::string all(FILE *f)
{
	char line[512] = "";
	if (!fgets(line, sizeof line, f))
		die("a probe ended early");
	return std::string(line, strcspn(line, "\n"));
}

void client(bool down, const char *host, const char *port, int streams, double seconds, const char *echo_port)
{
	const Address a = parse(host, port), echo = parse(host, echo_port);
	auto &shared = *static_cast<Shared *>(
		mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), stays = connected(echo, SOCK_STREAM);
	const timeval limit{2, 0};
	uint16_t seq = 0;

	must(raw, "raw socket");
	setsockopt(raw, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	must(connect(raw, reinterpret_cast<const sockaddr *>(&a.ss), a.len), "connect");
	if (!exchange(stays) || !ping(raw, seq++))
		die("nothing comes back");
	const pid_t load = streams ? must(fork(), "fork") : -1;
	if (!load) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		bulk(a, streams, down, shared);
	}
	for (int i = 0; shared.started < streams && i < 20'000; i++)
		usleep(1000);
	if (shared.started < streams)
		die("not all streams began");
	puts("under way");
	fflush(stdout);
	const uint64_t before = shared.octets;
	const double began = now(), end = began + seconds * 1e6;
	FILE *const pings = probe(end, [&] { return ping(raw, seq++); });
	FILE *const echoes = probe(end, [&] {
		if (exchange(stays))
			return true;
		close(stays); /* its answer may yet come */
		stays = connected(echo, SOCK_STREAM);
		return false;
	});
	FILE *const connects = probe(end, [&] {
		const int s = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
		setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
		const bool got = !connect(s, reinterpret_cast<const sockaddr *>(&echo.ss), echo.len) && exchange(s);
		close(s);
		return got;
	});
	while (now() < end)
		usleep(1000);
	const uint64_t octets = shared.octets - before;
	const double took = (now() - began) / 1e6;
	const std::string p = all(pings), e = all(echoes), c = all(connects);
	if (load > 0 && waitpid(load, nullptr, WNOHANG))
		die("the load ended early");
	if (load > 0)
		kill(load, SIGKILL);
	printf("{\"octets\":%llu,\"seconds\":%.3f,\"ping\":%s,\"echo\":%s,\"connect\":%s}\n",
	       static_cast<unsigned long long>(octets), took, p.c_str(), e.c_str(), c.c_str());
}

} // namespace

int main(int argc, char **argv)
{
	const std::string mode = argc > 1 ? argv[1] : "";
	if (mode == "server" && argc == 4)
		server(parse(argv[2], argv[3]));
	else if ((mode == "down" || mode == "up") && argc == 7)
		client(mode == "down", argv[2], argv[3], atoi(argv[4]), atof(argv[5]), argv[6]);
	else {
		fputs("usage: crowd server ADDR PORT | down|up ADDR PORT STREAMS SECONDS ECHO_PORT\n", stderr);
		return 1;
	}
	return 0;
}
