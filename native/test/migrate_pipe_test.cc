/* The descriptor that a guest's state goes through, with slow and dead ends. */
#include "peers.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

/** Both ends of a pipe; `ours` was given to the engine. */
struct Ends {
	int ours, theirs;
	Ends(Rig &r, uint32_t direction, bool socket = false)
	{
		int p[2];
		if (socket)
			CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p));
		else
			CHECK(!pipe2(p, O_CLOEXEC));
		ours = p[direction == STATE_SAVE], theirs = p[direction != STATE_SAVE];
		r.effect({EF_STATE_OPEN, 0, (uint32_t)ours, direction});
	}
	~Ends() { cut(); }
	void cut()
	{
		if (theirs >= 0)
			close(theirs);
		theirs = -1;
	}
};

void give(Rig &r, const Octets &b, uint32_t at)
{
	r.effect({EF_STATE_WRITE, 0, r.put(b, at), (uint32_t)b.size()});
}

} // namespace

TEST(state_is_written_in_order_as_it_is_read)
{
	for (const bool socket : {false, true}) {
		Rig r;
		Ends e(r, STATE_SAVE, socket);
		Octets all, got;
		CHECK(r.turn(20).empty());
		for (int i = 0; i < 300; i++) {
			const Octets one = noise(chance(9000));
			give(r, one, 4096 + (uint32_t)i % 8 * 9000);
			all.insert(all.end(), one.begin(), one.end());
			if (i % 8 == 7)
				r.turn();
		}
		r.turn();
		CHECK(r.engine.migration.state.waiting() && r.take(EV_STATE_ENDED).empty());
		r.seen.clear();
		r.effect({EF_STATE_CLOSE, 0, 0});
		while (got.size() < all.size()) {
			Octets part(1 + chance(100000));
			CHECK(wait_for(e.theirs, POLLIN));
			const ssize_t n = read(e.theirs, part.data(), part.size());
			CHECK(n > 0);
			got.insert(got.end(), part.begin(), part.begin() + n);
			r.turn(1);
		}
		CHECK(got == all && read_all(e.theirs, 1).empty());
		const Ev w = r.await(EV_STATE_WRITTEN);
		while (!r.take(EV_STATE_PROGRESS).empty()) {
		}
		CHECK(w[2] == all.size() && r.await(EV_STATE_ENDED)[13] == 0 && r.seen.empty());
		CHECK(!r.engine.migration.state.waiting());
	}
}

TEST(state_that_is_read_slowly_makes_progress)
{
	Rig r;
	Ends e(r, STATE_SAVE);
	const Octets all = noise(900000);
	Octets got;
	uint32_t told = 0, times = 0;
	give(r, all, 4096);
	while (got.size() < all.size()) {
		Octets part(20000);
		r.turn(1);
		for (Ev p = r.take(EV_STATE_PROGRESS); !p.empty(); p = r.take(EV_STATE_PROGRESS)) {
			CHECK(p[2] - told >= STATE_TOLD && p[2] >= got.size() && p[2] < all.size());
			told = p[2], times++;
		}
		const ssize_t n = read(e.theirs, part.data(), part.size());
		CHECK(n > 0);
		got.insert(got.end(), part.begin(), part.begin() + n);
	}
	CHECK(got == all && times == 3 && r.await(EV_STATE_WRITTEN)[2] == all.size());
}

TEST(state_written_is_told_once_each_time)
{
	Rig r;
	Ends e(r, STATE_SAVE);
	give(r, noise(10), 4096);
	give(r, noise(20), 8192);
	CHECK(r.await(EV_STATE_WRITTEN)[2] == 30);
	CHECK(r.turn(20).empty());
	give(r, {}, 4096);
	CHECK(r.turn(20).empty());
	give(r, noise(5), 4096);
	CHECK(r.await(EV_STATE_WRITTEN)[2] == 35);
	CHECK(read_all(e.theirs, 35).size() == 35);
	/* a pipe that is full wakes nobody */
	give(r, noise(200000), 4096);
	CHECK(r.turn(20).empty() && r.turn(50).empty());
	r.effect({EF_STATE_CLOSE, 0, STATE_NOW});
	CHECK(r.await(EV_STATE_ENDED)[13] == ECANCELED);
	CHECK(read_all(e.theirs, 200001).size() < 200000); /* the end of it */
	/* nothing there: nothing is said */
	r.effect({EF_STATE_CLOSE, 0, STATE_NOW});
	give(r, noise(5), 4096);
	r.effect({EF_STATE_NEXT, 0, 100});
	CHECK(r.turn(20).empty());
}

TEST(state_reader_that_goes)
{
	for (const bool socket : {false, true}) {
		for (const size_t n : {size_t{0}, size_t{1}, size_t{300000}}) {
			Rig r;
			Ends e(r, STATE_SAVE, socket);
			give(r, noise(n), 4096);
			r.turn();
			r.seen.clear();
			e.cut();
			CHECK(r.await(EV_STATE_ENDED)[13] == EPIPE);
			CHECK(!r.engine.migration.state.waiting());
			give(r, noise(100), 4096);
			CHECK(r.turn(20).empty());
		}
	}
	/* before anything was given */
	Rig r;
	Ends e(r, STATE_SAVE);
	e.cut();
	give(r, noise(100), 4096);
	CHECK(r.await(EV_STATE_ENDED)[13] == EPIPE);
	CHECK(fcntl(e.ours, F_GETFD) < 0); /* closed */
}

TEST(state_is_read_as_it_is_asked_for)
{
	for (const bool socket : {false, true}) {
		Rig r;
		Ends e(r, STATE_LOAD, socket);
		const Octets all = noise(60000);
		CHECK(write(e.theirs, all.data(), all.size()) == (ssize_t)all.size());
		CHECK(r.turn(20).empty()); /* nobody asks */
		Octets got;
		while (got.size() < all.size()) {
			const uint32_t most = 1 + chance(9000);
			r.effect({EF_STATE_NEXT, 0, most});
			const Ev o = r.await(EV_STATE_OCTETS);
			CHECK(o[3] && o[3] <= most && r.take(EV_STATE_OCTETS).empty());
			const Octets part = r.slab(o[2], o[3]);
			got.insert(got.end(), part.begin(), part.end());
			if (chance(4) == 0)
				CHECK(r.turn(5).empty());
		}
		CHECK(got == all);
		/* none yet */
		r.effect({EF_STATE_NEXT, 0, 1 << 20});
		CHECK(r.turn(20).empty());
		CHECK(write(e.theirs, "abc", 3) == 3);
		const Ev o = r.await(EV_STATE_OCTETS);
		CHECK(text(r.slab(o[2], o[3])) == "abc");
		/* the end: nobody asks, nobody is woken */
		e.cut();
		CHECK(r.turn(20).empty() && r.turn(50).empty());
		r.effect({EF_STATE_NEXT, 0, 10});
		CHECK(r.await(EV_STATE_ENDED)[13] == 0);
		CHECK(r.turn(20).empty());
	}
}

TEST(state_end_of_file_comes_behind_the_last_octet)
{
	Rig r;
	Ends e(r, STATE_LOAD);
	CHECK(write(e.theirs, "last", 4) == 4);
	e.cut();
	r.effect({EF_STATE_NEXT, 0, 100});
	const Ev o = r.await(EV_STATE_OCTETS);
	CHECK(text(r.slab(o[2], o[3])) == "last" && r.take(EV_STATE_ENDED).empty());
	r.effect({EF_STATE_NEXT, 0, 100});
	CHECK(r.await(EV_STATE_ENDED)[13] == 0);
}

TEST(state_load_closed_before_its_end)
{
	Rig r;
	Ends e(r, STATE_LOAD);
	r.effect({EF_STATE_NEXT, 0, 100});
	r.turn();
	r.effect({EF_STATE_CLOSE, 0, 0});
	CHECK(r.await(EV_STATE_ENDED)[13] == ECANCELED);
	CHECK(write(e.theirs, "x", 1) < 0 && errno == EPIPE);
}

TEST(state_one_pipe_replaces_another)
{
	Rig r;
	Ends first(r, STATE_SAVE);
	give(r, noise(300000), 4096);
	r.turn();
	Ends second(r, STATE_SAVE);
	give(r, octets("second"), 4096);
	CHECK(r.await(EV_STATE_WRITTEN)[2] == 6 && r.take(EV_STATE_ENDED).empty());
	CHECK(text(read_all(second.theirs, 6)) == "second");
	CHECK(read_all(first.theirs, 300000).size() < 300000);
}

TEST(state_goes_through_no_file)
{
	Rig r;
	char path[] = "/tmp/passt-state-XXXXXX";
	const int file = mkstemp(path), counter = eventfd(0, 0), datagrams = socket(AF_INET, SOCK_DGRAM, 0);
	unlink(path);
	for (const int fd : {file, counter, datagrams}) {
		for (const uint32_t direction : {STATE_SAVE, STATE_LOAD}) {
			const int one = dup(fd);
			r.effect({EF_STATE_OPEN, 0, (uint32_t)one, direction});
			CHECK(r.await(EV_STATE_ENDED)[13] == EINVAL && fcntl(one, F_GETFD) < 0);
		}
		close(fd);
	}
	r.effect({EF_STATE_OPEN, 0, 0xffffffff, STATE_SAVE});
	CHECK(r.await(EV_STATE_ENDED)[13] == EBADF);
	/* and no octets from outside of the slab */
	Ends e(r, STATE_SAVE);
	r.effect({EF_STATE_WRITE, 0, 0xfffffff0, 100});
	CHECK(r.await(EV_STATE_ENDED)[13] == EFAULT);
}

/** O_NONBLOCK is everybody's who holds the same end: who takes it away shall not have us wait (where the kernel lets us say so). */
TEST(state_pipe_that_blocks_makes_nobody_wait)
{
	for (const bool socket : {false, true}) {
		for (const uint32_t direction : {STATE_SAVE, STATE_LOAD}) {
			Rig r;
			Ends e(r, direction, socket);
			r.turn(0);
			const int flags = fcntl(e.ours, F_GETFL);
			CHECK(flags & O_NONBLOCK && !fcntl(e.ours, F_SETFL, flags & ~O_NONBLOCK));
			alarm(10); /* it would wait for ever */
			if (direction == STATE_SAVE) {
				const Octets all = noise(900000);
				give(r, all, 4096);
				for (int i = 0; i < 3; i++)
					r.turn(0);
				CHECK(r.take(EV_STATE_WRITTEN).empty() && r.engine.migration.state.waiting());
				Octets got;
				while (got.size() < all.size()) {
					Octets part(50000);
					CHECK(wait_for(e.theirs, POLLIN));
					const ssize_t n = read(e.theirs, part.data(), part.size());
					CHECK(n > 0);
					got.insert(got.end(), part.begin(), part.begin() + n);
					r.turn(0);
				}
				CHECK(got == all);
			} else {
				/* Somebody else reads it first */
				CHECK(write(e.theirs, "x", 1) == 1);
				char x;
				r.effect({EF_STATE_NEXT, 0, 100});
				CHECK(read(e.ours, &x, 1) == 1);
				r.turn(0);
				r.engine.migration.state.ready(EPOLLIN);
				CHECK(r.turn(0).empty());
				CHECK(write(e.theirs, "yz", 2) == 2);
				const Ev o = r.await(EV_STATE_OCTETS);
				CHECK(text(r.slab(o[2], o[3])) == "yz");
			}
			alarm(0);
		}
	}
}
