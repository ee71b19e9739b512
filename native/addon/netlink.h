/* One rtnetlink exchange in this process's network namespace. */
#ifndef PASST_NETLINK_H
#define PASST_NETLINK_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace passt {

using Bytes = std::vector<uint8_t>;

/**
 * Send `request` (one message, header included) and collect the datagrams of the answer: up to NLMSG_DONE or NLMSG_ERROR
 * (the ACK), or the one message that answers a request without NLM_F_DUMP and NLM_F_ACK. Waits at most 5 s for each.
 * Return: 0 or errno of a system call; what the kernel says to the request is in the answer.
 */
int netlink_exchange(const uint8_t *request, size_t len, std::vector<Bytes> &answer);

} // namespace passt

#endif
