/* A process that stays root when the launcher becomes somebody else, for the case that /dev/net/tun is root's alone: a tap belongs
 * to the network namespace of the process that opens the device, so it cannot be opened before there is one. */
#ifndef PASST_LAUNCHER_TAPHELPER_H
#define PASST_LAUNCHER_TAPHELPER_H

#include "tap.h"

/** Over a socket pair of SOCK_SEQPACKET: a tap, or why there is none; the other end's. False: nobody reads. */
bool giveTap(int line, const Fault &f, const Tap &tap);
Fault takeTap(int line, Tap &tap);

class TapHelper {
public:
	/** While we are root. */
	Fault start();
	explicit operator bool() const { return static_cast<bool>(line_); }
	/** openTap() in our network namespace, with root's rights to files. Once. */
	Fault open(const std::string &name, bool vnet, Tap &tap);
	/** It ends. */
	void letGo();

private:
	Fd line_;
	pid_t pid_ = 0;
};

#endif
