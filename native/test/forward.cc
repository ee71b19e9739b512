#include "forward.h"

#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static socklen_t loopback_at(sockaddr_storage &ss, bool v6, uint16_t port)
{
	const uint32_t four[4] = {0, 0, 0xffff, INADDR_LOOPBACK}, six[4] = {0, 0, 0, 1};
	return to_sockaddr(ss, v6 ? six : four, port, 0, v6);
}

static uint16_t port_of(int fd)
{
	sockaddr_storage ss = {};
	socklen_t len = sizeof(ss);
	uint32_t addr[4];
	uint16_t port = 0;
	CHECK(!getsockname(fd, reinterpret_cast<sockaddr *>(&ss), &len));
	from_sockaddr(ss, addr, &port);
	return port;
}

uint16_t free_port()
{
	static uint16_t port = (uint16_t)(10000 + (uint32_t)getpid() % 20000);
	for (;;) {
		port = (uint16_t)(port < 32000 ? port + 1 : 10000);
		sockaddr_storage ss;
		const uint32_t any[4] = {};
		const socklen_t len = to_sockaddr(ss, any, port, 0, true);
		bool ok = true;
		for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
			const int fd = socket(AF_INET6, type, 0);
			ok = ok && !bind(fd, reinterpret_cast<sockaddr *>(&ss), len);
			close(fd);
		}
		if (ok)
			return port;
	}
}

uint16_t listen_at(Rig &r, uint32_t id, Kind kind, bool v6, bool dual)
{
	ListenAt at = {{0, 0, v6 ? 0u : 0xffffu, v6 ? 1u : (uint32_t)INADDR_LOOPBACK}, free_port(), v6 && !dual, false, nullptr};
	if (dual)
		memset(at.addr, 0, sizeof(at.addr));
	CHECK(!r.engine.listeners.listen(id, kind, at));
	return at.port;
}

bool addr_is(const Ev &e, size_t i, bool v6)
{
	return !e[i] && !e[i + 1] && e[i + 2] == (v6 ? 0u : 0xffffu) && e[i + 3] == (v6 ? 1u : (uint32_t)INADDR_LOOPBACK);
}

double cpu_ms()
{
	rusage u;
	getrusage(RUSAGE_SELF, &u);
	const auto ms = [](const timeval &t) { return (double)t.tv_sec * 1e3 + (double)t.tv_usec / 1e3; };
	return ms(u.ru_utime) + ms(u.ru_stime);
}

void check_idle(Rig &r)
{
	bool free = false;
	for (int i = 0; i < 5 && !free; i++) {
		const double cpu = cpu_ms();
		CHECK(r.turn(100).empty());
		free = cpu_ms() - cpu < 10;
	}
	CHECK(free);
}

size_t open_fds()
{
	DIR *const d = opendir("/proc/self/fd");
	size_t n = 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

Client::Client(uint16_t to, bool v6)
{
	sockaddr_storage ss;
	const socklen_t len = loopback_at(ss, v6, to);
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && !connect(fd, reinterpret_cast<sockaddr *>(&ss), len));
	port = port_of(fd);
}

Client::~Client()
{
	close_it();
}

void Client::close_it()
{
	if (fd >= 0)
		close(fd);
	fd = -1;
}

void Client::send(const std::string &s)
{
	CHECK(::send(fd, s.data(), s.size(), MSG_NOSIGNAL) == (ssize_t)s.size());
}

bool Client::reset()
{
	char b[4096];
	CHECK(wait_for(fd, POLLIN));
	while (recv(fd, b, sizeof(b), 0) > 0) {
	}
	return errno == ECONNRESET;
}

bool Client::ended()
{
	char b;
	return wait_for(fd, POLLIN) && recv(fd, &b, 1, 0) == 0;
}

Pair::Pair(Rig &rig, uint16_t port, Listener &l, uint32_t h, uint32_t flags) : r(rig), handle(h), client(port)
{
	const Ev a = r.await(EV_ACCEPTED);
	r.effect({EF_SPLICE, handle, 0, 0, 0xffff, INADDR_LOOPBACK, l.port, 0, a[2], 0, 0, 0, 0, flags});
	CHECK(r.await(EV_SPLICE_CONNECTED)[1] == handle);
	server = l.accept();
}

Pair::~Pair()
{
	if (server >= 0)
		close(server);
	r.effect({EF_SPLICE_RESET, handle});
	r.turn();
}
