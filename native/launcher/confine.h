/* The last doors of launcher and guards: filters of system calls, and Landlock. */
#ifndef PASST_LAUNCHER_CONFINE_H
#define PASST_LAUNCHER_CONFINE_H

#include "util.h"

/** Whom the launcher still deals with, once it serves. */
struct Served {
	bool inNamespace = false;
	/* 0 = none */
	pid_t command = 0, engine = 0;
	/* addresses and routes change there, too (configure.h) */
	bool configures = false;
	/* to UNIX sockets of the host, for the engine; it removes the files of some, at the end */
	bool connects = false, removes = false;
};

/**
 * From here on: launcher-calls.def. Needs no_new_privs (keepOnly()). Files go by Landlock as well, where the launcher needs no look into
 * others' processes: `looks`, since that takes them into account too (ptrace(2), proc(5)). A kernel without either is no Fault.
 */
Fault confineLauncher(const Served &served, bool looks);

/** The same for a guard: guard-calls.def. 0 or errno. */
int confineGuard(int target);

/** The same for the resolver's watcher: resolver-calls.def, and Landlock that lets files be read. 0 or errno. */
int confineResolver();

/**
 * In the process that becomes Node: SIGUSR1 does nothing from here on, whatever Node makes of it, which would start its inspector and
 * let who may signal it debug it. Nor is there an io_uring, which no list of ours serves later: libuv of Node 24 makes one whatever
 * UV_USE_IO_URING says. With no_new_privs; where there are no filters the addon ignores the signal when it is loaded.
 */
void withoutInspectorAndRings();

#endif
