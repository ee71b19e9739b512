#include "resolver.h"

#include "confine.h"
#include "helper.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

static constexpr char FILE_NAME[] = "/etc/resolv.conf";
static constexpr size_t FILE_MAX = 64 << 10;
/* Symbolic links on the way: as many as the kernel follows (path_resolution(7)) */
static constexpr int LINKS_MAX = 40;
/* ms that a writer has to come to its end; the file is not read more often */
static constexpr int SETTLE_MS = 200;
/* ms between two looks where the kernel gives no watches (inotify(7), max_user_instances) */
static constexpr int LOOK_MS = 5000;
static constexpr uint32_t CHANGES =
	IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF;

namespace {

/** A watch; `name`: the entry of a directory that matters, '' where the watched thing itself does. */
struct Watched {
	int wd = -1;
	std::string name;
};

class Watch {
public:
	Watch() : fd_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {}
	int fd() const { return fd_.get(); }
	/** Every directory that leads to the file by name, the links on the way, the file itself. False: something cannot be watched. */
	bool begin();
	/** Read what has happened. True: the file may be another one. */
	bool happened();

private:
	bool add(const std::string &path, const std::string &name);
	bool addNearest(std::string dir, std::string name);

	Fd fd_;
	std::vector<Watched> watched_;
};

} // namespace

bool Watch::add(const std::string &path, const std::string &name)
{
	const int wd = inotify_add_watch(fd_.get(), path.c_str(), CHANGES);
	if (wd >= 0)
		watched_.push_back({ wd, name });
	return wd >= 0;
}

/** Where the directory is not there, the nearest one above it, in which the next on the way has to appear. */
bool Watch::addNearest(std::string dir, std::string name)
{
	while (!add(dir.empty() ? "/" : dir, name)) {
		if (dir.empty() || (errno != ENOENT && errno != ENOTDIR))
			return false;
		const size_t slash = dir.rfind('/');
		name = dir.substr(slash + 1);
		dir.resize(slash);
	}
	return true;
}

bool Watch::begin()
{
	if (!fd_)
		return false;
	for (const Watched &w : watched_)
		inotify_rm_watch(fd_.get(), w.wd);
	watched_.clear();
	std::string path = FILE_NAME;
	for (int i = 0; i < LINKS_MAX; i++) {
		const size_t slash = path.rfind('/');
		const std::string dir = path.substr(0, slash), name = path.substr(slash + 1);
		if (!addNearest(dir, name))
			return false;
		char target[PATH_MAX];
		const ssize_t n = readlink(path.c_str(), target, sizeof(target) - 1);
		if (n <= 0)
			break;
		target[n] = '\0';
		path = target[0] == '/' ? target : dir + "/" + target;
	}
	// By another name of it as well, as where it is mounted alone
	return add(path, "") || errno == ENOENT || errno == ENOTDIR;
}

bool Watch::happened()
{
	alignas(inotify_event) char buffer[4096];
	bool ours = false;
	for (ssize_t n; (n = read(fd_.get(), buffer, sizeof(buffer))) > 0;)
		for (ssize_t at = 0; at < n;) {
			inotify_event e;
			memcpy(&e, buffer + at, sizeof(e));
			const char *const name = e.len ? buffer + at + sizeof(e) : "";
			at += static_cast<ssize_t>(sizeof(e) + e.len);
			const bool self = e.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT);
			ours |= (e.mask & IN_Q_OVERFLOW) != 0;
			for (const Watched &w : watched_)
				ours |= w.wd == e.wd && (self || w.name.empty() || w.name == name);
		}
	return ours;
}

/** '' for what is no message. */
static std::string readFile()
{
	std::string text(FILE_MAX + 1, '\0');
	size_t have = 0;
	const Fd fd(open(FILE_NAME, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
	for (ssize_t n = 1; fd && n > 0 && have < text.size(); have += n > 0 ? static_cast<size_t>(n) : 0)
		n = read(fd.get(), &text[have], text.size() - have);
	text.resize(have > FILE_MAX ? 0 : have);
	return text;
}

/** False: nobody is at the other end any more. */
static bool pause(int line, int watch, int ms)
{
	pollfd p[] = { { line, 0, 0 }, { watch, POLLIN, 0 } };
	poll(p, watch < 0 ? 1 : 2, ms);
	return !p[0].revents;
}

static void serve(int line, const std::optional<Identity> &who)
{
	// No signal of a terminal may end it; the engine's end does
	setsid();
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, nullptr);
	(void)!chdir("/");
	const int size = 2 * FILE_MAX;
	setsockopt(line, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	Watch watch;
	if (who && become(*who))
		return;
	keepOnly(0);
	if (confineResolver())
		return;
	std::string last;
	for (bool look = true;;) {
		bool whole = true;
		if (look) {
			whole = watch.begin();
			std::string text = readFile();
			// An engine that does not read keeps what it has; this one is told again
			if (!text.empty() && text != last && send(line, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
				last = std::move(text);
		}
		if (!pause(line, watch.fd(), whole && watch.fd() >= 0 ? -1 : LOOK_MS))
			return;
		look = watch.fd() < 0 || watch.happened() || !whole;
		// Whoever writes has time to write all of it
		if (look && !pause(line, -1, SETTLE_MS))
			return;
	}
}

Fault watchResolver(const std::optional<Identity> &who, Fd &theirs)
{
	pid_t pid;
	return startHelper(theirs, pid, [&](int line) { serve(line, who); });
}
