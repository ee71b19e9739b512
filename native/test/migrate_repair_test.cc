/* The repair helper's channel, against helpers of every kind. */
#include "peers.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

/** An engine that listens for a helper. */
struct Asking : Rig {
	std::string path;
	uint32_t mode = 0;

	Asking() : Rig(true, 0, {1 << 20, 8 << 20, 300, 4096, 512})
	{
		char dir[] = "/tmp/passt-repair-XXXXXX";
		CHECK(mkdtemp(dir));
		path = std::string(dir) + "/s.repair";
		CHECK(!engine.migration.repair.listen(path.c_str(), mode).err);
	}
	~Asking()
	{
		unlink(path.c_str());
		rmdir(path.substr(0, path.rfind('/')).c_str());
	}
	/** Handles from 1 on with sockets that are in no state yet. */
	void sockets(uint32_t n)
	{
		for (uint32_t h = 1; h <= n; h++)
			effect({EF_TCP_RESTORE_OPEN, h, h % 2 ? 0u : IS_V6});
		CHECK(turn().empty());
	}
	void ask(uint32_t n, uint32_t command, uint32_t first = 1)
	{
		Octets b(n * sizeof(uint32_t));
		for (uint32_t i = 0; i < n; i++) {
			const uint32_t h = first + i;
			memcpy(b.data() + i * sizeof(h), &h, sizeof(h));
		}
		effect({EF_REPAIR, 0, put(b), n, command});
	}
	bool in_repair(uint32_t handle)
	{
		int on = -1;
		socklen_t len = sizeof(on);
		CHECK(!getsockopt(engine.table.sock(handle)->fd, IPPROTO_TCP, TCP_REPAIR, &on, &len));
		return on;
	}
	/** Packets to it are dropped. */
	bool deaf(uint32_t handle)
	{
		socklen_t instructions = 0;
		CHECK(!getsockopt(engine.table.sock(handle)->fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &instructions));
		return instructions;
	}
};

/** A helper's end. */
struct Helper {
	int fd;

	explicit Helper(const std::string &path)
	{
		sockaddr_un at = {};
		at.sun_family = AF_UNIX;
		strcpy(at.sun_path, path.c_str());
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(!connect(fd, reinterpret_cast<sockaddr *>(&at), sizeof(at)));
	}
	~Helper() { close(fd); }

	/** The next message's command; it is carried out on its descriptors, `*count` of them. */
	int8_t serve(size_t *count = nullptr)
	{
		alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 253)];
		int8_t command = 99;
		iovec iov = {&command, 1};
		msghdr m = {};
		m.msg_iov = &iov, m.msg_iovlen = 1, m.msg_control = control, m.msg_controllen = sizeof(control);
		CHECK(wait_for(fd, POLLIN) && recvmsg(fd, &m, MSG_CMSG_CLOEXEC) == 1 && !(m.msg_flags & MSG_CTRUNC));
		const cmsghdr *const c = CMSG_FIRSTHDR(&m);
		CHECK(c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && !CMSG_NXTHDR(&m, const_cast<cmsghdr *>(c)));
		const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int one;
			memcpy(&one, CMSG_DATA(c) + i * sizeof(one), sizeof(one));
			const int mode = command;
			CHECK(!setsockopt(one, IPPROTO_TCP, TCP_REPAIR, &mode, sizeof(mode)));
			close(one);
		}
		if (count)
			*count = n;
		return command;
	}
	void say(const char *octets, size_t n) { CHECK(::send(fd, octets, n, MSG_NOSIGNAL) == (ssize_t)n); }
	/** The engine has closed its end. */
	bool dismissed()
	{
		char c;
		return wait_for(fd, POLLIN) && recv(fd, &c, 1, 0) <= 0;
	}
};

} // namespace

TEST(repair_batches_of_every_size)
{
	Asking a;
	struct stat st;
	CHECK(!stat(a.path.c_str(), &st) && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == a.mode);
	a.sockets(253);
	CHECK(a.deaf(1));
	a.ask(1, REPAIR_ON);
	CHECK(a.await(EV_REPAIRED)[13] == ENOTCONN && a.take(EV_REPAIR_HELPER).empty());

	for (const uint32_t n : {1u, 2u, 252u, 253u}) {
		Helper h(a.path);
		CHECK(a.await(EV_REPAIR_HELPER)[2] == 1);
		bool seen_off = false;
		for (const uint32_t command : {REPAIR_ON, REPAIR_OFF, REPAIR_ON, REPAIR_OFF_NO_PROBE}) {
			size_t count = 0;
			a.ask(n, command);
			CHECK(a.turn(20).empty()); /* it waits for nobody */
			CHECK(h.serve(&count) == (int8_t)command && count == n);
			CHECK(a.turn(20).empty());
			const auto answer = (char)command;
			h.say(&answer, 1);
			CHECK(a.await(EV_REPAIRED)[13] == 0);
			for (uint32_t i = 1; i <= n; i++)
				CHECK(a.in_repair(i) == (command == REPAIR_ON));
			seen_off = seen_off || command != REPAIR_ON;
			/* what has lived once is not deaf again */
			CHECK(!a.deaf(1) == (n > 1 || seen_off) && a.deaf(253) == (n < 253 || !seen_off));
		}
		close(std::exchange(h.fd, -1));
		CHECK(a.await(EV_REPAIR_HELPER)[2] == 0);
	}
	Helper h(a.path);
	CHECK(a.await(EV_REPAIR_HELPER)[2] == 1);
	a.ask(254, REPAIR_ON);
	CHECK(a.await(EV_REPAIRED)[13] == EFAULT);
	a.effect({EF_REPAIR, 0, 0xfffffffc, 2, REPAIR_ON});
	CHECK(a.await(EV_REPAIRED)[13] == EFAULT);
	CHECK(!wait_for(h.fd, POLLIN, 20) && a.seen.empty());
	/* a handle without a socket is left out; none at all asks nobody */
	size_t count = 0;
	a.ask(2, REPAIR_ON, 253);
	a.turn();
	CHECK(h.serve(&count) == 1 && count == 1);
	h.say("\1", 1);
	CHECK(a.await(EV_REPAIRED)[13] == 0);
	a.ask(2, REPAIR_ON, 290);
	CHECK(a.await(EV_REPAIRED)[13] == 0 && !wait_for(h.fd, POLLIN, 20));
}

/** Helpers that take as many as the time before: none is left out, and it is one batch to whoever asked. */
TEST(repair_no_message_has_more_than_the_one_before)
{
	Asking a;
	size_t count = 0;
	a.sockets(253);
	Helper h(a.path);
	CHECK(a.await(EV_REPAIR_HELPER)[2] == 1);
	for (const uint32_t n : {253u, 47u}) {
		a.ask(n, REPAIR_ON);
		a.turn();
		CHECK(h.serve(&count) == 1 && count == n);
		h.say("\1", 1);
		CHECK(a.await(EV_REPAIRED)[13] == 0);
	}
	a.ask(253, REPAIR_OFF);
	for (size_t left = 253; left; left -= count) {
		CHECK(a.turn(1).empty());
		CHECK(h.serve(&count) == 0 && count == std::min<size_t>(left, 47));
		h.say("\0", 1);
	}
	CHECK(a.await(EV_REPAIRED)[13] == 0 && a.seen.empty());
	for (uint32_t i = 1; i <= 253; i++)
		CHECK(!a.in_repair(i));
	/* Another one is another one's business */
	close(std::exchange(h.fd, -1));
	CHECK(a.await(EV_REPAIR_HELPER)[2] == 0);
	Helper other(a.path);
	CHECK(a.await(EV_REPAIR_HELPER)[2] == 1);
	a.ask(253, REPAIR_ON);
	a.turn();
	CHECK(other.serve(&count) == 1 && count == 253);
}

TEST(repair_helper_that_goes)
{
	Asking a;
	a.sockets(2);
	{
		Helper h(a.path);
		CHECK(a.await(EV_REPAIR_HELPER)[2] == 1);
	}
	CHECK(a.await(EV_REPAIR_HELPER)[2] == 0);
	{
		Helper h(a.path);
		CHECK(a.await(EV_REPAIR_HELPER)[2] == 1);
		a.ask(2, REPAIR_ON);
		a.turn();
	}
	CHECK(a.await(EV_REPAIRED)[13] == EPIPE && a.await(EV_REPAIR_HELPER)[2] == 0);
	/* told, before it is known, that it is there */
	{
		Helper h(a.path);
		CHECK(a.await(EV_REPAIR_HELPER)[2] == 1);
		close(h.fd);
		h.fd = -1;
		a.ask(2, REPAIR_ON);
	}
	CHECK(a.await(EV_REPAIRED)[13] == EPIPE && a.await(EV_REPAIR_HELPER)[2] == 0);
	CHECK(a.turn(20).empty());
}

TEST(repair_helper_that_answers_wrongly)
{
	struct Answer {
		const char *octets;
		size_t n;
	};
	for (const Answer &w : {Answer{"\0", 1}, Answer{"\377", 1}, Answer{"\1\1", 2}, Answer{"\1x", 2}, Answer{"hello", 5}}) {
		Asking a;
		a.sockets(1);
		Helper h(a.path);
		a.await(EV_REPAIR_HELPER);
		a.ask(1, REPAIR_ON);
		a.turn();
		h.serve();
		h.say(w.octets, w.n);
		CHECK(a.await(EV_REPAIRED)[13] == EPROTO && a.await(EV_REPAIR_HELPER)[2] == 0 && h.dismissed());
	}
	/* nobody asked */
	Asking a;
	Helper h(a.path);
	a.await(EV_REPAIR_HELPER);
	h.say("\1", 1);
	CHECK(a.await(EV_REPAIR_HELPER)[2] == 0 && h.dismissed() && a.take(EV_REPAIRED).empty());
}

TEST(repair_one_helper_one_batch)
{
	Asking a;
	a.sockets(4);
	Helper h(a.path);
	CHECK(a.await(EV_REPAIR_HELPER)[2] == 1);
	Helper other(a.path);
	CHECK(a.turn(20).empty() && other.dismissed());
	a.ask(2, REPAIR_ON);
	a.turn();
	a.ask(2, REPAIR_ON, 3);
	CHECK(a.await(EV_REPAIRED)[13] == EBUSY);
	h.serve();
	h.say("\1", 1);
	CHECK(a.await(EV_REPAIRED)[13] == 0 && a.in_repair(1) && !a.in_repair(3));
	/* closed in the middle of a batch, and the next one is welcome */
	a.ask(2, REPAIR_OFF);
	a.turn();
	a.effect({EF_REPAIR_CLOSE, 0});
	CHECK(a.await(EV_REPAIRED)[13] == EPIPE && a.await(EV_REPAIR_HELPER)[2] == 0);
	a.effect({EF_REPAIR_CLOSE, 0});
	CHECK(a.turn(20).empty());
	Helper next(a.path);
	CHECK(a.await(EV_REPAIR_HELPER)[2] == 1);
}

TEST(repair_helper_is_accepted_when_descriptors_have_run_out)
{
	Asking a;
	rlimit before, none;
	Helper h(a.path); /* it waits */
	CHECK(!getrlimit(RLIMIT_NOFILE, &before));
	none = before;
	const int next = dup(0);
	close(next);
	none.rlim_cur = (rlim_t)next;
	CHECK(!setrlimit(RLIMIT_NOFILE, &none));
	CHECK(a.await(EV_REPAIR_HELPER)[2] == 1);
	CHECK(!setrlimit(RLIMIT_NOFILE, &before));
}

TEST(repair_socket_file_follows_the_guest_links_rules)
{
	Asking a;
	uint32_t mode;
	Engine other;
	CHECK(!other.open({1 << 20, 8 << 20, 8, 64, 64}));
	CHECK(a.engine.migration.repair.listen("/tmp/x", mode).err == EBUSY);
	CHECK(other.migration.repair.listen(a.path.c_str(), mode).err == EADDRINUSE);
	const std::string file = a.path + "-file";
	close(::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	CHECK(other.migration.repair.listen(file.c_str(), mode).err == EEXIST);
	unlink(file.c_str());
}
