/* UNIX sockets as either side of a spliced pair: short reads, peers that are gone at once, connections that the launcher makes. */
#include "forward.h"

#include "../common/unixsocket.h"

#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

/** A listening UNIX socket as listener 0, and the launcher's end of its line. */
struct UnixBed {
	Rig r;
	Listener server;
	int ctl[2];
	char dir[32] = "/tmp/passt-unix-XXXXXX";
	std::string path;

	UnixBed()
	{
		int fd = -1;
		uint32_t mode = 0;
		CHECK(mkdtemp(dir));
		path = std::string(dir) + "/s";
		CHECK(!listen_at_path(path.c_str(), fd, mode, {SOCK_STREAM, 0600, 16}).err && !(mode & 077));
		CHECK(!r.engine.listeners.adopt(0, fd, Kind::Tcp, LISTEN_UNIX));
		CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ctl));
		CHECK(!r.engine.pools.set_ctl(ctl[0]));
	}
	~UnixBed()
	{
		close(ctl[0]), close(ctl[1]);
		unlink(path.c_str()), rmdir(dir);
	}
	int client() const
	{
		sockaddr_un at = {};
		at.sun_family = AF_UNIX;
		strcpy(at.sun_path, path.c_str());
		const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(!connect(fd, reinterpret_cast<sockaddr *>(&at), sizeof(at)));
		return fd;
	}
	uint32_t accepted()
	{
		const Ev e = r.await(EV_ACCEPTED);
		/* It has no address */
		for (size_t i = 3; i < 11; i++)
			CHECK(!e[i]);
		return e[2];
	}
	void splice(uint32_t handle, uint32_t flags)
	{
		r.effect({EF_SPLICE, handle, 0, 0, 0xffff, INADDR_LOOPBACK, server.port, 0, accepted(), 0, 0, 0, 0, FROM_UNIX | flags});
	}
	/** The target that is asked for; -1: none is. */
	int asked() const
	{
		uint32_t q[2];
		const ssize_t n = recv(ctl[1], q, sizeof(q), MSG_DONTWAIT);
		CHECK(n < 0 || (n == sizeof(q) && q[0] == RQ_CONNECT));
		return n < 0 ? -1 : (int)q[1];
	}
	/** `fd` < 0: an errno. */
	void answer(uint32_t target, int fd) const
	{
		const uint32_t m[5] = {SOCKETS, AF_UNIX, target, fd >= 0, fd >= 0 ? 0 : (uint32_t)-fd};
		CHECK(send_with(ctl[1], m, sizeof(m), &fd, fd >= 0) == sizeof(m));
		if (fd >= 0)
			close(fd);
	}
};

/** With a descriptor: what is behind it is not read in one piece with it. */
void say_with_descriptor(int fd, const char *word)
{
	CHECK(send_with(fd, word, strlen(word), &fd, 1) == (ssize_t)strlen(word));
}

} // namespace

TEST(unix_short_reads_are_not_all_there_is)
{
	UnixBed b;
	const int c = b.client();
	b.splice(3, 0);
	b.r.await(EV_SPLICE_CONNECTED);
	const int s = b.server.accept();
	for (int i = 0; i < 3; i++) {
		say_with_descriptor(c, "ab");
		say_with_descriptor(c, "cd");
		say_with_descriptor(c, "ef");
		b.r.turn(20);
		CHECK(text(read_all(s, 6)) == "abcdef");
	}
	CHECK(send(s, "answer", 6, 0) == 6);
	b.r.turn(20);
	CHECK(text(read_all(c, 6)) == "answer");
	shutdown(c, SHUT_WR);
	CHECK(b.r.await(EV_SPLICE_EOF)[2] == 0);
	close(s);
	CHECK(b.r.await(EV_SPLICE_EOF)[2] == 1);
	b.r.effect({EF_SPLICE_CLOSE, 3});
	b.r.turn();
	char end;
	CHECK(wait_for(c, POLLIN) && !recv(c, &end, 1, MSG_DONTWAIT));
	close(c);
}

TEST(unix_client_that_is_gone_before_the_target_answers_is_heard)
{
	UnixBed b;
	const int c = b.client();
	/* Its socket is still to come */
	b.splice(3, IN_NAMESPACE);
	CHECK(send(c, "all of it", 9, 0) == 9);
	close(c);
	CHECK(b.r.turn(20).empty() && b.r.turn(20).empty());
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	b.r.engine.add_ns_sockets(NS_TCP4, &fd, 1);
	b.r.await(EV_SPLICE_CONNECTED);
	const int s = b.server.accept();
	CHECK(b.r.await(EV_SPLICE_EOF)[2] == 0);
	b.r.effect({EF_SPLICE_SHUT, 3, 1});
	b.r.turn(20);
	CHECK(text(read_all(s, 10)) == "all of it");
	/* Nobody hears the answer */
	CHECK(send(s, "answer", 6, 0) == 6);
	CHECK(b.r.await(EV_SPLICE_FAILED)[2] == 0);
	b.r.effect({EF_SPLICE_RESET, 3});
	b.r.turn();
	close(s);
}

TEST(unix_targets_are_asked_for_and_answered_in_order)
{
	UnixBed b;
	std::vector<int> clients;
	for (uint32_t i = 0; i < 4; i++) {
		clients.push_back(b.client());
		const uint32_t slot = b.accepted();
		b.r.effect({EF_SPLICE, 3 + i, 0, 0, 0, 0, 10 + i, 0, slot, 0, 0, 0, 0, FROM_UNIX | TO_UNIX});
		b.r.turn();
	}
	for (int i = 0; i < 4; i++)
		CHECK(b.asked() == 10 + i);
	CHECK(b.asked() < 0);
	check_idle(b.r);
	int first[2], last[2], late[2];
	for (int *const pair : {first, last, late})
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
	/* The third one is given up meanwhile */
	b.r.effect({EF_SPLICE_RESET, 5});
	b.r.turn();
	b.answer(10, first[0]);
	b.answer(11, -ECONNREFUSED);
	b.answer(12, late[0]);
	b.answer(13, last[0]);
	const Ev failed = b.r.await(EV_SPLICE_FAILED);
	CHECK(failed[1] == 4 && failed[2] == 1 && failed[13] == ECONNREFUSED);
	CHECK(b.r.await(EV_SPLICE_CONNECTED)[1] == 3);
	CHECK(b.r.await(EV_SPLICE_CONNECTED)[1] == 6);
	char end;
	CHECK(wait_for(late[1], POLLIN) && !recv(late[1], &end, 1, MSG_DONTWAIT));
	CHECK(send(clients[3], "hello", 5, 0) == 5);
	b.r.turn(20);
	CHECK(text(read_all(last[1], 5)) == "hello");
	CHECK(send(first[1], "you", 3, 0) == 3);
	b.r.turn(20);
	CHECK(text(read_all(clients[0], 3)) == "you");
	/* One answer too many is nobody's */
	b.answer(14, dup(first[1]));
	CHECK(b.r.turn(20).empty());
	for (const uint32_t h : {3, 4, 6})
		b.r.effect({EF_SPLICE_RESET, h});
	b.r.turn();
	for (const int fd : clients)
		close(fd);
	for (const int fd : {first[1], last[1], late[1]})
		close(fd);
}

TEST(unix_targets_wait_for_room_in_the_launchers_socket_and_fail_with_it)
{
	UnixBed b;
	/* Full: a message of nobody's */
	const int small = 1;
	setsockopt(b.ctl[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	size_t filled = 0;
	while (send(b.ctl[0], "filler", 6, MSG_DONTWAIT) == 6)
		filled++;
	const int c = b.client();
	const uint32_t slot = b.accepted();
	b.r.effect({EF_SPLICE, 3, 0, 0, 0, 0, 7, 0, slot, 0, 0, 0, 0, FROM_UNIX | TO_UNIX});
	CHECK(b.r.turn(10).empty());
	char word[8];
	while (filled--)
		CHECK(recv(b.ctl[1], word, sizeof(word), MSG_DONTWAIT) == 6);
	b.r.turn(10);
	CHECK(b.asked() == 7);
	/* The launcher is gone: no more are asked for */
	close(b.ctl[1]);
	b.ctl[1] = -1;
	b.r.await(EV_CTL);
	const int d = b.client();
	const uint32_t other = b.accepted();
	b.r.effect({EF_SPLICE, 4, 0, 0, 0, 0, 7, 0, other, 0, 0, 0, 0, FROM_UNIX | TO_UNIX});
	CHECK(b.r.await(EV_SPLICE_FAILED)[1] == 4);
	for (const uint32_t h : {3, 4})
		b.r.effect({EF_SPLICE_RESET, h});
	b.r.turn();
	close(c), close(d);
}
