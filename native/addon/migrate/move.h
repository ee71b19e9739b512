/* A TCP socket that leaves, or comes: what native keeps of it (mover.h). */
#ifndef PASST_MIGRATE_MOVE_H
#define PASST_MIGRATE_MOVE_H

#include "../pending.h"

#include <cstdint>
#include <cstdlib>
#include <utility>

namespace passt {

/** Octets in one piece, which is not filled with zeros first. */
class Block {
public:
	Block() = default;
	Block(Block &&o) noexcept : buf(std::exchange(o.buf, nullptr)), head(std::exchange(o.head, 0)), tail(std::exchange(o.tail, 0)) {}
	Block &operator=(Block &&o) noexcept
	{
		std::swap(buf, o.buf), std::swap(head, o.head), std::swap(tail, o.tail);
		return *this;
	}
	~Block() { free(buf); }

	/** Room for `n` octets, anew; nullptr: there is no memory. */
	uint8_t *make(size_t n)
	{
		free(buf);
		head = tail = 0;
		return buf = static_cast<uint8_t *>(malloc(n ? n : 1));
	}
	/** Octets [first, first + n) of that room are there; what is behind them is given back. */
	void fill(size_t first, size_t n)
	{
		head = first, tail = first + n;
		if (void *const less = realloc(buf, tail ? tail : 1))
			buf = static_cast<uint8_t *>(less);
	}
	void consume(size_t n) { head += n; }
	const uint8_t *data() const { return buf + head; }
	size_t size() const { return tail - head; }

private:
	uint8_t *buf = nullptr;
	size_t head = 0, tail = 0;
};

struct Move {
	/** It leaves; else it comes. */
	bool frozen = false;
	/** What failed first; EV_RESTORED is out. */
	int error = 0;
	bool told = false;

	/** Leaves: its queues, once it was dumped. */
	Block send, receive;

	/** Comes: octets that were put into its queues, by QUEUE_*; which of the kernel's queues is selected; window to be set at last. */
	uint32_t restored[3] = {};
	int selected = 0;
	uint32_t window[5] = {};
	/** It was shut down for writing in repair mode. */
	bool shut = false;
};

/**
 * From here on tcp sees no packet for this socket: it acknowledges nothing and answers nothing. It still sends again what it has sent. 0 or
 * errno.
 */
int drop_packets(int fd);
void take_packets(int fd);
/** Tests switch off what some kernels want a privilege for. */
extern bool filter_works;

} // namespace passt

#endif
