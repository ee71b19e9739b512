/* A small process that ends another one after us, for where we cannot, or are gone. */
#ifndef PASST_LAUNCHER_GUARD_H
#define PASST_LAUNCHER_GUARD_H

#include "util.h"

class Guard {
public:
	/** From here on: `graceMs` after letGo() or our own death, process `target` gets SIGKILL if it still lives. */
	Fault start(pid_t target, int graceMs);
	void letGo() { lifeline_.reset(); }
	/** Wait for its end; it ends with its target. Only where it is a child of ours. */
	void reap();

private:
	Fd lifeline_;
	pid_t pid_ = 0;
};

#endif
