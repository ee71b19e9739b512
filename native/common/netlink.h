/* Exchanges with the kernel over rtnetlink, in the network namespace that we are in: for the addon at the start, for the launcher
 * on behalf of the engine. */
#ifndef PASST_NETLINK_H
#define PASST_NETLINK_H

#include "fault.h"

#include <string_view>

namespace passt {

/** Its socket is opened for the first exchange, and closed on a Fault, so that no late answer is left in it. */
class Netlink {
public:
	/**
	 * Send one message (nlmsghdr included) and collect the answer: all messages up to NLMSG_DONE of a dump, or up to the
	 * NLMSG_ERROR that acknowledges, which is asked for; each padded (NLMSG_ALIGN), one behind the other. What the kernel says to
	 * the request is in there. EMSGSIZE: it has more than `most` octets; ETIMEDOUT: none in 5 s; EINVAL: no such message.
	 */
	Fault ask(std::string_view request, std::string &answer, size_t most);
	/** Its socket, while one may be opened. */
	Fault open();

private:
	Fault exchange(std::string_view request, uint32_t seq, std::string &answer, size_t most);

	Fd fd;
};

} // namespace passt

#endif
