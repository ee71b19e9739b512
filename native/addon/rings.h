/* The memory that JS and native share (abi.h), and the results that wait for room in it. */
#ifndef PASST_RINGS_H
#define PASST_RINGS_H

#include "records.h"

#include <cstddef>
#include <cstring>
#include <vector>

namespace passt {

/** Sizes in octets, of handles, and of records. */
struct Sizes {
	uint32_t tx, rx, handles, effects, events;
};

/**
 * Slab, both rings, clock: one lazily touched mapping each, never unmapped while JS may hold a view of it.
 * The second part of the slab is a bump allocator that starts again once the effects of a turn have been carried out.
 */
class Rings {
public:
	/** 0 or errno; EINVAL for sizes that cannot work. */
	int open(const Sizes &sizes);

	Sizes size = {};
	uint8_t *slab = nullptr;
	Record *effects = nullptr;
	Record *events = nullptr;
	/** ms; octets moved past the tap so far */
	double *clock = nullptr;
	uint32_t posted = 0;

	bool in_slab(uint32_t off, uint32_t len) const { return off <= total() && len <= total() - off; }
	uint32_t room() const { return size.events - posted; }
	/** An event record, all else zero; the caller has checked room(). */
	template <class E> E &post(uint32_t handle)
	{
		E &e = as<E>(events[posted++]);
		memset(static_cast<void *>(&e), 0, sizeof(Record));
		e.kind = E::KIND, e.handle = handle;
		return e;
	}

	void rx_reset() { rx_at = size.tx; }
	uint32_t rx_left() const { return total() - rx_at; }
	uint32_t rx_used() const { return rx_at - size.tx; }
	/** Where the next octets from outside go: an offset into the slab. */
	uint32_t rx_next() const { return rx_at; }
	/** Keep `n` octets from rx_next() on; the following start on a cache line of their own. */
	void rx_take(uint32_t n);

private:
	uint32_t total() const { return size.tx + size.rx; }
	uint32_t rx_at = 0;
};

/**
 * Events about handles that must not be lost for want of room, and must not reach a later user of the same handle:
 * effects close and reuse handles within one turn.
 */
class Results {
public:
	/** A record, all else zero; it stays there until the next add(). `generation`: of the handle; 0 = deliver whatever comes. */
	template <class E> E &add(uint32_t handle, uint32_t generation)
	{
		waiting.emplace_back();
		Waiting &w = waiting.back();
		memset(static_cast<void *>(&w), 0, sizeof(w));
		w.generation = generation;
		E &e = as<E>(w.words);
		e.kind = E::KIND, e.handle = handle;
		return e;
	}
	bool empty() const { return waiting.empty(); }
	void clear() { waiting.clear(); }

	/** Move to `r` what has room; drop what `current(handle)` says is of another generation. */
	template <typename Current> void deliver(Rings &r, Current current)
	{
		size_t i = 0;
		for (; i < waiting.size(); i++) {
			const Waiting &w = waiting[i];
			if (w.generation && current(as<Head>(w.words).handle) != w.generation)
				continue;
			if (!r.room())
				break;
			memcpy(r.events[r.posted++], w.words, sizeof(Record));
		}
		waiting.erase(waiting.begin(), waiting.begin() + (std::ptrdiff_t)i);
	}

private:
	struct Waiting {
		Record words;
		uint32_t generation;
	};
	std::vector<Waiting> waiting;
};

} // namespace passt

#endif
