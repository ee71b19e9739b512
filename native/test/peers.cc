#include "peers.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

Alone::Alone(int mtu)
{
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	CHECK(home >= 0 && !unshare(CLONE_NEWNET));
	const int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ifreq lo = {};
	strcpy(lo.ifr_name, "lo");
	if (mtu) {
		lo.ifr_mtu = mtu;
		CHECK(!ioctl(s, SIOCSIFMTU, &lo));
	}
	lo.ifr_flags = IFF_UP;
	CHECK(!ioctl(s, SIOCSIFFLAGS, &lo));
	close(s);
}

Alone::~Alone()
{
	CHECK(!setns(home, CLONE_NEWNET));
	close(home);
}

void Alone::sysctl(const char *name, const char *value)
{
	const std::string path = std::string("/proc/sys/") + name;
	const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	close(fd);
}

void repair(int fd, int mode)
{
	CHECK(!setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &mode, sizeof(mode)));
}

void deafen(int fd)
{
	sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	const sock_fprog program = {1, &drop};
	CHECK(!setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
}

void hear(int fd)
{
	const int unused = 0;
	CHECK(!setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)));
}

int unacknowledged(int fd)
{
	int n = -1;
	CHECK(!ioctl(fd, SIOCOUTQ, &n));
	return n;
}

int state_of(int fd)
{
	tcp_info info = {};
	socklen_t len = sizeof(info);
	CHECK(!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	return info.tcpi_state;
}

bool soon(const std::function<bool()> &cond)
{
	for (int i = 0; i < 2000; i++) {
		if (cond())
			return true;
		usleep(1000);
	}
	return false;
}
