#include "pcap.h"

#include <cerrno>
#include <ctime>
#include <sys/uio.h>

namespace passt {

void Pcap::write(const uint8_t *frame, size_t len)
{
	timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	uint32_t head[4] = {(uint32_t)now.tv_sec, (uint32_t)(now.tv_nsec / 1000), (uint32_t)len, (uint32_t)len};
	const iovec iov[2] = {{head, sizeof(head)}, {const_cast<uint8_t *>(frame), len}};
	ssize_t n;

	do
		n = writev(fd, iov, 2);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)(sizeof(head) + len))
		fd = -1;
}

} // namespace passt
