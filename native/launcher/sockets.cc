#include "sockets.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "../common/protocol.h"

/* Connections that wait to be accepted: behaviour.md#port-forwarding */
static constexpr int BACKLOG = 128;

int makeSockets(int family, int type, uint32_t count, std::vector<Fd> &out)
{
	while (count-- > 0) {
		Fd fd(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
		if (!fd)
			return errno;
		out.push_back(std::move(fd));
	}
	return 0;
}

static bool isMapped(const unsigned char *addr)
{
	static constexpr unsigned char PREFIX[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	return memcmp(addr, PREFIX, sizeof(PREFIX)) == 0;
}

/** :: that hears IPv4 too. */
static bool isDualAny(const ListenOrder &order)
{
	static constexpr unsigned char ANY[16] = {};
	return !order.v6only && memcmp(order.addr, ANY, sizeof(ANY)) == 0;
}

static bool setInt(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

/** What must be set before the first datagram; a dual-stack socket hears errors about IPv4 only with both. */
static bool setUdp(int fd, bool v6)
{
	if (v6 && !(setInt(fd, IPPROTO_IPV6, IPV6_RECVERR, 1) && setInt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)))
		return false;
	return setInt(fd, IPPROTO_IP, IP_RECVERR, 1) && setInt(fd, IPPROTO_IP, IP_PKTINFO, 1);
}

/** errno of binding to a device; EOPNOTSUPP where this process or kernel may not. */
static int bindToDevice(int fd, const std::string &device)
{
	if (device.empty())
		return 0;
	if (device.size() >= IFNAMSIZ) // would be cut off, and perhaps be another's name then
		return ENODEV;
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.c_str(), static_cast<socklen_t>(device.size() + 1)) == 0)
		return 0;
	return errno == EPERM || errno == ENOPROTOOPT ? EOPNOTSUPP : errno;
}

static int listenAt(const ListenOrder &o, Fd &out)
{
	const bool v6 = !isMapped(o.addr), udp = o.proto == IPPROTO_UDP;
	const int type = udp ? SOCK_DGRAM : SOCK_STREAM;
	Fd fd(socket(v6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, static_cast<int>(o.proto)));
	// For UDP it would let others have a share of what comes (socket(7))
	if (!fd || (!udp && !setInt(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1)))
		return errno;
	if (v6 && !setInt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, o.v6only))
		return errno;
	if (const int err = bindToDevice(fd.get(), o.device))
		return err;
	if (udp && !setUdp(fd.get(), v6))
		return errno;
	int rc;
	if (v6) {
		sockaddr_in6 at = {};
		at.sin6_family = AF_INET6;
		at.sin6_port = htons(o.port);
		memcpy(&at.sin6_addr, o.addr, sizeof(at.sin6_addr));
		rc = bind(fd.get(), reinterpret_cast<const sockaddr *>(&at), sizeof(at));
	} else {
		sockaddr_in at = {};
		at.sin_family = AF_INET;
		at.sin_port = htons(o.port);
		memcpy(&at.sin_addr, o.addr + 12, sizeof(at.sin_addr));
		rc = bind(fd.get(), reinterpret_cast<const sockaddr *>(&at), sizeof(at));
	}
	if (rc < 0 || (!udp && listen(fd.get(), BACKLOG) < 0))
		return errno;
	out = std::move(fd);
	return 0;
}

/** From :: to 0.0.0.0 */
static ListenOrder inV4(ListenOrder o)
{
	o.addr[10] = o.addr[11] = 0xff;
	return o;
}

/** From the wildcard address on lo to 127.0.0.1 or ::1 */
static ListenOrder loopback(ListenOrder o, bool v4)
{
	if (v4) {
		o = inV4(std::move(o));
		o.addr[12] = 127;
	}
	o.addr[15] = 1;
	o.v6only = true;
	o.device.clear();
	return o;
}

static bool isWithoutV6(int err)
{
	return err == EAFNOSUPPORT || err == EADDRNOTAVAIL;
}

/** Both or none; but one of them where there is no IPv6. */
static int listenSplit(const ListenOrder &order, std::vector<Fd> &out)
{
	Fd v4, v6;
	if (const int err = listenAt(loopback(order, true), v4))
		return err;
	const int err = listenAt(loopback(order, false), v6);
	if (err && !isWithoutV6(err))
		return err;
	out.push_back(std::move(v4));
	if (v6)
		out.push_back(std::move(v6));
	return 0;
}

int makeListener(const ListenOrder &order, std::vector<Fd> &out, bool &split)
{
	Fd fd;
	int err = listenAt(order, fd);
	if (isDualAny(order) && isWithoutV6(err))
		err = listenAt(inV4(order), fd);
	if (err == EOPNOTSUPP && isDualAny(order) && order.device == "lo") {
		split = true;
		return listenSplit(order, out);
	}
	if (!err)
		out.push_back(std::move(fd));
	return err;
}

Fault openProcNet(std::vector<Fd> &out, uint32_t &which)
{
	// Not /proc/net, which is the network of the process that /proc/self was when it was looked up by an old kernel
	static constexpr struct { uint32_t bit; const char *path; } FILES[] = {
		{ PROCNET_TCP, "/proc/self/net/tcp" }, { PROCNET_TCP6, "/proc/self/net/tcp6" },
		{ PROCNET_UDP, "/proc/self/net/udp" }, { PROCNET_UDP6, "/proc/self/net/udp6" },
	};
	which = 0;
	for (const auto &file : FILES) {
		Fd fd(open(file.path, O_RDONLY | O_CLOEXEC));
		if (fd) {
			which |= file.bit;
			out.push_back(std::move(fd));
		} else if (errno != ENOENT) { // no IPv6 here
			return fault(errno, std::string("Cannot open ") + file.path);
		}
	}
	return which ? Fault{} : fault(ENOENT, "Cannot open /proc/self/net/tcp");
}
