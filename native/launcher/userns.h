/* User namespaces of our own (user_namespaces(7)). */
#ifndef PASST_LAUNCHER_USERNS_H
#define PASST_LAUNCHER_USERNS_H

#include "identity.h"

/** Do we hold this capability (CAP_*) in effect? */
bool isCapable(int capability);
/** Do we hold any? */
bool isPrivileged();

/**
 * New user namespace, and with it those of `more` (CLONE_NEW*). Our user and group are `uid` and `gid` there, and nobody else is.
 * Ids that cannot be mapped are a line of `warnings`.
 */
Fault enterUserNamespace(int more, uid_t uid, gid_t gid, std::string &warnings);

/**
 * New user namespace, owned by who we are, in which we become root, who is `outside` outside of it. Made so it needs no rights of that user's,
 * who could not enter it either. Only where mayActFor() him.
 */
Fault enterUserNamespaceAs(const Identity &outside);

#endif
