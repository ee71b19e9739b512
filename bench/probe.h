/* What the bench's clients and servers share: addresses, sockets, the clock, figures. */
#ifndef PASST_BENCH_PROBE_H
#define PASST_BENCH_PROBE_H

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <vector>

[[noreturn]] inline void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

inline int must(int r, const char *what)
{
	if (r < 0)
		die(what);
	return r;
}

/** Microseconds of the monotonic clock. */
inline double now()
{
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

struct Address {
	sockaddr_storage ss{};
	socklen_t len = 0;
};

inline Address parse(const char *host, const char *port)
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

inline void print(const char *prefix, std::vector<double> v)
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
inline int bound(int type, const Address &a)
{
	const int s = must(socket(a.ss.ss_family, type | SOCK_NONBLOCK, 0), "socket"), on = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	must(bind(s, reinterpret_cast<const sockaddr *>(&a.ss), a.len), "bind");
	return s;
}

inline void watch(int ep, int fd, uint32_t events)
{
	epoll_event e{};
	e.events = events;
	e.data.fd = fd;
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e), "epoll_ctl");
}

/** Watched for connections by `ep`. */
inline int listening(const Address &a, int ep)
{
	const int tcp = bound(SOCK_STREAM, a);
	must(listen(tcp, 1024), "listen");
	watch(ep, tcp, EPOLLIN);
	return tcp;
}

/** Whoever started this server waits for the word. */
inline void ready()
{
	puts("ready");
	fflush(stdout);
}

inline int connected(const Address &a, int type)
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
inline bool exchange(int s)
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

#endif
