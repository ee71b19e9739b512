/* Files that the caller names: whose links are followed, which files are taken, and that nobody can exchange them meanwhile. */
#include "../common/outfile.h"
#include "../common/unixsocket.h"
#include "harness.h"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace {

/** Somebody else; only root can make files that are theirs. */
constexpr uid_t OTHER = 12345;

struct Directory {
	std::string path = "/tmp/passt-outfile-test.XXXXXX";
	Directory() { CHECK(mkdtemp(path.data())); }
	~Directory() { CHECK(!system(("rm -r " + path).c_str())); }
	std::string at(const std::string &name) const { return path + "/" + name; }
	/** With three octets in it. */
	std::string file(const std::string &name, mode_t mode = 0600, uid_t owner = geteuid()) const
	{
		const std::string p = at(name);
		const int fd = open(p.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
		CHECK(fd >= 0 && write(fd, "old", 3) == 3 && !fchmod(fd, mode) && !fchown(fd, owner, (gid_t)-1));
		close(fd);
		return p;
	}
	std::string link(const std::string &name, const std::string &target, uid_t owner = geteuid()) const
	{
		const std::string p = at(name);
		CHECK(!symlink(target.c_str(), p.c_str()) && !lchown(p.c_str(), owner, (gid_t)-1));
		return p;
	}
};

off_t size_of(const std::string &path)
{
	struct stat st;
	return stat(path.c_str(), &st) ? -1 : st.st_size;
}

/** errno of opening; the file is closed again. */
int opened(const std::string &path, int flags = O_WRONLY)
{
	int fd = -1;
	const Fault r = open_output(path.c_str(), flags, fd);
	CHECK((fd >= 0) == !r.err && (r.err ? !r.text.empty() : fcntl(fd, F_GETFD) == FD_CLOEXEC));
	if (fd >= 0)
		close(fd);
	return r.err;
}

} // namespace

TEST(outfile_is_made_for_us_alone_and_emptied_if_it_is_ours)
{
	const Directory d;
	const mode_t mask = umask(0);
	CHECK(!opened(d.at("new")));
	umask(mask);
	struct stat st;
	CHECK(!stat(d.at("new").c_str(), &st) && (st.st_mode & 07777) == 0600);
	const std::string old = d.file("old", 0644);
	CHECK(!opened(old) && size_of(old) == 0);
	CHECK(!stat(old.c_str(), &st) && (st.st_mode & 07777) == 0644);
}

TEST(outfile_refuses_what_is_not_the_callers_alone)
{
	const Directory d;
	CHECK(!geteuid());
	const std::string theirs = d.file("theirs", 0666, OTHER), open_to_all = d.file("all", 0666), group = d.file("group", 0660),
			  twice = d.file("twice");
	CHECK(!link(twice.c_str(), d.at("other-name").c_str()));
	for (const std::string &p : {theirs, open_to_all, group, twice})
		CHECK(opened(p) == EPERM && size_of(p) == 3);
	int fd = -1;
	const Fault r = open_output(theirs.c_str(), O_WRONLY, fd);
	CHECK(r.text.find("12345") != std::string::npos && r.text.find("0666") != std::string::npos);
	CHECK(opened(d.path) == EISDIR && opened(d.at("none/x")) == ENOENT && opened(twice + "/x") == ENOTDIR);
	CHECK(opened(d.at("new/")) == ENOENT && opened("/") == EISDIR && opened("") == ENOENT && opened(d.at("..")) == EISDIR);
}

TEST(outfile_follows_links_of_the_caller_and_of_root_only)
{
	const Directory d;
	CHECK(!mkdir(d.at("dir").c_str(), 0700));
	const std::string target = d.file("dir/target");
	CHECK(!opened(d.link("own", "dir/target")) && size_of(target) == 0);
	d.file("dir/target");
	CHECK(!opened(d.link("down", d.at("dir")) + "/../dir/./target") && size_of(target) == 0);
	CHECK(!opened(d.link("new", d.at("dir/made"))) && size_of(d.at("dir/made")) == 0);
	d.file("dir/target");
	CHECK(opened(d.link("theirs", "dir/target", OTHER)) == EPERM);
	CHECK(opened(d.link("their-dir", "dir", OTHER) + "/target") == EPERM);
	CHECK(opened(d.link("by-two", "their-dir/target")) == EPERM);
	CHECK(opened(d.link("their-new", "dir/unmade", OTHER)) == EPERM && size_of(d.at("dir/unmade")) < 0);
	CHECK(size_of(target) == 3);
	d.link("a", "b"), d.link("b", "a");
	CHECK(opened(d.at("a")) == ELOOP);
}

TEST(outfile_takes_pipes_devices_and_descriptors)
{
	const Directory d;
	CHECK(!opened("/dev/null") && !opened("/dev/null", O_RDWR | O_NONBLOCK));
	CHECK(!mkfifo(d.at("fifo").c_str(), 0600) && !opened(d.at("fifo"), O_RDWR | O_NONBLOCK));
	/* not even opened, which would wait for a reader */
	CHECK(!mkfifo(d.at("theirs").c_str(), 0600) && !chown(d.at("theirs").c_str(), OTHER, OTHER));
	CHECK(opened(d.at("theirs")) == EPERM);
	int p[2];
	CHECK(!pipe(p));
	CHECK(!opened("/proc/self/fd/" + std::to_string(p[1])) && !opened("/dev/fd/" + std::to_string(p[1])));
	close(p[0]);
	close(p[1]);
	/* what the caller opened is the caller's choice, whoever's it is */
	const std::string theirs = d.file("given", 0666, OTHER);
	const int fd = open(theirs.c_str(), O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0 && !opened("/proc/self/fd/" + std::to_string(fd)));
	close(fd);
}

TEST(outfile_cannot_be_exchanged_while_it_is_looked_at)
{
	const Directory d;
	const std::string victim = d.file("victim"), name = d.at("name");
	std::atomic<bool> done{false};
	std::thread attacker([&] {
		while (!done) {
			(void)!rename(d.link("swap", "victim", OTHER).c_str(), name.c_str());
			(void)!rename(d.file("swap").c_str(), name.c_str());
			unlink(name.c_str());
			(void)!link(victim.c_str(), name.c_str()); /* unless we have made it */
		}
	});
	int taken = 0, refused = 0;
	for (int i = 0; i < 100000 && (i < 3000 || !taken || !refused); i++) {
		(opened(name) ? refused : taken)++;
		CHECK(size_of(victim) == 3);
	}
	done = true;
	attacker.join();
	CHECK(taken > 0 && refused > 0);
}

TEST(socket_is_made_where_its_path_has_led_whatever_is_exchanged_meanwhile)
{
	const Directory d;
	const std::string ours = d.at("ours"), way = d.at("way"), link = d.link("link", "ours", OTHER);
	CHECK(!mkdir(ours.c_str(), 0700) && !mkdir(way.c_str(), 0777) && !lchown(way.c_str(), OTHER, (gid_t)-1));
	std::atomic<bool> done{false};
	std::thread attacker([&] {
		while (!done)
			CHECK(!renameat2(AT_FDCWD, way.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE));
	});
	int made = 0, refused = 0;
	for (int i = 0; i < 100000 && (i < 3000 || !made || !refused); i++) {
		int fd = -1;
		uint32_t mode = 0;
		if (listen_at_path((way + "/s").c_str(), fd, mode).err) {
			refused++;
		} else {
			made++;
			close(fd);
		}
		CHECK(access((ours + "/s").c_str(), F_OK));
	}
	done = true;
	attacker.join();
	CHECK(made > 0 && refused > 0);
}
