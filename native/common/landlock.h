/* Giving up files and ports, by Landlock (landlock(7)): as system calls, since neither libc nor old kernel headers know it. It says
 * again what the filter of system calls and the empty root say, by another part of the kernel, and what neither can: which ports. */
#ifndef PASST_LANDLOCK_H
#define PASST_LANDLOCK_H

#include <cerrno>
#include <cstdint>
#include <sys/syscall.h>
#include <unistd.h>

namespace passt {

/* The same on all processors */
enum : long { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446 };

/** What stays allowed, besides whatever is open. */
struct Landlock {
	/* TCP: bind to any port, to a port of the kernel's choice, connect */
	bool bind = false, bind_free = false, connect = false;
	/* signals to processes that are not confined as well */
	bool signal = false;
	/* read files and directories */
	bool read = false;
	/* files be removed, if there is a way to them */
	bool remove = false;
};

/** A ruleset for restrict_here(): no file, no UNIX socket of the abstract kind. The kernel's version says how much of it there is. -errno: none. */
inline int make_ruleset(const Landlock &allowed)
{
	constexpr uint64_t REMOVE_FILE = 1 << 5, BIND_TCP = 1, CONNECT_TCP = 2, ABSTRACT_UNIX_SOCKET = 1, SIGNAL = 2, READ = 4 | 8 /* files, directories */, NONE = 0;
	struct {
		uint64_t fs = 0, net = 0, scoped = 0;
	} attr;
	struct __attribute__((packed)) {
		uint64_t access = BIND_TCP, port = 0;
	} rule;
	const long abi = syscall(CREATE_RULESET, nullptr, 0, 1);

	if (abi < 1)
		return -ENOSYS;
	/* Rights to files: 13 from the first on, REFER, TRUNCATE, IOCTL_DEV */
	attr.fs = (1ull << (abi < 2 ? 13 : abi < 3 ? 14 : abi < 5 ? 15 : 16)) - 1;
	if (allowed.remove)
		attr.fs &= ~REMOVE_FILE;
	if (allowed.read)
		attr.fs &= ~READ;
	if (abi >= 4)
		attr.net = (allowed.bind ? NONE : BIND_TCP) | (allowed.connect ? NONE : CONNECT_TCP);
	if (abi >= 6)
		attr.scoped = ABSTRACT_UNIX_SOCKET | (allowed.signal ? NONE : SIGNAL);
	const int fd = (int)syscall(CREATE_RULESET, &attr, sizeof(attr), 0);
	if (fd < 0)
		return -errno;
	if (attr.net & BIND_TCP && allowed.bind_free && syscall(ADD_RULE, fd, 2 /* LANDLOCK_RULE_NET_PORT */, &rule, 0)) {
		const int e = errno;
		close(fd);
		return -e;
	}
	return fd;
}

/** This thread alone, for good; it needs no_new_privs. */
inline int restrict_here(int ruleset)
{
	return syscall(RESTRICT_SELF, ruleset, 0) ? errno : 0;
}

} // namespace passt

#endif
