/* The control socket: who may come, what they say comes in any pieces, and nobody waits for any of them. */
#include "harness.h"

#include "../addon/conf.h"

#include <csignal>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

struct Served : Rig {
	std::string dir = "/tmp/passt-conf-test.XXXXXX", path;

	Served()
	{
		CHECK(mkdtemp(dir.data()));
		path = dir + "/conf";
		CHECK(!engine.conf.listen(path.c_str()).err);
	}
	~Served() { CHECK(!system(("rm -r " + dir).c_str())); }

	int connect() const
	{
		sockaddr_un at = {};
		at.sun_family = AF_UNIX;
		strcpy(at.sun_path, path.c_str());
		const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		CHECK(fd >= 0);
		const int e = ::connect(fd, reinterpret_cast<const sockaddr *>(&at), sizeof(at)) ? errno : 0;
		CHECK(!e || e == EAGAIN);
		if (!e)
			return fd;
		close(fd);
		return -1;
	}
	void send_to(uint32_t client, size_t n)
	{
		const Octets said(n, 7);
		const uint32_t at = put(said);
		effect({EF_CONF_SEND, client, at, (uint32_t)n});
		turn();
	}
	void hang_up(uint32_t client)
	{
		effect({EF_CONF_CLOSE, client});
		turn();
	}
};

/** Octets that are there; -1: none, and no end. */
ssize_t there(int fd)
{
	ssize_t sum = 0, n;
	uint8_t b[4096];

	while ((n = recv(fd, b, sizeof(b), MSG_DONTWAIT)) > 0)
		sum += n;
	return n < 0 && !sum ? -1 : sum;
}

} // namespace

TEST(conf_client_is_told_says_something_and_is_hung_up_on)
{
	Served s;
	struct stat st;

	CHECK(!stat(s.path.c_str(), &st) && (st.st_mode & 0777) == 0600);
	const int fd = s.connect();
	const Ev e = s.await(EV_CONF_CLIENT);
	CHECK(e[1] == 0 && e[2] == (uint32_t)getpid() && e[3] == CONF_ALLOWED);
	s.send_to(0, 29000);
	CHECK(there(fd) == 29000);
	CHECK(send(fd, "abc", 3, MSG_NOSIGNAL) == 3);
	const Ev o = s.await(EV_CONF_OCTETS);
	CHECK(o[1] == 0 && o[3] == 3);
	CHECK(!shutdown(fd, SHUT_WR));
	CHECK(s.await(EV_CONF_OCTETS)[3] == 0);
	CHECK(there(fd) == -1); /* still there */
	s.hang_up(0);
	CHECK(there(fd) == 0);
	close(fd);
}

TEST(conf_client_that_reads_nothing_is_over_and_no_other_one_notices)
{
	Served s;
	const int deaf = s.connect(), other = s.connect();

	s.await(EV_CONF_CLIENT);
	s.await(EV_CONF_CLIENT);
	for (int i = 0; i < 16; i++)
		s.effect({EF_CONF_SEND, 0, s.put(Octets(60000, 1)), 60000}), s.turn();
	const Ev e = s.await(EV_CONF_OCTETS);
	CHECK(e[1] == 0 && e[3] == 0);
	s.send_to(1, 10);
	CHECK(there(other) == 10);
	s.hang_up(0);
	s.hang_up(1);
	close(deaf);
	close(other);
}

TEST(api_process_gets_where_its_clients_connect_once_and_what_is_kept_is_handed_over)
{
	for (const bool keep : {false, true}) {
		Served s;
		int pair[2];

		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
		const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(!s.engine.conf.adopt_api(pair[0], listener));
		CHECK(s.engine.conf.api_listens_at() == listener);
		CHECK(!s.engine.conf.serve_api(keep));
		const int got = receive_listener(pair[1]);
		CHECK(got >= 0);
		CHECK(s.engine.conf.api_listens_at() == (keep ? listener : -1));
		/* Somebody else serves: the process hears that it is over */
		s.engine.conf.give_away();
		CHECK(s.engine.conf.api_listens_at() == -1 && receive_listener(pair[1]) == -1);
		close(got);
		close(pair[1]);
	}
}

TEST(api_stream_is_told_says_something_and_its_end_is_said_once)
{
	Served s;
	int pair[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	CHECK(!s.engine.conf.adopt_api(pair[0], -1) && s.engine.conf.adopt_api(pair[1], -1) == EBUSY);
	CHECK(s.engine.conf.serve_api(false) == ENOTCONN);
	CHECK(send(pair[1], "abc", 3, MSG_NOSIGNAL) == 3);
	const Ev o = s.await(EV_API_OCTETS);
	CHECK(o[1] == 0 && o[3] == 3);
	s.effect({EF_API_SEND, 0, s.put(Octets(29000, 7)), 29000}), s.turn();
	CHECK(there(pair[1]) == 29000);
	/* A client of that number is another one, and there is none */
	s.send_to(CONF_CLIENTS, 5);
	s.hang_up(CONF_CLIENTS);
	CHECK(there(pair[1]) == -1);
	/* Nobody waits for one that reads nothing */
	for (int i = 0; i < 16; i++)
		s.effect({EF_API_SEND, 0, s.put(Octets(60000, 1)), 60000}), s.turn();
	CHECK(s.await(EV_API_OCTETS)[3] == 0);
	close(pair[1]);
}

TEST(api_process_is_hung_up_on)
{
	Served s;
	int pair[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	CHECK(!s.engine.conf.adopt_api(pair[0], socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
	s.effect({EF_API_SEND, 0, s.put(Octets(5, 7)), 5});
	s.effect({EF_API_SEND});
	s.effect({EF_API_SEND, 0, s.put(Octets(5, 7)), 5}), s.turn();
	char c[16];
	CHECK(recv(pair[1], c, sizeof(c), 0) == 5 && !recv(pair[1], c, sizeof(c), 0));
	CHECK(s.engine.conf.api_listens_at() == -1);
	close(pair[1]);
}

TEST(conf_clients_are_so_many_at_a_time_others_wait)
{
	Served s;
	std::vector<int> fds;
	uint32_t came = 0;

	for (int i = 0; i < 40; i++) {
		for (int k = 0; k < 3; k++) {
			if (const int fd = s.connect(); fd >= 0)
				fds.push_back(fd);
		}
		for (const Ev &e : s.turn())
			came += e[0] == EV_CONF_CLIENT;
	}
	for (int i = 0; i < 50; i++)
		for (const Ev &e : s.turn())
			came += e[0] == EV_CONF_CLIENT;
	CHECK(came == CONF_CLIENTS && fds.size() > CONF_CLIENTS);
	s.seen.clear();
	s.hang_up(5);
	CHECK(s.await(EV_CONF_CLIENT)[1] == 5);
	/* Of no client, or of one that is not there: nothing */
	s.hang_up(CONF_CLIENTS);
	s.hang_up(UINT32_MAX);
	s.send_to(UINT32_MAX, 3);
	for (const int fd : fds)
		close(fd);
}

TEST(conf_socket_accepts_nobody_while_somebody_takes_our_place)
{
	Served s;

	s.engine.conf.accepting(false);
	const int fd = s.connect();
	for (int i = 0; i < 5; i++)
		CHECK(s.turn().empty());
	s.engine.conf.accepting(true);
	CHECK(s.await(EV_CONF_CLIENT)[1] == 0);
	close(fd);
}
