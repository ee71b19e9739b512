/* Opening: host sockets of flows, from here or from the namespace, and what was accepted. */
#ifndef PASST_OPEN_H
#define PASST_OPEN_H

#include "splices.h"
#include "tcp.h"

namespace passt {

class Opener : Part {
public:
	Opener(Core &c, Table &t, Sender &s, Tcp &stream, Listeners &l, NsPools &p, Splices &x, Outbound &o)
		: Part(c), table(t), sender(s), tcp(stream), listeners(l), pools(p), splices(x), outbound(o)
	{
	}
	~Opener();

	/** EF_TCP_CONNECT, EF_UDP_OPEN, EF_PING_OPEN */
	void open(const fx::Open &e, Kind kind);
	/** Open what waited for sockets of the namespace, as far as there are some. */
	void serve_waiting();
	/** EF_ADOPT: what an accepted connection becomes, the handle's TCP socket. */
	void adopt(const fx::Slot &e);
	/** EF_GIVE */
	void give(const fx::Descriptor &e);
	/** EF_REJECT */
	void reject(uint32_t slot);
	/** As Native.setPorts() in src/runtime/abi/abi.ts. */
	bool set_ports(uint16_t first, uint16_t last);

private:
	void came(Sock &s, const fx::Open &e, int fd, bool whole = false);
	void keep_port(Sock &s, Ports &ports, uint16_t port);

	Table &table;
	Sender &sender;
	Tcp &tcp;
	Listeners &listeners;
	NsPools &pools;
	Splices &splices;
	Outbound &outbound;
	/** By EF_GIVE; -1: none. */
	int given = -1;
};

} // namespace passt

#endif
