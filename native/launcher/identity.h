/* Who the launcher is, and giving up what it does not need any more. */
#ifndef PASST_LAUNCHER_IDENTITY_H
#define PASST_LAUNCHER_IDENTITY_H

#include "util.h"

struct Identity {
	uid_t uid = 0;
	gid_t gid = 0;
};

/** Another user and group, no supplementary groups, none of the keys of the session that we are in (keyrings(7)). */
Fault become(const Identity &who);

/** The same, keeping the capabilities for keepOnly() to choose from; not the bounding set, which it could not empty any more. */
Fault becomeCapable(const Identity &who);

/** Is that somebody else than we are, whom we have the rights to become, and to make user namespaces for? */
bool mayActFor(const Identity &who);

/**
 * No capabilities but those of the mask `kept` (1 << CAP_*), as far as we hold them, no way to new ones, and nobody without
 * privilege may look into this process. What was started before keeps what it has.
 */
void keepOnly(uint64_t kept);

/** Before execve(2), where that would take them away: the right to bind low ports, if this program's file gives it to us. */
void handOnLowPorts();

#endif
