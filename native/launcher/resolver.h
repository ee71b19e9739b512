/* A process that says what resolv.conf(5) has become. The file is replaced by name, or is a symbolic link whose target is, and neither
 * engine nor launcher can open files once they serve. It hears of nobody: what it reads it sends, that is all.
 */
#ifndef PASST_LAUNCHER_RESOLVER_H
#define PASST_LAUNCHER_RESOLVER_H

#include "identity.h"

#include <optional>

/**
 * From here on until `theirs`, a socket of SOCK_SEQPACKET, is closed: each message is the whole file, at once and when it is another one.
 * What is empty, cannot be read or has more than 64 kB is no message. `who`: whom it becomes, if somebody else.
 */
Fault watchResolver(const std::optional<Identity> &who, Fd &theirs);

#endif
