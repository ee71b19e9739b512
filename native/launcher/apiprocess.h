/* The process of the API (--api): Node with dist/api.cjs, which knows HTTP, its clients, and one stream to the engine. */
#ifndef PASST_LAUNCHER_APIPROCESS_H
#define PASST_LAUNCHER_APIPROCESS_H

#include "identity.h"

#include <optional>

/**
 * Starts it. `engine`: the engine's end of the stream, by which it gets the socket where clients connect; where that is closed the process ends.
 * `who`: whom it becomes. To be called before namespaces are entered.
 */
Fault startApi(const Launch &launch, const std::optional<Identity> &who, Fd &engine);

#endif
