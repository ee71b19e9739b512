/* An empty root directory for the engine.
 *
 * Changing the root takes rights that the engine shall not have, in namespaces that a process with threads, such as Node, cannot
 * make. So the engine's process enters namespaces of its own before it becomes Node, and leaves a helper in them. When everything
 * is open, the helper exchanges the root of both: they share it (CLONE_FS).
 */
#ifndef PASST_LAUNCHER_EMPTYROOT_H
#define PASST_LAUNCHER_EMPTYROOT_H

#include "util.h"

class EmptyRoot {
public:
	/** Before the engine's process is started. */
	Fault prepare();
	/** In the engine's process, our child, with nothing else open that it shall not have. Failures: see close(). */
	void enter();
	/** In ours, after the start. */
	void started() { inside_.reset(); }
	/** Now. `byChroot`: chroot(2) where pivot_root(2) is impossible, in an initramfs. A Fault: the root is as it was. */
	Fault close(bool byChroot);
	/** The helper ends. */
	void letGo();
	int fd() const { return line_.get(); }

private:
	Fd line_, inside_;
};

#endif
