/* Who the launcher is. */
#ifndef PASST_LAUNCHER_IDENTITY_H
#define PASST_LAUNCHER_IDENTITY_H

#include "rights.h"
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

/** Before execve(2), where that would take them away: the right to bind low ports, if this program's file gives it to us. */
void handOnLowPorts();

#endif
