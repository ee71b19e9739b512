/* Giving up what the launcher does not need any more. */
#ifndef PASST_LAUNCHER_IDENTITY_H
#define PASST_LAUNCHER_IDENTITY_H

#include "util.h"

/** Another user and group, no supplementary groups. */
Fault become(uid_t uid, gid_t gid);

/**
 * No capabilities but those of the mask `kept` (1 << CAP_*), as far as we hold them, no way to new ones, and nobody without
 * privilege may look into this process. What was started before keeps what it has.
 */
void keepOnly(uint64_t kept);

/** Before execve(2), where that would take them away: the right to bind low ports, if this program's file gives it to us. */
void handOnLowPorts();

#endif
