/* A kernel behaviour that the addon relies on is checked by one program here: exit 0 = as expected, 1 = not, 77 = this
 * kernel lacks it (the addon then uses its fall-back). Loopback only. `native/platform/run` builds and runs them all. */
#ifndef PASST_PLATFORM_CHECK_H
#define PASST_PLATFORM_CHECK_H

#include <arpa/inet.h>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(cond)                                                                                                            \
	do {                                                                                                                   \
		if (!(cond)) {                                                                                                 \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, errno);                           \
			exit(1);                                                                                               \
		}                                                                                                              \
	} while (0)

/** A connected TCP pair over 127.0.0.1 or ::1. */
static inline void tcp_pair(int family, int out[2])
{
	sockaddr_storage ss = {};
	socklen_t len = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);

	ss.ss_family = (sa_family_t)family;
	if (family == AF_INET)
		((sockaddr_in *)&ss)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((sockaddr_in6 *)&ss)->sin6_addr = in6addr_loopback;
	const int l = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l < 0 || bind(l, (sockaddr *)&ss, len))
		exit(77); /* family absent */
	CHECK(!listen(l, 1) && !getsockname(l, (sockaddr *)&ss, &len));
	out[0] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(!connect(out[0], (sockaddr *)&ss, len));
	out[1] = accept(l, nullptr, nullptr);
	CHECK(out[1] >= 0);
	close(l);
}

/** Wait for `events` on `fd`, at most a second. */
static inline bool wait_for(int fd, short events)
{
	pollfd p = {fd, events, 0};
	return poll(&p, 1, 1000) == 1;
}

#endif
