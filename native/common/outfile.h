/* Files that the caller names for us to write: opened so that nobody else chooses which file that is.
 *
 * The rule (passt(1), NOTES of pid, log file and capture): a symbolic link on the way must belong to root or to the user who
 * starts us, and a file that is there already must be that user's, with no other name, writable by nobody else. A FIFO may be
 * root's as well; a character device, and a descriptor of the caller's (/dev/stdout, /dev/fd/N), are taken as they are.
 */
#ifndef PASST_OUTFILE_H
#define PASST_OUTFILE_H

#include "fault.h"

#include <sys/types.h>

namespace passt {

/** A directory, opened with O_PATH, and a name in it: where a path leads without following what stands there. */
struct FilePlace {
	int dir = -1;
	std::string name;
	/** What stands there is a descriptor of a process, by its link in /proc: the kernel follows it (proc(5)). */
	bool descriptor = false;
	/** A directory on the way is another user's, who may exchange it: its path may lead elsewhere by now. */
	bool others = false;
	FilePlace() = default;
	FilePlace(const FilePlace &) = delete;
	FilePlace &operator=(const FilePlace &) = delete;
	~FilePlace();
};

/** "user 1000", for people. A user namespace knows few users: the number of another one is not to be had there. */
std::string user(uid_t uid);

/**
 * Where `path` leads; a Fault is without the path. `follow`: links that stand there as well, for a path whose file is to be opened. EPERM: a link of
 * another user's; EISDIR: no name is left ("/", "x/..", "x/"); ELOOP; others as open(2) says.
 */
Fault find_place(const char *path, bool follow, FilePlace &place);

/**
 * Open `path` for writing, made with mode 0600 or emptied, close-on-exec. `flags`: O_WRONLY or O_RDWR, O_NONBLOCK. What is
 * looked at is the file that was opened. EPERM: it is not the caller's alone.
 */
Fault open_output(const char *path, int flags, int &fd);
/** The same, with all that is in it. */
Fault open_unemptied(const char *path, int flags, int &fd);

} // namespace passt

#endif
