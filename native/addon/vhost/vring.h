/* A split ring (virtio 1.2 §2.7), the device's side of it: chains that the driver offers, chains given back, notifications.
 *
 * The driver is not trusted, nor does it have to stand still: each index, descriptor and flag is read once, and checked before it is
 * used. What cannot be breaks the ring: `why` says so, and nothing is touched from then on.
 */
#ifndef PASST_VHOST_VRING_H
#define PASST_VHOST_VRING_H

#include "memory.h"

#include <vector>

namespace passt {

/** Octets of a chain that lie in a row. */
struct Piece {
	uint8_t *at;
	uint32_t len;
	uint64_t gpa;
};

/** A chain of the driver's: its parts are `count` pieces from `first` on. `slots`: entries of the ring's own table that it takes; `walked`: of all
 * tables, those of no octets too. */
struct Chain {
	uint16_t head;
	uint32_t first, count, slots, walked;
	/** Octets */
	uint64_t len;
};

/** Where a ring is, as the front-end says (EF_VRING_ADDR). */
struct RingPlace {
	uint64_t desc, used, avail, log;
	uint32_t size, flags;
};

class Vring {
public:
	explicit Vring(Memory &m) : memory(m) {}

	/** VRING_OFF, VRING_DISCARD, VRING_ON */
	uint32_t mode = VRING_OFF;
	/** VRING_BAD_*: what is wrong with it, 0 = nothing. */
	uint32_t why = 0, detail = 0;
	/** By features in force. */
	bool event_idx = false, may_indirect = false;
	/** Eventfds, -1: none. */
	int kick = -1, call = -1, err = -1;

	/** 0; EINVAL, EFAULT: no ring can be there, nothing has changed. */
	int place(const RingPlace &p);
	/** The memory is another one: the same place in it. False: it is not there any more. */
	bool translate();
	bool placed() const { return desc; }
	void base(uint16_t index) { next = index, seen = index; }
	/** The index that the driver's next chain has. */
	uint16_t index() const { return next; }
	uint32_t size() const { return place_.size; }
	/** `size` 0: nowhere yet. */
	const RingPlace &place() const { return place_; }
	/** Forget everything; descriptors are closed. */
	void reset();
	/** It starts, with whatever is in it: the next notification is made, and a kick is asked for anew. */
	void start();

	/** Broken, and not off yet. */
	bool failed() const { return why && mode != VRING_OFF; }
	/** May it be looked at? */
	bool live() const { return desc && !why && mode != VRING_OFF; }
	/** Chains that wait behind the first `ahead` of them. Breaks the ring. */
	uint32_t waiting(uint32_t ahead = 0)
	{
		const auto n = (uint16_t)(seen - next);
		return n > ahead ? n - ahead : look(ahead);
	}
	/** The driver's index, as it was when it was last looked at; look at it now. */
	uint16_t newest() const { return seen; }
	void refresh() { look(0); }
	/** The chain behind the first `ahead` waiting ones: pieces to read or to write go behind those of `to`. False: the ring is broken. */
	bool walk(uint32_t ahead, bool writable, std::vector<Piece> &to, Chain &c);
	/** The first waiting chain is taken, `written` octets are in it. The driver is told by publish(). */
	void give_back(uint16_t head, uint32_t written)
	{
		keep();
		give_kept(head, written);
	}
	/** The first waiting chain is taken, and given back later. */
	void keep() { next++; }
	void give_kept(uint16_t head, uint32_t written);
	/** The driver sees what was given back. True: it wants to be notified. */
	bool publish();
	/** Chains were given back and not published. */
	bool pending() const { return used_next != used_shown; }

	/**
	 * The driver shall, or need not, kick when it offers chains; with an event index not for the first `few`. After ask() whoever
	 * sleeps looks once more.
	 */
	void ask(uint32_t few = 0);
	void hush();
	bool asked() const { return asking; }

	/** Where memory was lost, what is found there are our zeros, not the driver's fault. */
	bool fail(uint32_t reason, uint64_t what)
	{
		if (!why && Mapping::lost())
			why = VRING_BAD_MEMORY, detail = 0;
		else if (!why)
			why = reason, detail = (uint32_t)what;
		return false;
	}

private:
	struct Desc {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	};
	uint32_t look(uint32_t ahead);
	void log_used(uint64_t at, uint64_t len);
	bool wants_call();

	Memory &memory;
	RingPlace place_ = {};
	uint8_t *desc = nullptr, *avail = nullptr, *used = nullptr;
	/** Of the avail ring: next one to take, and what the driver's index was; of the used ring: next entry, and what the driver sees. */
	uint16_t next = 0, seen = 0, used_next = 0, used_shown = 0;
	bool asking = true, told = false;
};

} // namespace passt

#endif
