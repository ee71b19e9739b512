/* What a service manager hears of us: sd_notify(3), sd_watchdog_enabled(3). */
#ifndef PASST_LAUNCHER_NOTIFY_H
#define PASST_LAUNCHER_NOTIFY_H

#include "util.h"

class Notifier {
public:
	/** Connected to the socket that NOTIFY_SOCKET names, as the user who started us; otherwise says nothing, to nobody. */
	void open();
	/** Assignments, one a line; lost where nobody reads. Never waits. */
	void say(const std::string &assignments) const;
	/** How often a sign of life is expected of this process: half of WATCHDOG_USEC, in ms; 0: it is not. */
	uint32_t lifeMs() const { return lifeMs_; }
	int fd() const { return socket_.get(); }

private:
	Fd socket_;
	uint32_t lifeMs_ = 0;
};

#endif
