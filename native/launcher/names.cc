#include "names.h"

#include "helper.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

struct Outcome {
	int err = 0;
	char text[256] = "";
	Identity who;
};

/* Longest entry, octets: groups may have many members */
constexpr size_t ENTRY_MAX = 16 << 20;

} // namespace

/** `get`: getpwnam_r() or getgrnam_r(); `strings`: what `entry` points to. */
template <typename Entry, typename Get>
static Fault find(Get get, const char *what, const std::string &name, Entry &entry, std::vector<char> &strings)
{
	Entry *found = nullptr;
	int err;
	do {
		strings.resize(strings.empty() ? 4096 : strings.size() * 4);
		err = get(name.c_str(), &entry, strings.data(), strings.size(), &found);
	} while (err == ERANGE && strings.size() < ENTRY_MAX);
	if (found)
		return {};
	// How a source says that it does not have one (getpwnam(3))
	if (err == 0 || err == ENOENT || err == ESRCH || err == EBADF || err == EPERM)
		return { ENOENT, std::string("no such ") + what + ": " + name };
	return fault(err, std::string("Cannot look up ") + what + " " + name);
}

static Fault findBoth(const std::string &user, const std::string &group, Identity &who)
{
	std::vector<char> strings;
	if (!user.empty()) {
		passwd p;
		if (Fault f = find(getpwnam_r, "user", user, p, strings))
			return f;
		who = { p.pw_uid, p.pw_gid };
	}
	if (!group.empty()) {
		struct group g;
		if (Fault f = find(getgrnam_r, "group", group, g, strings))
			return f;
		who.gid = g.gr_gid;
	}
	return {};
}

static void help(const Launch &launch, int line, const std::string &user, const std::string &group)
{
	keepOnly(0);
	// What a source of names makes of the caller's environment is not ours to say, and we may have rights that he has not
	clearenv();
	restoreSignals(launch); // ^C is for us as well
	Outcome o = {};
	const Fault f = findBoth(user, group, o.who);
	o.err = f.err;
	strncpy(o.text, f.text.c_str(), sizeof(o.text) - 1);
	(void)writeAll(line, { reinterpret_cast<const char *>(&o), sizeof(o) });
}

Fault lookUp(const Launch &launch, const std::string &user, const std::string &group, Identity &who)
{
	Fd ours;
	pid_t pid;
	if (Fault f = startHelper(ours, pid, [&](int line) { help(launch, line, user, group); }))
		return f;
	Outcome o;
	ssize_t n = -1;
	const int64_t deadline = monotonicMs() + LOOKUP_MS;
	for (int64_t left = LOOKUP_MS; left > 0; left = deadline - monotonicMs()) {
		pollfd p = { ours.get(), POLLIN, 0 };
		if (poll(&p, 1, static_cast<int>(left)) > 0) {
			n = recv(ours.get(), &o, sizeof(o), 0);
			break;
		}
	}
	const bool late = n < 0;
	kill(pid, SIGKILL);
	awaitEnd(pid);
	const std::string asked = user + (group.empty() ? "" : ":" + group);
	if (late)
		return { ETIMEDOUT, "Cannot look up " + asked + ": no answer from the name service within " + std::to_string(LOOKUP_MS / 1000) +
				    " s (nsswitch.conf(5) says which it is; a number is not looked up)" };
	if (n != sizeof(o))
		return { ECHILD, "The process that looked up " + asked + " ended before its time" };
	who = o.who;
	return { o.err, o.text };
}
