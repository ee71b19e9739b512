#include "namespace.h"

#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Not following into a FIFO or terminal: somebody may have put anything there */
static constexpr int OPEN_NS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

Fault Watch::process(pid_t pid)
{
	pidfd_.reset(pidfdOpen(pid));
	if (pidfd_)
		return {};
	if (errno == ESRCH)
		return { ESRCH, "There is no process " + std::to_string(pid) };
	return path("/proc/" + std::to_string(pid) + "/ns/net"); // a thread's id, or before Linux 5.3
}

Fault Watch::path(const std::string &path)
{
	const size_t slash = path.rfind('/');
	const std::string dir = slash == std::string::npos ? "." : path.substr(0, slash + 1);
	entry_ = path.substr(slash + 1);
	dir_.reset(open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
	struct statfs fs = {};
	struct stat st = {};
	if (!dir_ || entry_.empty() || fstatfs(dir_.get(), &fs) < 0 ||
	    fstatat(dir_.get(), entry_.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fault(errno, "Cannot watch " + path);
	// procfs and sysfs report nothing to inotify(7); behind a symbolic link the target may go without the link
	timer_ = fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC || S_ISLNK(st.st_mode);
	if (fs.f_type != PROC_SUPER_MAGIC && fs.f_type != SYSFS_MAGIC) {
		inotify_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
		if (!inotify_ || inotify_add_watch(inotify_.get(), dir.c_str(), IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR) < 0) {
			inotify_.reset();
			timer_ = true;
		}
	}
	return entryGone() ? fault(ENOENT, "Cannot watch " + path) : Fault{};
}

bool Watch::entryGone() const
{
	struct stat st; // opened it need not be, so that it takes no right to (confine.h)
	return fstatat(dir_.get(), entry_.c_str(), &st, 0) < 0 && (errno == ENOENT || errno == ESRCH || errno == ENOTDIR || errno == ESTALE);
}

bool Watch::gone()
{
	if (pidfd_) {
		pollfd p = { pidfd_.get(), POLLIN, 0 };
		return poll(&p, 1, 0) > 0;
	}
	bool removed = false;
	alignas(inotify_event) char buffer[4096];
	for (ssize_t n; inotify_ && (n = read(inotify_.get(), buffer, sizeof(buffer))) > 0;)
		for (ssize_t at = 0; at < n;) {
			const auto e = reinterpret_cast<const inotify_event *>(buffer + at);
			removed |= (e->mask & (IN_DELETE | IN_MOVED_FROM)) && e->len && entry_ == e->name;
			removed |= (e->mask & (IN_Q_OVERFLOW | IN_IGNORED)) && entryGone();
			at += static_cast<ssize_t>(sizeof(*e) + e->len);
		}
	return removed || (timer_ && entryGone());
}

/** Is `fd` a namespace of this kind? `what` is for the message. */
static Fault checkKind(int fd, int kind, const std::string &what, const std::string &path)
{
	const int is = ioctl(fd, NS_GET_NSTYPE);
	return is == kind ? Fault{} : Fault{ EINVAL, path + " is not a " + what + " namespace" };
}

/** Our own user namespace cannot be joined again (EINVAL, setns(2)), and need not be. */
static bool isOurs(int fd)
{
	struct stat a, b;
	return fstat(fd, &a) == 0 && stat("/proc/self/ns/user", &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

Fault joinNamespaces(const JoinOrder &order, Watch &watch)
{
	const std::string proc = "/proc/" + std::to_string(order.pid);
	Watch ofProcess;
	if (order.pid > 0) {
		if (order.pid > INT_MAX)
			return { EINVAL, std::to_string(order.pid) + " is not a process id" };
		if (Fault f = ofProcess.process(static_cast<pid_t>(order.pid))) // before its files: no other process can take the id
			return f;
	}
	const std::string userPath = order.userns.empty() && order.pid > 0 ? proc + "/ns/user" : order.userns;
	const std::string netPath = order.netns.empty() && order.pid > 0 ? proc + "/ns/net" : order.netns;
	if (netPath.empty())
		return { EINVAL, "No network namespace given" };

	Fd user, net(open(netPath.c_str(), OPEN_NS));
	const int netErrno = errno;
	if (!net && netErrno != EACCES && netErrno != EPERM) // those may change with the user namespace
		return fault(netErrno, "Cannot open network namespace " + netPath);
	if (!userPath.empty()) {
		user.reset(open(userPath.c_str(), OPEN_NS));
		if (!user)
			return fault(errno, "Cannot open user namespace " + userPath);
		if (Fault f = checkKind(user.get(), CLONE_NEWUSER, "user", userPath))
			return f;
	}
	// Before joining: afterwards the directory may be out of our reach
	if (!order.noQuit) {
		if (order.pid > 0)
			watch = std::move(ofProcess);
		else if (Fault f = watch.path(netPath))
			return f;
	}
	if (user && !isOurs(user.get()) && setns(user.get(), CLONE_NEWUSER) < 0)
		return fault(errno, "Cannot join user namespace " + userPath);
	if (!net)
		net.reset(open(netPath.c_str(), OPEN_NS));
	if (!net)
		return fault(errno, "Cannot open network namespace " + netPath);
	if (Fault f = checkKind(net.get(), CLONE_NEWNET, "network", netPath))
		return f;
	if (setns(net.get(), CLONE_NEWNET) < 0)
		return fault(errno, "Cannot join network namespace " + netPath);
	return {};
}
