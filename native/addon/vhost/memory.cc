#include "memory.h"

#include <cerrno>
#include <csignal>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace passt {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings and headers of virtio 1 are little-endian");

/** Octets of a page of the log (vhost-user, SET_LOG_BASE). */
enum : uint64_t { LOG_PAGE = 4096, HUGE_MAX = 1u << 30 };
/** Octets of addresses that all mappings may take: half of what there is, since we need some too (x86, arm64: 2^47 at least). */
enum : uint64_t { MAPPED_MAX = 1ull << 46 };

namespace {

/** All mappings, for the handler of SIGBUS, which may know nothing else. `end` 0: free. */
struct Range {
	volatile uintptr_t begin, end;
};
enum : int { RANGES = 2 * VHOST_REGIONS_MAX + 4 };
Range ranges[RANGES];
volatile sig_atomic_t pages_lost = 0;

/**
 * A page that the file behind it does not have. The whole mapping becomes zeros, so that whoever touched it goes on; it is looked at
 * (Mapping::lost()) before anything is made of what was read. Any other SIGBUS takes its usual way.
 */
void on_bus_error(int, siginfo_t *info, void *)
{
	const int saved = errno;
	const auto at = reinterpret_cast<uintptr_t>(info->si_addr);

	for (const Range &r : ranges) {
		if (at < r.begin || at >= r.end)
			continue;
		if (mmap(reinterpret_cast<void *>(r.begin), r.end - r.begin, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
			break;
		pages_lost = 1;
		errno = saved;
		return;
	}
	signal(SIGBUS, SIG_DFL);
}

void catch_bus_errors()
{
	static bool done = false;
	struct sigaction a = {};

	if (done)
		return;
	a.sa_sigaction = on_bus_error;
	a.sa_flags = SA_SIGINFO | SA_ONSTACK;
	done = !sigaction(SIGBUS, &a, nullptr);
}

} // namespace

bool Mapping::lost()
{
	return pages_lost;
}

void Mapping::reset_lost()
{
	pages_lost = 0;
}

int Mapping::open(int fd, uint64_t offset, uint64_t size)
{
	struct stat st;
	uint64_t end;

	if (fstat(fd, &st))
		return errno;
	if (!S_ISREG(st.st_mode))
		return EINVAL;
	if (!size || __builtin_add_overflow(offset, size, &end) || st.st_size < 0 || end > (uint64_t)st.st_size)
		return EFBIG;
	/* Huge pages: munmap(2) takes whole ones only */
	uint64_t page = (uint64_t)st.st_blksize;
	if (page < LOG_PAGE || page > HUGE_MAX || page & (page - 1))
		page = LOG_PAGE;
	/* From the file's beginning: offsets are of any size */
	const uint64_t all = (end + page - 1) & ~(page - 1);
	int free_slot = RANGES;
	uint64_t mapped = 0;
	for (int i = RANGES; i--;) {
		if (ranges[i].end)
			mapped += ranges[i].end - ranges[i].begin;
		else
			free_slot = i;
	}
	if (free_slot == RANGES || all > MAPPED_MAX - mapped)
		return ENOMEM;
	catch_bus_errors();
	void *const p = all < end ? MAP_FAILED : mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED)
		return all < end ? EFBIG : errno;
	close();
	map = p, len = all, slot = free_slot;
	base = static_cast<uint8_t *>(p) + offset;
	ranges[slot].begin = reinterpret_cast<uintptr_t>(p);
	ranges[slot].end = reinterpret_cast<uintptr_t>(p) + all;
	return 0;
}

void Mapping::close()
{
	if (slot < 0)
		return;
	ranges[slot].end = 0;
	munmap(map, len);
	map = nullptr, base = nullptr, len = 0, slot = -1;
}

/** Of one table: sizes, overflow, and no address in two regions. */
int Memory::check(const RegionSpec *all, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const RegionSpec &a = all[i];
		uint64_t end;
		/* The last octet may be the last address */
		if (!a.size || __builtin_add_overflow(a.gpa, a.size - 1, &end) || __builtin_add_overflow(a.user, a.size - 1, &end))
			return EINVAL;
		for (uint32_t k = 0; k < i; k++) {
			const RegionSpec &b = all[k];
			const auto meet = [&](uint64_t x, uint64_t y) { return x - y < b.size || y - x < a.size; };
			if (meet(a.gpa, b.gpa) || meet(a.user, b.user))
				return EEXIST;
		}
	}
	return 0;
}

/** It is ours from here on, where descriptors are kept; else -1. */
int Memory::keep(int &fd) const
{
	return keeps ? std::exchange(fd, -1) : -1;
}

int Memory::map_region(const RegionSpec &from, Region &to)
{
	to.gpa = from.gpa, to.size = from.size, to.user = from.user, to.offset = from.offset;
	return to.map.open(from.fd, from.offset, from.size);
}

void Memory::drop(Region &r)
{
	r.map.close();
	if (r.fd >= 0)
		::close(r.fd);
	r = Region{};
}

int Memory::replace(RegionSpec *all, uint32_t n)
{
	Region fresh[VHOST_REGIONS_MAX];
	int e = n > VHOST_REGIONS_MAX ? E2BIG : check(all, n);
	uint32_t i = 0;

	for (; !e && i < n; i++)
		e = map_region(all[i], fresh[i]);
	if (e) {
		while (i)
			drop(fresh[--i]);
		return e;
	}
	clear();
	std::copy(fresh, fresh + n, regions);
	for (count = 0; count < n; count++)
		regions[count].fd = keep(all[count].fd);
	return 0;
}

int Memory::add(RegionSpec &one)
{
	RegionSpec all[VHOST_REGIONS_MAX + 1] = {};

	if (count == VHOST_REGIONS_MAX)
		return ENOSPC;
	for (uint32_t i = 0; i < count; i++)
		all[i].gpa = regions[i].gpa, all[i].size = regions[i].size, all[i].user = regions[i].user;
	all[count] = one;
	if (const int e = check(all, count + 1))
		return e;
	if (const int e = map_region(one, regions[count])) {
		regions[count] = Region{};
		return e;
	}
	regions[count++].fd = keep(one.fd);
	return 0;
}

int Memory::remove(uint64_t gpa, uint64_t size, uint64_t user)
{
	for (uint32_t i = 0; i < count; i++) {
		Region &r = regions[i];
		if (r.gpa != gpa || r.size != size || r.user != user)
			continue;
		drop(r);
		r = regions[--count];
		regions[count] = Region{};
		last = 0;
		return 0;
	}
	return ENOENT;
}

void Memory::clear()
{
	for (uint32_t i = 0; i < count; i++)
		drop(regions[i]);
	count = last = 0;
}

uint8_t *Memory::find(uint64_t gpa, uint64_t *len)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t at = gpa - regions[i].gpa;
		if (at >= regions[i].size)
			continue;
		last = i;
		*len = std::min(*len, regions[i].size - at);
		return regions[i].map.base + at;
	}
	return nullptr;
}

uint8_t *Memory::whole_user(uint64_t user, uint64_t len) const
{
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t at = user - regions[i].user;
		if (at < regions[i].size && len <= regions[i].size - at)
			return regions[i].map.base + at;
	}
	return nullptr;
}

bool Memory::copy(void *to, uint64_t gpa, uint32_t len)
{
	auto *p = static_cast<uint8_t *>(to);

	while (len) {
		uint64_t n = len;
		const uint8_t *const from = piece(gpa, &n);
		if (!from)
			return false;
		take(p, from, (size_t)n);
		p += n, gpa += n, len -= (uint32_t)n;
	}
	return true;
}

int Memory::log(int &fd, uint64_t size, uint64_t offset)
{
	Mapping fresh;

	if (fd >= 0) {
		if (const int e = fresh.open(fd, offset, size))
			return e;
	}
	log_map.close();
	if (log_fd >= 0)
		::close(log_fd);
	log_map = fresh;
	log_size = fd >= 0 ? size : 0, log_offset = fd >= 0 ? offset : 0;
	log_fd = keep(fd);
	return 0;
}

void Memory::mark(uint64_t gpa, uint64_t len)
{
	uint64_t end;
	if (__builtin_add_overflow(gpa, len - 1, &end))
		end = UINT64_MAX;
	const uint64_t last_page = std::min(end / LOG_PAGE, log_size * 8 - 1);
	for (uint64_t page = gpa / LOG_PAGE; page <= last_page; page++)
		__atomic_fetch_or(log_map.base + page / 8, (uint8_t)(1u << page % 8), __ATOMIC_SEQ_CST);
	made = true;
}

} // namespace passt
