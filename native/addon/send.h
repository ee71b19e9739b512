/* From the guest to host sockets: streams (send.cc) and datagrams (udp.cc), gathered per socket and execution. */
#ifndef PASST_SEND_H
#define PASST_SEND_H

#include "table.h"
#include "tap.h"

#include <sys/uio.h>

namespace passt {

/* Datagrams in one message that the kernel cuts: UDP_MAX_SEGMENTS of the kernels that have least; octets in one */
enum : size_t { SEGMENTS = 64, PAYLOAD_MAX = 65507 };

/** One message for sendmmsg(): one datagram, or several of `segment` octets (the last may be shorter). */
struct Message {
	struct iovec *iov;
	size_t count;
	uint32_t segment;
};

class Sender : Part {
public:
	Sender(Core &c, Table &t, Tap &p) : Part(c), table(t), tap(p) {}

	/** EF_SEND, EF_UDP_SEND, EF_PING_SEND: goes out with flush(). */
	void gather(Sock &s, const fx::Send &e);
	void flush(Sock &s);
	/** The end of an execution: EV_SENT for each TCP socket. */
	void flush_all();

	/* Streams */
	void flush_pending(Sock &s);
	void shutdown_wr(Sock &s);
	void report_sent(Sock &s);
	/** What waits to be sent goes nowhere any more. */
	void give_up(Sock &s);

	/* Datagrams */
	bool may_segment(const Sock &s, uint32_t size) const;
	size_t send_messages(Sock &s, const Message *messages, size_t n);
	void keep_datagram(Sock &s, const void *from, uint32_t len, uint32_t segment);
	void send_kept(Sock &s);

	/** Tests lower it, and switch off what an older kernel lacks. */
	size_t pending_max = PENDING_MAX;
	bool udp_segment_works = true;

private:
	struct Gathered {
		uint32_t off, len, ttl, segment, next;
	};

	void flush_stream(Sock &s);
	void keep(Sock &s, const void *from, size_t n);
	ssize_t send_vector(Sock &s, const struct iovec *iov, size_t parts, bool report);
	void send_failed(Sock &s, int error, size_t lost);
	void flush_datagrams(Sock &s);
	size_t send_datagrams(Sock &s, size_t from, size_t to);
	void set_ttl(Sock &s, uint32_t ttl);

	Table &table;
	Tap &tap;
	std::vector<Gathered> gathered;
	std::vector<uint32_t> touched;
};

} // namespace passt

#endif
