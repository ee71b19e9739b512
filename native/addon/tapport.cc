#include "tapport.h"

#include <sys/epoll.h>

namespace passt {

int TapPort::use(int fd, bool vnet)
{
	if (registered)
		core.unwatch(tap.fd);
	registered = false;
	if (const int e = tap.use(fd, vnet))
		return e;
	if (const int e = core.watch(EPOLL_CTL_ADD, fd, EPOLLIN, ID_TAP))
		return e;
	registered = true, gone_said = false;
	return 0;
}

void TapPort::ready(uint32_t events)
{
	const uint32_t before = rings.posted, lost = tap.dropped;
	const bool room = rings.room();

	tap.read(rings, TAP_FRAMES, core.guests_share());
	if (events & (EPOLLERR | EPOLLHUP) && room && rings.posted == before && tap.dropped == lost && !tap.gone)
		tap.gone = ENODEV; /* never to be waited for again: it would be reported for ever */
}

void TapPort::report()
{
	if (tap.dropped) {
		auto &e = results.add<ev::TapDropped>(0, 0);
		e.frames = tap.dropped, e.error = (uint32_t)tap.drop_errno;
		tap.dropped = 0;
	}
	if (tap.pcap.ended || tap.pcap.missed) {
		auto &e = results.add<ev::Capture>(0, 0);
		e.error = (uint32_t)tap.pcap.ended, e.frames = tap.pcap.missed;
		tap.pcap.ended = 0, tap.pcap.missed = 0;
	}
	if (tap.gone && !gone_said) {
		if (registered)
			core.unwatch(tap.fd);
		registered = false, gone_said = true;
		results.add<ev::TapGone>(0, 0).error = (uint32_t)tap.gone;
	}
}

} // namespace passt
