/* The guest's memory as the front-end gave it: mapped regions, translation of both kinds of addresses, the dirty log.
 *
 * Whoever shares memory with us may change it while we read, and may make its file shorter while it is mapped. The first is the
 * reader's care (take() reads once), the second is dealt with here: a page that the file does not have any more raises SIGBUS,
 * and the handler puts pages of zeros in the whole mapping's place. lost() then says so.
 */
#ifndef PASST_VHOST_MEMORY_H
#define PASST_VHOST_MEMORY_H

#include "../abi.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace passt {

/** A copy of shared octets, which the compiler reads no second time. */
inline void take(void *to, const void *from, size_t n)
{
	memcpy(to, from, n);
	asm volatile("" : : "r"(to) : "memory");
}

/** What a front-end says of a region; one record of EF_VHOST_MEMORY. */
struct RegionSpec {
	uint64_t gpa, size, user, offset;
	int32_t fd;
	uint32_t pad;
};
static_assert(sizeof(RegionSpec) == VHOST_REGION_LEN, "as JS writes it");

/** A file's octets, shared; [base, base + size) of them are of use. */
class Mapping {
public:
	/** Octets [offset, offset + size) of the file, which has them now. 0 or errno. The descriptor stays open. */
	int open(int fd, uint64_t offset, uint64_t size);
	void close();
	uint8_t *base = nullptr;
	/** Did any mapping lose pages since the last reset()? */
	static bool lost();
	static void reset_lost();

private:
	void *map = nullptr;
	size_t len = 0;
	int slot = -1;
};

class Memory {
public:
	Memory() = default;
	Memory(const Memory &) = delete;
	Memory &operator=(const Memory &) = delete;
	~Memory()
	{
		clear();
		no_log();
	}

	/** Regions keep their descriptors, as the log does: some process may take our place (handover.h). */
	bool keeps = false;
	uint32_t regions_count() const { return count; }
	/** fd -1: it was not kept. */
	RegionSpec region(uint32_t i) const
	{
		const Region &r = regions[i];
		return {r.gpa, r.size, r.user, r.offset, r.fd, 0};
	}
	/** `size` 0: there is none. */
	RegionSpec log_file() const { return {0, log_size, 0, log_offset, log_fd, 0}; }

	/** In place of what is there, or nothing changes. Descriptors that are kept are ours then, -1 stands in their place; others stay open. 0 or errno. */
	int replace(RegionSpec *all, uint32_t n);
	int add(RegionSpec &one);
	int remove(uint64_t gpa, uint64_t size, uint64_t user);
	void clear();

	/**
	 * Where `gpa` is mapped, for `*len` octets in a row; those that are not in this region are taken off. nullptr: nowhere.
	 */
	uint8_t *piece(uint64_t gpa, uint64_t *len)
	{
		const uint64_t at = gpa - regions[last].gpa;
		if (last < count && at < regions[last].size) {
			*len = std::min(*len, regions[last].size - at);
			return regions[last].map.base + at;
		}
		return find(gpa, len);
	}
	/** `len` octets at `gpa`; nullptr: they are not there in a row. */
	uint8_t *whole(uint64_t gpa, uint64_t len)
	{
		uint64_t n = len;
		uint8_t *const p = piece(gpa, &n);
		return n == len ? p : nullptr;
	}
	/** The same by the front-end's address. */
	uint8_t *whole_user(uint64_t user, uint64_t len) const;
	/** A copy of octets that may lie in several regions. False: not all are there. */
	bool copy(void *to, uint64_t gpa, uint32_t len);

	/** The dirty log, in place of the one before; fd < 0: none. 0 or errno. The descriptor as in replace(). */
	int log(int &fd, uint64_t size, uint64_t offset);
	void no_log()
	{
		int none = -1;
		log(none, 0, 0);
	}
	/** Marks are made only while it is on, too (VHOST_F_LOG_ALL). */
	bool logging = false;
	bool logs() const { return logging && log_size; }
	/** These octets were written. Pages behind the log's end are not marked. */
	void dirty(uint64_t gpa, uint64_t len)
	{
		if (logs() && len)
			mark(gpa, len);
	}
	/** Marks were made since the last call. */
	bool marked()
	{
		const bool m = made;
		made = false;
		return m;
	}

private:
	struct Region {
		uint64_t gpa = 0, size = 0, user = 0, offset = 0;
		int fd = -1;
		Mapping map;
	};
	static int check(const RegionSpec *all, uint32_t n);
	int keep(int &fd) const;
	static int map_region(const RegionSpec &from, Region &to);
	static void drop(Region &r);
	uint8_t *find(uint64_t gpa, uint64_t *len);
	void mark(uint64_t gpa, uint64_t len);

	Region regions[VHOST_REGIONS_MAX];
	uint32_t count = 0, last = 0;
	Mapping log_map;
	uint64_t log_size = 0, log_offset = 0;
	int log_fd = -1;
	bool made = false;
};

} // namespace passt

#endif
