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

/** A Fault from errno: "<what>: <reason>" */
inline Fault fault(int err, const std::string &what)
{
	return {err ? err : EIO, what + ": " + strerror(err ? err : EIO)};
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
