/* Messages to and from the launcher: SOCK_SEQPACKET. A reply has at most one descriptor, a batch of sockets 64. */
#ifndef PASST_CTL_H
#define PASST_CTL_H

#include <cstdint>
#include <sys/types.h>
#include <vector>

namespace passt {

/** Longest message that is read, octets: more than any of the launcher's (protocol.h) */
enum : size_t { MESSAGE_MAX = 1 << 20 };

using Bytes = std::vector<uint8_t>;

/** Send one message; waits while the socket is full. 0 or errno. */
int ctl_send(int fd, const uint8_t *message, size_t len);

/**
 * Read one message into `to`; MSG_DONTWAIT. Its descriptors (close-on-exec, at most HAND_OVER_FDS) go to `passed`.
 * Return: its octets, 0 at the end of the other side, or -1 with errno; EMSGSIZE for one that is longer.
 */
ssize_t ctl_read(int fd, uint8_t *to, size_t len, std::vector<int> &passed);

/** Descriptors that one message may have: SCM_MAX_FD (unix(7)). */
enum : size_t { SEND_FDS_MAX = 253 };

/** One message with `count` descriptors, without waiting. Return: its octets, or -1 with errno. */
ssize_t send_with(int fd, const void *message, size_t len, const int *fds, size_t count);

/** Wait for one message of at most 1 MiB. Return: 0, ECONNRESET at the end of the other side, EMSGSIZE, or errno. */
int ctl_receive(int fd, Bytes &message, std::vector<int> &passed);

} // namespace passt

#endif
