// rr - round trips, connections and start-up times, measured close to the kernel. Compiled by bench/run.ts with g++.
//
//   rr server ADDR PORT              echo over TCP and UDP; prints "ready"
//   rr tcp-rr ADDR PORT COUNT WARM IDLE     one connection, one octet there and back, COUNT times
//   rr udp-rr ADDR PORT COUNT WARM IDLE     one datagram there and back
//   rr tcp-crr ADDR PORT COUNT WARM IDLE    connect, one octet there and back, close
//   rr startup COUNT CMD [ARG...]           runs CMD; time to its first output and to its end
//
// Clients first do nothing for IDLE ms and WARM exchanges unmeasured, then print one JSON object: n, lost, and mean, p50,
// p99, min, max in microseconds. Any failure: message, status 1.
#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/tcp.h>
#include <poll.h>
#include <string>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vector>

namespace {

[[noreturn]] void die(const char *what)
{
	fprintf(stderr, "rr: %s: %s\n", what, strerror(errno));
	exit(1);
}

int must(int r, const char *what)
{
	if (r < 0)
		die(what);
	return r;
}

/** Microseconds of the monotonic clock. */
double now()
{
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

struct Address {
	sockaddr_storage ss{};
	socklen_t len = 0;
};

Address parse(const char *host, const char *port)
{
	Address a;
	auto *v4 = reinterpret_cast<sockaddr_in *>(&a.ss);
	auto *v6 = reinterpret_cast<sockaddr_in6 *>(&a.ss);
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(static_cast<uint16_t>(atoi(port)));
		a.len = sizeof *v4;
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(static_cast<uint16_t>(atoi(port)));
		a.len = sizeof *v6;
	} else {
		errno = EINVAL;
		die(host);
	}
	return a;
}

void print(const char *prefix, std::vector<double> v)
{
	std::sort(v.begin(), v.end());
	double sum = 0;
	for (double x : v)
		sum += x;
	const size_t n = v.size();
	auto at = [&](double q) { return n ? v[std::min(n - 1, static_cast<size_t>(q * static_cast<double>(n)))] : 0; };
	printf("%s\"n\":%zu,\"mean\":%.2f,\"p50\":%.2f,\"p99\":%.2f,\"min\":%.2f,\"max\":%.2f", prefix, n,
	       n ? sum / static_cast<double>(n) : 0, at(0.5), at(0.99), n ? v[0] : 0, n ? v[n - 1] : 0);
}

/** Bound to one address: UDP replies leave from the address that was asked. */
int bound(int type, const Address &a)
{
	const int s = must(socket(a.ss.ss_family, type | SOCK_NONBLOCK, 0), "socket"), on = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	must(bind(s, reinterpret_cast<const sockaddr *>(&a.ss), a.len), "bind");
	return s;
}

[[noreturn]] void server(const Address &a)
{
	const int tcp = bound(SOCK_STREAM, a), udp = bound(SOCK_DGRAM, a), ep = epoll_create1(0);
	must(listen(tcp, 1024), "listen");
	auto watch = [&](int fd) {
		epoll_event e{};
		e.events = EPOLLIN;
		e.data.fd = fd;
		must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e), "epoll_ctl");
	};
	watch(tcp);
	watch(udp);
	puts("ready");
	fflush(stdout);
	static char buf[65536];
	for (;;) {
		epoll_event ev[64];
		const int n = epoll_wait(ep, ev, 64, -1);
		for (int i = 0; i < n; i++) {
			const int fd = ev[i].data.fd;
			if (fd == tcp) {
				const int c = accept4(tcp, nullptr, nullptr, SOCK_NONBLOCK), on = 1;
				if (c < 0)
					continue;
				setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
				watch(c);
			} else if (fd == udp) {
				sockaddr_storage from;
				socklen_t len = sizeof from;
				const ssize_t r = recvfrom(udp, buf, sizeof buf, 0, reinterpret_cast<sockaddr *>(&from), &len);
				if (r >= 0)
					(void)!sendto(udp, buf, static_cast<size_t>(r), 0, reinterpret_cast<sockaddr *>(&from), len);
			} else {
				const ssize_t r = recv(fd, buf, sizeof buf, 0);
				if (r > 0)
					(void)!send(fd, buf, static_cast<size_t>(r), MSG_NOSIGNAL);
				else if (r == 0 || errno != EAGAIN)
					close(fd);
			}
		}
	}
}

int connected(const Address &a, int type)
{
	const int s = must(socket(a.ss.ss_family, type, 0), "socket"), on = 1;
	if (type == SOCK_STREAM)
		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	const timeval limit{2, 0};
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	must(connect(s, reinterpret_cast<const sockaddr *>(&a.ss), a.len), "connect");
	return s;
}

/** One octet there and back. Return: false when nothing came within the receive time-out. */
bool exchange(int s)
{
	char c = 'x';
	if (send(s, &c, 1, MSG_NOSIGNAL) != 1)
		die("send");
	const ssize_t r = recv(s, &c, 1, 0);
	if (r == 1)
		return true;
	if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	if (r == 0)
		errno = ECONNRESET;
	die("recv");
}

void client(const std::string &mode, const Address &a, int count, int warm, int idle)
{
	const bool crr = mode == "tcp-crr";
	const int type = mode == "udp-rr" ? SOCK_DGRAM : SOCK_STREAM;
	poll(nullptr, 0, idle);
	std::vector<double> v;
	v.reserve(static_cast<size_t>(count));
	int lost = 0, s = crr ? -1 : connected(a, type);
	for (int i = -warm; i < count; i++) {
		const double t = now();
		if (crr)
			s = connected(a, type);
		const bool got = exchange(s);
		if (crr)
			close(s);
		if (i < 0)
			continue;
		if (got)
			v.push_back(now() - t);
		else
			lost++;
	}
	printf("{\"mode\":\"%s\",\"lost\":%d,", mode.c_str(), lost);
	print("", v);
	puts("}");
}

void startup(int count, char **argv)
{
	std::vector<double> first, whole;
	for (int i = 0; i < count; i++) {
		int p[2];
		must(pipe(p), "pipe");
		const double t = now();
		const pid_t pid = must(fork(), "fork");
		if (pid == 0) {
			dup2(p[1], 1);
			close(p[0]);
			close(p[1]);
			execvp(argv[0], argv);
			die(argv[0]);
		}
		close(p[1]);
		char buf[256];
		double ready = 0;
		ssize_t r;
		while ((r = read(p[0], buf, sizeof buf)) > 0)
			if (ready == 0)
				ready = now() - t;
		close(p[0]);
		int status = 0;
		waitpid(pid, &status, 0);
		whole.push_back(now() - t);
		if (ready == 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			fprintf(stderr, "rr: run %d: wait status %d, %s output\n", i, status, ready == 0 ? "no" : "some");
			exit(1);
		}
		first.push_back(ready);
	}
	print("{\"mode\":\"startup\",\"first\":{", first);
	print("},\"whole\":{", whole);
	puts("}}");
}

} // namespace

int main(int argc, char **argv)
{
	const std::string mode = argc > 1 ? argv[1] : "";
	if (mode == "server" && argc == 4)
		server(parse(argv[2], argv[3]));
	else if ((mode == "tcp-rr" || mode == "udp-rr" || mode == "tcp-crr") && argc == 7)
		client(mode, parse(argv[2], argv[3]), atoi(argv[4]), atoi(argv[5]), atoi(argv[6]));
	else if (mode == "startup" && argc >= 4)
		startup(atoi(argv[2]), argv + 3);
	else {
		fputs("usage: rr server ADDR PORT | tcp-rr|udp-rr|tcp-crr ADDR PORT COUNT WARM IDLE | startup COUNT CMD...\n", stderr);
		return 1;
	}
	return 0;
}
