/* Who else may bind a port that our UDP sockets have: we ourselves. */
#ifndef PASST_PORTS_H
#define PASST_PORTS_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <sys/socket.h>
#include <unordered_map>
#include <vector>

namespace passt {

/** What the kernel compares where two UDP sockets want one port. */
struct Local {
	/** v4-mapped or IPv6, host order; all zero: every address */
	uint32_t addr[4] = {};
	uint16_t port = 0;
	bool v6 = false;
	/** hears IPv4 as well */
	bool dual = false;
	/** bound to this interface; '': to none */
	std::string device;

	Local() = default;
	/** Of a socket as it is; bound to `ss`, if given. */
	explicit Local(int fd, const sockaddr_storage *ss = nullptr);
	bool any() const;
	/** Has whoever is in the way of `other` to be in our way as well? */
	bool covers(const Local &other) const;
	/** Would the kernel give the port to one of them only, without any option? */
	bool excludes(const Local &other) const;
};

/**
 * Our UDP sockets at ports that several of them share, of the host or of the namespace. bind() goes by the options that both
 * sockets have at that moment (socket(7)). Of ours at one place (address, port, interface)
 * - the first, the guard, has neither SO_REUSEADDR nor SO_REUSEPORT: nobody else gets in, whoever he is;
 * - the others have SO_REUSEADDR: they are not in the way of the next one of ours, which has it too;
 * - guards that are in the way of the next one have SO_REUSEPORT around its bind(). That lets the same user in only;
 * - a guard that another user has made, and handed over, has SO_REUSEADDR then: for the same user the kernel does not take it.
 */
class Ports {
public:
	/** Has any of ours this port? Then bind() it here. */
	bool any(uint16_t port) const { return places.count(port); }
	/** bind() to `ss`, which is `at`, shared with those that are here already and nobody else. 0 or errno. */
	int bind(int fd, const Local &at, const sockaddr_storage &ss, socklen_t len);
	/** It is bound, and stays at `at` until remove(), before it is closed. `listener`: 1 + its id, or 0. `foreign`: of another user. */
	void add(int fd, const Local &at, uint32_t listener, bool foreign = false);
	/** Those of other users are ours from here on. */
	void own();
	void remove(int fd);
	/** Who hears, but for a socket at `at`, what comes there: 1 + id of a listener, or 0. */
	uint32_t listener_at(const Local &at) const;
	/** Is a listener there that excludes another one at `at`? Flows do not. */
	bool listener_excludes(const Local &at) const;

private:
	struct Place {
		Local at;
		uint32_t listener;
		/** its guard is of another user */
		bool foreign;
		/** the guard first */
		std::vector<int> fds;
	};
	using Places = std::multimap<uint16_t, Place>;
	struct Seat {
		Places::iterator place;
		size_t index;
		bool listener;
	};

	Places places;
	std::unordered_map<int, Seat> seats;
};

} // namespace passt

#endif
