/* Who is at the other end of the guest link: clients are accepted and offered to JS, which says who is served. */
#ifndef PASST_CLIENTS_H
#define PASST_CLIENTS_H

#include "../common/fault.h"
#include "core.h"
#include "vhost/vhost.h"

#include <string>

namespace passt {

class Clients : Part {
public:
	Clients(Core &c, Tap &t, Vhost &v) : Part(c), tap(t), vhost(v) {}
	~Clients();

	/**
	 * The guest link in place of a tap: listen for clients, or offer a connected socket (0 or errno). `vhost_user`: clients speak
	 * that. `mode`: the socket file's.
	 */
	Fault listen(const char *path, bool vhost_user, uint32_t &mode);
	int offer(int fd, bool vhost_user);

	/** EF_LINK_* */
	void use(int fd);
	void refuse(int fd);
	void close();

	/** Another client waits. */
	void ready();
	/** Of the one that is served. `events` 0: whatever is left from before. */
	void link_ready(uint32_t events);
	/** Where clients connect, -1: nowhere. */
	int listens_at() const { return listener; }
	int adopt(int fd, bool vhost_user);
	/** What another process had of the client that is used next: octets that came, descriptors with them, and octets that were not taken. */
	void resume(std::string came, std::string unsent, std::vector<int> passed);
	/** The tap, or the link's client, and where clients connect, are somebody else's. Frames vanish from here on. */
	void give_away();
	/** Send what the effects of this turn brought; say what there is to say. */
	void report();
	/** When accepting goes on, by the clock; infinity: it does. */
	double due() const { return pause.due(); }

private:
	void link_on(bool vhost_user);
	int served() const { return tap.vhost.on ? vhost.channel.fd : tap.link.fd; }
	void watch_link();
	void watch(bool on);
	void keep_spare();

	Tap &tap;
	Vhost &vhost;
	/** Listens; a client that JS has not decided about. -1: none. */
	int listener = -1, offered = -1;
	/** Given up for a client where descriptors have run out: whoever else may wait, the guest shall not. */
	int spare = -1;
	bool registered = false, out = false, end_said = false;
	Pause pause;
	std::string came_before, unsent_before;
	std::vector<int> passed_before;
	bool resumes = false;
};

} // namespace passt

#endif
