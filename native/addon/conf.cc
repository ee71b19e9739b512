#include "conf.h"
#include "ctl.h"
#include "sock.h"
#include "../common/unixsocket.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace passt {

enum : uint32_t { READ_MAX = 4096 };
/** Clients that are accepted at once, and that wait: who comes again and again takes no turn for itself. */
enum : int { AT_ONCE = 8, BACKLOG = 64 };
/** What a user is called that has no name in our user namespace (user_namespaces(7)). */
enum : uid_t { UNKNOWN_USER = 65534 };

Conf::~Conf()
{
	for (const int fd : streams) {
		if (fd >= 0)
			close(fd);
	}
	for (const int fd : {listener, file, api_listener}) {
		if (fd >= 0)
			close(fd);
	}
}

/** Does root have a name in our user namespace? */
static bool root_has_a_name()
{
	FILE *const f = fopen("/proc/self/uid_map", "re");
	unsigned long inside, outside, n;
	bool has = !f;

	while (f && fscanf(f, "%lu %lu %lu", &inside, &outside, &n) == 3)
		has |= outside == 0 && n;
	if (f)
		fclose(f);
	return has;
}

Fault Conf::listen(const char *path)
{
	int fd = -1;
	uint32_t mode = 0;

	if (Fault r = listen_at_path(path, fd, mode, {SOCK_STREAM, 0600, BACKLOG}); r.err)
		return r;
	if (const int e = adopt(fd, path)) {
		close(fd);
		return {e, ""};
	}
	return {};
}

int Conf::adopt(int fd, const char *path)
{
	/* By edges: whoever has to wait wakes nobody again and again */
	if (const int e = core.adopt(listener, fd, EPOLLIN | EPOLLET, ID_CONF))
		return e;
	owner = geteuid(); /* later we are somebody else */
	root_is_here = root_has_a_name();
	file = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return 0;
}

int Conf::adopt_api(int fd, int listens_at)
{
	if (const int e = core.adopt(streams[API], fd, EPOLLIN, ID_CONF_CLIENT - API))
		return e;
	api_listener = listens_at;
	return 0;
}

int Conf::serve_api(bool keep)
{
	const char begin = '\n';

	if (streams[API] < 0 || api_listener < 0)
		return ENOTCONN;
	if (send_with(streams[API], &begin, sizeof(begin), &api_listener, 1) < 0)
		return errno;
	if (!keep)
		close(api_listener), api_listener = -1;
	return 0;
}

int receive_listener(int stream)
{
	std::vector<int> passed;
	uint8_t begin;
	pollfd p = {stream, POLLIN, 0};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		continue;
	if (ctl_read(stream, &begin, sizeof(begin), passed) == sizeof(begin) && passed.size() == 1)
		return passed[0];
	for (const int fd : passed)
		close(fd);
	return -1;
}

/**
 * The socket's mode keeps others out already, but not after a chmod. In a user namespace of ours nobody else has a name, root neither: there
 * it is the mode that tells root from others.
 */
bool Conf::may_come(uid_t uid) const
{
	struct stat st;

	if (uid == owner || !uid)
		return true;
	return !root_is_here && uid == UNKNOWN_USER && file >= 0 && !fstat(file, &st) && S_ISSOCK(st.st_mode) &&
	       !(st.st_mode & (S_IRWXG | S_IRWXO));
}

void Conf::accepting(bool on)
{
	paused = !on;
	if (on)
		rearm();
}

/** Whoever waits is an edge anew. */
void Conf::rearm()
{
	if (listener >= 0)
		core.watch(EPOLL_CTL_MOD, listener, EPOLLIN | EPOLLET, ID_CONF);
}

void Conf::resume()
{
	if (pause.over(*rings.clock))
		rearm();
}

void Conf::accept_some()
{
	int accepted = 0;

	for (uint32_t i = 0; i < CONF_CLIENTS && accepted < AT_ONCE && !paused; i++) {
		if (streams[i] >= 0)
			continue;
		const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (is_want(errno))
				pause.begin(*rings.clock);
			return;
		}
		accepted++;
		if (core.watch(EPOLL_CTL_ADD, fd, EPOLLIN, ID_CONF_CLIENT - i)) {
			close(fd);
			continue;
		}
		streams[i] = fd;
		ucred who = {};
		const bool known = read_peer(fd, who);
		auto &e = results.add<ev::ConfClient>(i, 0);
		e.process_id = (uint32_t)who.pid;
		e.flags = known && may_come(who.uid) ? (uint32_t)CONF_ALLOWED : 0;
	}
	if (accepted == AT_ONCE)
		rearm();
}

void Conf::end(uint32_t client)
{
	if (client >= CONF_CLIENTS || streams[client] < 0)
		return;
	core.drop(streams[client]);
	rearm();
}

void Conf::read_from(uint32_t stream)
{
	const int fd = streams[stream];

	if (fd < 0 || !rings.room() || rings.rx_left() < READ_MAX)
		return; /* asked again */
	const uint32_t at = rings.rx_next();
	const ssize_t n = recv(fd, rings.slab + at, READ_MAX, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* The end, or an error, which is one as well */
	if (n <= 0)
		core.unwatch(fd);
	const auto tell = [&](auto &e) { e.off = at, e.len = n > 0 ? (uint32_t)n : 0; };
	if (stream == API)
		tell(rings.post<ev::ApiOctets>(0));
	else
		tell(rings.post<ev::ConfOctets>(stream));
	rings.rx_take(n > 0 ? (uint32_t)n : 0);
}

/** All of it goes into the socket's buffer, or it is over. */
void Conf::send_to(uint32_t stream, const fx::Octets &e)
{
	if (stream >= STREAMS || streams[stream] < 0)
		return;
	const int fd = streams[stream];
	if (!rings.in_slab(e.off, e.len) || send(fd, rings.slab + e.off, e.len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)e.len)
		shutdown(fd, SHUT_RDWR); /* its end is read */
}

/** Its process ends, and whoever connects hears that nobody is there. */
void Conf::end_api()
{
	core.drop(streams[API]);
	if (api_listener >= 0)
		close(api_listener), api_listener = -1;
}

void Conf::give_away()
{
	core.drop(listener);
	end_api();
}

void Conf::effect(const Record &e)
{
	const auto &o = as<fx::Octets>(e);
	if (as<Head>(e).kind == EF_API_SEND && !o.len)
		end_api();
	else if (as<Head>(e).kind == EF_API_SEND)
		send_to(API, o);
	else if (as<Head>(e).kind == EF_CONF_SEND)
		send_to(o.handle < CONF_CLIENTS ? o.handle : STREAMS, o);
	else
		end(as<Head>(e).handle);
}

bool Conf::ready(uint64_t what)
{
	if (what == ID_CONF) {
		if (listener >= 0)
			accept_some();
		return true;
	}
	if (what > ID_CONF_CLIENT || what <= ID_CONF_CLIENT - STREAMS)
		return false;
	read_from((uint32_t)(ID_CONF_CLIENT - what));
	return true;
}

} // namespace passt
