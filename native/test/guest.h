/* A guest's driver of virtio-net, and the front-end that shares its memory with the engine: both rings in a memfd, chains of any
 * layout, what the device gives back. */
#ifndef PASST_TEST_GUEST_H
#define PASST_TEST_GUEST_H

#include "forward.h"

/** Features by bit; whatever a virtio 1 driver has. */
constexpr uint64_t bit(uint32_t n)
{
	return 1ull << n;
}
enum : uint64_t { PLAIN = 1ull << 32 | 1ull << 30, MERGED = PLAIN | 1ull << NET_MRG_RXBUF };

/** How a driver makes its chains. */
struct Layout {
	/** Longest part, octets; 0: of random length up to 3000. */
	uint32_t part = 0;
	bool indirect = false, event_idx = false;
};

/** One ring of the driver's. */
struct DriverRing {
	uint32_t size = 0;
	uint64_t desc = 0, avail = 0, used = 0;
	uint16_t avail_idx = 0, used_idx = 0;
	std::vector<uint16_t> free;
	/** What a head holds: its descriptors, its buffers' places. */
	struct Held {
		std::vector<uint16_t> descs;
		std::vector<std::pair<uint64_t, uint32_t>> parts;
	};
	std::vector<Held> held;
	/** gpa where the next buffer goes, from `from` to `to`, in a circle. */
	uint64_t from = 0, to = 0, next = 0;
};

struct Guest : Rig {
	enum : uint64_t { LOW = 0x100000, LOW_LEN = 8 << 20, HIGH = LOW + LOW_LEN, HIGH_LEN = 24 << 20, USER = 0x7f0000000000, GAP = 3 << 20, LOG_LEN = 4096 };
	/** Descriptors of ours: memory, log, channel, eventfds. */
	int memfd = -1, logfd = -1, front = -1, call[2] = {-1, -1}, kick[2] = {-1, -1};
	uint8_t *file = nullptr, *log = nullptr;
	Layout layout;
	DriverRing rings[2];

	/** The session up to running rings of `size`, their indices from `base` on. */
	explicit Guest(uint64_t features, uint32_t size = 256, uint16_t base = 0, Layout l = {});
	~Guest();

	uint8_t *at(uint64_t gpa);
	void u64(std::vector<uint32_t> &words, uint64_t v);
	void words(const std::vector<uint32_t> &w);
	/** The table of two regions, which lie apart in the file and in a row in the guest. Return: errno. */
	uint32_t share();
	void place(uint32_t ring, uint32_t flags = 0);
	void run(uint32_t ring, uint32_t mode);
	/** Logging on. */
	void start_log();
	/** The memory as it is now is kept for comparison, nothing is marked. */
	void snapshot();
	/** All pages that have changed since are marked. */
	void check_log();

	/** A chain of `octets` in parts as `layout` has them; false: no descriptors left. */
	bool offer(uint32_t ring, size_t len, bool writable, const uint8_t *octets = nullptr);
	/** Frame behind a header. */
	bool send(const Octets &frame, const Vnet &v = {});
	/** Receive buffers of `len` octets. */
	uint32_t give(uint32_t n, size_t len);
	/** What the device gave back of a ring: heads with lengths, in order. Descriptors are free again. */
	struct Used {
		uint32_t len;
		Octets octets;
	};
	std::vector<Used> back(uint32_t ring);
	/** Frames from the used chains of the receive ring, headers of 12 octets in front. */
	std::vector<Octets> received();
	/** Notifications of a ring since the last time. */
	uint64_t called(uint32_t ring);
	void kick_it(uint32_t ring);
	uint16_t *avail16(uint32_t ring, size_t octets) { return reinterpret_cast<uint16_t *>(at(rings[ring].avail + octets)); }
	uint16_t *used16(uint32_t ring, size_t octets) { return reinterpret_cast<uint16_t *>(at(rings[ring].used + octets)); }

private:
	Octets before;
	uint64_t buffer(DriverRing &r, uint32_t len);
};

/** A frame of an unknown EtherType, of any length from 14 on. */
Octets some_frame(size_t len);

#endif
