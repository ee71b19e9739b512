#include "notify.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Where a manager expects more signs of life than that, it gets that many. Longer intervals: a day is as good as none */
static constexpr unsigned long long LIFE_MIN_MS = 10, LIFE_MAX_MS = 86'400'000;

/** 0: it is none. */
static unsigned long long numberOf(const char *text)
{
	const size_t digits = text ? strspn(text, "0123456789") : 0;
	return digits && digits < 19 && !text[digits] ? strtoull(text, nullptr, 10) : 0;
}

/** ms; 0: none are expected, or not of us. */
static uint32_t lifeInterval()
{
	const unsigned long long us = numberOf(getenv("WATCHDOG_USEC"));
	const char *pid = getenv("WATCHDOG_PID");
	if (us == 0 || (pid && numberOf(pid) != static_cast<unsigned long long>(getpid())))
		return 0;
	return static_cast<uint32_t>(std::clamp(us / 2000, LIFE_MIN_MS, LIFE_MAX_MS));
}

void Notifier::open()
{
	// With capabilities of a file we have rights that whoever wrote the environment has not
	const char *path = getauxval(AT_SECURE) ? nullptr : getenv("NOTIFY_SOCKET");
	sockaddr_un address = { AF_UNIX, {} };
	const size_t len = path ? strlen(path) : 0;
	if (len < 2 || len >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@') // of the abstract name space (unix(7))
		address.sun_path[0] = '\0';
	Fd s(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (!s || connect(s.get(), reinterpret_cast<sockaddr *>(&address), static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + len)) < 0)
		return;
	socket_ = std::move(s);
	lifeMs_ = lifeInterval();
}

void Notifier::say(const std::string &assignments) const
{
	if (!socket_)
		return;
	iovec text = { const_cast<char *>(assignments.data()), assignments.size() };
	msghdr m = {};
	m.msg_iov = &text;
	m.msg_iovlen = 1;
	(void)!sendmsg(socket_.get(), &m, MSG_NOSIGNAL); // the call that launcher-calls.def has
}
