/* Spawn mode: new namespaces for us, a child in them that waits to become the command. */
#ifndef PASST_LAUNCHER_SPAWN_H
#define PASST_LAUNCHER_SPAWN_H

#include "command.h"
#include "identity.h"

#include <optional>

struct SpawnOrder {
	bool netnsOnly = false, noPidns = false;
	/* index of the command in argv, 0 = the user's shell as a login shell */
	uint32_t argvIndex = 0;
	/* empty: "pasta-" and our own */
	std::string hostname;
	/* who root of the new user namespace is outside; none: who we are */
	std::optional<Identity> outside;
};

/**
 * Enter new user (unless netnsOnly), network, IPC and UTS namespaces and start a child in new mount and PID namespaces.
 * `warnings` gets a line for each step that may fail. On a Fault this process may be left in new namespaces: end it.
 */
Fault spawnCommand(const Launch &launch, const SpawnOrder &order, Command &command, std::string &warnings);

#endif
