/* The tap in epoll, and what is told of it. */
#ifndef PASST_TAPPORT_H
#define PASST_TAPPORT_H

#include "core.h"
#include "tap.h"

namespace passt {

class TapPort : Part {
public:
	TapPort(Core &c, Tap &t) : Part(c), tap(t) {}

	/** 0 or errno. */
	int use(int fd, bool vnet);
	void ready(uint32_t events);
	/** Frames and records that were lost, and the end: events. */
	void report();

private:
	Tap &tap;
	bool registered = false, gone_said = false;
};

} // namespace passt

#endif
