#include "agent.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the engine gets to end in good order before it serves: it has nothing to flush. Otherwise GRACE_MS */
static constexpr int GRACE_START_MS = 200;
/* Status of a program that had started, and ended by a fault (passt(1), Exit status) */
static constexpr int FAULT = 2;
/* How often a namespace is looked up that nothing else reports on */
static constexpr int WATCH_MS = 1000;

Agent::Agent(const Launch &launch, Fd ctl, pid_t engine, Fd signals, EmptyRoot root, EarlyTap early, Notifier notifier)
	: launch_(launch), control_(std::move(ctl)), signals_(std::move(signals)), engineFd_(pidfdOpen(engine)), engine_(engine),
	  requests_(launch, engine, { control_.fd(), signals_.get(), engineFd_.get() }, std::move(root), std::move(early), session_)
{
	session_.notifier = std::move(notifier);
	for (int fd = 0; fd <= 2 && terminal_ < 0; fd++)
		if (tcgetpgrp(fd) == getpgrp())
			terminal_ = fd;
}

void Agent::run()
{
	while (!end_)
		step();
	finish();
}

int Agent::timeout() const
{
	int64_t at = -1;
	for (const int64_t due : { session_.command.recheckAt(), watchAt_, control_.stalledAt() })
		if (due >= 0 && (at < 0 || due < at))
			at = due;
	return at < 0 ? -1 : static_cast<int>(std::max<int64_t>(0, at - monotonicMs()));
}

void Agent::step()
{
	if (session_.ready && session_.watch.byTimer() && watchAt_ < 0)
		watchAt_ = monotonicMs() + WATCH_MS;
	enum { SIGNALS, CONTROL, ENGINE, WATCH, LIFE, COUNT };
	pollfd p[COUNT] = {
		{ signals_.get(), POLLIN, 0 },
		{ control_.fd(), static_cast<short>(control_.unsent() ? POLLOUT : POLLIN), 0 },
		{ engineFd_.get(), POLLIN, 0 }, // a negative descriptor is passed over
		{ session_.ready ? session_.watch.fd() : -1, POLLIN, 0 },
		{ session_.life.get(), POLLIN, 0 },
	};
	if (poll(p, COUNT, timeout()) < 0 && errno != EINTR) {
		say(fault(errno, "poll"));
		end_ = End{ 1, 0 };
		return;
	}
	if (p[SIGNALS].revents)
		onSignals();
	if (p[LIFE].revents)
		onLife();
	const int64_t now = monotonicMs();
	session_.command.recheck(now);
	const bool due = watchAt_ >= 0 && now >= watchAt_;
	if (due)
		watchAt_ = now + WATCH_MS;
	if (!end_ && (p[WATCH].revents || due) && session_.watch.gone())
		end_ = End{ 0, 0 };
	if (alone_)
		return;
	// The socket first: what the engine asked for before its end was asked for
	if (!end_ && control_.unsent() && (p[CONTROL].revents || now >= control_.stalledAt())) {
		if (!control_.flush())
			engineGone();
	} else if (!end_ && p[CONTROL].revents)
		onControl();
	else if (!end_ && (p[ENGINE].revents || engineStatus_))
		engineGone();
}

void Agent::onControl()
{
	std::string_view request;
	const Control::Came came = control_.take(request);
	if (came == Control::Came::END || (came == Control::Came::REQUEST && !control_.post(requests_.serve(request))))
		engineGone();
}

/** It has gone round its loop. */
void Agent::onLife()
{
	uint8_t signs[64];
	const ssize_t n = recv(session_.life.get(), signs, sizeof(signs), MSG_DONTWAIT);
	if (n > 0)
		session_.notifier.say("WATCHDOG=1");
	else if (n == 0)
		session_.life.reset();
}

void Agent::onSignals()
{
	signalfd_siginfo info;
	while (!end_ && read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap();
		else
			onSignal(static_cast<int>(info.ssi_signo), info.ssi_code == SI_KERNEL);
	}
}

void Agent::onSignal(int signal, bool fromKernel)
{
	switch (signal) {
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return suspend(signal);
	case SIGUSR1:
	case SIGUSR2:
		return session_.command.deliver(signal, fromKernel);
	case SIGTERM:
	case SIGQUIT:
	case SIGINT:
	case SIGHUP:
		if (session_.command.running())
			return session_.command.deliver(signal, fromKernel);
		if (launch_.ignores(signal))
			return;
		end_ = session_.ready && (signal == SIGTERM || signal == SIGQUIT) ? End{ 0, 0 } : End{ 0, signal };
		return;
	default: // SIGPIPE, SIGXFSZ: write() says it
		return;
	}
}

void Agent::reap()
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid == engine_ && engineIsChild())
			engineStatus_ = status;
		else if (pid == session_.command.pid())
			session_.command.ended(status);
	}
	if (session_.command && !session_.command.alive())
		end_ = End{ session_.command.exitStatus(), 0 };
}

/** Stop as a process does that knows nothing of job control; the engine, in a process group of its own, goes on. */
void Agent::suspend(int signal)
{
	session_.command.suspend(signal);
	sigset_t only, before;
	sigemptyset(&only);
	sigaddset(&only, signal);
	raise(signal);
	sigprocmask(SIG_UNBLOCK, &only, &before); // stopped in here, until SIGCONT
	sigprocmask(SIG_SETMASK, &before, nullptr);
	session_.command.resume();
}

/** Node ends itself like this, and what it says first is for those who know its source. */
static const char NO_NODE[] = ". Does Node.js run here? Memory or processes may be limited (ulimit -a), "
			      "or a filter of system calls refuses it something";

/** The engine has ended, or has closed the control socket, which is as good. */
void Agent::engineGone()
{
	const int status = stopEngine(GRACE_MS);
	if (session_.left && session_.command.alive()) {
		alone_ = true; // all that is left to do is to wait for the command
		return;
	}
	const bool exited = WIFEXITED(status);
	const int code = exited ? WEXITSTATUS(status) : session_.ready ? FAULT : 1;
	if (!session_.ready || !session_.command) {
		// It says itself what is wrong, or did what was asked of it (--help)
		if (!exited)
			say(std::string("The engine was ended by a signal: ") + strsignal(WTERMSIG(status)) + (session_.setUp ? "" : NO_NODE));
		end_ = End{ code, 0 };
		return;
	}
	say(std::string("The engine ended unexpectedly") +
	    (exited ? "" : std::string(": ") + strsignal(WTERMSIG(status))) + "; ending the command");
	end_ = End{ code ? code : FAULT, 0 };
}

/** Let the engine end, by force after `graceMs`. Returns its wait status; 0 where that is not to be had. */
int Agent::stopEngine(int graceMs)
{
	control_.close();
	session_.guard.letGo();
	const int64_t deadline = monotonicMs() + graceMs, last = deadline + GRACE_MS;
	bool killed = false;
	while (!engineStatus_ && monotonicMs() < last) {
		if (engineIsChild()) {
			int status;
			const pid_t pid = waitpid(engine_, &status, WNOHANG);
			if (pid == engine_ || (pid < 0 && errno == ECHILD)) {
				engineStatus_ = pid < 0 ? 0 : status;
				break;
			}
		}
		const int64_t left = deadline - monotonicMs();
		if (left <= 0 && !killed) {
			killed = true;
			if (engineIsChild() || !engineFd_)
				kill(engine_, SIGKILL);
			else
				pidfdSignal(engineFd_.get(), SIGKILL);
		}
		if (!engineFd_) { // before Linux 5.3
			if (!engineIsChild() && kill(engine_, 0) < 0)
				break;
			poll(nullptr, 0, 5);
			continue;
		}
		pollfd p = { engineFd_.get(), POLLIN, 0 };
		if (poll(&p, 1, static_cast<int>(killed ? GRACE_MS : left)) > 0 && !engineIsChild()) {
			engineStatus_ = 0; // gone, whenever its new parent takes note
			break;
		}
	}
	engineFd_.reset();
	if (engineIsChild())
		session_.guard.reap();
	return engineStatus_.value_or(0);
}

/** A shell with job control that was process 1 could not give the terminal back to us: it has no name for our group. */
void Agent::restoreTerminal() const
{
	if (!session_.command || terminal_ < 0)
		return;
	const pid_t group = tcgetpgrp(terminal_);
	errno = 0; // a priority may be -1
	if (group > 0 && group != getpgrp() && getpriority(PRIO_PGRP, static_cast<id_t>(group)) == -1 && errno == ESRCH)
		tcsetpgrp(terminal_, getpgrp()); // SIGTTOU is blocked
}

void Agent::finish()
{
	if (session_.ready && !session_.command)
		session_.notifier.say("STOPPING=1");
	session_.command.destroy();
	for (const UnixFile &file : session_.files)
		if (!session_.left)
			removeFile(file);
	stopEngine(session_.ready ? GRACE_MS : GRACE_START_MS);
	restoreTerminal();
	if (end_->signal) {
		signal(end_->signal, SIG_DFL);
		raise(end_->signal);
		sigset_t only;
		sigemptyset(&only);
		sigaddset(&only, end_->signal);
		sigprocmask(SIG_UNBLOCK, &only, nullptr);
		_exit(128 + end_->signal);
	}
	_exit(end_->status);
}
