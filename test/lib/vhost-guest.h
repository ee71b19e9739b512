// A guest's memory and its virtqueues (virtio 1.2 §2.7), as the driver of a network card has them. See vhost-frontend.cc.
#pragma once
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

constexpr size_t PAGE = 4096;

[[noreturn]] inline void die(const char *what)
{
	fprintf(stderr, "vhost-frontend: %s: %s\n", what, strerror(errno));
	_exit(125);
}

/** What the other side may not do. */
template <typename... A> [[noreturn]] void broken(const char *format, A... a)
{
	fprintf(stderr, "vhost-frontend: passt ");
	fprintf(stderr, format, a...);
	fprintf(stderr, "\n");
	_exit(125);
}

inline int must(int r, const char *what)
{
	if (r < 0)
		die(what);
	return r;
}

constexpr size_t roundUp(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

/**
 * Regions of guest memory, each in a memfd of its own behind as many pages as its number (offsets that are not 0). They
 * follow each other in our address space. In the guest's there are gaps between them, unless they are adjacent: then a
 * buffer may begin in one and end in the next.
 */
class Memory {
public:
	struct Region {
		int fd;
		uint64_t gpa, size, offset;
		uint8_t *at;
		/** Octets given away. */
		size_t used;
	};
	/** `octets` in all if adjacent, else in each. */
	Memory(size_t octets, unsigned count, bool adjacent) : adjacent_(adjacent)
	{
		const size_t each = roundUp(adjacent ? (octets + count - 1) / count : octets, PAGE);
		base_ = static_cast<uint8_t *>(
			mmap(nullptr, each * count, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
		if (base_ == MAP_FAILED)
			die("mmap");
		for (unsigned i = 0; i < count; i++) {
			Region r{ must(memfd_create("guest", MFD_CLOEXEC), "memfd_create"), 0, each, i * PAGE, base_ + i * each, 0 };
			r.gpa = FIRST + i * (adjacent ? each : 2 * each);
			must(ftruncate(r.fd, static_cast<off_t>(r.offset + each)), "ftruncate");
			if (mmap(r.at, each, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, r.fd,
				 static_cast<off_t>(r.offset)) == MAP_FAILED)
				die("mmap of guest memory");
			regions.push_back(r);
		}
	}
	/** Room in a region; with adjacent ones anywhere. */
	uint8_t *take(size_t octets, size_t align, unsigned region = 0)
	{
		Region &r = regions[adjacent_ ? 0 : region % regions.size()];
		r.used = roundUp(r.used, align);
		uint8_t *at = r.at + r.used;
		r.used += octets;
		if (r.used > (adjacent_ ? r.size * regions.size() : r.size))
			broken("has nothing to do with it: too little guest memory");
		return at;
	}
	/** What follows shares no page with what is there. */
	void freshPage()
	{
		for (Region &r : regions)
			r.used = roundUp(r.used, PAGE);
	}
	uint64_t gpa(const void *p) const
	{
		const auto at = static_cast<size_t>(static_cast<const uint8_t *>(p) - base_);
		const Region &r = regions[at / regions[0].size];
		return r.gpa + at % r.size;
	}
	uint64_t end() const
	{
		return regions.back().gpa + regions.back().size;
	}

	std::vector<Region> regions;

private:
	static constexpr uint64_t FIRST = 0x10000000;
	bool adjacent_;
	uint8_t *base_;
};

struct Desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
constexpr uint16_t NEXT = 1, WRITE = 2, INDIRECT = 4;

/** Sizes of the descriptors of one chain. */
using Layout = std::vector<uint32_t>;

/** A split ring whose chains all have the same layout. Counters are free-running and wrap at 65536. */
class Ring {
public:
	struct Slot {
		std::vector<iovec> pieces;
		size_t capacity;
		/** Of an indirect table, else null. */
		Desc *table;
	};

	Ring(Memory &m, unsigned size, bool deviceWrites, bool indirect, const Layout &layout, size_t most)
		: size(size), indirect_(indirect && layout.size() > 1) /* as Linux: a table is for several */
	{
		links = static_cast<unsigned>(layout.size());
		m.freshPage();
		desc = reinterpret_cast<Desc *>(m.take(size * sizeof *desc, 16));
		avail = reinterpret_cast<uint16_t *>(m.take((3 + size) * 2, 2));
		m.freshPage();
		used = reinterpret_cast<uint16_t *>(m.take(usedOctets(), 4));
		m.freshPage();
		const size_t slots = std::min<size_t>(most, indirect_ ? size : size / links);
		for (size_t i = 0; i < slots; i++)
			addSlot(m, i, slots, layout, deviceWrites);
		m.freshPage();
		kick = must(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
		call = must(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
		begin(0);
	}
	/** Guest memory that such a ring takes, at most. */
	static size_t octets(unsigned size, const Layout &layout, size_t most)
	{
		size_t all = 0;
		for (const uint32_t n : layout)
			all += n;
		return size * 26 + std::min<size_t>(size, most) * (roundUp(all, 64) + layout.size() * sizeof(Desc) + 64) + 8 * PAGE;
	}
	size_t usedOctets() const
	{
		return 6 + size * 8;
	}

	/** As a driver that starts: nothing is offered, all chains are free. */
	void begin(uint16_t base)
	{
		memset(avail, 0, (3 + size) * 2);
		memset(used, 0, usedOctets());
		avail[1] = used[1] = offered = published = seen = base;
		free.clear();
		for (size_t i = slots.size(); i-- > 0;)
			free.push_back(static_cast<uint16_t>(i));
	}

	/** Offers a chain, of whose descriptors only so many count as `octets` need. */
	void offer(uint16_t slot, size_t octets)
	{
		const Slot &s = slots[slot];
		Desc *d = s.table == nullptr ? &desc[slot] : s.table;
		const size_t stride = s.table == nullptr ? slots.size() : 1;
		size_t n = 0;
		for (;; n++, d += stride) {
			d->len = static_cast<uint32_t>(std::min(octets, s.pieces[n].iov_len));
			octets -= d->len;
			if (octets == 0)
				break;
			d->flags |= NEXT;
		}
		d->flags &= static_cast<uint16_t>(~NEXT);
		if (s.table != nullptr)
			desc[slot].len = static_cast<uint32_t>((n + 1) * sizeof(Desc));
		avail[2 + offered % size] = slot;
		offered++;
	}
	/** Lets the device see what was offered, and wakes it if it asks for that. */
	void publish()
	{
		if (published == offered)
			return;
		const uint16_t old = published;
		published = offered;
		__atomic_store_n(&avail[1], offered, __ATOMIC_RELEASE);
		std::atomic_thread_fence(std::memory_order_seq_cst);
		const bool wanted = eventIdx ? passes(load(used + 2 + size * 4), published, old) : (load(used) & 1) == 0;
		if (wanted)
			kickNow();
	}
	void kickNow()
	{
		const uint64_t one = 1;
		kicks++;
		if (write(kick, &one, sizeof one) < 0 && errno != EAGAIN)
			die("kick");
	}
	/** Chains that came back and were not looked at. */
	uint16_t returned() const
	{
		const auto n = static_cast<uint16_t>(__atomic_load_n(&used[1], __ATOMIC_ACQUIRE) - seen);
		if (n > size)
			broken("returned %u chains at once, of %u", n, size);
		return n;
	}
	/** The chain that came back `ahead` behind the next one; its length. */
	std::pair<uint16_t, uint32_t> peek(uint16_t ahead = 0) const
	{
		const uint8_t *at = reinterpret_cast<const uint8_t *>(used) + 4 + static_cast<uint16_t>(seen + ahead) % size * 8;
		uint32_t id, len;
		memcpy(&id, at, 4);
		memcpy(&len, at + 4, 4);
		if (id >= slots.size())
			broken("returned chain %u, of %zu", id, slots.size());
		return { static_cast<uint16_t>(id), len };
	}
	/** No interrupts. */
	void quiet()
	{
		if (eventIdx)
			store(&avail[2 + size], static_cast<uint16_t>(seen - 1));
		else
			store(&avail[0], 1);
	}
	/** An interrupt as soon as more than `after` chains are back; whether they are there now. */
	bool listen(uint16_t after)
	{
		if (eventIdx)
			store(&avail[2 + size], static_cast<uint16_t>(seen + after));
		else
			store(&avail[0], 0);
		std::atomic_thread_fence(std::memory_order_seq_cst);
		return returned() > (eventIdx ? after : 0);
	}
	void drainCall()
	{
		uint64_t n;
		if (read(call, &n, sizeof n) == sizeof n)
			calls++;
	}

	const unsigned size;
	/** Descriptors a chain. */
	unsigned links;
	bool eventIdx = false;
	Desc *desc;
	uint16_t *avail, *used;
	std::vector<Slot> slots;
	/** A stack, as a driver's: what was used last is in the cache. */
	std::vector<uint16_t> free;
	uint16_t offered, published, seen;
	int kick, call;
	uint64_t kicks = 0, calls = 0;

private:
	static uint16_t load(const uint16_t *p)
	{
		return __atomic_load_n(p, __ATOMIC_RELAXED);
	}
	static void store(uint16_t *p, uint16_t v)
	{
		__atomic_store_n(p, v, __ATOMIC_RELAXED);
	}
	/** From `old` to `now` an index goes past `event` (virtio 1.2 §2.7.10). */
	static bool passes(uint16_t event, uint16_t now, uint16_t old)
	{
		return static_cast<uint16_t>(now - event - 1) < static_cast<uint16_t>(now - old);
	}
	/** A chain's first descriptor has its number; the others are not beside it. */
	void addSlot(Memory &m, size_t i, size_t slots, const Layout &layout, bool deviceWrites)
	{
		Slot s{ {}, 0, nullptr };
		if (indirect_) {
			s.table = reinterpret_cast<Desc *>(m.take(links * sizeof(Desc), 16));
			desc[i] = Desc{ m.gpa(s.table), static_cast<uint32_t>(links * sizeof(Desc)), INDIRECT, 0 };
		}
		for (unsigned j = 0; j < links; j++) {
			uint8_t *at = m.take(layout[j], j == 0 && layout[j] >= 64 ? 64 : 1, static_cast<unsigned>(i) + j);
			s.pieces.push_back({ at, layout[j] });
			s.capacity += layout[j];
			Desc &d = s.table == nullptr ? desc[i + j * slots] : s.table[j];
			const size_t next = s.table == nullptr ? i + (j + 1) * slots : j + 1;
			d = Desc{ m.gpa(at), layout[j], static_cast<uint16_t>(deviceWrites ? WRITE : 0), static_cast<uint16_t>(next) };
		}
		this->slots.push_back(s);
	}
	bool indirect_;
};
