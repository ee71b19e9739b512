#include "unixsocket.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace passt {

/** Is `p` free to be bound, after what a dead program of ours left there is removed? */
static Fault make_way(const FilePlace &p, const sockaddr_un &at, int type)
{
	struct stat st;

	if (fstatat(p.dir, p.name.c_str(), &st, AT_SYMLINK_NOFOLLOW))
		return {errno == ENOENT ? 0 : errno, ""};
	if (!S_ISSOCK(st.st_mode))
		return {EEXIST, ""}; /* never somebody's file */
	const int probe = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return {errno, ""};
	const int e = connect(probe, reinterpret_cast<const sockaddr *>(&at), sizeof(at)) ? errno : 0;
	close(probe);
	/* EPROTOTYPE: it is of another type, so somebody serves it */
	if (e != ECONNREFUSED && e != EACCES && e != ENOENT)
		return {EADDRINUSE, ""};
	if (e != ENOENT && st.st_uid != geteuid())
		return {EPERM, "a socket of another user's (" + user(st.st_uid) + ") is there, which nobody serves"};
	if (e != ENOENT && unlinkat(p.dir, p.name.c_str(), 0) && errno != ENOENT)
		return {errno, ""};
	return {};
}

Fault socket_place(const char *path, sockaddr_un &at, FilePlace &p)
{
	at = {};
	at.sun_family = AF_UNIX;
	if (!*path || strlen(path) >= sizeof(at.sun_path))
		return {ENAMETOOLONG, ""};
	strcpy(at.sun_path, path);
	if (Fault r = find_place(path, false, p); r.err || !p.others)
		return r;
	/* Where the path has led, whatever it leads to by now (proc(5), /proc/pid/fd); unless its last name alone is too long for that */
	char there[sizeof(at.sun_path)];
	if (snprintf(there, sizeof(there), "/proc/self/fd/%d/%s", p.dir, p.name.c_str()) < (int)sizeof(there))
		strcpy(at.sun_path, there);
	return {};
}

Fault listen_at_path(const char *path, int &fd, uint32_t &mode, SocketKind kind)
{
	sockaddr_un at;
	FilePlace p;
	struct stat st;

	if (Fault r = socket_place(path, at, p); r.err)
		return r;
	if (Fault r = make_way(p, at, kind.type); r.err)
		return r;
	fd = socket(AF_UNIX, kind.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* A file's mode is its socket's (unix(7)) */
	const int e = fd < 0 || fchmod(fd, kind.most) || bind(fd, reinterpret_cast<sockaddr *>(&at), sizeof(at)) || listen(fd, kind.backlog) ? errno : 0;
	if (e && fd >= 0)
		close(fd);
	if (e)
		return {e, ""};
	mode = fstatat(p.dir, p.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) ? 0 : st.st_mode & 07777;
	return {};
}

} // namespace passt
