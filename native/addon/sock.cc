#include "sock.h"
#include "compat.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/tcp.h>
#include <unistd.h>

namespace passt {

Target::Target(const fx::Open &e)
{
	memcpy(dst, e.dst, sizeof(dst));
	memcpy(src, e.src, sizeof(src));
	port = (uint16_t)e.dst_port;
	scope = e.scope;
	mss = e.mss;
	src_port = (uint16_t)e.source_port;
	in_namespace = e.flags & IN_NAMESPACE;
	bind_device = e.flags & BIND_OUTBOUND && !in_namespace;
	group = e.flags & TO_GROUP;
	to_unix = e.flags & TO_UNIX;
	from_unix = e.flags & FROM_UNIX;
}

socklen_t to_sockaddr(sockaddr_storage &ss, const uint32_t *addr, uint16_t port, uint32_t scope, bool v6)
{
	memset(&ss, 0, sizeof(ss));
	if (!v6) {
		auto *const in = reinterpret_cast<sockaddr_in *>(&ss);
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		in->sin_addr.s_addr = htonl(addr[3]);
		return sizeof(*in);
	}
	auto *const in6 = reinterpret_cast<sockaddr_in6 *>(&ss);
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	uint32_t net[4];
	for (int i = 0; i < 4; i++)
		net[i] = htonl(addr[i]);
	memcpy(&in6->sin6_addr, net, sizeof(net));
	if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) || IN6_IS_ADDR_MC_LINKLOCAL(&in6->sin6_addr))
		in6->sin6_scope_id = scope;
	return sizeof(*in6);
}

void from_sockaddr(const sockaddr_storage &ss, uint32_t *addr, uint16_t *port)
{
	memset(addr, 0, 16);
	if (ss.ss_family == AF_INET) {
		const auto *const in = reinterpret_cast<const sockaddr_in *>(&ss);
		addr[2] = 0xffff;
		addr[3] = ntohl(in->sin_addr.s_addr);
		if (port)
			*port = ntohs(in->sin_port);
	} else if (ss.ss_family == AF_INET6) {
		const auto *const in6 = reinterpret_cast<const sockaddr_in6 *>(&ss);
		memcpy(addr, &in6->sin6_addr, 16);
		for (int i = 0; i < 4; i++)
			addr[i] = ntohl(addr[i]);
		if (port)
			*port = ntohs(in6->sin6_port);
	}
}

bool set_int(int fd, int level, int option, int value)
{
	return !setsockopt(fd, level, option, &value, sizeof(value));
}

/* Asked for; net.core.rmem_max limits it. A sender on this machine outruns us while we sleep, and what then fits into the
 * default (a dozen datagrams of 16 kB) comes in batches too small to be cheap */
enum : int { UDP_RCVBUF = 1 << 20 };

/** Options that only one kind of socket has. All but the error queue may be missing from a kernel. */
static bool set_options(int fd, Kind kind, bool v6, const Target &t)
{
	if (kind == Kind::Tcp) {
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* #regression-50 */
		/* Urgent octets stay in the stream (behaviour.md#urgent-data: peeking goes wrong otherwise) */
		if (!set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1))
			return false;
		if (t.mss)
			set_int(fd, IPPROTO_TCP, TCP_MAXSEG, (int)std::min<uint32_t>(t.mss, 65535));
		return true;
	}
	if (kind == Kind::Udp) {
		set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
		set_int(fd, SOL_SOCKET, SO_RCVBUF, UDP_RCVBUF);
	}
	set_int(fd, SOL_SOCKET, SO_BROADCAST, 1); /* #regression-L */
	return v6 ? set_int(fd, IPPROTO_IPV6, IPV6_RECVERR, 1) : set_int(fd, IPPROTO_IP, IP_RECVERR, 1);
}

int make_socket(Kind kind, bool v6)
{
	const int type = (kind == Kind::Tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
	const int protocol = kind != Kind::Ping ? 0 : v6 ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP;
	const int fd = socket(v6 ? AF_INET6 : AF_INET, type, protocol);

	return fd < 0 ? -errno : fd;
}

uint16_t bound_port(int fd)
{
	sockaddr_storage ss = {};
	socklen_t len = sizeof(ss);
	uint32_t addr[4];
	uint16_t port = 0;

	if (!getsockname(fd, reinterpret_cast<sockaddr *>(&ss), &len))
		from_sockaddr(ss, addr, &port);
	return port;
}

int bind_to_device(int fd, const std::string &device)
{
	return !device.empty() && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.c_str(), (socklen_t)device.size() + 1) ? errno : 0;
}

static int bind_to_device(int fd, const Target &t, const Outbound &out)
{
	const std::string &device = !t.device.empty() ? t.device : t.v6() ? out.if6 : out.if4;

	return t.bind_device || !t.device.empty() ? bind_to_device(fd, device) : 0;
}

/**
 * The address that the kernel sends from to `t`, port 0. From a socket for that alone: one that was connected over IPv6 still
 * hears its peer only, also after connect() to AF_UNSPEC.
 */
static int local_address(const Target &t, const Outbound &out, sockaddr_storage &ss)
{
	const int fd = make_socket(Kind::Udp, t.v6());
	socklen_t len = to_sockaddr(ss, t.dst, t.port, t.scope, t.v6());

	if (fd < 0)
		return -fd;
	set_int(fd, SOL_SOCKET, SO_BROADCAST, 1);
	int e = bind_to_device(fd, t, out);
	if (!e)
		e = connect(fd, reinterpret_cast<sockaddr *>(&ss), len) ? errno : 0;
	len = sizeof(ss);
	if (!e)
		e = getsockname(fd, reinterpret_cast<sockaddr *>(&ss), &len) ? errno : 0;
	close(fd);
	if (t.v6())
		reinterpret_cast<sockaddr_in6 &>(ss).sin6_port = 0;
	else
		reinterpret_cast<sockaddr_in &>(ss).sin_port = 0;
	return e;
}

/** Bound to an address of an interface a socket hears no groups, nor what is sent to 127.0.0.1. */
int bind_towards_group(int fd, const Target &t, const Outbound &out)
{
	sockaddr_storage ss = {};

	if (t.v6() ? !set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) : !set_int(fd, IPPROTO_IP, IP_PKTINFO, 1))
		return errno;
	if (t.src[0] | t.src[1] | t.src[2] | t.src[3])
		return 0; /* bound to the address that was asked for */
	if (const int e = local_address(t, out, ss))
		return e;
	return bind(fd, reinterpret_cast<sockaddr *>(&ss), t.v6() ? sizeof(sockaddr_in6) : sizeof(sockaddr_in)) ? errno : 0;
}

/** bind(), shared with those of ours that have the port; to any other port, if that one cannot be had. 0 or errno. */
static int bind_datagrams(int fd, const Target &t, uint16_t port, const Outbound &out)
{
	sockaddr_storage ss;
	const socklen_t len = to_sockaddr(ss, t.src, port, t.scope, t.v6());
	const bool any = !(t.src[0] | t.src[1] | t.src[2] | t.src[3]);
	const bool shared = port && t.ports && t.ports->any(port);

	/* At every address it would, until connect(), be in the way of many, and hear what is not sent to its own */
	if (shared && any && !t.in_namespace) {
		if (local_address(t, out, ss))
			return bind_datagrams(fd, t, 0, out); /* connect() will say what it is */
		if (t.v6())
			reinterpret_cast<sockaddr_in6 &>(ss).sin6_port = htons(port);
		else
			reinterpret_cast<sockaddr_in &>(ss).sin_port = htons(port);
	}
	const int e = shared ? t.ports->bind(fd, Local(fd, &ss), ss, len)
			     : bind(fd, reinterpret_cast<sockaddr *>(&ss), len) ? errno : 0;
	if (!port || t.exact || (e != EADDRINUSE && e != EACCES))
		return e;
	return bind_datagrams(fd, t, 0, out);
}

int prepare_socket(int fd, Kind kind, const Target &t, const Outbound &out)
{
	const bool v6 = t.v6();
	const bool any = !(t.src[0] | t.src[1] | t.src[2] | t.src[3]);
	const uint16_t port = kind == Kind::Udp && !t.group ? t.src_port : (uint16_t)0;

	if (!any && Target::is_v4(t.src) == v6)
		return EAFNOSUPPORT;
	if (v6 && kind != Kind::Ping)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (!set_options(fd, kind, v6, t))
		return errno;
	if (t.freebind && !set_int(fd, IPPROTO_IP, IP_FREEBIND, 1))
		return errno;
	if (const int e = bind_to_device(fd, t, out))
		return e;
	/* Also where a port is named: another may have to do */
	if (out.ports && !t.in_namespace && kind != Kind::Ping)
		setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &out.ports, sizeof(out.ports));
	/* Ping sockets are bound to identifier 0: the kernel chooses (#regression-22) */
	if (any && !port && kind != Kind::Ping)
		return 0;
	if (kind == Kind::Udp)
		return bind_datagrams(fd, t, port, out);
	if (kind == Kind::Tcp) /* the port is chosen at connect(), when all four are known */
		set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	sockaddr_storage ss;
	const socklen_t len = to_sockaddr(ss, t.src, port, t.scope, v6);
	return bind(fd, reinterpret_cast<sockaddr *>(&ss), len) ? errno : 0;
}

bool read_peer(int fd, ucred &who)
{
	socklen_t len = sizeof(who);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
}

int netlink_socket(uint32_t groups)
{
	const int s = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
	sockaddr_nl own = {}, kernel = {};

	own.nl_family = kernel.nl_family = AF_NETLINK;
	own.nl_groups = groups;
	if (s < 0 || (!bind(s, reinterpret_cast<sockaddr *>(&own), sizeof(own)) &&
		      !connect(s, reinterpret_cast<sockaddr *>(&kernel), sizeof(kernel))))
		return s;
	const int e = errno;
	close(s);
	errno = e;
	return -1;
}

/** 0 where the socket has no such option. */
static uint32_t option_of(int fd, int level, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, option, &value, &len) ? 0 : (uint32_t)value;
}

int read_facts(int fd, SocketFacts &out, std::string &device)
{
	sockaddr_storage own = {}, peer;
	socklen_t len = sizeof(own), peer_len = sizeof(peer);
	char name[64];
	socklen_t name_len = sizeof(name);
	uint16_t port = 0;

	if (getsockname(fd, reinterpret_cast<sockaddr *>(&own), &len))
		return errno;
	out = {};
	out.domain = option_of(fd, SOL_SOCKET, SO_DOMAIN);
	out.type = option_of(fd, SOL_SOCKET, SO_TYPE);
	out.protocol = option_of(fd, SOL_SOCKET, SO_PROTOCOL);
	out.listens = option_of(fd, SOL_SOCKET, SO_ACCEPTCONN);
	out.connected = !getpeername(fd, reinterpret_cast<sockaddr *>(&peer), &peer_len);
	out.v6only = out.domain == AF_INET6 ? option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY) : 0;
	from_sockaddr(own, out.addr, &port);
	out.port = port;
	if (!getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &name_len))
		device.assign(name, strnlen(name, name_len));
	return 0;
}

void close_hard(int fd)
{
	const linger hard = {1, 0};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

int set_nonblocking(int fd)
{
	const int flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) ? errno : 0;
}

int another(int fd)
{
	const int copy = dup(fd);

	if (copy >= 0)
		fcntl(copy, F_SETFD, FD_CLOEXEC);
	return copy;
}

int take_error(int fd)
{
	int e = 0;
	socklen_t len = sizeof(e);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) ? errno : e;
}

/* linux/sock_diag.h, SK_MEMINFO_* */
enum { MEM_RMEM_ALLOC = 0, MEM_SNDBUF = 3, MEM_FWD_ALLOC = 4, MEM_WMEM_QUEUED = 5, MEM_VARS = 9 };

uint32_t held_by(uint32_t received, uint32_t reserved, uint32_t queued)
{
	const int64_t sum = int64_t{received} + static_cast<int32_t>(reserved) + queued;

	return static_cast<uint32_t>(std::max<int64_t>(sum, 0));
}

uint32_t memory_of(int fd, bool freeze)
{
	uint32_t mem[MEM_VARS] = {};
	socklen_t len = sizeof(mem);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len))
		return 0;
	for (const int option : {SO_RCVBUF, SO_SNDBUF}) {
		int size;
		socklen_t size_len = sizeof(size);
		if (freeze && !getsockopt(fd, SOL_SOCKET, option, &size, &size_len))
			set_int(fd, SOL_SOCKET, option, size / 2); /* it is doubled, socket(7) */
	}
	return held_by(mem[MEM_RMEM_ALLOC], mem[MEM_FWD_ALLOC], mem[MEM_WMEM_QUEUED]);
}

uint64_t moved_of(int fd)
{
	tcp_info info = {};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return 0;
	return info.tcpi_bytes_acked + info.tcpi_bytes_received;
}

int read_info(int fd, Info &out)
{
	uint32_t mem[MEM_VARS] = {};
	tcp_info info = {};
	socklen_t len = sizeof(info), mem_len = sizeof(mem);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return 0;
	/* Which fields there are tells the length, not the kernel's version: the rest stays 0 */
	out.snd_wnd = info.tcpi_snd_wnd;
	out.peer_window_scale = info.tcpi_snd_wscale;
	out.snd_mss = info.tcpi_snd_mss;
	out.rtt = info.tcpi_rtt;
	out.min_rtt = len >= offsetof(tcp_info, tcpi_min_rtt) + sizeof(info.tcpi_min_rtt) ? info.tcpi_min_rtt : UINT32_MAX;
	out.bytes_acked = (uint32_t)info.tcpi_bytes_acked;
	if (!getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &mem_len)) {
		out.sndbuf_free = mem[MEM_SNDBUF] > mem[MEM_WMEM_QUEUED] ? mem[MEM_SNDBUF] - mem[MEM_WMEM_QUEUED] : 0;
		out.sndbuf = mem[MEM_SNDBUF];
	}
	return info.tcpi_state;
}

} // namespace passt
