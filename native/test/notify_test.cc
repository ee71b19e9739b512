/* What the kernel tells: neighbours, in a network namespace of its own (root). */
#include "harness.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

struct Request {
	nlmsghdr h;
	ndmsg n;
};

Request dump_request()
{
	Request q = {};
	q.h.nlmsg_len = sizeof(q);
	q.h.nlmsg_type = RTM_GETNEIGH;
	q.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	q.h.nlmsg_seq = 1;
	return q;
}

void send_message(Rig &r, const void *message, size_t len)
{
	const Octets b(static_cast<const uint8_t *>(message), static_cast<const uint8_t *>(message) + len);
	r.effect({EF_NETLINK, 0, r.put(b), (uint32_t)len});
}

} // namespace

TEST(netlink_dump_ends_with_done)
{
	in_namespace([] {
		Rig r;
		CHECK(!r.engine.notices.watch(RTMGRP_NEIGH));
		CHECK(r.engine.notices.watch(RTMGRP_NEIGH) == EBUSY);
		const Request q = dump_request();
		send_message(r, &q, sizeof(q));
		const Ev e = r.await(EV_NETLINK);
		CHECK(!e.empty() && e[3] >= sizeof(nlmsghdr));
		nlmsghdr h;
		memcpy(&h, r.slab(e[2], e[3]).data(), sizeof(h));
		CHECK(h.nlmsg_type == NLMSG_DONE || h.nlmsg_type == RTM_NEWNEIGH);
	});
}

TEST(netlink_lost_is_told_and_the_rest_goes_on)
{
	in_namespace([] {
		Rig r;
		CHECK(!r.engine.notices.watch(RTMGRP_LINK));
		/* Links come and go until the kernel has no room for the news */
		const int s = socket(AF_INET, SOCK_DGRAM, 0);
		ifreq ifr = {};
		strcpy(ifr.ifr_name, "lo");
		for (int i = 0; i < 2000; i++) {
			ifr.ifr_flags = i & 1 ? 0 : IFF_UP;
			CHECK(!ioctl(s, SIOCSIFFLAGS, &ifr));
		}
		bool lost = false;
		for (int i = 0; i < 500 && !lost; i++) {
			for (const Ev &e : r.turn(0))
				lost |= e[0] == EV_NETLINK && !e[3];
		}
		CHECK(lost);
		close(s);
	});
}
