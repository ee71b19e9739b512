/* Small things that every part of the launcher uses. */
#ifndef PASST_LAUNCHER_UTIL_H
#define PASST_LAUNCHER_UTIL_H

#include "../common/fault.h"

#include <csignal>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

using passt::fault;
using passt::Fault;
using passt::Fd;

/** "<program>: <text>" on standard error, in one write, and in the report of errors. `err`: an errno, 0 where none applies. Never fails. */
void say(const std::string &text, int err = 0);
/** `more`: behind its text. */
void say(const Fault &f, const char *more = "");
/**
 * Where errors are reported as JSON as well, one line each, until the program has started (passt(1), --error-fd); shared by all that say
 * something.
 */
Fd &errorReport();
/** Name to print before messages: basename of argv[0]. */
void setProgram(const char *argv0);

/** Write all of `data`; returns 0 or errno. */
int writeAll(int fd, std::string_view data);
/** Open `path` for writing and write `data` in one call (procfs wants that); returns 0 or errno. */
int writeFile(const char *path, std::string_view data);

/** Close every descriptor above 2 that is not in `keep`; what is negative there is none. */
void closeAllBut(std::vector<int> keep);

/** Every descriptor above 2 becomes close-on-exec. */
void keepToOurselves();

int64_t monotonicMs();
/** pidfd_open(2) and pidfd_send_signal(2): not in every libc. Return -1 with errno. */
int pidfdOpen(pid_t pid);
int pidfdSignal(int pidfd, int signal);

/** Reads a request's body; `ok` falls once and stays so when the octets do not suffice. */
class Reader {
public:
	Reader(const char *p, size_t len) : p_(p), end_(p + len) {}
	uint32_t u32();
	/** Left out of the value: a string with NUL inside makes the request bad. */
	std::string str();
	std::string_view rest();
	/** The next `len` octets into `out`. */
	void octets(void *out, size_t len);
	/** Everything was read, nothing was missing. */
	bool done() const { return ok && p_ == end_; }
	bool ok = true;

private:
	const char *p_, *end_;
};

void putU32(std::string &out, uint32_t v);

/** How we were started: what the engine and the command get back before they are executed. */
struct Launch {
	int argc = 0;
	char **argv = nullptr;
	sigset_t mask = {};
	/* signals that were ignored (nohup, background job of a plain shell) */
	sigset_t ignored = {};
	bool ignores(int signal) const { return sigismember(&ignored, signal) == 1; }
};

/** Signal mask and dispositions as at our own start; for a child about to execute something. */
void restoreSignals(const Launch &launch);

#endif
