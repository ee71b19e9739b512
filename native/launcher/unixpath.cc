#include "unixpath.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

#include "../common/outfile.h"

/* What launcher-calls.def lets through: nothing can be read by it, and no link is followed */
static constexpr int ONLY_THERE = O_PATH | O_NOFOLLOW | O_CLOEXEC;

static Fault why(const std::string &path, const passt::Fault &no)
{
	return { no.err, path + ": " + no.text };
}

Fault findUnixPlace(const std::string &path, UnixPlace &place)
{
	passt::FilePlace p;
	if (const passt::Fault no = passt::find_place(path.c_str(), false, p); no.err)
		return why(path, no);
	char link[64], dir[PATH_MAX];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", p.dir);
	const ssize_t n = readlink(link, dir, sizeof(dir));
	if (n <= 0 || n >= static_cast<ssize_t>(sizeof(dir)) || dir[0] != '/')
		return fault(n < 0 ? errno : ENAMETOOLONG, path);
	place = { std::string(dir, static_cast<size_t>(n)), p.name };
	return {};
}

/** The directory, by its names, none of which may be a link. Invalid: errno. */
static Fd openDirectory(const std::string &path)
{
	Fd dir(open("/", ONLY_THERE | O_DIRECTORY));
	for (size_t at = 1; dir && at < path.size();) {
		const size_t end = std::min(path.find('/', at), path.size());
		if (end > at)
			dir = Fd(openat(dir.get(), path.substr(at, end - at).c_str(), ONLY_THERE | O_DIRECTORY));
		at = end + 1;
	}
	return dir;
}

Fault findUnixFile(const std::string &path, UnixFile &file)
{
	struct stat st;
	if (Fault f = findUnixPlace(path, file.at))
		return f;
	const Fd dir = openDirectory(file.at.dir);
	if (!dir || fstatat(dir.get(), file.at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fault(errno, path);
	if (!S_ISSOCK(st.st_mode))
		return fault(ENOTSOCK, path);
	file.device = st.st_dev;
	file.inode = st.st_ino;
	return {};
}

int connectTo(const UnixPlace &place, Fd &out)
{
	const Fd dir = openDirectory(place.dir);
	// Itself, so that nothing else can be put in its place any more
	const Fd file(dir ? openat(dir.get(), place.name.c_str(), ONLY_THERE) : -1);
	struct stat st;
	if (!file || fstatat(file.get(), "", &st, AT_EMPTY_PATH) < 0)
		return errno;
	if (!S_ISSOCK(st.st_mode))
		return ENOTSOCK;
	Fd s(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	sockaddr_un at = {};
	at.sun_family = AF_UNIX;
	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d", file.get());
	if (!s || connect(s.get(), reinterpret_cast<const sockaddr *>(&at), sizeof(at)) < 0)
		return errno;
	out = std::move(s);
	return 0;
}

void removeFile(const UnixFile &file)
{
	struct stat st;
	const Fd dir = openDirectory(file.at.dir);
	if (dir && fstatat(dir.get(), file.at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == file.device && st.st_ino == file.inode)
		(void)!unlinkat(dir.get(), file.at.name.c_str(), 0);
}
