/* What log lines need of the kernel and Node has no call for. */
#ifndef PASST_LOGGING_H
#define PASST_LOGGING_H

#include <cstddef>
#include <cstdint>
#include <sys/types.h>

namespace passt {

/** A datagram socket connected to the system logger at `path`: descriptor or -errno. */
int open_syslog(const char *path);

/**
 * Write without ever waiting, whatever `fd` is: one datagram, or a line to a pipe, a terminal or a file. Up to PIPE_BUF
 * octets are written whole or not at all by pipes.
 * Return: 0, or errno of what was lost (EAGAIN: nobody reads; EIO: only a part was taken).
 * #syscalls sendto write pwritev2 poll fstat
 */
int write_now(int fd, const void *data, size_t len);

/** Take [off, off + len) out of a file, what is behind moves up. 0 or errno. #syscalls fallocate */
int collapse(int fd, off_t off, off_t len);

} // namespace passt

#endif
