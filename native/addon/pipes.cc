#include "pipes.h"

#include <fcntl.h>
#include <unistd.h>

namespace passt {

enum : uint32_t { PIPE_LEAST = 4096 };

static void close_pipe(Pipe &p)
{
	close(p.read);
	close(p.write);
	p = Pipe{};
}

Pipes::~Pipes()
{
	for (Pipe &p : free)
		close_pipe(p);
}

Pipe Pipes::get()
{
	Pipe p;
	int fd[2];

	if (in_use >= max)
		return p;
	if (!free.empty()) {
		p = free.back();
		free.pop_back();
		in_use++;
		return p;
	}
	if (pipe2(fd, O_NONBLOCK | O_CLOEXEC))
		return p;
	uint32_t want = wanted;
	while (want > PIPE_LEAST && fcntl(fd[1], F_SETPIPE_SZ, (int)want) < 0)
		want /= 2;
	if (want == PIPE_LEAST && wanted == PIPE_LEAST)
		fcntl(fd[1], F_SETPIPE_SZ, (int)want);
	/* On a busy host even a new pipe is smaller than usual: what it has is what counts */
	const int size = fcntl(fd[1], F_GETPIPE_SZ);
	p.read = fd[0], p.write = fd[1], p.size = size > 0 ? (uint32_t)size : (uint32_t)PIPE_LEAST;
	in_use++;
	return p;
}

void Pipes::put(Pipe &p, bool dirty)
{
	if (!p)
		return;
	in_use--;
	if (dirty || free.size() >= PIPES_FREE)
		return close_pipe(p);
	free.push_back(p);
	p = Pipe{};
}

} // namespace passt
