/* Node, as the launcher starts it: which one, with what environment, for which of our bundles. */
#ifndef PASST_LAUNCHER_NODE_H
#define PASST_LAUNCHER_NODE_H

#include "util.h"

/** The bundle `name` in dist/, found from our own file, wherever the installation is; "" when we cannot know. */
std::string bundlePath(const char *name);

/** What runs it: that of the build, or the caller's choice (PASST_NODE). */
std::string nodeProgram();

/**
 * What of the environment is about descriptors that we were handed (sd_listen_fds(3)), if it is meant for us. It is gone then, whoever it was meant
 * for: the command has none of these descriptors, and may have the process id that LISTEN_PID names, in a namespace of its own.
 */
std::vector<char *> takeListenFds();

/**
 * execve(2) of it. `argv` with argv[0], without the end; `listenFds`: from takeListenFds(), or none; `reports`: errors of the start are reported
 * (protocol.h, ERROR_FD). Returns errno only.
 */
int becomeNode(const std::string &node, std::vector<char *> argv, const std::vector<char *> &listenFds, bool reports);

#endif
