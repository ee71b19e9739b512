/* Attach mode: joining namespaces that exist, and noticing when they are gone. */
#ifndef PASST_LAUNCHER_NAMESPACE_H
#define PASST_LAUNCHER_NAMESPACE_H

#include "util.h"

struct JoinOrder {
	/* 0 = none; otherwise it fills in what is empty below, and its end is the namespace's end */
	uint32_t pid = 0;
	bool noQuit = false;
	std::string userns, netns;
};

/** Tells when a joined namespace has gone: its process has ended, or its entry in the file system was removed. */
class Watch {
public:
	/** Watch process `pid`. ESRCH: there is none. */
	Fault process(pid_t pid);
	/** Watch the entry `path` of the file system. */
	Fault path(const std::string &path);
	/** Descriptor to poll for input, or -1. */
	int fd() const { return pidfd_ ? pidfd_.get() : inotify_.get(); }
	/** Must gone() be asked once a second as well? */
	bool byTimer() const { return timer_; }
	/** After fd() became readable, or at the timer: is it gone? */
	bool gone();

private:
	bool entryGone() const;
	Fd pidfd_, inotify_, dir_;
	std::string entry_;
	bool timer_ = false;
};

/** Join as ordered; `watch` is set up unless noQuit. On a Fault this process may have joined in part: end it. */
Fault joinNamespaces(const JoinOrder &order, Watch &watch);

#endif
