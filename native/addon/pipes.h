/* Pipes for splice(2): a pool, since only directions that are moving much at this moment need one. */
#ifndef PASST_PIPES_H
#define PASST_PIPES_H

#include <cstdint>
#include <vector>

namespace passt {

struct Pipe {
	int read = -1, write = -1;
	uint32_t size = 0;
	explicit operator bool() const { return read >= 0; }
};

/* PIPES_FREE are kept for the next use; with PIPES_MAX in use the next direction copies instead. Together they stay below
 * half of what pipe(7) grants a user by default (pipe-user-pages-soft) */
enum : uint32_t { PIPES_FREE = 16, PIPES_MAX = 32, PIPE_WANTED = 1 << 20 };

class Pipes {
public:
	Pipes() = default;
	Pipes(const Pipes &) = delete;
	Pipes &operator=(const Pipes &) = delete;
	~Pipes();

	/** An empty one; false: there is none to be had. */
	Pipe get();
	/** `dirty`: something is left in it, so it is closed. */
	void put(Pipe &p, bool dirty);

	/** Octets to ask for first, then half of it, as long as the kernel refuses (pipe(7): limits by user). Tests set it. */
	uint32_t wanted = PIPE_WANTED;
	uint32_t max = PIPES_MAX;
	uint32_t in_use = 0;

private:
	std::vector<Pipe> free;
};

} // namespace passt

#endif
