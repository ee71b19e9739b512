/* A tap that somebody else has made for us is attached before the engine is there.
 *
 * Who makes the tap itself (RootlessKit does) may send at once, and until we attach the kernel drops what is sent: there is no
 * carrier. The engine takes some 100 ms to say which tap, so the launcher looks at its command line, where that names it plainly:
 * a PID or --netns, and --ns-ifname. A helper process joins the namespaces as the launcher will, with no right but what that takes,
 * and attaches a tap that exists. The kernel keeps what comes until the engine reads. Whatever does not fit is no error: the
 * engine's own way is gone then, which says what is wrong.
 */
#ifndef PASST_LAUNCHER_EARLYTAP_H
#define PASST_LAUNCHER_EARLYTAP_H

#include "tap.h"

class EarlyTap {
public:
	/** Start the helper, if the command line is plain. Not as root, who may become somebody else first. */
	void start(const Launch &launch);
	/** The helper's line, or -1. */
	int fd() const { return line_.get(); }
	/** The tap, if it has this name and is in the network namespace that we are in. In any case no other one stays attached. */
	bool take(const std::string &name, bool vnet, Tap &tap);

private:
	Fd line_;
	pid_t pid_ = 0;
};

#endif
