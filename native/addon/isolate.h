/* Giving up what the engine does not need once it is ready. */
#ifndef PASST_ISOLATE_H
#define PASST_ISOLATE_H

#include "../common/landlock.h"

#include <sys/types.h>

namespace passt {

/**
 * Into background: a session of our own (setsid(2)), without a terminal; standard streams to `null`, a descriptor of /dev/null
 * that is closed then; working directory /. 0 or errno.
 */
int detach(int null);

/**
 * On every thread of the process: user and group changed (uid >= 0; supplementary groups dropped where that is allowed),
 * no capability left in any set, bounding set included where allowed, no_new_privs.
 * Return: 0 or errno. On failure some threads may have lost more than others: the caller must exit.
 */
int drop_privileges(long uid, long gid);

/**
 * On every thread: no file by name, no socket of the abstract kind, no signal to others, no port that `allowed` does not have, as far as this
 * kernel has Landlock (common/landlock.h). After drop_privileges(), and while there is /proc. Return: 0, also where there is no Landlock;
 * errno where a thread was not reached.
 */
int confine(const Landlock &allowed);

/** Not to be looked into, nor dumped, by other processes of the same user (ptrace(2), proc(5)). execve(2) and setresuid(2) end it. */
void close_to_others();

} // namespace passt

#endif
