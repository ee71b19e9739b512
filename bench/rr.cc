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
#include "probe.h"

#include <poll.h>
#include <string>
#include <sys/epoll.h>
#include <sys/wait.h>

namespace {

[[noreturn]] void server(const Address &a)
{
	const int ep = epoll_create1(0), tcp = listening(a, ep), udp = bound(SOCK_DGRAM, a);
	watch(ep, udp, EPOLLIN);
	ready();
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
				watch(ep, c, EPOLLIN);
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
