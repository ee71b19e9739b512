/* rtnetlink in the namespace that we are in, on behalf of the engine. */
#ifndef PASST_LAUNCHER_NETLINK_H
#define PASST_LAUNCHER_NETLINK_H

#include "util.h"

/**
 * Send one rtnetlink message and collect the answer: all messages up to NLMSG_DONE or the NLMSG_ERROR that acknowledges,
 * one behind the other. `socket` is opened when it is not, and closed on a Fault, so that no late answer is left in it.
 */
Fault netlinkCall(Fd &socket, std::string_view request, std::string &answer);

#endif
