/* The guest's network card: frames out of and into its two rings. Nothing here knows of messages or epoll (vhost.h).
 *
 * From the guest frames are copied once, from its memory into the slab; of large ones that it leaves to be cut only the headers (outside.h).
 * To the guest they are built in its memory, or peeked there:
 * reserve() says where, commit() writes the header in front of what is there and gives the chains back.
 */
#ifndef PASST_VHOST_PORT_H
#define PASST_VHOST_PORT_H

#include "../coalesce.h"
#include "../frame.h"
#include "../pcap.h"
#include "../rings.h"
#include "outside.h"

#include <cmath>
#include <sys/uio.h>

namespace passt {

/** Octets. Header of virtio-net (virtio 1.2 §5.1.6: with num_buffers always); what is read of a guest in one turn. */
enum : uint32_t { NET_HEAD = 12, PORT_AT_ONCE = 1u << 20 };
/** Descriptors that are looked at for one frame to the guest, or for what is read in one turn; and one more chain. */
enum : uint32_t { PORT_WALKED = 2 * VRING_SIZE_MAX };
/** Octets given back but not published, at most: the guest may begin with those. */
enum : uint32_t { PORT_HELD = 256u << 10 };
/** Bits of features (virtio 1.2 §5.1.3, §6). */
enum : uint32_t {
	NET_CSUM = 0, NET_GUEST_CSUM = 1, NET_GUEST_TSO4 = 7, NET_GUEST_TSO6 = 8, NET_HOST_TSO4 = 11, NET_HOST_TSO6 = 12, NET_MRG_RXBUF = 15,
	VHOST_LOG_ALL = 26, RING_INDIRECT = 28, RING_EVENT_IDX = 29, NET_GUEST_USO4 = 54, NET_GUEST_USO6 = 55, NET_HOST_USO = 56,
};

/** Room for one frame, behind its header: some chains in a row. */
struct Slot {
	uint32_t piece, pieces, chain, chains;
	/** Octets, header included. */
	uint64_t room;
};

class Port {
public:
	/** Is this the guest's link at all? */
	bool on = false;
	Memory memory;
	Vring rx{memory}, tx{memory};

	/** Features in force. Return: what the guest takes from us, OFF_*. */
	uint32_t use_features(uint64_t bits);
	uint64_t features_used() const { return features; }
	~Port() { reset(); }
	/** The end of a session. */
	void reset();

	/** Octets moved so far, both ways. */
	uint64_t volume = 0;

	// --- to the guest

	/** Does what we send arrive? Otherwise frames count as sent. */
	bool takes() const { return rx.mode == VRING_ON && rx.live(); }
	/** Out of buffers, until the guest gives some. */
	bool starved() const { return hungry && takes(); }
	/** Once after frames were refused: there are buffers, or nobody who could give any. */
	bool room_again();
	/** A ring starts, with whatever is in it. */
	void start(Vring &ring);
	/**
	 * The guest may have given buffers; `now`: ms. It gives them bit by bit, and a turn for each bit costs more than it moves: so
	 * they are used once a quarter of what it had at most is there, or a millisecond is over.
	 */
	void look_for_buffers(double now);
	/** When to look for buffers again, where there are few; infinity: there are none, or it does not matter. */
	double due() const { return starved() ? look_at : INFINITY; }
	/** Is that so soon that the guest need not kick for what it sends either? */
	bool naps() const { return starved() && look_at < few_until; }

	/** Whatever was reserved and not committed is free again. */
	void begin();
	/**
	 * Room for a frame of `least` to `most` octets, header included, in front of `pieces()`. 0; EAGAIN: not enough buffers;
	 * EMSGSIZE: the guest's buffers cannot hold it, however many there are.
	 */
	int reserve(uint64_t least, uint64_t most, Slot &s);
	/** The latest slot holds `len` octets only, header included: chains that it does not need are the next one's. */
	void shorten(Slot &s, uint64_t len);
	/** The octets [from, from + n) of a slot, as iovecs behind those of `to`. */
	void parts(const Slot &s, size_t from, size_t n, std::vector<iovec> &to) const;
	/** Partial sum of these octets (checksum.h). */
	uint64_t sum(const Slot &s, size_t from, size_t n) const;
	void copy(const Slot &s, size_t at, const uint8_t *from, size_t n);
	void read_back(const Slot &s, size_t at, uint8_t *to, size_t n) const;
	/** Octets in a row from the slot's begin on, or nullptr. */
	uint8_t *straight(const Slot &s, size_t n) const;
	/**
	 * In the order of reserve(): the slot holds a frame of `len` octets behind NET_HEAD. Its first ones are `headers`; short ones are
	 * padded, so that takes a slot of NET_HEAD + ETH_MIN.
	 */
	void commit(const Slot &s, const Vnet &v, const uint8_t *headers, size_t headers_len, size_t len);
	/** Chains given back are the guest's, of both rings; it is notified where it wants to be. */
	void flush();
	/** The same once much is held back. */
	void flush_much()
	{
		if (held >= PORT_HELD)
			flush();
	}

	// --- from the guest

	/** All of each frame is taken: somebody writes it down. */
	bool whole = false;
	/** Post what waits: at most `frames` records, while ring and slab (up to `rx_limit` octets) have room. */
	void read(Rings &r, uint32_t frames, uint32_t rx_limit, Pcap &pcap);
	/** Is there something to read()? */
	bool more() { return tx.live() && tx.waiting(); }
	/** Chains that held no frame, since the last report. */
	uint32_t dropped = 0;
	/** Payload that was not copied. */
	Outside outside;
	/** What names it has been sent: its chains are the guest's again. */
	void let_go();
	/** Before the guest's memory or its rings change: it is copied, and its chains are the guest's. */
	void fetch()
	{
		if (outside.empty())
			return;
		outside.copy(slab);
		let_go();
	}

	/** Is a page of the guest's gone, or a ring broken that is not off? */
	bool broken();

private:
	bool sensible(const Vnet &v, const uint8_t *frame, size_t len) const;
	bool has(uint32_t bit) const { return features >> bit & 1; }
	void notify(Vring &ring);

	uint64_t features = 0;
	uint8_t *slab = nullptr;
	std::vector<Piece> pieces;
	std::vector<Chain> chains;
	uint32_t held = 0;
	/** `hungry`: the last reserve() found too little, when the ring's index was `hungry_at`; `refused`: somebody waits for more. */
	bool hungry = false, refused = false;
	uint16_t hungry_at = 0;
	/** Chains that waited at once, at most; until when few are left to become more (clock). */
	uint32_t plenty = 0;
	double few_until = INFINITY, look_at = INFINITY;
};

} // namespace passt

#endif
