/* Octets for one socket that its kernel buffer did not take yet, in order. */
#ifndef PASST_PENDING_H
#define PASST_PENDING_H

#include <cstddef>
#include <cstdint>

namespace passt {

class Pending {
public:
	Pending() = default;
	Pending(const Pending &) = delete;
	Pending &operator=(const Pending &) = delete;
	~Pending();

	size_t size() const { return tail - head; }
	const uint8_t *data() const { return buf + head; }
	/** False: out of memory, nothing was taken. */
	bool append(const void *from, size_t n);
	/** Drop `n` octets (at most size()) from the front; memory is given back once empty. */
	void consume(size_t n);

private:
	uint8_t *buf = nullptr;
	size_t head = 0, tail = 0, cap = 0;
};

} // namespace passt

#endif
