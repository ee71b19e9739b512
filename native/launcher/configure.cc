#include "configure.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

/** The first `T` of `b`, taken off it with its padding. False: there is none. */
template <typename T> static bool take(std::string_view &b, T &out)
{
	if (b.size() < sizeof(T))
		return false;
	memcpy(&out, b.data(), sizeof(T));
	b.remove_prefix(std::min<size_t>(NLMSG_ALIGN(sizeof(T)), b.size()));
	return true;
}

/** Every attribute in `b` is one that `check(type, value)` takes. */
template <typename Check> static bool attributes(std::string_view b, Check check)
{
	while (!b.empty()) {
		rtattr a;
		if (b.size() < sizeof(a))
			return false;
		memcpy(&a, b.data(), sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > b.size())
			return false;
		if (!check(a.rta_type & NLA_TYPE_MASK, b.substr(sizeof(a), a.rta_len - sizeof(a))))
			return false;
		b.remove_prefix(std::min<size_t>(RTA_ALIGN(a.rta_len), b.size()));
	}
	return true;
}

static bool oneOf(int type, std::initializer_list<int> list)
{
	return std::find(list.begin(), list.end(), type) != list.end();
}

static bool isWord(std::string_view value, uint32_t wanted)
{
	uint32_t word;
	return value.size() == sizeof(word) && (memcpy(&word, value.data(), sizeof(word)), word == wanted);
}

static bool isFamily(uint8_t family)
{
	return family == AF_INET || family == AF_INET6;
}

static bool address(std::string_view b, uint32_t index)
{
	ifaddrmsg a;
	return take(b, a) && isFamily(a.ifa_family) && a.ifa_index == index && attributes(b, [](int type, std::string_view) {
		return oneOf(type, { IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_CACHEINFO, IFA_FLAGS, IFA_RT_PRIORITY });
	});
}

static bool nextHops(std::string_view b, uint32_t index)
{
	if (b.empty())
		return false;
	while (!b.empty()) {
		rtnexthop h;
		if (b.size() < sizeof(h))
			return false;
		memcpy(&h, b.data(), sizeof(h));
		if (h.rtnh_len < sizeof(h) || h.rtnh_len > b.size() || h.rtnh_ifindex != static_cast<int>(index))
			return false;
		const bool known = attributes(b.substr(sizeof(h), h.rtnh_len - sizeof(h)), [](int type, std::string_view) {
			return oneOf(type, { RTA_GATEWAY, RTA_VIA, RTA_FLOW });
		});
		if (!known)
			return false;
		b.remove_prefix(std::min<size_t>(RTNH_ALIGN(h.rtnh_len), b.size()));
	}
	return true;
}

static bool route(std::string_view b, uint32_t index)
{
	rtmsg r;
	if (!take(b, r) || !isFamily(r.rtm_family) || r.rtm_src_len || r.rtm_table != RT_TABLE_MAIN || r.rtm_type != RTN_UNICAST)
		return false;
	bool leads = false;
	return attributes(b, [&](int type, std::string_view value) {
		if (type == RTA_OIF || type == RTA_MULTIPATH) {
			leads = true;
			return type == RTA_OIF ? isWord(value, index) : nextHops(value, index);
		}
		if (type == RTA_TABLE)
			return isWord(value, RT_TABLE_MAIN);
		return oneOf(type, { RTA_DST, RTA_GATEWAY, RTA_VIA, RTA_PRIORITY, RTA_METRICS, RTA_FLOW, RTA_PREF });
	}) && leads;
}

bool mayConfigure(std::string_view message, uint32_t index)
{
	nlmsghdr h;
	const size_t whole = message.size();
	if (index == 0 || !take(message, h) || h.nlmsg_len != whole)
		return false;
	switch (h.nlmsg_type) {
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return address(message, index);
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return route(message, index);
	default:
		return false;
	}
}
