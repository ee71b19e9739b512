/* A process beside us that does one thing and ends. */
#ifndef PASST_LAUNCHER_HELPER_H
#define PASST_LAUNCHER_HELPER_H

#include "util.h"

#include <functional>

/**
 * `work` in a process of its own; `line` and what it gets are a socket pair of SOCK_SEQPACKET, end of file when either is gone. Of what
 * we have open it keeps that alone; its standard streams are /dev/null: nobody shall wait for its copies of ours, and what some library
 * writes goes nowhere.
 */
Fault startHelper(Fd &line, pid_t &pid, const std::function<void(int line)> &work);

/** In a process that was just forked: standard streams are /dev/null. */
void nullStreams();

/** waitpid(2) for a child's end: its status. */
int awaitEnd(pid_t pid);

#endif
