/* UNIX sockets of the host that options name: -T leads to one, -t listens at one (passt(1)).
 *
 * Who listens at such a path may end and come again, with its directory, at any time: so the way is gone anew each time. It is looked up
 * once, at the start, by the rules for files that options name (common/outfile.h). From then on it has no symbolic link, and if there is one
 * all the same, somebody has put it there since, and it is not followed.
 */
#ifndef PASST_LAUNCHER_UNIXPATH_H
#define PASST_LAUNCHER_UNIXPATH_H

#include <string>
#include <sys/types.h>

#include "util.h"

struct UnixPlace {
	/* absolute, without links, and the name in it */
	std::string dir, name;
};

/** A socket's file as it was made. */
struct UnixFile {
	UnixPlace at;
	dev_t device = 0;
	ino_t inode = 0;
};

/** Where `path` leads; nothing need be there yet, but its directory. */
Fault findUnixPlace(const std::string &path, UnixPlace &place);
/** The socket that is there. */
Fault findUnixFile(const std::string &path, UnixFile &file);

/** A stream socket connected to whoever listens there; non-blocking, close-on-exec. 0 or errno. EAGAIN: as many wait as it lets. */
int connectTo(const UnixPlace &place, Fd &out);
/** Removes it, unless another one is there by now. */
void removeFile(const UnixFile &file);

#endif
