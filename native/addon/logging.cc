#include "logging.h"
#include "nowait.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace passt {

int open_syslog(const char *path)
{
	sockaddr_un a = {};

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	a.sun_family = AF_UNIX;
	memcpy(a.sun_path, path, strlen(path));
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, reinterpret_cast<const sockaddr *>(&a), sizeof(a))) {
		const int e = errno;
		close(fd);
		return -e;
	}
	return fd;
}

int write_now(int fd, const void *data, size_t len)
{
	ssize_t n;

	do
		n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == ENOTSOCK) {
		/* O_NONBLOCK would be the command's and the shell's as well. A pipe that is ready has room for PIPE_BUF */
		pollfd p = {fd, POLLOUT, 0};
		if (poll(&p, 1, 0) < 1 || !(p.revents & POLLOUT))
			return p.revents & POLLNVAL ? EBADF : p.revents & POLLERR ? EPIPE : EAGAIN;
		/* That room may be another writer's by now */
		struct stat st;
		const bool pipe = !fstat(fd, &st) && S_ISFIFO(st.st_mode);
		const iovec iov = {const_cast<void *>(data), len};
		do
			n = pipe ? writev_now(fd, &iov, 1) : write(fd, data, len);
		while (n < 0 && errno == EINTR);
	}
	return n < 0 ? errno : (size_t)n == len ? 0 : EIO;
}

int collapse(int fd, off_t off, off_t len)
{
	return fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, off, len) ? errno : 0;
}

} // namespace passt
