/* Sockets in the file system that others connect to: the guest link, the repair helper's, our successor's, the API's. */
#ifndef PASST_UNIXSOCKET_H
#define PASST_UNIXSOCKET_H

#include "fault.h"
#include "outfile.h"

#include <cstdint>
#include <sys/socket.h>
#include <sys/un.h>

namespace passt {

/** A socket's file: its address, and where it is, by the rules for the way to it (common/outfile.h). */
Fault socket_place(const char *path, sockaddr_un &at, FilePlace &p);

/** What listens. `most`: the mode that its file has at most, beside what umask takes away. */
struct SocketKind {
	int type = SOCK_STREAM;
	uint32_t most = 0600;
	/** How many may wait to be accepted beside one. */
	int backlog = 0;
};
/**
 * A stream socket that listens at `path`, nonblocking, with a queue as short as can be, or as `kind` says. Nobody may be listening there; a file that was
 * left behind by a program of ours is replaced. The rules for the way to it: common/outfile.h. `mode`: the file's.
 */
Fault listen_at_path(const char *path, int &fd, uint32_t &mode, SocketKind kind = {SOCK_STREAM, 0777, 0});

} // namespace passt

#endif
