/* What qrap(1) makes of its command line. */
#ifndef PASST_QRAP_ARGS_H
#define PASST_QRAP_ARGS_H

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/** What to run, and the descriptor that it expects the socket at. */
struct Order {
	int fd = -1;
	/** argv, the command first. */
	std::vector<std::string> argv;
};

/** "FDNUM QEMU_CMD [QEMU_ARG]...": nothing when the arguments do not begin like that. `args`: without our own name. */
std::optional<Order> explicitOrder(const std::vector<std::string> &args);

/**
 * `args` for `qemu`, without the network devices and back-ends that they name, with a device of ours whose back-end is
 * the socket at `fd`.
 */
Order patchedOrder(const std::string &qemu, const std::vector<std::string> &args, int fd);

#endif
