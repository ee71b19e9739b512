/* TCP segments of one connection, or datagrams of one flow, one behind the other, put together to what a tap with offloads
 * (TSO, USO) would have delivered: the counterpart of segment() in frame.h. Where frames come one by one (guest link), JS
 * then sees one event for many. */
#ifndef PASST_COALESCE_H
#define PASST_COALESCE_H

#include "frame.h"

namespace passt {

/**
 * One frame that grows. Rules as in the kernel's GRO: same Ethernet and IP header but for lengths and, with DF, identification
 * (RFC 6864 §4.1); same ports; every payload but the last as long as the first one; checksums there and right. TCP: same
 * acknowledgement, window and options; sequence numbers without gap; only ACK set, PSH and FIN on the last one. Whatever else
 * comes ends it.
 * Law: segment(coalesce(frames)) = frames, identification aside.
 */
class Coalescer {
public:
	/** `frame` stands where it can grow. `sum`: over its octets from ETH_LEN on. True: it may grow. */
	bool begin(uint8_t *frame, size_t len, uint16_t sum);
	/** Does `frame` belong behind what is there? `sum` as above. */
	bool fits(const uint8_t *frame, size_t len, uint16_t sum) const;
	/** Its payload behind that, if it fits. It may stand anywhere behind, and is not to be used any more. */
	void append(const uint8_t *frame, size_t len);
	/**
	 * Is what is there a bare acknowledgement of TCP, and `frame` a later one of the same connection, that says all the
	 * other did? Acknowledgements are cumulative (RFC 9293 §3.4); duplicates, which mean something, never are.
	 */
	bool superseded_by(const uint8_t *frame, size_t len, uint16_t sum) const;
	/** Headers for all that was added. True: it is more than one segment, and `vnet` says how to read it. */
	bool end(Vnet &vnet);
	/** The same, as what the frame's event says of it: its length, and how to read it. */
	void end(ev::TapFrame &e);

	size_t length() const { return len; }

private:
	bool same_flow(const uint8_t *frame) const;
	/** Longest frame */
	size_t most() const { return ETH_LEN + IP_MAX + (at.v6 ? (size_t)IPV6_LEN : 0); }

	bool open = false, known = false;
	uint8_t *first = nullptr;
	/** If `known` */
	Layers at;
	/** Octets of the frame so far */
	size_t len = 0;
	uint32_t segments = 0, size = 0, next_seq = 0;
	uint16_t next_id = 0;
	/** Of TCP, of the latest segment */
	uint8_t flags = 0;
};

} // namespace passt

#endif
