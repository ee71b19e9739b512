/* Following the host: what rings, what is asked for, and what an engine may have changed in the namespace. */
#include "harness.h"

#include "../launcher/configure.h"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

void set_up(bool up)
{
	const int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ifreq r = {};
	strcpy(r.ifr_name, "lo");
	r.ifr_flags = up ? IFF_UP : 0;
	CHECK(s >= 0 && !ioctl(s, SIOCSIFFLAGS, &r));
	close(s);
}

/** How often it rang in the turns that a bell takes. */
int rings_of(Rig &r)
{
	int n = 0;
	for (int i = 0; i < 4; i++)
		for (const auto &e : r.turn(i ? 0 : 20))
			n += e[0] == EV_HOST_BELL && e[1] == HOST_TABLES;
	return n;
}

template <typename Header> std::string message(uint16_t type, const Header &header, const std::string &attributes = {})
{
	nlmsghdr h = {};
	h.nlmsg_len = (uint32_t)(sizeof(h) + sizeof(header) + attributes.size());
	h.nlmsg_type = type;
	h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	std::string s(reinterpret_cast<const char *>(&h), sizeof(h));
	s.append(reinterpret_cast<const char *>(&header), sizeof(header));
	return s + attributes;
}

std::string attribute(uint16_t type, const std::string &value)
{
	rtattr a = {};
	a.rta_len = (uint16_t)(sizeof(a) + value.size());
	a.rta_type = type;
	std::string s(reinterpret_cast<const char *>(&a), sizeof(a));
	s += value;
	return s.append(RTA_ALIGN(s.size()) - s.size(), '\0');
}
std::string word(uint32_t w) { return std::string(reinterpret_cast<const char *>(&w), sizeof(w)); }
std::string hop(int index, const std::string &attributes)
{
	rtnexthop h = {};
	h.rtnh_len = (uint16_t)(sizeof(h) + attributes.size());
	h.rtnh_ifindex = index;
	return std::string(reinterpret_cast<const char *>(&h), sizeof(h)) + attributes;
}

ifaddrmsg address(uint32_t index) { return {AF_INET, 24, 0, 0, index}; }
rtmsg route()
{
	rtmsg r = {};
	r.rtm_family = AF_INET, r.rtm_table = RT_TABLE_MAIN, r.rtm_type = RTN_UNICAST;
	return r;
}

} // namespace

TEST(host_rings_once_until_armed)
{
	in_namespace([] {
		Rig r;
		CHECK(!r.engine.host.watch(RTMGRP_LINK));
		CHECK(r.engine.host.watch(RTMGRP_LINK) == EBUSY);
		CHECK(rings_of(r) == 0);
		for (int i = 0; i < 500; i++)
			set_up(i % 2 == 0);
		CHECK(rings_of(r) == 1);
		set_up(true);
		CHECK(rings_of(r) == 0); /* nobody has looked yet */
		CHECK(!r.engine.host.arm(HOST_TABLES));
		CHECK(rings_of(r) == 0); /* what rang before is known */
		set_up(false);
		CHECK(rings_of(r) == 1);
	});
}

TEST(host_tables_are_read_a_datagram_at_a_time)
{
	in_namespace([] {
		Rig r;
		std::string datagram;
		int e = 0;
		CHECK(!r.engine.host.answer(datagram, e) && e == EBADF);
		CHECK(!r.engine.host.watch(RTMGRP_LINK));
		CHECK(!r.engine.host.answer(datagram, e) && e == EAGAIN);
		ifinfomsg all = {};
		std::string q = message(RTM_GETLINK, all);
		reinterpret_cast<nlmsghdr *>(&q[0])->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		CHECK(!r.engine.host.ask(reinterpret_cast<const uint8_t *>(q.data()), q.size()));
		bool done = false;
		while (r.engine.host.answer(datagram, e)) {
			nlmsghdr h;
			CHECK(datagram.size() >= sizeof(h));
			memcpy(&h, datagram.data(), sizeof(h));
			done |= h.nlmsg_type == NLMSG_DONE;
		}
		CHECK(done && e == EAGAIN);
	});
}

TEST(host_what_is_told_comes_in_the_next_turn)
{
	Rig r;
	r.engine.host.tell("one");
	r.engine.host.tell("two");
	std::string all;
	for (const auto &e : r.turn(0))
		if (e[0] == EV_HOST)
			all.append(reinterpret_cast<const char *>(r.engine.rings.slab) + e[2], e[3]);
	CHECK(all == "onetwo");
}

TEST(host_resolver_last_word_counts)
{
	Rig r;
	int line[2];
	std::string text;
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line));
	CHECK(!r.engine.host.resolver(line[0]));
	CHECK(send(line[1], "a", 1, 0) == 1 && send(line[1], "bc", 2, 0) == 2);
	bool rang = false;
	for (const auto &e : r.turn(20))
		rang |= e[0] == EV_HOST_BELL && e[1] == HOST_RESOLVER;
	CHECK(rang && r.engine.host.resolver_said(text) && text == "bc");
	CHECK(!r.engine.host.resolver_said(text));
	close(line[1]);
	CHECK(!r.engine.host.resolver_said(text));
	CHECK(r.engine.host.arm(HOST_RESOLVER) == EBADF); /* gone for good, and not looked at again and again */
}

TEST(engine_may_configure_its_interface_and_nothing_else)
{
	const std::string addr = attribute(IFA_LOCAL, word(0x0100000a)), dst = attribute(RTA_DST, word(0x000000c0));
	const std::string via = attribute(RTA_GATEWAY, word(0x0100000a)), out = attribute(RTA_OIF, word(7));
	for (const uint16_t type : {RTM_NEWADDR, RTM_DELADDR}) {
		CHECK(mayConfigure(message(type, address(7), addr), 7));
		CHECK(!mayConfigure(message(type, address(1), addr), 7));
		CHECK(!mayConfigure(message(type, address(7), addr + attribute(IFA_TARGET_NETNSID, word(0))), 7));
		CHECK(!mayConfigure(message(type, address(7), addr + attribute(IFA_LABEL, "x")), 7));
		CHECK(!mayConfigure(message(type, address(0), addr), 0));
	}
	for (const uint16_t type : {RTM_NEWROUTE, RTM_DELROUTE}) {
		CHECK(mayConfigure(message(type, route(), dst + via + out), 7));
		CHECK(mayConfigure(message(type, route(), attribute(RTA_MULTIPATH, hop(7, via) + hop(7, via))), 7));
		CHECK(!mayConfigure(message(type, route(), dst + via), 7)); /* wherever that leads */
		CHECK(!mayConfigure(message(type, route(), dst + via + attribute(RTA_OIF, word(1))), 7));
		CHECK(!mayConfigure(message(type, route(), out + attribute(RTA_OIF, word(1))), 7));
		CHECK(!mayConfigure(message(type, route(), attribute(RTA_MULTIPATH, hop(7, via) + hop(1, via))), 7));
		CHECK(!mayConfigure(message(type, route(), attribute(RTA_MULTIPATH, "")), 7));
		CHECK(!mayConfigure(message(type, route(), out + attribute(RTA_TABLE, word(100))), 7));
		for (const uint16_t other : {RTA_ENCAP, RTA_ENCAP_TYPE, RTA_NH_ID, RTA_PREFSRC, RTA_SRC, RTA_IIF})
			CHECK(!mayConfigure(message(type, route(), out + attribute(other, word(1))), 7));
		rtmsg r = route();
		r.rtm_table = RT_TABLE_LOCAL;
		CHECK(!mayConfigure(message(type, r, out), 7));
		r = route(), r.rtm_type = RTN_BLACKHOLE;
		CHECK(!mayConfigure(message(type, r, out), 7));
		r = route(), r.rtm_family = AF_MPLS;
		CHECK(!mayConfigure(message(type, r, out), 7));
	}
	ifinfomsg link = {};
	link.ifi_index = 7;
	for (const uint16_t type : {RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK, RTM_GETLINK, RTM_NEWRULE, RTM_NEWNEIGH, RTM_NEWNSID})
		CHECK(!mayConfigure(message(type, link), 7));
	/* Two messages, of which one would be looked at; and any number of octets that are missing or too many */
	const std::string good = message(RTM_NEWADDR, address(7), addr);
	CHECK(!mayConfigure(good + message(RTM_NEWLINK, link), 7));
	for (size_t n = 0; n < good.size(); n++)
		CHECK(!mayConfigure(good.substr(0, n), 7));
	std::string longer = good;
	reinterpret_cast<nlmsghdr *>(&longer[0])->nlmsg_len += 3;
	longer.append(3, '\0');
	CHECK(!mayConfigure(longer, 7));
}
