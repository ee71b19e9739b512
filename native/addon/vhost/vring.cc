#include "vring.h"

#include <cerrno>
#include <unistd.h>

namespace passt {

/* virtio 1.2 §2.7.5, §2.7.6, §2.7.8: flags of descriptors and rings; lengths in octets, offsets of a ring's fields */
enum : uint16_t { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };
enum : uint32_t { DESC_LEN = 16, AVAIL_ENTRY = 2, USED_ENTRY = 8, RING_FLAGS = 0, RING_INDEX = 2, RING_ENTRIES = 4, EVENT_LEN = 2 };

static uint16_t load16(const uint8_t *p, int order)
{
	const auto *const from = reinterpret_cast<const uint16_t *>(p);
	return order == __ATOMIC_ACQUIRE ? __atomic_load_n(from, __ATOMIC_ACQUIRE) : __atomic_load_n(from, __ATOMIC_RELAXED);
}

static void store16(uint8_t *p, uint16_t v)
{
	__atomic_store_n(reinterpret_cast<uint16_t *>(p), v, __ATOMIC_RELEASE);
}

int Vring::place(const RingPlace &p)
{
	const RingPlace before = place_;

	if (p.size < 1 || p.size > VRING_SIZE_MAX || p.size & (p.size - 1))
		return EINVAL;
	place_ = p;
	uint8_t *const was[] = {desc, avail, used};
	if (!translate()) {
		place_ = before;
		desc = was[0], avail = was[1], used = was[2];
		return EFAULT;
	}
	if (mode == VRING_OFF || !was[0]) {
		/* A running ring keeps its indices: this may be about its log only */
		used_next = used_shown = load16(used + RING_INDEX, __ATOMIC_RELAXED);
		told = false, why = detail = 0;
	}
	return 0;
}

bool Vring::translate()
{
	const uint64_t n = place_.size;
	const auto aligned = [](const uint8_t *p, uintptr_t to) { return p && !(reinterpret_cast<uintptr_t>(p) & (to - 1)); };

	desc = memory.whole_user(place_.desc, n * DESC_LEN);
	avail = memory.whole_user(place_.avail, RING_ENTRIES + n * AVAIL_ENTRY + EVENT_LEN);
	used = memory.whole_user(place_.used, RING_ENTRIES + n * USED_ENTRY + EVENT_LEN);
	if (n && aligned(desc, DESC_LEN) && aligned(avail, 2) && aligned(used, 4))
		return true;
	desc = avail = used = nullptr;
	return false;
}

void Vring::reset()
{
	for (int *const fd : {&kick, &call, &err}) {
		if (*fd >= 0)
			::close(*fd);
		*fd = -1;
	}
	mode = VRING_OFF, why = detail = 0, event_idx = may_indirect = false;
	place_ = {}, desc = avail = used = nullptr;
	next = seen = used_next = used_shown = 0, asking = true, told = false;
}

void Vring::start()
{
	told = asking = false;
	seen = next;
}

uint32_t Vring::look(uint32_t ahead)
{
	/* Entries and descriptors are read behind it */
	seen = load16(avail + RING_INDEX, __ATOMIC_ACQUIRE);
	const auto n = (uint16_t)(seen - next);
	if (n > place_.size) {
		fail(VRING_BAD_INDEX, seen);
		seen = next;
		return 0;
	}
	return n > ahead ? n - ahead : 0;
}

bool Vring::walk(uint32_t ahead, bool writable, std::vector<Piece> &to, Chain &c)
{
	const uint32_t mask = place_.size - 1;
	const uint16_t head = load16(avail + RING_ENTRIES + AVAIL_ENTRY * ((next + ahead) & mask), __ATOMIC_RELAXED);
	/** Of an indirect table; `table` only where that lies in a row. */
	uint64_t gpa = 0;
	const uint8_t *table = desc;
	uint32_t entries = place_.size, left = entries, at = head;
	bool indirect = false, write_seen = false;

	c = {head, (uint32_t)to.size(), 0, 0, 0, 0};
	if (head >= entries)
		return fail(VRING_BAD_INDEX, head);
	for (;;) {
		Desc d;
		if (!left--)
			return fail(VRING_LOOP, head);
		c.walked++;
		if (table)
			take(&d, table + (size_t)DESC_LEN * at, DESC_LEN);
		else if (!memory.copy(&d, gpa + (uint64_t)DESC_LEN * at, DESC_LEN))
			return fail(VRING_BAD_ADDRESS, gpa);
		if (!indirect)
			c.slots++;
		if (d.flags & DESC_INDIRECT) {
			if (indirect || !may_indirect || d.flags & DESC_NEXT || !d.len || d.len % DESC_LEN ||
			    d.len / DESC_LEN > VRING_SIZE_MAX || d.addr + (d.len - 1) < d.addr)
				return fail(VRING_BAD_INDIRECT, d.len);
			indirect = true, gpa = d.addr, table = memory.whole(gpa, d.len);
			entries = left = d.len / DESC_LEN, at = 0;
			continue;
		}
		const bool writes = d.flags & DESC_WRITE;
		if (writable ? !writes : !writes && write_seen)
			return fail(VRING_BAD_ORDER, at);
		write_seen = write_seen || writes;
		if (writes == writable && d.len) {
			uint64_t rest = d.len, where = d.addr;
			if (where + (rest - 1) < where)
				return fail(VRING_BAD_LENGTH, d.len);
			while (rest) {
				uint64_t n = rest;
				uint8_t *const p = memory.piece(where, &n);
				if (!p)
					return fail(VRING_BAD_ADDRESS, where);
				to.push_back({p, (uint32_t)n, where});
				c.len += n, where += n, rest -= n;
			}
		}
		if (!(d.flags & DESC_NEXT))
			break;
		if ((at = d.next) >= entries)
			return fail(VRING_BAD_INDEX, at);
	}
	c.count = (uint32_t)to.size() - c.first;
	return true;
}

void Vring::give_kept(uint16_t head, uint32_t written)
{
	uint8_t *const entry = used + RING_ENTRIES + USED_ENTRY * (used_next & (place_.size - 1));

	__atomic_store_n(reinterpret_cast<uint32_t *>(entry), head, __ATOMIC_RELAXED);
	__atomic_store_n(reinterpret_cast<uint32_t *>(entry + 4), written, __ATOMIC_RELAXED);
	used_next++;
}

void Vring::log_used(uint64_t at, uint64_t len)
{
	if (place_.flags & VRING_LOG_USED)
		memory.dirty(place_.log + at, len);
}

bool Vring::publish()
{
	if (!pending() || !used)
		return false;
	const uint32_t mask = place_.size - 1, from = used_shown & mask, n = (uint16_t)(used_next - used_shown);

	if (memory.logs()) {
		/* Round the end of the ring, perhaps */
		const uint32_t straight = std::min(n, place_.size - from);
		log_used(RING_ENTRIES + (uint64_t)USED_ENTRY * from, (uint64_t)USED_ENTRY * straight);
		log_used(RING_ENTRIES, (uint64_t)USED_ENTRY * (n - straight));
	}
	store16(used + RING_INDEX, used_next);
	log_used(RING_INDEX, 2);
	return wants_call();
}

bool Vring::wants_call()
{
	const uint16_t before = used_shown;

	used_shown = used_next;
	/* The index is written before the driver's wish is read, lest both sides wait for each other */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!event_idx)
		return !(load16(avail + RING_FLAGS, __ATOMIC_RELAXED) & AVAIL_NO_INTERRUPT);
	const uint16_t event = load16(avail + RING_ENTRIES + AVAIL_ENTRY * place_.size, __ATOMIC_RELAXED);
	const bool passed = (uint16_t)(used_next - event - 1) < (uint16_t)(used_next - before);
	const bool first = !told;
	told = true;
	return passed || first;
}

void Vring::ask(uint32_t few)
{
	if (event_idx) {
		const uint32_t at = RING_ENTRIES + USED_ENTRY * place_.size;
		store16(used + at, (uint16_t)(seen + few));
		log_used(at, EVENT_LEN);
	} else if (!asking || load16(used + RING_FLAGS, __ATOMIC_RELAXED)) {
		store16(used + RING_FLAGS, 0);
		log_used(RING_FLAGS, 2);
	}
	asking = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void Vring::hush()
{
	/* With an event index it stays where it is: the driver passes it once in 65536 chains */
	if (!event_idx && (asking || !load16(used + RING_FLAGS, __ATOMIC_RELAXED))) {
		store16(used + RING_FLAGS, USED_NO_NOTIFY);
		log_used(RING_FLAGS, 2);
	}
	asking = false;
}

} // namespace passt
