#include "command.h"

#include "helper.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Time that a process gets to unblock a signal before we look whether it took it; of a look, where we wait for that */
static constexpr int64_t RECHECK_MS = 100, LOOK_MS = 2;

Command::Command(pid_t pid, bool isInit, Fd gate) : pid_(pid), isInit_(isInit), gate_(std::move(gate))
{
	// Opened now, so that hidepid= and a later change of user do not matter
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/status", static_cast<int>(pid));
	status_.reset(::open(path, O_RDONLY | O_CLOEXEC));
	snprintf(path, sizeof(path), "/proc/%d/syscall", static_cast<int>(pid));
	syscall_.reset(::open(path, O_RDONLY | O_CLOEXEC));
}

void Command::open()
{
	(void)writeAll(gate_.get(), std::string_view("", 1));
	gate_.reset();
}

void Command::kill(int signal) const
{
	// Not reaped yet (alive()), so the process id is still its own
	::kill(pid_, signal);
}

/**
 * awaits(signal) - is it in sigwait(3) for this signal? Then it had it blocked, which its SigBlk does not show for the
 * time of the call. Inits for containers do just that. Of the first thread, whose mask decides whether process 1 is ignored.
 */
bool Command::awaits(int signal) const
{
	char text[256];
	const ssize_t n = syscall_ ? pread(syscall_.get(), text, sizeof(text) - 1, 0) : -1;
	if (n <= 0)
		return false;
	text[n] = 0;
	char *end;
	if (strtol(text, &end, 10) != SYS_rt_sigtimedwait || end == text)
		return false;
	uint64_t set = 0;
	const iovec ours = { &set, sizeof(set) };
	const iovec theirs = { reinterpret_cast<void *>(strtoull(end, nullptr, 16)), sizeof(set) };
	return process_vm_readv(pid_, &ours, 1, &theirs, 1, 0) == sizeof(set) && (set >> (signal - 1) & 1);
}

/**
 * takes(signal) - what the command does with a signal, by its signal masks in /proc/PID/status (proc_pid_status(5))
 * For process 1 of a PID namespace the kernel drops what would be BY_DEFAULT (pid_namespaces(7)); a blocked one is queued.
 */
Command::Takes Command::takes(int signal) const
{
	char text[4096];
	const ssize_t n = status_ ? pread(status_.get(), text, sizeof(text) - 1, 0) : -1;
	if (n <= 0)
		return Takes::BY_DEFAULT;
	text[n] = 0;
	const auto has = [&](const char *field) {
		const char *at = strstr(text, field);
		return at && (strtoull(at + strlen(field), nullptr, 16) >> (signal - 1) & 1);
	};
	if (has("\nSigCgt:"))
		return Takes::BY_HANDLER;
	if (has("\nSigIgn:"))
		return Takes::IGNORES;
	return has("\nSigBlk:") || awaits(signal) ? Takes::BLOCKED : Takes::BY_DEFAULT;
}

bool Command::hasItFromTerminal(bool fromKernel) const
{
	return fromKernel && getpgid(pid_) == getpgrp();
}

/** These mean nothing to us, so that they shall end nothing by default; only who asks for them gets them. */
static bool isOptional(int signal)
{
	return signal == SIGUSR1 || signal == SIGUSR2;
}

void Command::deliver(int signal, bool fromKernel)
{
	if (!running())
		return;
	const Takes how = takes(signal);
	if (how == Takes::IGNORES)
		return;
	if (isOptional(signal)) {
		if (how == Takes::BY_HANDLER)
			kill(signal);
		else if (how == Takes::BLOCKED && recheckAt_ < 0)
			recheckLater(signal);
		return;
	}
	if (isInit_ && how == Takes::BY_DEFAULT) {
		forced_ = signal;
		return kill(SIGKILL);
	}
	if (!hasItFromTerminal(fromKernel))
		kill(signal);
	if (isInit_ && how == Takes::BLOCKED)
		recheckLater(signal);
}

/** Is it blocked for good, or around a fork() as shells do? */
void Command::recheckLater(int signal)
{
	recheckSignal_ = signal;
	recheckAt_ = monotonicMs() + RECHECK_MS;
	recheckUntil_ = recheckAt_ + RECHECK_MS;
}

void Command::recheck(int64_t now)
{
	if (recheckAt_ < 0 || now < recheckAt_)
		return;
	recheckAt_ = -1;
	if (!running())
		return;
	const Takes how = takes(recheckSignal_);
	// It may fork in step with our looks: one that finds it blocked says little
	if (how == Takes::BLOCKED && now < recheckUntil_) {
		recheckAt_ = now + LOOK_MS;
		return;
	}
	if (isOptional(recheckSignal_)) {
		if (how == Takes::BY_HANDLER || how == Takes::BLOCKED)
			kill(recheckSignal_);
		return;
	}
	if (how != Takes::BY_DEFAULT)
		return;
	forced_ = recheckSignal_;
	kill(SIGKILL);
}

void Command::suspend(int signal)
{
	// Others of its process group have the terminal's signal; process 1 has not, unless it wants it
	if (!running() || !isInit_)
		return;
	// Shells block all signals around a fork(); who blocks this one for longer means it
	const int64_t until = monotonicMs() + RECHECK_MS;
	Takes how;
	while ((how = takes(signal)) == Takes::BLOCKED && monotonicMs() < until)
		poll(nullptr, 0, LOOK_MS);
	if (how == Takes::BY_DEFAULT)
		kill(SIGSTOP);
}

void Command::resume()
{
	if (running())
		kill(SIGCONT);
}

void Command::ended(int waitStatus)
{
	ended_ = true;
	waitStatus_ = waitStatus;
}

int Command::exitStatus() const
{
	if (WIFEXITED(waitStatus_))
		return WEXITSTATUS(waitStatus_);
	const int signal = WTERMSIG(waitStatus_);
	return 128 + (signal == SIGKILL && forced_ ? forced_ : signal);
}

void Command::destroy()
{
	if (alive()) {
		kill(SIGKILL);
		ended(awaitEnd(pid_));
	}
	guard_.reap();
}
