/* Host TCP sockets: readiness, connection, the head of the receive queue. */
#ifndef PASST_TCP_H
#define PASST_TCP_H

#include "send.h"

namespace passt {

class Tcp : Part {
public:
	Tcp(Core &c, Table &t, Sender &s) : Part(c), table(t), sender(s) {}

	void ready(Sock &s, uint32_t events);
	/** Its connection stands. */
	void connected(Sock &s);
	void await_writable(Sock &s);
	void discard(Sock &s, uint32_t octets);
	void rewind(Sock &s, uint32_t octets);
	void report_info(Sock &s);

	/** Tests switch off what an older kernel lacks. */
	bool peek_off_works = true;

private:
	/* errqueue.cc */
	bool read_acks(Sock &s);

	Table &table;
	Sender &sender;
};

} // namespace passt

#endif
