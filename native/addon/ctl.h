/* Messages to and from the launcher: SOCK_SEQPACKET, at most one descriptor with each. */
#ifndef PASST_CTL_H
#define PASST_CTL_H

#include "netlink.h"

namespace passt {

/** Send one message; waits while the socket is full. 0 or errno. */
int ctl_send(int fd, const uint8_t *message, size_t len);

/**
 * Wait for one message of at most 1 MiB. `*passed`: its descriptor (close-on-exec), or -1; any more are closed.
 * Return: 0, ECONNRESET at the end of the other side, EMSGSIZE for a longer one, or errno.
 */
int ctl_receive(int fd, Bytes &message, int *passed);

} // namespace passt

#endif
