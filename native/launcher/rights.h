/* Giving up what a process does not need any more. */
#ifndef PASST_LAUNCHER_RIGHTS_H
#define PASST_LAUNCHER_RIGHTS_H

#include <cstdint>

/** Fails at once without CAP_SETPCAP; no_new_privs keeps the set out of reach then. */
void emptyBoundingSet(uint64_t but = 0);

/**
 * No capabilities but those of the mask `kept` (1 << CAP_*), as far as we hold them, no way to new ones, and nobody without
 * privilege may look into this process. What was started before keeps what it has. `beyondExec`: root keeps those through execve(2) as well, which
 * lets others look in again.
 */
void keepOnly(uint64_t kept, bool beyondExec = false);

#endif
