/* Is the next answer worth looking for before we sleep? Who sleeps wakes late: another processor's wake-up costs tens of µs, more
 * than most answers take to come. Not so in bulk, where whoever is to fill or to empty the buffers needs the processor more than
 * we do; nor where answers do not come while we look, because it is us whom the other side waits for. */
#ifndef PASST_LOOK_H
#define PASST_LOOK_H

#include <algorithm>
#include <cstdint>

namespace passt {

class Look {
public:
	/** epoll had something: it will have had to be answered first, so the time to look begins with the next wait. */
	void lively() { fresh = true; }
	/** Until when it is looked for, by a wait that begins `now`, ms: not at all if nothing came since the last one. */
	double until(double now)
	{
		const bool was = fresh;

		fresh = false;
		return was ? now + LOOK : now;
	}
	/** `volume`: octets that the guest and the world have sent each other so far, by whatever way. */
	bool worth_spinning(uint64_t volume)
	{
		const bool bulk = volume - seen >= BULK;

		seen = volume;
		if (bulk)
			return false;
		if (credit <= 0 && ++missed < AGAIN)
			return false;
		missed = 0;
		return true;
	}
	void paid(bool did) { credit = did ? std::min(credit + 1, (int)CREDIT) : std::max(credit - 2, 0); }

private:
	/** ms */
	static constexpr double LOOK = 0.08;
	static constexpr int CREDIT = 8, AGAIN = 32;
	/** Octets between two waits from which on it is bulk: more than most answers. */
	static constexpr uint64_t BULK = 1 << 14;

	bool fresh = false;
	/** looks that paid, less twice those that did not; waits since the last trial without credit */
	int credit = 1, missed = 0;
	uint64_t seen = 0;
};

} // namespace passt

#endif
