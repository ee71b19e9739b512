/* A process that is to take another one's place: who may connect, one question at a time, descriptors that stay, and a link's rest. */
#include "harness.h"

#include "../addon/handover.h"
#include "../addon/vhost/channel.h"
#include "../addon/vhost/memory.h"

#include <csignal>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

struct Directory {
	std::string path = "/tmp/passt-handover-test.XXXXXX";
	Directory() { CHECK(mkdtemp(path.data())); }
	~Directory() { CHECK(!system(("rm -r " + path).c_str())); }
	std::string at(const std::string &name) const { return path + "/" + name; }
};

/** An engine that listens, and whoever asks. */
struct Former : Rig {
	Directory d;
	std::string path = d.at("restart");

	Former() { CHECK(!engine.hand_over.listen(path.c_str()).err); }

	int connect()
	{
		std::string why;
		const int fd = connect_to_predecessor(path.c_str(), why);
		CHECK(fd >= 0);
		return fd;
	}
	void say(int fd, const std::string &what) { CHECK(::send(fd, what.data(), what.size(), MSG_NOSIGNAL) == (ssize_t)what.size()); }
	/** Events until there is one of `kind`, in hold as well. */
	void answer(const std::string &what, std::vector<uint32_t> names = {})
	{
		Octets raw(names.size() * 4);
		if (!raw.empty())
			memcpy(raw.data(), names.data(), raw.size());
		const uint32_t at = put(octets(what)), names_at = raw.empty() ? at : put(raw, 65536);
		effect({EF_HAND_OVER_ANSWER, 0, at, (uint32_t)what.size(), names_at, (uint32_t)names.size() / 2});
		turn();
	}
};

/** What is there: text, "" at the end, "-" if nothing is; descriptors are closed. */
std::string heard(int fd, size_t *descriptors = nullptr)
{
	uint8_t b[1024];
	std::vector<int> passed;
	const ssize_t n = ctl_read(fd, b, sizeof(b), passed);
	for (const int one : passed)
		close(one);
	if (descriptors)
		*descriptors = passed.size();
	return n < 0 ? "-" : std::string(b, b + n);
}

int open_files()
{
	int n = 0;
	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

} // namespace

TEST(handover_asks_one_question_at_a_time_and_gets_what_was_named)
{
	Former f;
	const int fd = f.connect();

	CHECK(f.await(EV_HAND_OVER_PEER)[2] == 1);
	f.say(fd, "first");
	const Ev e = f.await(EV_HAND_OVER_ASKED);
	CHECK(text(f.slab(e[2], e[3])) == "first");
	f.answer("here", {HAND_OVER, 0, HAND_GUEST, 0});
	size_t n = 0;
	CHECK(heard(fd, &n) == "here" && n == 2);
	/* A second question before the answer is none */
	f.say(fd, "second");
	f.await(EV_HAND_OVER_ASKED);
	f.say(fd, "third");
	CHECK(f.await(EV_HAND_OVER_PEER)[2] == 0 && heard(fd).empty());
	close(fd);
}

TEST(handover_names_what_is_not_there)
{
	Former f;

	for (const uint32_t what : {(uint32_t)HAND_LISTENER, (uint32_t)HAND_FLOW, (uint32_t)HAND_CLIENTS, 99u}) {
		const int fd = f.connect();
		CHECK(f.await(EV_HAND_OVER_PEER)[2] == 1);
		f.say(fd, "?");
		f.await(EV_HAND_OVER_ASKED);
		f.answer("here", {what, 7});
		CHECK(f.await(EV_HAND_OVER_PEER)[2] == 0 && heard(fd).empty());
		close(fd);
	}
}

TEST(handover_sends_away_who_comes_while_one_is_there_and_leaks_nothing)
{
	Former f;
	const int before = open_files();

	for (int i = 0; i < 20; i++) {
		const int fd = f.connect();
		CHECK(f.await(EV_HAND_OVER_PEER)[2] == 1);
		const int other = f.connect();
		f.turn();
		CHECK(heard(other).empty() && heard(fd) == "-");
		close(other);
		f.say(fd, "x");
		f.await(EV_HAND_OVER_ASKED);
		close(fd);
		CHECK(f.await(EV_HAND_OVER_PEER)[2] == 0);
		f.answer("too late");
	}
	CHECK(open_files() == before);
}

TEST(handover_takes_no_descriptors_and_nothing_longer_than_a_question)
{
	Former f;
	const int before = open_files(), fd = f.connect();

	CHECK(f.await(EV_HAND_OVER_PEER)[2] == 1);
	alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))] = {};
	char byte = 'x';
	iovec iov = {&byte, 1};
	msghdr m = {};
	m.msg_iov = &iov, m.msg_iovlen = 1, m.msg_control = control, m.msg_controllen = sizeof(control);
	cmsghdr *const c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	CHECK(sendmsg(fd, &m, 0) == 1);
	CHECK(f.await(EV_HAND_OVER_PEER)[2] == 0);
	close(fd);
	const int next = f.connect();
	CHECK(f.await(EV_HAND_OVER_PEER)[2] == 1);
	f.say(next, std::string(60000, 'x'));
	CHECK(f.await(EV_HAND_OVER_PEER)[2] == 0 && heard(next).empty());
	close(next);
	CHECK(open_files() == before);
}

TEST(handover_holds_all_but_its_questions)
{
	Former f;
	const int fd = f.connect();

	CHECK(f.await(EV_HAND_OVER_PEER)[2] == 1);
	f.effect({EF_HAND_OVER_HOLD, 0, HAND_HOLD});
	CHECK(write(f.guest, std::string(100, 0).data(), 100) == 100);
	for (int i = 0; i < 5; i++)
		CHECK(f.turn().empty());
	f.say(fd, "in between");
	f.await(EV_HAND_OVER_ASKED);
	f.effect({EF_HAND_OVER_HOLD, 0, 0});
	f.turn();
	CHECK(!f.await(EV_TAP_FRAME).empty());
	close(fd);
}

TEST(handover_who_has_left_takes_nobody_more)
{
	Former f;
	const int fd = f.connect();

	CHECK(f.await(EV_HAND_OVER_PEER)[2] == 1);
	f.say(fd, "?");
	f.await(EV_HAND_OVER_ASKED);
	f.answer("here", {HAND_OVER, 0});
	uint8_t b[64];
	std::vector<int> passed;
	CHECK(ctl_read(fd, b, sizeof(b), passed) == 4 && passed.size() == 1);
	f.effect({EF_HAND_OVER_GUEST, 0});
	f.turn();
	/* The socket lives on, for whoever has it now */
	const int later = f.connect();
	for (int i = 0; i < 5; i++)
		CHECK(f.turn().empty());
	const int got = accept(passed[0], nullptr, nullptr);
	CHECK(got >= 0);
	for (const int one : {later, got, passed[0], fd})
		close(one);
}

TEST(handover_paths_and_users)
{
	Former f;
	std::string why;
	struct stat st;

	CHECK(!stat(f.path.c_str(), &st) && (st.st_mode & 07777) == 0600);
	const mode_t mask = umask(0);
	{
		Rig other;
		CHECK(!other.engine.hand_over.listen(f.d.at("other").c_str()).err);
		CHECK(other.engine.hand_over.listen(f.d.at("another").c_str()).err == EBUSY);
	}
	umask(mask);
	CHECK(!stat(f.d.at("other").c_str(), &st) && (st.st_mode & 07777) == 0600);
	/* Nobody serves there any more */
	CHECK(connect_to_predecessor(f.d.at("other").c_str(), why) == -ECONNREFUSED);
	CHECK(connect_to_predecessor(f.d.at("none").c_str(), why) == -ENOENT);
	CHECK(connect_to_predecessor("", why) == -ENAMETOOLONG);
	CHECK(connect_to_predecessor(f.d.at(std::string(108, 'x')).c_str(), why) == -ENAMETOOLONG);
	CHECK(!symlink(f.path.c_str(), f.d.at("link").c_str()));
	CHECK(connect_to_predecessor(f.d.at("link").c_str(), why) == -EEXIST);
	close(open(f.d.at("file").c_str(), O_CREAT | O_WRONLY, 0600));
	CHECK(connect_to_predecessor(f.d.at("file").c_str(), why) == -EEXIST);
	if (geteuid())
		return;
	CHECK(!chown(f.path.c_str(), 12345, (gid_t)-1));
	CHECK(connect_to_predecessor(f.path.c_str(), why) == -EPERM && !why.empty());
	/* Whose file it is says nothing of who listens */
	const pid_t child = fork();
	if (!child) {
		const int s = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		sockaddr_un a = {};
		a.sun_family = AF_UNIX;
		strcpy(a.sun_path, f.d.at("theirs").c_str());
		_exit(bind(s, reinterpret_cast<sockaddr *>(&a), sizeof(a)) || setuid(12345) || listen(s, 1) || pause() == 0);
	}
	int status = 0;
	why.clear();
	int r = -ENOENT;
	for (int i = 0; i < 200 && (r == -ENOENT || r == -ECONNREFUSED); i++, usleep(10000))
		r = connect_to_predecessor(f.d.at("theirs").c_str(), why);
	CHECK(r == -EPERM && !why.empty());
	kill(child, SIGKILL);
	CHECK(waitpid(child, &status, 0) == child);
}

static int ask_and_hear(int fd, const uint8_t *question, int ms, Bytes &answer, std::vector<int> &passed)
{
	const int e = ask_predecessor(fd, question, 1);
	return e ? e : hear_predecessor(fd, ms, answer, passed);
}

TEST(handover_ask_knows_an_end_and_a_silence)
{
	int p[2];
	Bytes answer;
	std::vector<int> passed;
	const uint8_t q[] = {'?'};

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p));
	CHECK(ask_and_hear(p[0], q, 10, answer, passed) == ETIMEDOUT);
	CHECK(::send(p[1], "yes", 3, 0) == 3);
	CHECK(ask_and_hear(p[0], q, 1000, answer, passed) == 0 && answer.size() == 3);
	close(p[1]);
	CHECK(ask_and_hear(p[0], q, 1000, answer, passed) == ECONNRESET);
	close(p[0]);
}

TEST(handover_a_links_rest_is_gone_on_with)
{
	Rig r;
	Link l;
	int p[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p));
	l.use(p[0]);
	CHECK(l.resume("came", std::string(1000, 'u')));
	const Link::Rest rest = l.rest();
	CHECK(rest.came_len == 4 && !memcmp(rest.came, "came", 4) && rest.unsent_len == 1000);
	l.flush();
	CHECK(text(read_all(p[1], 1000)) == std::string(1000, 'u') && l.rest().unsent_len == 0);
	CHECK(!l.resume(std::string(64 << 20, 'x'), ""));
	l.close();
	close(p[1]);
}

TEST(handover_descriptors_of_memory_stay_open_only_where_somebody_may_come)
{
	const int before = open_files();

	for (const bool keeps : {false, true}) {
		Memory m;
		m.keeps = keeps;
		RegionSpec all[2] = {{0, 4096, 0, 0, -1, 0}, {1 << 20, 4096, 1 << 20, 0, -1, 0}};
		for (RegionSpec &r : all) {
			r.fd = memfd_create("guest", MFD_CLOEXEC);
			CHECK(r.fd >= 0 && !ftruncate(r.fd, 8192));
		}
		int log = memfd_create("log", MFD_CLOEXEC);
		CHECK(!ftruncate(log, 4096));
		CHECK(!m.replace(all, 1) && !m.add(all[1]) && !m.log(log, 100, 8));
		for (const int fd : {all[0].fd, all[1].fd, log})
			CHECK(keeps ? fd == -1 : !close(fd));
		CHECK(open_files() == before + (keeps ? 3 : 0));
		for (uint32_t i = 0; i < 2; i++)
			CHECK(m.regions_count() == 2 && (m.region(i).fd >= 0) == keeps && m.region(i).gpa == all[i].gpa);
		CHECK(m.log_file().size == 100 && m.log_file().offset == 8 && (m.log_file().fd >= 0) == keeps);
		/* A table that cannot be takes nothing */
		RegionSpec twice[2] = {{0, 4096, 0, 0, open("/dev/null", O_RDONLY | O_CLOEXEC), 0}, {0, 4096, 0, 0, -1, 0}};
		CHECK(m.replace(twice, 2) && twice[0].fd >= 0 && !close(twice[0].fd));
		CHECK(!m.remove(0, 4096, 0) && m.regions_count() == 1 && open_files() == before + (keeps ? 2 : 0));
		m.no_log();
		m.clear();
		CHECK(open_files() == before);
	}
}

TEST(handover_a_front_ends_rest_is_gone_on_with)
{
	/* header: request 13, version 1, 8 octets */
	const uint8_t message[20] = {13, 0, 0, 0, 1, 0, 0, 0, 8};
	const int before = open_files();

	for (size_t cut = 0; cut < sizeof(message); cut++) {
		Channel c;
		int p[2];
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p));
		c.use(p[0]);
		const int passed = dup(p[1]);
		CHECK(c.resume(std::string(message, message + cut), {passed}, "answer"));
		CHECK(c.blocked() && !c.read());
		CHECK(send(p[1], message + cut, sizeof(message) - cut, 0) == (ssize_t)(sizeof(message) - cut));
		CHECK(c.read() && c.length() == sizeof(message) && !memcmp(c.message(), message, sizeof(message)));
		CHECK(c.fd_count == 1 && c.fds[0] == passed);
		c.flush();
		CHECK(text(read_all(p[1], 6)) == "answer" && !c.blocked());
		c.close();
		close(p[1]);
	}
	Channel c;
	CHECK(!c.resume(std::string(5000, 'x'), {dup(0)}, "") && !c.resume("", {}, std::string(CHANNEL_WAITING + 1, 'x')));
	CHECK(open_files() == before);
}

/** Somebody connects while there is no descriptor for it: it waits, and no edge will tell of it again. */
TEST(handover_and_others_accept_later_whom_no_descriptor_was_left_for)
{
	Directory d;
	const auto comes = [&](const char *name, int type, uint32_t event, const std::function<int(Rig &, const char *)> &listen) {
		Rig r;
		const std::string path = d.at(name);
		CHECK(!listen(r, path.c_str()));
		sockaddr_un at = {};
		at.sun_family = AF_UNIX;
		strcpy(at.sun_path, path.c_str());
		const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
		CHECK(!::connect(fd, reinterpret_cast<const sockaddr *>(&at), sizeof(at)));
		rlimit before, none;
		CHECK(!getrlimit(RLIMIT_NOFILE, &before));
		none = before;
		none.rlim_cur = 3;
		CHECK(!setrlimit(RLIMIT_NOFILE, &none));
		for (int i = 0; i < 3; i++)
			CHECK(r.turn(2 * ACCEPT_PAUSE / 3).empty());
		CHECK(!setrlimit(RLIMIT_NOFILE, &before));
		const double from = Engine::now_ms();
		r.turn(2000);
		CHECK(!r.take(event).empty() && Engine::now_ms() - from < 1000);
		close(fd);
	};

	comes("conf", SOCK_STREAM, EV_CONF_CLIENT, [](Rig &r, const char *path) { return r.engine.conf.listen(path).err; });
	comes("place", SOCK_SEQPACKET, EV_HAND_OVER_PEER, [](Rig &r, const char *path) { return r.engine.hand_over.listen(path).err; });
	comes("helpers", SOCK_STREAM, EV_REPAIR_HELPER, [](Rig &r, const char *path) {
		uint32_t mode;
		return r.engine.migration.repair.listen(path, mode).err;
	});
}
