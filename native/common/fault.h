/* How native says that something failed. There are no exceptions; results go out by reference.
 *
 * Where the caller knows best what it tried: an int, 0 or an errno. Where the reason is for people: a Fault. What only hands on
 * one system call does as that does: -1, with errno.
 */
#ifndef PASST_FAULT_H
#define PASST_FAULT_H

#include <cerrno>
#include <cstring>
#include <string>
#include <unistd.h>

namespace passt {

/** `err` is an errno (0 = nothing went wrong), `text` says the step and the reason. */
struct Fault {
	int err = 0;
	std::string text;
	explicit operator bool() const { return err != 0; }
};

/** What to do about it, where that is known; src/runtime/log/error-text.ts has the same words. */
inline const char *advice(int err)
{
	switch (err) {
	case EAGAIN: return " (a limit may be reached, of processes for instance: ulimit -u)";
	case EFBIG: return " (a limit may be reached: ulimit -f)";
	case EMFILE: return " (ulimit -Hn)";
	case ENFILE: return " (sysctl fs.file-max)";
	case ENOMEM: return " (more memory is needed than there is, or than ulimit -v and the limit of a container or service allow)";
	default: return "";
	}
}

/** A Fault from errno: "<what>: <reason>", and what to do about it where that is known. */
inline Fault fault(int err, const std::string &what)
{
	const int known = err ? err : EIO;
	return {known, what + ": " + strerror(known) + advice(known)};
}

/** A descriptor that is closed with its owner; -1 = none. */
class Fd {
public:
	Fd() = default;
	explicit Fd(int fd) : fd_(fd) {}
	Fd(Fd &&o) noexcept : fd_(o.release()) {}
	Fd &operator=(Fd &&o) noexcept
	{
		reset(o.release());
		return *this;
	}
	Fd(const Fd &) = delete;
	Fd &operator=(const Fd &) = delete;
	~Fd() { reset(); }
	int get() const { return fd_; }
	explicit operator bool() const { return fd_ >= 0; }
	int release()
	{
		const int fd = fd_;
		fd_ = -1;
		return fd;
	}
	void reset(int fd = -1)
	{
		if (fd_ >= 0 && fd_ != fd)
			close(fd_);
		fd_ = fd;
	}

private:
	int fd_ = -1;
};

} // namespace passt

#endif
