/* The command of spawn mode: a child of ours, process 1 of its own namespace unless told otherwise. */
#ifndef PASST_LAUNCHER_COMMAND_H
#define PASST_LAUNCHER_COMMAND_H

#include "guard.h"

class Command {
public:
	Command() = default;
	/** `gate`: a byte written there lets it execute. `isInit`: it is process 1 of a PID namespace. */
	Command(pid_t pid, bool isInit, Fd gate);
	explicit operator bool() const { return pid_ > 0; }
	pid_t pid() const { return pid_; }
	bool alive() const { return pid_ > 0 && !ended_; }
	bool running() const { return alive() && !gate_; }
	/** Let it execute. */
	void open();
	/**
	 * Kill it when we die, even where the kernel forgets to: PR_SET_PDEATHSIG is lost when a process changes its user
	 * (su, setpriv).
	 */
	Fault guard() { return guard_.start(pid_, 0); }

	/** A signal came to us: hand it on, so that the command does with it what it would do without us. */
	void deliver(int signal, bool fromKernel);
	/** ^Z and the like: make the command stop as well where the kernel would not. */
	void suspend(int signal);
	void resume();
	/** Look again at a signal that the command had blocked when it was delivered. */
	void recheck(int64_t now);
	/** When recheck() is due, or -1. */
	int64_t recheckAt() const { return alive() ? recheckAt_ : -1; }

	/** waitpid() reported its end. */
	void ended(int waitStatus);
	/** Exit status to hand on, once ended: its own, or 128 + signal. */
	int exitStatus() const;
	/** SIGKILL and reap it and its guard; with a PID namespace, returns when all its processes are gone. */
	void destroy();

private:
	enum class Takes { BY_HANDLER, BLOCKED, IGNORES, BY_DEFAULT };
	Takes takes(int signal) const;
	bool awaits(int signal) const;
	/** The terminal gives ^C to our whole process group: then the command has it already. */
	bool hasItFromTerminal(bool fromKernel) const;
	void kill(int signal) const;
	void recheckLater(int signal);

	pid_t pid_ = 0;
	bool isInit_ = false, ended_ = false;
	Fd gate_, status_, syscall_;
	Guard guard_;
	int waitStatus_ = 0;
	/* signal that we replaced by SIGKILL, 0 = none */
	int forced_ = 0;
	int recheckSignal_ = 0;
	int64_t recheckAt_ = -1, recheckUntil_ = -1;
};

#endif
