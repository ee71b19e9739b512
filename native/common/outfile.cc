#include "outfile.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <utility>

namespace passt {

namespace {

/** As the kernel's own limit (path_resolution(7)). */
constexpr int LINKS_MAX = 40;
/** Tries where the file comes and goes while we look. */
constexpr int TRIES = 8;
/** What a user namespace shows for users it does not know (user_namespaces(7)): /proc/sys/kernel/overflowuid. */
constexpr uid_t UNKNOWN = 65534;

constexpr mode_t OTHERS_WRITE = S_IWGRP | S_IWOTH;

struct Handle {
	int fd = -1;
	explicit Handle(int descriptor = -1) : fd(descriptor) {}
	Handle(const Handle &) = delete;
	Handle &operator=(const Handle &) = delete;
	~Handle() { take(-1); }
	void take(int other)
	{
		if (fd >= 0)
			close(fd);
		fd = other;
	}
	int give() { return std::exchange(fd, -1); }
};

Fault refusal(int err)
{
	return {err, strerror(err)};
}

std::string octal(mode_t mode)
{
	char text[8];
	snprintf(text, sizeof(text), "%04o", (unsigned)(mode & 07777));
	return text;
}

/** Is this a user namespace that does not know all users? */
bool knows_few_users()
{
	FILE *const f = fopen("/proc/self/uid_map", "re");
	unsigned inside, outside, count = UINT_MAX;
	if (f && fscanf(f, "%u %u %u", &inside, &outside, &count) != 3)
		count = UINT_MAX;
	if (f)
		fclose(f);
	return count != UINT_MAX;
}

/** May the link be followed? Host's root is unknown in a user namespace: what only a directory's owner can have put there. */
bool is_trusted(const struct stat &link, int dir)
{
	struct stat at;

	if (link.st_uid == 0 || link.st_uid == geteuid())
		return true;
	return link.st_uid == UNKNOWN && !fstat(dir, &at) && !(at.st_mode & OTHERS_WRITE) && knows_few_users();
}

bool is_others(int dir)
{
	struct stat at;

	return fstat(dir, &at) || (at.st_uid != 0 && at.st_uid != geteuid() && !(at.st_uid == UNKNOWN && knows_few_users()));
}

bool on_proc(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == PROC_SUPER_MAGIC;
}

/** Takes one component off `rest`; `last`: nothing but slashes is left. */
std::string next_component(std::string &rest, bool &last)
{
	const size_t from = rest.find_first_not_of('/');
	if (from == std::string::npos) {
		rest.clear();
		return {};
	}
	const size_t to = rest.find('/', from);
	const std::string name = rest.substr(from, to == std::string::npos ? to : to - from);
	rest = to == std::string::npos ? std::string() : rest.substr(to);
	last = rest.empty();
	return name;
}

/** Is it ours alone? Devices are nobody's: root alone makes them. */
Fault check(const struct stat &st)
{
	const bool fifo = S_ISFIFO(st.st_mode);

	if (S_ISCHR(st.st_mode))
		return {};
	if (!S_ISREG(st.st_mode) && !fifo)
		return S_ISDIR(st.st_mode) ? refusal(EISDIR) : Fault{EPERM, "it is no regular file: name another one"};
	const std::string whose = user(st.st_uid) + ", mode " + octal(st.st_mode);
	if (st.st_uid != geteuid() && !(fifo && st.st_uid == 0))
		return {EPERM, "the file that is there belongs to another user (" + whose + "): remove it, or name another one"};
	if (!fifo && (st.st_mode & OTHERS_WRITE))
		return {EPERM, "others may write to the file that is there (" + whose + "): chmod go-w"};
	if (!fifo && st.st_nlink > 1)
		return {EPERM, "the file that is there has other names (" + whose + ", hard links: " + std::to_string(st.st_nlink) + "): remove it, or name another one"};
	return {};
}

int open_at(const FilePlace &p, int flags)
{
	int fd;

	do
		fd = openat(p.dir, p.name.c_str(), flags | O_CLOEXEC | O_NOCTTY, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}

/** Opened and found good, but not yet emptied. ENOENT: made or removed meanwhile, so once more. */
Fault open_place(const FilePlace &p, int flags, int &fd)
{
	struct stat st;

	if (p.descriptor)
		return (fd = open_at(p, flags)) < 0 ? refusal(errno) : Fault{};
	// Before it is opened, which makes us wait for a FIFO's reader
	if (fstatat(p.dir, p.name.c_str(), &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT && (fd = open_at(p, flags | O_CREAT | O_EXCL | O_NOFOLLOW)) >= 0)
			return {};
		return refusal(errno == EEXIST ? ENOENT : errno);
	}
	if (Fault r = check(st); r.err)
		return r;
	Handle h(open_at(p, flags | O_NOFOLLOW));
	if (h.fd < 0 || fstat(h.fd, &st))
		return refusal(errno);
	if (Fault r = check(st); r.err) // this one counts
		return r;
	// But a second name that was taken away between the two is not counted, and what is left is somebody else's. So the one name
	// has to be ours still.
	struct stat named;
	if (S_ISREG(st.st_mode) &&
	    (fstatat(p.dir, p.name.c_str(), &named, AT_SYMLINK_NOFOLLOW) || named.st_ino != st.st_ino || named.st_dev != st.st_dev ||
	     named.st_nlink != 1))
		return refusal(ENOENT);
	fd = h.give();
	return {};
}

} // namespace

std::string user(uid_t uid)
{
	return uid == UNKNOWN && knows_few_users() ? "user not known here" : "user " + std::to_string(uid);
}

FilePlace::~FilePlace()
{
	if (dir >= 0)
		close(dir);
}

Fault find_place(const char *path, bool follow, FilePlace &place)
{
	std::string rest = path;
	if (rest.empty())
		return refusal(ENOENT);
	Handle dir(open(rest[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC));

	for (int links = 0; dir.fd >= 0;) {
		bool last = false;
		const std::string name = next_component(rest, last);
		place.others |= is_others(dir.fd);
		if (name.empty() || (last && (name == "." || name == "..")))
			return refusal(EISDIR);
		if (!last) {
			Handle down(openat(dir.fd, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
			if (down.fd >= 0) {
				dir.take(down.give());
				continue;
			}
			if (errno != ENOTDIR && errno != ELOOP)
				break;
		}
		const Handle link(openat(dir.fd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
		struct stat st = {};
		if (link.fd >= 0 ? fstat(link.fd, &st) : !last || errno != ENOENT)
			break;
		if (!S_ISLNK(st.st_mode) || (last && !follow)) {
			if (!last)
				return refusal(ENOTDIR);
			place.name = name;
			place.dir = dir.give();
			return {};
		}
		if (!is_trusted(st, dir.fd))
			return {EPERM, "the symbolic link " + name + " in it belongs to another user (" + user(st.st_uid) +
				       "): name the file that it leads to"};
		if (++links > LINKS_MAX)
			return refusal(ELOOP);
		char text[PATH_MAX];
		const ssize_t n = readlinkat(link.fd, "", text, sizeof(text));
		if (n < 0)
			break;
		const std::string target(text, (size_t)n);
		// /proc/PID/fd/N, cwd and root lead where the text does not say
		if (on_proc(link.fd) && name != "self" && name != "thread-self") {
			if (last) {
				place.name = name;
				place.dir = dir.give();
				place.descriptor = true;
				return {};
			}
			dir.take(openat(dir.fd, name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
			continue;
		}
		rest = target + rest;
		if (target[0] == '/')
			dir.take(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
	}
	return refusal(errno);
}

Fault open_unemptied(const char *path, int flags, int &fd)
{
	Fault r = {ENOENT, ""};

	for (int i = 0; r.err == ENOENT && i < TRIES; i++) {
		FilePlace p;
		r = find_place(path, true, p);
		if (r.err)
			return r; // a directory that is missing stays so
		r = open_place(p, flags, fd);
	}
	return r;
}

Fault open_output(const char *path, int flags, int &fd)
{
	Fault r = open_unemptied(path, flags, fd);
	struct stat st;
	if (!r.err && !fstat(fd, &st) && S_ISREG(st.st_mode) && ftruncate(fd, 0)) {
		r = refusal(errno);
		close(fd);
		fd = -1;
	}
	return r;
}

} // namespace passt
