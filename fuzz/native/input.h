/* The fuzzer's octets, taken from the front as what a target needs. Past the end everything is 0. */
#ifndef PASST_FUZZ_INPUT_H
#define PASST_FUZZ_INPUT_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

class Input {
public:
	Input(const uint8_t *data, size_t len) : p(data), end(data + len) {}
	bool done() const { return p == end; }
	uint8_t u8() { return p == end ? 0 : *p++; }
	uint16_t u16() { const int high = u8() << 8; return (uint16_t)(high | u8()); }
	uint32_t u32() { const uint32_t high = (uint32_t)u16() << 16; return high | u16(); }
	/** At most `n` octets. */
	std::vector<uint8_t> octets(size_t n)
	{
		const uint8_t *const from = p;
		p += std::min(n, (size_t)(end - p));
		return {from, p};
	}

private:
	const uint8_t *p, *const end;
};

/** What must hold: libFuzzer keeps the input where it does not. */
#define MUST(cond)                                                                                                             \
	do {                                                                                                                   \
		if (!(cond))                                                                                                   \
			__builtin_trap();                                                                                      \
	} while (0)

#endif
