#include "ports.h"
#include "sock.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>

namespace passt {

Local::Local(int fd, const sockaddr_storage *ss)
{
	sockaddr_storage own = {};
	socklen_t len = sizeof(own);
	char name[64];
	int only = 1;

	if (!ss) {
		getsockname(fd, reinterpret_cast<sockaddr *>(&own), &len);
		ss = &own;
	}
	from_sockaddr(*ss, addr, &port);
	v6 = ss->ss_family == AF_INET6;
	if (!v6 && !addr[3])
		addr[2] = 0;
	len = sizeof(only);
	if (v6 && any() && !getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len))
		dual = !only;
	len = sizeof(name);
	if (!getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len))
		device.assign(name, strnlen(name, len));
}

bool Local::any() const
{
	return !(addr[0] | addr[1] | addr[2] | addr[3]);
}

bool Local::covers(const Local &other) const
{
	if (!device.empty() && device != other.device)
		return false;
	return any() ? dual || (v6 == other.v6 && !other.dual) : !memcmp(addr, other.addr, sizeof(addr));
}

/** Does a wildcard hear what the other one hears? */
static bool hears(const Local &wildcard, const Local &other)
{
	return wildcard.v6 == other.v6 || wildcard.dual;
}

bool Local::excludes(const Local &other) const
{
	if (!device.empty() && !other.device.empty() && device != other.device)
		return false;
	if (any() && other.any())
		return hears(*this, other) || hears(other, *this);
	return any() ? hears(*this, other) : other.any() ? hears(other, *this) : !memcmp(addr, other.addr, sizeof(addr));
}

static void share(int fd, int option, bool on)
{
	set_int(fd, SOL_SOCKET, option, on);
}

int Ports::bind(int fd, const Local &at, const sockaddr_storage &ss, socklen_t len)
{
	const auto [begin, end] = places.equal_range(at.port);
	const bool covered = std::any_of(begin, end, [&](const auto &p) { return p.second.at.covers(at); });
	static std::vector<int> doors, foreign;

	doors.clear();
	foreign.clear();
	for (auto p = begin; p != end; ++p) {
		const std::vector<int> &fds = p->second.fds;
		if (!p->second.at.excludes(at))
			continue;
		if (p->second.foreign)
			foreign.push_back(fds[0]);
		/* SO_REUSEADDR would let in others' as well, had no guard of ours kept them out so far */
		doors.insert(doors.end(), fds.begin() + p->second.foreign, covered || p->second.foreign ? fds.begin() + 1 : fds.end());
	}
	const bool shares = covered || !foreign.empty();
	if (shares)
		share(fd, SO_REUSEADDR, true);
	share(fd, SO_REUSEPORT, true);
	/* From here on another process, of this user where none is foreign, could come in: as little as can be */
	for (const int door : doors)
		share(door, SO_REUSEPORT, true);
	for (const int door : foreign)
		share(door, SO_REUSEADDR, true);
	const int e = ::bind(fd, reinterpret_cast<const sockaddr *>(&ss), len) ? errno : 0;
	for (const int door : foreign)
		share(door, SO_REUSEADDR, false);
	share(fd, SO_REUSEPORT, false);
	for (const int door : doors)
		share(door, SO_REUSEPORT, false);
	if (shares && (e || !covered))
		share(fd, SO_REUSEADDR, false);
	return e;
}

void Ports::add(int fd, const Local &at, uint32_t listener, bool foreign)
{
	auto [p, end] = places.equal_range(at.port);
	const auto same = [&](const Local &l) { return l.v6 == at.v6 && l.covers(at) && at.covers(l); };

	while (p != end && !same(p->second.at))
		++p;
	if (p == end)
		p = places.emplace(at.port, Place{at, 0, foreign, {}});
	Place &place = p->second;
	share(fd, SO_REUSEADDR, !place.fds.empty());
	if (listener)
		place.listener = listener;
	seats.insert_or_assign(fd, Seat{p, place.fds.size(), listener != 0});
	place.fds.push_back(fd);
}

void Ports::own()
{
	for (auto &p : places)
		p.second.foreign = false;
}

void Ports::remove(int fd)
{
	const auto seat = seats.find(fd);

	if (seat == seats.end())
		return;
	const auto [p, index, listener] = seat->second;
	std::vector<int> &fds = p->second.fds;
	seats.erase(seat);
	if (listener) /* its flows stay; its number may be another's next */
		p->second.listener = 0;
	if (index + 1 < fds.size()) {
		fds[index] = fds.back();
		seats.at(fds[index]).index = index;
	}
	fds.pop_back();
	if (fds.empty())
		places.erase(p);
	else if (!index) {
		p->second.foreign = false; /* flows' sockets are our own */
		share(fds[0], SO_REUSEADDR, false);
	}
}

bool Ports::listener_excludes(const Local &at) const
{
	const auto [begin, end] = places.equal_range(at.port);

	return std::any_of(begin, end, [&](const auto &p) { return p.second.listener && p.second.at.excludes(at); });
}

uint32_t Ports::listener_at(const Local &at) const
{
	const auto [begin, end] = places.equal_range(at.port);
	const auto p = std::find_if(begin, end, [&](const auto &q) { return q.second.listener && q.second.at.covers(at); });

	return p == end ? 0 : p->second.listener;
}

} // namespace passt
