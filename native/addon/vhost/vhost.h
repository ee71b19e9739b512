/* The vhost-user back-end in the engine: the front-end's channel and the guest's card (port.h) in epoll, their effects and events.
 * What a message means is JS's business. */
#ifndef PASST_VHOST_VHOST_H
#define PASST_VHOST_VHOST_H

#include "../core.h"
#include "../tap.h"
#include "channel.h"

namespace passt {

class Vhost : Part {
public:
	Vhost(Core &c, Tap &t) : Part(c), tap(t) {}
	~Vhost() { close(); }

	Channel channel;

	/** The front-end that is served from here on; nobody. */
	void use(int fd);
	/** What another process had of the one that is served (Channel::resume()). No message is read before EF_VHOST_NEXT. */
	bool resume(const std::string &came, const std::vector<int> &passed, const std::string &unsent);
	void close();
	/** What is in force, as Native.vhostHeld() in src/runtime/abi/abi.ts. */
	std::vector<uint64_t> held() const;
	/** A descriptor of HAND_REGION, HAND_VRING, HAND_LOG, HAND_CAME; -1: there is none. */
	int descriptor(uint32_t what, uint32_t which) const;
	/** EF_VHOST_*, EF_VRING_*. False: it is none of those. */
	bool effect(const Record &e);
	/** What is there of messages and frames, whether or not epoll says so. */
	void look();
	/** The channel's turn in epoll. */
	void ready(uint32_t events);
	/** A kick: nothing but a reason to look. */
	void kicked(uint32_t ring);
	/** What the effects of this turn brought is the guest's; say what there is to say. */
	void report();
	/** Before sleep: the guest shall kick. False: something is there already. */
	bool may_sleep();
	/** A ring without a kick is looked at so often, by the clock; infinity: there is none. */
	double due() const;

private:
	void done(int error);
	void memory(const fx::Regions &e);
	void set_fd(const fx::VringFd &e);
	void run(Vring &ring, uint32_t number, uint32_t mode);
	void log(const fx::DirtyLog &e);
	void translate();
	void watch_channel();
	void stop_broken(Vring &ring, uint32_t number);
	void end_session();

	Tap &tap;
	int log_fd = -1;
	/** `asked`: JS wants the next message. `readable`: epoll said that there may be one. `armed`: the channel's events in epoll, once. */
	bool asked = false, readable = false, registered = false, end_said = false;
	uint32_t armed = 0;
};

} // namespace passt

#endif
