/* Socket error queues: acknowledged octets of TCP, ICMP errors of datagram sockets (ip(7), IP_RECVERR). */
#include "abi.h"
#include "compat.h"
#include "receive.h"
#include "tcp.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/uio.h>

namespace passt {

namespace {

struct Extended {
	sock_extended_err err;
	sockaddr_storage offender;
	/** where the packet that caused it was to go */
	sockaddr_storage destination;
};

/** The extended error among all control messages of `h` (#regression-64: others may stand before it). */
bool find_extended(msghdr &h, Extended &out)
{
	for (cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		const bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
		const bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
		if ((!v4 && !v6) || c->cmsg_len < CMSG_LEN(sizeof(out.err)))
			continue;
		memset(&out.offender, 0, sizeof(out.offender));
		memcpy(&out.err, CMSG_DATA(c), sizeof(out.err));
		const size_t len = std::min(c->cmsg_len - CMSG_LEN(sizeof(out.err)), sizeof(out.offender));
		memcpy(&out.offender, CMSG_DATA(c) + sizeof(out.err), len);
		return true;
	}
	return false;
}

/** One record of the error queue; -1 with errno, else octets of the packet that came with it. */
ssize_t next_error(int fd, iovec *iov, bool &found, Extended &out)
{
	alignas(cmsghdr) char control[512];
	msghdr h = {};
	ssize_t n;

	h.msg_iov = iov, h.msg_iovlen = iov ? 1 : 0;
	h.msg_control = control, h.msg_controllen = sizeof(control);
	memset(&out.destination, 0, sizeof(out.destination));
	h.msg_name = &out.destination, h.msg_namelen = sizeof(out.destination);
	do
		n = recvmsg(fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	found = n >= 0 && find_extended(h, out);
	return n;
}

} // namespace

/** All TX_ACK records as one EV_ACKED: only the furthest matters. Return: whether there were any records. */
bool Tcp::read_acks(Sock &s)
{
	bool any = false, acked = false, found;
	uint32_t furthest = 0;
	Extended x;

	while (next_error(s.fd, nullptr, found, x) >= 0) {
		any = true;
		if (!found || x.err.ee_origin != SO_EE_ORIGIN_TIMESTAMPING || x.err.ee_info != SCM_TSTAMP_ACK)
			continue;
		const uint32_t octet = s.ts_base + x.err.ee_data;
		if (!acked || (int32_t)(octet - furthest) > 0)
			furthest = octet;
		acked = true;
	}
	if (acked)
		table.event<ev::Acked>(s).octet = furthest;
	return any;
}

/** Each ICMP error as EV_ICMP_ERROR while there is room. Return: records seen, those from elsewhere included. */
size_t Receiver::read_icmp_errors(Sock &s)
{
	size_t seen = 0;

	for (; seen < 16 && rings.room() && rings.rx_left() >= HEADROOM + 65536; seen++) {
		const uint32_t off = rings.rx_next() + HEADROOM;
		iovec iov = {rings.slab + off, 65535};
		bool found;
		Extended x;
		const ssize_t n = next_error(s.fd, &iov, found, x);
		if (n < 0)
			break;
		if (!found || (x.err.ee_origin != SO_EE_ORIGIN_ICMP && x.err.ee_origin != SO_EE_ORIGIN_ICMP6))
			continue;
		auto &e = rings.post<ev::IcmpError>(table.handle_of(s));
		e.off = off, e.len = (uint32_t)n;
		e.ee_errno = x.err.ee_errno, e.ee_type = x.err.ee_type, e.ee_code = x.err.ee_code, e.ee_info = x.err.ee_info;
		from_sockaddr(x.offender, e.offender);
		rings.rx_take(HEADROOM + (uint32_t)n + 64);
	}
	return seen;
}

/** Errors about datagrams that a listener's flow sent before it was closed. False: no room, next turn. */
bool Receiver::read_listener_errors(uint32_t id, int fd)
{
	for (size_t seen = 0; seen < 16; seen++) {
		if (!rings.room() || rings.rx_left() < HEADROOM + 65536)
			return false;
		const uint32_t off = rings.rx_next() + HEADROOM;
		iovec iov = {rings.slab + off, 65535};
		bool found;
		Extended x;
		const ssize_t n = next_error(fd, &iov, found, x);
		if (n < 0)
			break;
		if (!found || (x.err.ee_origin != SO_EE_ORIGIN_ICMP && x.err.ee_origin != SO_EE_ORIGIN_ICMP6))
			continue;
		auto &e = rings.post<ev::ListenIcmpError>(id);
		uint16_t port = 0;
		e.off = off, e.len = (uint32_t)n;
		e.ee_errno = x.err.ee_errno, e.ee_type = x.err.ee_type | (uint32_t)x.err.ee_code << 8, e.ee_info = x.err.ee_info;
		from_sockaddr(x.offender, e.offender);
		from_sockaddr(x.destination, e.destination, &port);
		e.dst_port = port;
		rings.rx_take(HEADROOM + (uint32_t)n + 64);
	}
	take_error(fd); /* and the copy that the next call would fail with */
	return true;
}

} // namespace passt
