#include "util.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <cstdlib>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static std::string program = "pasta";

void setProgram(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');
	program = slash ? slash + 1 : argv0;
}

Fd &errorReport()
{
	static Fd report;
	return report;
}

/** As a JSON string (RFC 8259 §7); what is not ASCII is replaced, since it may be no UTF-8. */
static std::string quoted(const std::string &text)
{
	std::string out = "\"";
	for (const char c : text)
		if (c == '"' || c == '\\')
			out += std::string("\\") + c;
		else
			out += c >= ' ' && c < 0x7f ? c : '?';
	return out + "\"";
}

/** As JSON. Those that execve(2) and what precedes it may have; strerrorname_np(3) is not in every libc. */
static const char *nameOf(int err)
{
	switch (err) {
#define NAME(e) case e: return "\"" #e "\""
	NAME(E2BIG);
	NAME(EACCES);
	NAME(EAGAIN);
	NAME(EINVAL);
	NAME(EIO);
	NAME(EISDIR);
	NAME(ELOOP);
	NAME(EMFILE);
	NAME(ENAMETOOLONG);
	NAME(ENFILE);
	NAME(ENOENT);
	NAME(ENOEXEC);
	NAME(ENOMEM);
	NAME(ENOSYS);
	NAME(ENOTDIR);
	NAME(EPERM);
	NAME(ETXTBSY);
#undef NAME
	default: return "null";
	}
}

void say(const Fault &f, const char *more)
{
	say(f.text + more, f.err);
}

void say(const std::string &text, int err)
{
	(void)writeAll(STDERR_FILENO, program + ": " + text + "\n");
	// The engine reports what it finds, and in these words (src/runtime/log/error-report.ts)
	if (errorReport())
		(void)writeAll(errorReport().get(), "{\"program\":" + quoted(program) + ",\"kind\":\"system\",\"errno\":" + nameOf(err) +
							    ",\"message\":" + quoted(text) + ",\"status\":1}\n");
}

int writeAll(int fd, std::string_view data)
{
	while (!data.empty()) {
		const ssize_t n = write(fd, data.data(), data.size());
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		data.remove_prefix(static_cast<size_t>(n));
	}
	return 0;
}

int writeFile(const char *path, std::string_view data)
{
	const Fd fd(open(path, O_WRONLY | O_CLOEXEC));
	if (!fd)
		return errno;
	return write(fd.get(), data.data(), data.size()) == static_cast<ssize_t>(data.size()) ? 0 : errno;
}

static void setCloseOnExec(int fd)
{
	fcntl(fd, F_SETFD, FD_CLOEXEC);
}
static void closeOne(int fd)
{
	close(fd);
}

/** `flags`: of close_range(2); `one` does the same for a single descriptor. */
static void closeRange(unsigned first, unsigned last, unsigned flags = 0, void (*one)(int) = closeOne)
{
	if (first > last || syscall(SYS_close_range, first, last, flags) == 0)
		return;
	// before Linux 5.9; close-on-exec since 5.11
	DIR *dir = opendir("/proc/self/fd");
	if (!dir) {
		for (unsigned fd = first; fd <= last && fd < 65536; fd++)
			one(static_cast<int>(fd));
		return;
	}
	while (const dirent *e = readdir(dir)) {
		const unsigned long fd = strtoul(e->d_name, nullptr, 10);
		if (e->d_name[0] != '.' && fd >= first && fd <= last && static_cast<int>(fd) != dirfd(dir))
			one(static_cast<int>(fd));
	}
	closedir(dir);
}

void keepToOurselves()
{
	closeRange(3, ~0U, CLOSE_RANGE_CLOEXEC, setCloseOnExec);
}

void closeAllBut(std::vector<int> keep)
{
	std::sort(keep.begin(), keep.end());
	unsigned from = 3;
	for (const int fd : keep) {
		if (fd < 3)
			continue;
		closeRange(from, static_cast<unsigned>(fd) - 1);
		from = static_cast<unsigned>(fd) + 1;
	}
	closeRange(from, ~0U);
}

int64_t monotonicMs()
{
	timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return int64_t(ts.tv_sec) * 1000 + ts.tv_nsec / 1000000;
}

int pidfdOpen(pid_t pid)
{
	return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

int pidfdSignal(int pidfd, int signal)
{
	return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

uint32_t Reader::u32()
{
	if (!ok || end_ - p_ < 4) {
		ok = false;
		return 0;
	}
	const auto b = reinterpret_cast<const unsigned char *>(p_);
	p_ += 4;
	return uint32_t(b[0]) | uint32_t(b[1]) << 8 | uint32_t(b[2]) << 16 | uint32_t(b[3]) << 24;
}

std::string Reader::str()
{
	const uint32_t len = u32();
	if (!ok || static_cast<size_t>(end_ - p_) < len || memchr(p_, 0, len)) {
		ok = false;
		return {};
	}
	std::string s(p_, len);
	p_ += len;
	return s;
}

void Reader::octets(void *out, size_t len)
{
	if (!ok || static_cast<size_t>(end_ - p_) < len) {
		ok = false;
		return;
	}
	memcpy(out, p_, len);
	p_ += len;
}

std::string_view Reader::rest()
{
	const std::string_view s(p_, static_cast<size_t>(end_ - p_));
	p_ = end_;
	return s;
}

void putU32(std::string &out, uint32_t v)
{
	for (int shift = 0; shift < 32; shift += 8)
		out.push_back(static_cast<char>(v >> shift));
}

void restoreSignals(const Launch &launch)
{
	// SIGCHLD is the only disposition that we changed (main.cc)
	if (launch.ignores(SIGCHLD))
		signal(SIGCHLD, SIG_IGN);
	sigprocmask(SIG_SETMASK, &launch.mask, nullptr);
}
