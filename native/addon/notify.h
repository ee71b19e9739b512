/* What the kernel tells of its own accord: a netlink socket that hears groups (rtnetlink(7)). */
#ifndef PASST_NOTIFY_H
#define PASST_NOTIFY_H

#include "core.h"

namespace passt {

class Notices : Part {
public:
	explicit Notices(Core &c) : Part(c) {}
	~Notices();

	/** Groups as bits. 0 or errno. Once. */
	int watch(uint32_t groups);
	void ready();
	/** EF_NETLINK */
	void send(const fx::Octets &e);

private:
	int fd = -1;
};

} // namespace passt

#endif
