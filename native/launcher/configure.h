/* What the engine may have done in the namespace while it serves: by then it may be somebody else's (docs/security.md). */
#ifndef PASST_LAUNCHER_CONFIGURE_H
#define PASST_LAUNCHER_CONFIGURE_H

#include <cstdint>
#include <string_view>

/**
 * Is this one rtnetlink message, that adds or removes an address of interface `index`, or a unicast route of the main table through it and
 * nothing else? No attribute but those that addresses and routes of a host are made of: none that names another namespace, interface, table
 * or nexthop, encapsulates or runs a program.
 */
bool mayConfigure(std::string_view message, uint32_t index);

#endif
