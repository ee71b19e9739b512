/* Pipes without waiting, whatever O_NONBLOCK says: that is everybody's who holds the same end, and who takes it away shall not have us wait.
 *
 * A kernel that cannot be told so (pipes: before Linux 6.4) goes by the flag.
 */
#ifndef PASST_NOWAIT_H
#define PASST_NOWAIT_H

#include <cerrno>
#include <sys/uio.h>

namespace passt {

/** As writev(2). #syscalls pwritev2 writev */
inline ssize_t writev_now(int fd, const iovec *iov, int n)
{
	const ssize_t done = pwritev2(fd, iov, n, -1, RWF_NOWAIT);

	return done < 0 && (errno == EOPNOTSUPP || errno == ENOSYS) ? writev(fd, iov, n) : done;
}

/** As readv(2). #syscalls preadv2 readv */
inline ssize_t readv_now(int fd, const iovec *iov, int n)
{
	const ssize_t done = preadv2(fd, iov, n, -1, RWF_NOWAIT);

	return done < 0 && (errno == EOPNOTSUPP || errno == ENOSYS) ? readv(fd, iov, n) : done;
}

} // namespace passt

#endif
