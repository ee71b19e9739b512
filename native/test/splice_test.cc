/* Spliced TCP connections: data, ends, resets, full receivers, small pipes, no busy loops. */
#include "forward.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

struct Bed {
	Rig r;
	Listener l;
	uint16_t port;
	explicit Bed(int rcvbuf = 0) : l(false, rcvbuf), port(listen_at(r, 0, Kind::Tcp)) {}
};

uint64_t moved(const Ev &e, int way)
{
	return e[4 + 2 * (size_t)way] | (uint64_t)e[5 + 2 * (size_t)way] << 32;
}

void set_nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/** Octet `i` of a stream that never repeats itself within a pipe. */
uint8_t octet(uint64_t i)
{
	return (uint8_t)(i * 2654435761u >> 13 ^ i >> 17);
}

/** As much as goes in one attempt of at most `n`; return whether the peer is still there. */
bool feed(int fd, uint64_t &at, size_t n)
{
	static uint8_t b[1 << 18];
	n = n < sizeof(b) ? n : sizeof(b);
	for (size_t i = 0; i < n; i++)
		b[i] = octet(at + i);
	const ssize_t k = send(fd, b, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	at += k > 0 ? (uint64_t)k : 0;
	return k > 0 || errno == EAGAIN;
}

/** Read and compare; return octets, 0 = end, -1 = nothing or an error. */
ssize_t drain(int fd, uint64_t &at, size_t n)
{
	static uint8_t b[1 << 18];
	const ssize_t k = recv(fd, b, n < sizeof(b) ? n : sizeof(b), MSG_DONTWAIT);
	for (ssize_t i = 0; i < k; i++)
		CHECK(b[i] == octet(at + (uint64_t)i));
	at += k > 0 ? (uint64_t)k : 0;
	return k;
}

/** Turns until `n` octets have come out at `fd`, at most 2 s. */
Octets read_through(Rig &r, int fd, size_t n)
{
	Octets b(n);
	size_t have = 0;
	const double t = Engine::now_ms();
	while (have < n && Engine::now_ms() - t < 2000) {
		r.turn(have ? 0 : 1);
		const ssize_t k = recv(fd, b.data() + have, n - have, MSG_DONTWAIT);
		have += k > 0 ? (size_t)k : 0;
	}
	b.resize(have);
	return b;
}

/** `total` octets from one end to the other in odd pieces; the sender then ends. */
void pump(Rig &r, int from, int to, uint64_t total, size_t piece, size_t sip)
{
	uint64_t in = 0, out = 0;
	for (int idle = 0; out < total && idle < 2000; idle++) {
		if (in < total)
			feed(from, in, std::min<uint64_t>(1 + chance((uint32_t)piece), total - in));
		r.turn(in < total ? 0 : 1);
		if (drain(to, out, 1 + chance((uint32_t)sip)) > 0)
			idle = 0;
	}
	CHECK(out == total);
}

} // namespace

TEST(splice_connects_moves_and_ends)
{
	Bed b;
	Pair p(b.r, b.port, b.l);
	p.client.send("request");
	b.r.turn(50);
	CHECK(text(read_all(p.server, 7)) == "request");
	CHECK(send(p.server, "answer", 6, 0) == 6);
	b.r.turn(50);
	CHECK(text(read_all(p.client.fd, 6)) == "answer");
	CHECK(b.r.seen.empty()); /* octets make no events */
	check_idle(b.r);
	CHECK(b.r.engine.rings.clock[1] == 13);

	/* half-close: the rest goes on the other way */
	p.client.send("last");
	shutdown(p.client.fd, SHUT_WR);
	Ev e = b.r.await(EV_SPLICE_EOF);
	CHECK(e[1] == 3 && e[2] == 0 && moved(e, 0) == 11 && moved(e, 1) == 6);
	check_idle(b.r); /* #regression-5 */
	CHECK(text(read_all(p.server, 4)) == "last" && !wait_for(p.server, POLLIN, 10));
	b.r.effect({EF_SPLICE_SHUT, 3, 1});
	b.r.turn();
	char c;
	CHECK(wait_for(p.server, POLLIN) && !recv(p.server, &c, 1, 0));
	check_idle(b.r);
	CHECK(send(p.server, "more", 4, 0) == 4);
	b.r.turn(50);
	CHECK(text(read_all(p.client.fd, 4)) == "more");
	close(p.server), p.server = -1;
	e = b.r.await(EV_SPLICE_EOF);
	CHECK(e[2] == 1 && moved(e, 1) == 10);
	b.r.effect({EF_SPLICE_SHUT, 3, 0});
	b.r.effect({EF_SPLICE_CLOSE, 3});
	b.r.turn();
	CHECK(p.client.ended() && b.r.turn(20).empty());
}

TEST(splice_target_refuses_row_77)
{
	Bed b;
	Client c(b.port);
	const Ev a = b.r.await(EV_ACCEPTED);
	b.r.effect({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_LOOPBACK, free_port(), 0, a[2]});
	Ev e = b.r.await(EV_SPLICE_FAILED);
	CHECK(e[1] == 3 && e[2] == 1 && e[13] == ECONNREFUSED && b.r.take(EV_SPLICE_CONNECTED).empty());
	check_idle(b.r);
	b.r.effect({EF_SPLICE_RESET, 3});
	b.r.turn();
	CHECK(c.reset());
	/* at once: no such address, an address of another family as source, no such slot */
	const auto fails = [&](std::initializer_list<uint32_t> words, uint32_t side, uint32_t error) {
		b.r.effect(words);
		const Ev f = b.r.await(EV_SPLICE_FAILED);
		CHECK(f[2] == side && f[13] == error && b.r.turn(5).empty());
	};
	const auto slot = [&] { return b.r.await(EV_ACCEPTED)[2]; };
	Client d(b.port);
	fails({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_BROADCAST, 9, 0, slot()}, 1, ENETUNREACH);
	Client f(b.port);
	fails({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, slot(), 0, 0, 0, 1}, 1, EAFNOSUPPORT);
	fails({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, 4711}, 0, EBADF);
	Client g(b.port);
	fails({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, slot(), 0, 0, 0, 0, IN_NAMESPACE}, 1, ENOENT);
	Client h(b.port);
	b.r.effect({EF_SPLICE, 64, 0, 0, 0xffff, INADDR_LOOPBACK, 9, 0, slot()});
	b.r.turn();
	CHECK(h.reset());
	b.r.effect({EF_SPLICE_CLOSE, 3});
	b.r.turn();
}

TEST(splice_source_address_is_as_asked)
{
	Bed b;
	Client c(b.port);
	const Ev a = b.r.await(EV_ACCEPTED);
	b.r.effect({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_LOOPBACK, b.l.port, 0, a[2], 0, 0, 0xffff, INADDR_LOOPBACK + 4});
	b.r.await(EV_SPLICE_CONNECTED);
	sockaddr_in from = {};
	socklen_t len = sizeof(from);
	const int s = accept(b.l.fd, reinterpret_cast<sockaddr *>(&from), &len);
	CHECK(s >= 0 && ntohl(from.sin_addr.s_addr) == INADDR_LOOPBACK + 4);
	close(s);
	b.r.effect({EF_CLOSE, 3}); /* works as EF_SPLICE_CLOSE */
	b.r.turn();
	CHECK(c.ended());
}

TEST(splice_data_and_end_before_the_target_answers)
{
	Bed b;
	Client c(b.port);
	c.send("early");
	shutdown(c.fd, SHUT_WR);
	const Ev a = b.r.await(EV_ACCEPTED);
	b.r.effect({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_LOOPBACK, b.l.port, 0, a[2]});
	const Ev e = b.r.await(EV_SPLICE_EOF);
	CHECK(e[2] == 0 && moved(e, 0) == 5 && !b.r.take(EV_SPLICE_CONNECTED).empty());
	const int s = b.l.accept();
	CHECK(text(read_all(s, 5)) == "early");
	close(s);
	b.r.effect({EF_SPLICE_RESET, 3});
	b.r.turn();
}

TEST(splice_client_resets_before_the_target_answers)
{
	/* A target that does not answer: its backlog is full */
	Bed b;
	const int full = socket(AF_INET, SOCK_STREAM, 0);
	const uint16_t port = free_port();
	sockaddr_storage ss;
	const uint32_t lo[4] = {0, 0, 0xffff, INADDR_LOOPBACK};
	const socklen_t len = to_sockaddr(ss, lo, port, 0, false);
	CHECK(!bind(full, reinterpret_cast<sockaddr *>(&ss), len) && !listen(full, 0));
	std::vector<int> fill;
	for (int i = 0; i < 4; i++) {
		fill.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
		connect(fill.back(), reinterpret_cast<sockaddr *>(&ss), len);
	}
	Client c(b.port);
	const Ev a = b.r.await(EV_ACCEPTED);
	b.r.effect({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_LOOPBACK, port, 0, a[2]});
	c.send("x");
	CHECK(b.r.turn(20).empty());
	check_idle(b.r);
	close_hard(c.fd), c.fd = -1;
	const Ev e = b.r.await(EV_SPLICE_FAILED);
	CHECK(e[2] == 0 && e[13] == ECONNRESET);
	b.r.effect({EF_SPLICE_RESET, 3});
	b.r.turn();
	for (const int fd : fill)
		close(fd);
	close(full);
}

TEST(splice_resets_pass_both_ways)
{
	for (const bool from_server : {false, true}) {
		Bed b;
		Pair p(b.r, b.port, b.l);
		CHECK(send(from_server ? p.server : p.client.fd, "data", 4, 0) == 4);
		b.r.turn(20);
		const int fd = from_server ? p.server : p.client.fd;
		(from_server ? p.server : p.client.fd) = -1;
		close_hard(fd);
		const Ev e = b.r.await(EV_SPLICE_FAILED);
		CHECK(e[2] == (from_server ? 1u : 0u) && e[13] == ECONNRESET && moved(e, from_server) == 4);
		CHECK(b.r.turn(20).empty());
		b.r.effect({EF_SPLICE_RESET, 3});
		b.r.turn();
		if (from_server) {
			CHECK(p.client.reset());
		} else {
			char c[8];
			CHECK(recv(p.server, c, 8, 0) == 4 && recv(p.server, c, 8, 0) < 0 && errno == ECONNRESET);
		}
	}
}

TEST(splice_reset_behind_an_end_of_stream)
{
	/* The client half-closes and only then resets: nobody reads there any more */
	Bed b;
	Pair p(b.r, b.port, b.l);
	shutdown(p.client.fd, SHUT_WR);
	b.r.await(EV_SPLICE_EOF);
	b.r.effect({EF_SPLICE_SHUT, 3, 1});
	b.r.turn();
	CHECK(send(p.server, "unread", 6, 0) == 6);
	b.r.turn(20);
	close_hard(p.client.fd), p.client.fd = -1;
	const Ev e = b.r.await(EV_SPLICE_FAILED);
	CHECK(e[2] == 0 && e[13]);
}

TEST(splice_what_was_sent_before_a_reset_arrives_row_86)
{
	/* The server answers and closes with the request unread, so its kernel resets: the answer still counts */
	Bed b;
	Pair p(b.r, b.port, b.l);
	p.client.send("never read");
	b.r.turn(20);
	const Octets answer = noise(30000);
	CHECK(send(p.server, answer.data(), answer.size(), 0) == 30000);
	close(p.server), p.server = -1;
	const Ev e = b.r.await(EV_SPLICE_FAILED);
	CHECK(e[2] == 1 && moved(e, 1) == 30000);
	CHECK(read_all(p.client.fd, 30000) == answer);
}

TEST(splice_answer_in_front_of_a_failing_write_arrives_row_86)
{
	/* The server has answered and gone; what the client says then is reset, twice, before its answer was even looked at */
	Bed b;
	Pair p(b.r, b.port, b.l);
	const Octets answer = noise(30000);
	CHECK(send(p.server, answer.data(), answer.size(), 0) == 30000);
	close(p.server), p.server = -1;
	p.client.send(std::string(200000, 'x'));
	const Ev e = b.r.await(EV_SPLICE_FAILED);
	CHECK(e[2] == 1 && moved(e, 1) == 30000 && moved(e, 0) < 200000);
	CHECK(read_all(p.client.fd, 30000) == answer);
}

static void check_bulk(uint64_t total, uint32_t pipe, uint32_t most_pipes, size_t piece, size_t sip, bool back)
{
	Bed b;
	b.r.engine.table.pipes.wanted = pipe;
	b.r.engine.table.pipes.max = most_pipes;
	Pair p(b.r, b.port, b.l);
	const int from = back ? p.server : p.client.fd, to = back ? p.client.fd : p.server;
	pump(b.r, from, to, total, piece, sip);
	check_idle(b.r);
	CHECK(!b.r.engine.table.pipes.in_use && !b.r.engine.table.pending_all);
	shutdown(from, SHUT_WR);
	const Ev e = b.r.await(EV_SPLICE_EOF);
	CHECK(moved(e, back) == total && !moved(e, !back));
}

TEST(splice_bulk_both_ways)
{
	for (const bool back : {false, true}) {
		check_bulk(20 << 20, 1 << 20, 64, 1 << 18, 1 << 18, back);
		check_bulk(20 << 20, 1 << 16, 64, 1 << 18, 1 << 12, back);
		check_bulk(20 << 20, 1 << 20, 64, 1 << 12, 1 << 18, back);
	}
}

TEST(splice_with_pipes_of_8_kib_and_with_none)
{
	check_bulk(8 << 20, 8192, 64, 1 << 18, 1 << 18, false);
	check_bulk(8 << 20, 4096, 64, 1 << 18, 1 << 16, true);
	check_bulk(8 << 20, 4096, 0, 1 << 18, 1 << 16, false);
}

TEST(splice_more_than_a_share_of_a_turn_goes_on_by_itself)
{
	Bed b;
	Pair p(b.r, b.port, b.l);
	uint64_t in = 0, out = 0;
	while (feed(p.client.fd, in, 1 << 18) && in < 3u << 20) {
		b.r.turn();
	}
	for (int i = 0; i < 400 && out < in; i++) {
		b.r.turn(1);
		drain(p.server, out, 1 << 18);
	}
	CHECK(out == in);
}

TEST(splice_full_receiver_rows_31_39_58)
{
	for (const bool bulk : {false, true}) {
		Bed b;
		Pair p(b.r, b.port, b.l);
		uint64_t in = 0, out = 0;
		set_nonblock(p.client.fd);
		/* until nothing moves any more: every buffer on the way is full */
		for (int still = 0; still < 5;) {
			const uint64_t before = in;
			feed(p.client.fd, in, bulk ? 1 << 18 : 1000);
			b.r.turn(2);
			still = in == before ? still + 1 : 0;
		}
		check_idle(b.r);
		/* a full direction does not hinder the other one */
		CHECK(send(p.server, "x", 1, 0) == 1);
		b.r.turn(20);
		CHECK(read_all(p.client.fd, 1).size() == 1);
		check_idle(b.r);
		/* end of stream while full: told only when everything is written */
		shutdown(p.client.fd, SHUT_WR);
		CHECK(b.r.turn(20).empty());
		check_idle(b.r);
		Ev e;
		for (int i = 0; i < 20000 && out < in; i++) {
			drain(p.server, out, 30000);
			b.r.turn();
		}
		CHECK(out == in);
		e = b.r.await(EV_SPLICE_EOF);
		CHECK(moved(e, 0) == in);
		check_idle(b.r);
	}
}

TEST(splice_segments_that_must_wait_wake_nobody)
{
	Bed b;
	Pair p(b.r, b.port, b.l);
	uint64_t in = 0, out = 0;
	/* Until the receiver takes nothing more, and something waits for it that we have not even read */
	for (uint64_t waiting = 0; waiting < 3 << 14;) {
		feed(p.client.fd, in, 1 << 14);
		b.r.turn();
		waiting = in - (uint64_t)b.r.engine.rings.clock[1];
	}
	const int on = 1;
	CHECK(!setsockopt(p.client.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
	std::atomic<bool> stop{false};
	std::thread drip([&] {
		while (!stop) {
			feed(p.client.fd, in, 1);
			usleep(500);
		}
	});
	rusage was, is;
	b.r.turn(50); /* the kernel's buffers may still give way a little */
	getrusage(RUSAGE_THREAD, &was);
	b.r.turn(100);
	getrusage(RUSAGE_THREAD, &is);
	stop = true;
	drip.join();
	CHECK(is.ru_nvcsw - was.ru_nvcsw < 20);
	/* and once it reads again, all of it comes, and what is sent then */
	const uint64_t all = in + 100;
	for (int idle = 0; out < all && idle < 200; idle++) {
		b.r.turn(1);
		if (drain(p.server, out, 1 << 18) > 0)
			idle = 0;
		if (out == in && in < all)
			feed(p.client.fd, in, 1);
	}
	CHECK(out == all);
}

TEST(splice_full_receiver_that_resets_or_whose_sender_does)
{
	for (const bool sender : {false, true}) {
		Bed b;
		Pair p(b.r, b.port, b.l);
		uint64_t in = 0;
		set_nonblock(p.client.fd);
		for (int still = 0; still < 5;) {
			const uint64_t before = in;
			feed(p.client.fd, in, 1 << 18);
			b.r.turn(2);
			still = in == before ? still + 1 : 0;
		}
		if (sender)
			close_hard(p.client.fd), p.client.fd = -1;
		else
			close_hard(p.server), p.server = -1;
		if (sender) {
			/* what it sent before is still on its way, and stays so while the receiver does not read */
			check_idle(b.r);
			uint64_t out = 0;
			for (int i = 0; i < 1000 && b.r.take(EV_SPLICE_FAILED).empty(); i++) {
				drain(p.server, out, 1 << 18);
				b.r.turn();
			}
			CHECK(out > 0);
		} else {
			const Ev e = b.r.await(EV_SPLICE_FAILED);
			CHECK(e[2] == 1 && e[13]);
		}
		CHECK(!b.r.engine.table.pipes.in_use && !b.r.engine.table.pending_all);
		check_idle(b.r);
		/* nothing of it comes out of the next pair's pipe */
		Pair next(b.r, b.port, b.l, 4);
		pump(b.r, next.client.fd, next.server, 4 << 20, 1 << 18, 1 << 18);
	}
}

TEST(splice_broken_side_with_a_full_receiver_that_still_talks)
{
	/* The server sends until all is full, then resets; the client never reads, but writes: it must learn of the reset */
	Bed b;
	Pair p(b.r, b.port, b.l);
	uint64_t in = 0;
	set_nonblock(p.server);
	for (int still = 0; still < 5;) {
		const uint64_t before = in;
		feed(p.server, in, 1 << 18);
		b.r.turn(2);
		still = in == before ? still + 1 : 0;
	}
	close_hard(p.server), p.server = -1;
	b.r.turn(20);
	p.client.send("are you there");
	CHECK(b.r.await(EV_SPLICE_FAILED)[2] == 1);
}

TEST(splice_urgent_data_row_F)
{
	Bed b;
	Pair p(b.r, b.port, b.l);
	const int on = 1;
	setsockopt(p.server, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
	std::string all;
	for (int i = 0; i < 50; i++) {
		const std::string part(1 + chance(i % 7 ? 300 : 100000), (char)('a' + i % 26));
		CHECK(send(p.client.fd, part.data(), part.size(), i % 3 ? 0 : MSG_OOB) == (ssize_t)part.size());
		all += part;
		if (i % 5 == 0) {
			CHECK(text(read_through(b.r, p.server, all.size())) == all);
			all.clear();
		}
	}
	CHECK(text(read_through(b.r, p.server, all.size())) == all);
	shutdown(p.client.fd, SHUT_WR);
	b.r.await(EV_SPLICE_EOF);
	check_idle(b.r);
}

TEST(splice_shares_the_turn)
{
	/* One pair moves without end, the other asks and answers all the same */
	Bed b;
	Pair bulk(b.r, b.port, b.l, 3), small(b.r, b.port, b.l, 4);
	uint64_t in = 0, out = 0;
	set_nonblock(bulk.client.fd);
	for (int i = 0; i < 50; i++) {
		feed(bulk.client.fd, in, 1 << 18);
		small.client.send("q");
		b.r.turn(1);
		drain(bulk.server, out, 1 << 18);
		CHECK(wait_for(small.server, POLLIN, 0) || (b.r.turn(1), wait_for(small.server, POLLIN, 0)));
		read_all(small.server, 1);
	}
}

TEST(splice_gives_pipes_back)
{
	/* More pairs in bulk than there are pipes, receivers full: no pipe is kept by who has nothing in it */
	Bed b;
	b.r.engine.table.pipes.max = 4;
	const size_t fds = open_fds();
	{
		std::vector<std::unique_ptr<Pair>> pairs;
		for (uint32_t h = 1; h <= 12; h++)
			pairs.push_back(std::make_unique<Pair>(b.r, b.port, b.l, h));
		std::vector<uint64_t> in(12), out(12);
		for (auto &p : pairs)
			set_nonblock(p->client.fd);
		for (int k = 0; k < 60; k++) {
			for (size_t i = 0; i < 12; i++)
				feed(pairs[i]->client.fd, in[i], 1 << 18);
			b.r.turn(1);
			CHECK(b.r.engine.table.pipes.in_use <= 4);
		}
		for (int k = 0; k < 4000; k++) {
			for (size_t i = 0; i < 12; i++)
				drain(pairs[i]->server, out[i], 1 << 18);
			b.r.turn();
		}
		CHECK(in == out && !b.r.engine.table.pipes.in_use && !b.r.engine.table.pending_all);
	}
	CHECK(open_fds() <= fds + 2 * PIPES_FREE);
}

TEST(splice_works_without_descriptors_to_spare)
{
	Bed b;
	Pair p(b.r, b.port, b.l);
	rlimit was;
	CHECK(!getrlimit(RLIMIT_NOFILE, &was));
	const int next = dup(0);
	close(next);
	const rlimit tight = {(rlim_t)next, was.rlim_max};
	CHECK(!setrlimit(RLIMIT_NOFILE, &tight));
	pump(b.r, p.client.fd, p.server, 8 << 20, 1 << 18, 1 << 18);
	CHECK(!setrlimit(RLIMIT_NOFILE, &was));
}

TEST(splice_handle_used_again_starts_anew)
{
	Bed b;
	std::unique_ptr<Pair> first = std::make_unique<Pair>(b.r, b.port, b.l);
	uint64_t in = 0;
	feed(first->client.fd, in, 1 << 18);
	b.r.turn();
	Client c(b.port);
	const Ev a = b.r.await(EV_ACCEPTED);
	/* without closing it first */
	b.r.effect({EF_SPLICE, 3, 0, 0, 0xffff, INADDR_LOOPBACK, b.l.port, 0, a[2]});
	b.r.await(EV_SPLICE_CONNECTED);
	const int s = b.l.accept();
	CHECK(first->client.reset());
	c.send("new");
	b.r.turn(20);
	CHECK(text(read_all(s, 3)) == "new");
	close(s);
}

TEST(splice_closed_while_it_has_more_to_do)
{
	/* more than a share of a turn waits on the client's side, and the server has room for it */
	Bed b(4 << 20);
	auto p = std::make_unique<Pair>(b.r, b.port, b.l);
	uint64_t in = 0, out = 0;
	set_nonblock(p->client.fd);
	for (uint64_t before = 1; in != before && in < 4u << 20;) {
		before = in;
		feed(p->client.fd, in, 1 << 18);
	}
	b.r.turn();
	b.r.effect({EF_SPLICE_CLOSE, 3});
	b.r.turn();
	while (drain(p->server, out, 1 << 18) > 0) {
	}
	CHECK(out > 0 && out < in && b.r.turn(5).empty() && !b.r.engine.table.pipes.in_use);
}

namespace {

/** What one end has done and seen; `direct` and spliced connections must end with the same. */
struct End {
	int fd;
	uint64_t sent = 0, got = 0;
	bool shut = false, closed = false, ended = false, broken = false;
};

void step(End &e, uint32_t what, uint32_t n)
{
	if (e.closed)
		return;
	switch (what) {
	case 0:
	case 1:
		if (!e.shut && !e.broken)
			feed(e.fd, e.sent, n);
		break;
	case 2:
		if (!e.broken)
			shutdown(e.fd, SHUT_WR);
		e.shut = true;
		break;
	default:
		break;
	}
}

void look(End &e)
{
	while (!e.closed && !e.ended && !e.broken) {
		const ssize_t k = drain(e.fd, e.got, 1 << 18);
		if (k > 0)
			continue;
		e.ended = !k;
		e.broken = k < 0 && errno != EAGAIN;
		return;
	}
}

/** Machine of a spliced pair as JS has it, at its plainest. */
void answer(Rig &r)
{
	for (const Ev &e : r.seen) {
		if (e[0] == EV_SPLICE_EOF)
			r.effect({EF_SPLICE_SHUT, e[1], !e[2]});
		if (e[0] == EV_SPLICE_FAILED)
			r.effect({EF_SPLICE_RESET, e[1]});
	}
	r.seen.clear();
}

} // namespace

TEST(splice_ends_as_a_direct_connection_does)
{
	Bed b;
	for (int round = 0; round < 150; round++) {
		auto p = std::make_unique<Pair>(b.r, b.port, b.l);
		Client direct(b.l.port);
		End spliced[2] = {{p->client.fd}, {p->server}}, plain[2] = {{direct.fd}, {b.l.accept()}};
		const bool abort = chance(3) == 0;
		for (uint32_t steps = 2 + chance(8); steps; steps--) {
			const uint32_t side = chance(2), what = chance(4), n = 1 + chance(chance(2) ? 100 : 100000);
			step(spliced[side], what, n);
			step(plain[side], what, n);
			for (int i = 0; i < 4; i++) {
				b.r.turn(chance(2));
				answer(b.r);
			}
			if (chance(2)) {
				for (End *e : {spliced, plain})
					look(e[0]), look(e[1]);
			}
		}
		if (abort) { /* everything has arrived by then, so both must tell the same */
			for (bool all = false; !all;) {
				all = true;
				for (End *e : {spliced, plain}) {
					look(e[0]), look(e[1]);
					all = all && e[0].got == e[1].sent && e[1].got == e[0].sent;
				}
				b.r.turn(1);
				answer(b.r);
			}
			const uint32_t side = chance(2);
			for (End *e : {spliced, plain}) {
				close_hard(e[side].fd);
				e[side].closed = true;
			}
			(side ? p->server : p->client.fd) = -1;
			if (!side)
				direct.fd = -1;
		} else {
			for (End *e : {spliced, plain}) {
				step(e[0], 2, 0);
				step(e[1], 2, 0);
			}
		}
		for (int i = 0; i < 10; i++) {
			b.r.turn(1);
			answer(b.r);
			for (End *e : {spliced, plain})
				look(e[0]), look(e[1]);
		}
		for (int side = 0; side < 2; side++) {
			const End &s = spliced[side], &d = plain[side];
			CHECK(s.sent == d.sent && s.got == d.got);
			CHECK(s.closed == d.closed && s.ended == d.ended && s.broken == d.broken);
			if (!abort)
				CHECK(s.ended && s.got == spliced[!side].sent);
		}
		if (!plain[1].closed)
			close(plain[1].fd);
		p.reset();
		b.r.seen.clear();
	}
}

TEST(splice_limited_moves_what_is_allowed)
{
	Bed b;
	Pair p(b.r, b.port, b.l, 3, READ_LIMIT);
	p.client.send("request");
	Ev e = b.r.await(EV_READ_ASKS);
	CHECK(e[1] == 3 && e[2] == 0 && e[3] == 7);
	check_idle(b.r); /* asked once */
	p.client.send(" goes on");
	check_idle(b.r);
	CHECK(!wait_for(p.server, POLLIN, 0));
	/* the other way has no limit */
	CHECK(send(p.server, "answer", 6, 0) == 6);
	b.r.turn(50);
	CHECK(text(read_all(p.client.fd, 6)) == "answer");

	b.r.effect({EF_READ_ALLOW, 3, 0, 7});
	b.r.turn();
	CHECK(text(read_all(p.server, 7)) == "request" && !wait_for(p.server, POLLIN, 0));
	e = b.r.await(EV_READ_ASKS);
	CHECK(e[2] == 0 && e[3] == 8);
	/* what is left over goes without a word; an end costs nothing */
	b.r.effect({EF_READ_ALLOW, 3, 0, 10});
	b.r.turn();
	CHECK(text(read_all(p.server, 8)) == " goes on");
	p.client.send("by");
	b.r.turn(50);
	CHECK(text(read_all(p.server, 2)) == "by" && b.r.take(EV_READ_ASKS).empty());
	shutdown(p.client.fd, SHUT_WR);
	e = b.r.await(EV_SPLICE_EOF);
	CHECK(e[2] == 0 && moved(e, 0) == 17 && b.r.take(EV_READ_ASKS).empty());
	check_idle(b.r);
}

TEST(splice_limited_streams_arrive_whole)
{
	/* any allowance, by copies and by pipes, both ways, ends and resets behind what was allowed late */
	for (int round = 0; round < 20; round++) {
		Bed b;
		Pair p(b.r, b.port, b.l, 3, READ_LIMIT | READ_LIMIT_1);
		set_nonblock(p.client.fd), set_nonblock(p.server);
		const uint64_t total[2] = {1 + chance(2 << 20), 1 + chance(2 << 20)};
		const uint32_t most = chance(2) ? 300000 : 3000;
		const int fds[2] = {p.client.fd, p.server};
		uint64_t in[2] = {}, out[2] = {}, allowed[2] = {};
		bool shut[2] = {}, ended[2] = {};
		for (int idle = 0; idle < 2000 && !(ended[0] && ended[1]); idle++) {
			for (int i = 0; i < 2; i++) {
				if (in[i] < total[i])
					feed(fds[i], in[i], std::min<uint64_t>(1 + chance(100000), total[i] - in[i]));
				else if (!shut[i])
					shut[i] = true, shutdown(fds[i], SHUT_WR);
			}
			b.r.turn(idle ? 1 : 0);
			for (Ev e; !(e = b.r.take(EV_READ_ASKS)).empty();) {
				CHECK(e[3] > 0 && out[e[2]] <= allowed[e[2]]);
				const uint32_t n = 1 + chance(std::min(e[3], most));
				allowed[e[2]] += n;
				b.r.effect({EF_READ_ALLOW, 3, e[2], n});
			}
			for (Ev e; !(e = b.r.take(EV_SPLICE_EOF)).empty();)
				b.r.effect({EF_SPLICE_SHUT, 3, !e[2]});
			for (int i = 0; i < 2; i++) {
				ssize_t n;
				while ((n = drain(fds[!i], out[i], 1 << 18)) > 0)
					idle = 0;
				ended[i] = ended[i] || !n;
				CHECK(out[i] <= allowed[i]);
			}
		}
		CHECK(ended[0] && ended[1] && out[0] == total[0] && out[1] == total[1]);
		b.r.seen.clear();
	}
}

TEST(splice_limited_many_connections_leave_nothing)
{
	Bed b;
	for (int round = 0; round < 50; round++) {
		Pair p(b.r, b.port, b.l, 1 + chance(60), READ_LIMIT);
		p.client.send("ping");
		b.r.turn(5);
		/* allowed, or closed while it waits, or allowed when it is gone */
		if (chance(2))
			b.r.effect({EF_READ_ALLOW, p.handle, 0, 4});
		if (chance(2))
			p.client.close_it();
		if (chance(3) == 0)
			close(p.server), p.server = -1;
		b.r.turn(1);
		b.r.effect({EF_READ_ALLOW, p.handle, chance(3), chance(10)});
		b.r.seen.clear();
	}
	b.r.turn();
	CHECK(!b.r.engine.table.pipes.in_use);
}

TEST(splice_many_connections_leave_nothing)
{
	Bed b;
	const size_t fds = open_fds();
	for (int round = 0; round < 300; round++) {
		Pair p(b.r, b.port, b.l, 1 + chance(60));
		p.client.send("ping");
		b.r.turn(5);
		CHECK(read_all(p.server, 4).size() == 4);
		if (chance(2))
			p.client.close_it();
		b.r.turn();
		b.r.seen.clear();
	}
	b.r.turn();
	CHECK(open_fds() <= fds + 2 * PIPES_FREE && !b.r.engine.table.pipes.in_use);
}
