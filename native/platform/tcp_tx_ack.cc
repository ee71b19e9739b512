/* SO_TIMESTAMPING TX_ACK asked for per sendmsg() by control message, with OPT_ID_TCP: the error queue tells the offset of
 * the last octet acknowledged, counted from the octet that was next to be sent when the option was set. */
#include "check.h"
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <sys/epoll.h>
#include <sys/uio.h>

static constexpr uint32_t OPT_ID_TCP = 1 << 16;

static ssize_t send_reported(int fd, const char *b, size_t n)
{
	iovec iov = {const_cast<char *>(b), n};
	alignas(cmsghdr) char c[CMSG_SPACE(sizeof(uint32_t))] = {};
	msghdr m = {};
	m.msg_iov = &iov, m.msg_iovlen = 1, m.msg_control = c, m.msg_controllen = sizeof(c);
	cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SO_TIMESTAMPING, h->cmsg_len = CMSG_LEN(sizeof(uint32_t));
	const uint32_t f = SOF_TIMESTAMPING_TX_ACK;
	memcpy(CMSG_DATA(h), &f, sizeof(f));
	return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/** ee_data of the next record, or -1. */
static long next_record(int fd)
{
	alignas(cmsghdr) char c[256];
	msghdr m = {};
	m.msg_control = c, m.msg_controllen = sizeof(c);
	if (recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return -1;
	for (cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if ((h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_RECVERR) ||
		    (h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_RECVERR)) {
			sock_extended_err e;
			memcpy(&e, CMSG_DATA(h), sizeof(e));
			if (e.ee_origin == SO_EE_ORIGIN_TIMESTAMPING && e.ee_info == SCM_TSTAMP_ACK)
				return e.ee_data;
		}
	}
	return -2;
}

static void check(int family)
{
	int s[2];
	tcp_pair(family, s);
	CHECK(write(s[0], "earlier", 7) == 7);
	const uint32_t f = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID | OPT_ID_TCP | SOF_TIMESTAMPING_OPT_TSONLY;
	if (setsockopt(s[0], SOL_SOCKET, SO_TIMESTAMPING, &f, sizeof(f)))
		exit(77);
	CHECK(write(s[0], "abc", 3) == 3); /* no report asked for */
	CHECK(send_reported(s[0], "0123456789", 10) == 10);
	CHECK(wait_for(s[0], 0));
	CHECK(next_record(s[0]) == 12);
	CHECK(next_record(s[0]) == -1 && errno == EAGAIN);
	/* edge-triggered epoll wakes for each report */
	const int e = epoll_create1(0);
	epoll_event ev = {};
	ev.events = EPOLLIN | EPOLLET;
	CHECK(!epoll_ctl(e, EPOLL_CTL_ADD, s[0], &ev));
	for (long i = 1; i <= 3; i++) {
		CHECK(send_reported(s[0], "x", 1) == 1);
		CHECK(epoll_wait(e, &ev, 1, 1000) == 1 && ev.events & EPOLLERR);
		CHECK(next_record(s[0]) == 12 + i);
	}
	int err = 1;
	socklen_t l = sizeof(err);
	CHECK(!getsockopt(s[0], SOL_SOCKET, SO_ERROR, &err, &l) && err == 0);
}

int main()
{
	check(AF_INET);
	check(AF_INET6);
}
