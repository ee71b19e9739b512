#include "rings.h"

#include <cerrno>
#include <sys/mman.h>

namespace passt {

enum : uint32_t { RX_MIN = 1 << 20, SLAB_MAX = 1u << 30, RECORDS_MAX = 1 << 20, HANDLES_MAX = 1 << 24, EVENTS_MIN = 16 };

static void *map_zero_pages(size_t n)
{
	void *const p = mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? nullptr : p;
}

int Rings::open(const Sizes &s)
{
	if (s.rx < RX_MIN || s.rx > SLAB_MAX || s.tx > SLAB_MAX || s.events < EVENTS_MIN || s.events > RECORDS_MAX ||
	    !s.effects || s.effects > RECORDS_MAX || !s.handles || s.handles > HANDLES_MAX)
		return EINVAL;
	size = s;
	slab = static_cast<uint8_t *>(map_zero_pages((size_t)s.tx + s.rx));
	effects = static_cast<Record *>(map_zero_pages(sizeof(Record) * s.effects));
	events = static_cast<Record *>(map_zero_pages(sizeof(Record) * s.events));
	clock = static_cast<double *>(map_zero_pages(2 * sizeof(double)));
	rx_reset();
	return slab && effects && events && clock ? 0 : ENOMEM;
}

void Rings::rx_take(uint32_t n)
{
	const uint32_t left = rx_left();

	n = (n + 63) & ~63u;
	rx_at += n < left ? n : left;
}

} // namespace passt
