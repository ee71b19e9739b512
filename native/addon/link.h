/* The guest link: frames of one client (QEMU) over a connected stream socket, in place of a tap.
 *
 * Each frame is a length of 4 octets in network order and that many octets of Ethernet frame without FCS. Both directions
 * are bounded: one buffer for what came and is no whole frame yet or has no room in the ring, one for what the socket has
 * not taken. Frames are read into the slab at once and stay where they are. Frames that do not fit are refused; who was refused is told when there is room again.
 */
#ifndef PASST_LINK_H
#define PASST_LINK_H

#include "coalesce.h"
#include "pcap.h"
#include "rings.h"

#include <memory>
#include <string>

namespace passt {

/**
 * Octets. A frame's length, in front of it; the longest frame that is taken from a guest. To a guest goes what fits an IP
 * packet of any length (FRAME_MAX): QEMU takes up to 69632, and a datagram of 65507 octets arrives.
 */
enum : size_t { LINK_HEAD = 4, LINK_FRAME_MAX = 65535 };
/** Octets. Frames of a turn go with one send(), what is peeked of a host socket look by look. */
enum : size_t { LINK_IN = 512u << 10, LINK_OUT = 1u << 20 };
/** Octets that may wait in front of bulk: what is small finds room behind it, and does not wait long. */
enum : size_t { LINK_AHEAD = 256u << 10 };

class Link {
public:
	/** Is the tap a stream at all? Frames for a client that is not there count as sent. */
	bool on = false;
	int fd = -1;
	/** LINK_*: why the client is of no further use, 0 = it is; with errno or the bad length. */
	uint32_t ended = 0, detail = 0;
	/** Octets from its clients. */
	uint64_t volume = 0;

	Link() = default;
	Link(const Link &) = delete;
	Link &operator=(const Link &) = delete;
	~Link() { close(); }

	/** Is it a connected stream socket? 0 or errno. */
	static int check(int descriptor);
	/** Of a new client; the old one is closed. Takes it over. */
	void use(int descriptor);
	void close();

	/** What came and was not looked at; what the socket has not taken. */
	struct Rest {
		const uint8_t *came, *unsent;
		size_t came_len, unsent_len;
	};
	Rest rest() const { return {in.get(), out.get() + out_head, kept, out_tail - out_head}; }
	/** Goes on with what another process had of this client's. False: it is more than there can be. */
	bool resume(const std::string &came, const std::string &unsent);

	/**
	 * Room for `*frames` frames of `len` octets, LINK_HEAD between them, or for fewer, to be filled and then committed in
	 * order; the last may be shorter. nullptr: refused. There must be a client.
	 */
	uint8_t *reserve(size_t len, uint32_t *frames);
	void commit(size_t len);
	/** May bulk be added? */
	bool takes_bulk() const { return !full || out_tail - out_head <= LINK_AHEAD; }
	/** Hand over what is waiting, as far as the socket takes it. */
	void flush();
	/** The socket did not take all: wait for EPOLLOUT, then writable(). */
	bool blocked() const { return full; }
	void writable();
	/** Once after frames were refused: there is room. */
	bool room_again();

	/** Read once and post what is whole: at most `frames` records, while ring and slab (up to `rx_limit` octets) have room. */
	void read(Rings &r, uint32_t frames, uint32_t rx_limit, Pcap &pcap);
	/** There is something to read() whether or not the socket is readable. */
	bool more() const { return fd >= 0 && !ended && (whole || broken); }

private:
	size_t parse(Rings &r, size_t at, size_t n, uint32_t frames, Pcap &pcap);
	void finish(uint32_t why, uint32_t what);

	std::unique_ptr<uint8_t[]> in, out;
	/** Octets of `in`: read already, and to be looked at with what comes; and waiting in `out`: [head, tail). */
	size_t kept = 0, out_head = 0, out_tail = 0;
	/** `whole`: there are frames among those kept, which had no room. */
	bool full = false, refused = false, whole = false;
	/** errno of a send: the other end is gone, what it sent before is still read */
	int broken = 0;
};

} // namespace passt

#endif
