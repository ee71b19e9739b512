/* Users and groups by name, wherever this system keeps them: files, a directory service, systemd (nsswitch.conf(5)). */
#ifndef PASST_LAUNCHER_NAMES_H
#define PASST_LAUNCHER_NAMES_H

#include "identity.h"

/** How long the answer may take: a directory may be out of reach. */
constexpr int LOOKUP_MS = 10000;

/**
 * `who`: the user of this name with the group that is its own, or with the group named. `user` or `group` may be "": not asked for. In
 * a process apart, since who answers is the system's code, which may be anything: it may start threads, after which no
 * namespace could be made, and keep descriptors, which RQ_SETUP closes. ENOENT: there is none; ETIMEDOUT.
 */
Fault lookUp(const Launch &launch, const std::string &user, const std::string &group, Identity &who);

#endif
