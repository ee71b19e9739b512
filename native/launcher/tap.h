/* The tap device in the namespace that we are in. */
#ifndef PASST_LAUNCHER_TAP_H
#define PASST_LAUNCHER_TAP_H

#include "util.h"

struct Tap {
	Fd fd;
	std::string name;
	uint32_t index = 0;
	bool vnet = false;
	unsigned char mac[6] = {};
};

/** Create tap `name` (1 to 15 octets), with a virtio-net header before each frame if `vnet` and the kernel can. */
Fault openTap(const std::string &name, bool vnet, Tap &tap);

#endif
