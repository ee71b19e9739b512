#include "find.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <dirent.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <vector>

/** For a server that has bound its socket and does not listen yet, or has not taken the client before us off its queue. */
static constexpr int64_t PATIENCE_MS = 2000;
static constexpr int AGAIN_MS = 10;
static constexpr std::string_view SUFFIX = ".repair";

/** errno 0: connected. */
static int tryConnect(const std::string &path, Fd &sock)
{
	sockaddr_un address{};
	if (path.size() >= sizeof address.sun_path)
		return ENAMETOOLONG;
	address.sun_family = AF_UNIX;
	path.copy(address.sun_path, sizeof address.sun_path - 1);
	// A full queue is EAGAIN
	sock.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (!sock || connect(sock.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) < 0)
		return errno;
	return 0;
}
static bool mayPass(int err)
{
	return err == ECONNREFUSED || err == EAGAIN || err == EINTR;
}

static Found failed(const Fault &f, Status status = FAILED)
{
	say(f.text);
	return { {}, status };
}

static Found connectTo(const std::string &path)
{
	Found f;
	for (const int64_t end = monotonicMs() + PATIENCE_MS;; poll(nullptr, 0, AGAIN_MS)) {
		const int err = tryConnect(path, f.sock);
		if (err == 0)
			return f;
		if (err == ENAMETOOLONG)
			return failed(fault(err, path), USAGE);
		if (!mayPass(err) || monotonicMs() >= end)
			return failed(fault(err, "Cannot connect to " + path));
	}
}

static bool isSocket(const std::string &path)
{
	struct stat s = {};
	return stat(path.c_str(), &s) == 0 && S_ISSOCK(s.st_mode);
}

/** A directory's sockets with our suffix. What did not answer for a while is left behind by somebody, and is not tried any more. */
class Candidates {
public:
	explicit Candidates(const std::string &dir) : dir_(dir) {}
	/** Tried from now on, anew if it was there before. */
	void add(const std::string &name)
	{
		if (name.size() < SUFFIX.size() || name.compare(name.size() - SUFFIX.size(), SUFFIX.size(), SUFFIX) != 0)
			return;
		all_.erase(std::remove_if(all_.begin(), all_.end(), [&](const One &c) { return c.name == name; }), all_.end());
		all_.push_back({ name, monotonicMs() + PATIENCE_MS });
	}
	int look()
	{
		DIR *d = opendir(dir_.c_str());
		if (!d)
			return errno;
		while (const dirent *e = readdir(d))
			add(e->d_name);
		closedir(d);
		return 0;
	}
	/** Whether one of them has let us in. */
	bool connect(Fd &sock)
	{
		for (size_t i = 0; i < all_.size();) {
			const std::string path = dir_ + "/" + all_[i].name;
			const int err = isSocket(path) ? tryConnect(path, sock) : ENOTSOCK;
			if (err == 0)
				return true;
			if (mayPass(err) && monotonicMs() < all_[i].end) {
				i++;
				continue;
			}
			if (err != ENOTSOCK)
				say(fault(err, "Not connected to " + path).text);
			all_.erase(all_.begin() + static_cast<std::ptrdiff_t>(i));
		}
		return false;
	}
	bool none() const { return all_.empty(); }

private:
	struct One {
		std::string name;
		int64_t end = 0;
	};
	const std::string dir_;
	std::vector<One> all_;
};

/** Names that a read of the watch brought; errno. The kernel pads them with NULs. */
static int readEvents(int watch, Candidates &names)
{
	alignas(inotify_event) char buffer[16 * (sizeof(inotify_event) + NAME_MAX + 1)];
	const ssize_t n = read(watch, buffer, sizeof buffer);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : errno;
	for (const char *p = buffer; p < buffer + n;) {
		inotify_event e;
		memcpy(&e, p, sizeof e);
		const char *name = p + sizeof e;
		if (e.mask & IN_Q_OVERFLOW) {
			if (const int err = names.look())
				return err;
		} else if (e.mask & (IN_IGNORED | IN_DELETE_SELF))
			return ENOENT;
		else
			names.add(std::string(name, strnlen(name, e.len)));
		p = name + e.len;
	}
	return 0;
}

static Found findIn(const std::string &dir)
{
	Candidates names(dir);
	// Watched first: what appears between the two looks is seen twice, not never
	const Fd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
	if (!watch || inotify_add_watch(watch.get(), dir.c_str(), IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_ONLYDIR) < 0)
		return failed(fault(errno, "Cannot watch " + dir));
	if (const int err = names.look())
		return failed(fault(err, "Cannot read " + dir));
	for (Found f;;) {
		if (names.connect(f.sock))
			return f;
		pollfd p = { watch.get(), POLLIN, 0 };
		if (poll(&p, 1, names.none() ? -1 : AGAIN_MS) > 0)
			if (const int err = readEvents(watch.get(), names))
				return failed(fault(err, dir));
	}
}

Found findPasst(const std::string &path)
{
	struct stat s = {};
	if (stat(path.c_str(), &s) < 0)
		return failed(fault(errno, path));
	if (S_ISDIR(s.st_mode))
		return findIn(path);
	return S_ISSOCK(s.st_mode) ? connectTo(path) : failed({ ENOTSOCK, path + ": neither a socket nor a directory" }, USAGE);
}
