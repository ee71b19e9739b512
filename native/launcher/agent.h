/* The launcher after it has started the engine: serves its requests, watches over everything, ends everything. */
#ifndef PASST_LAUNCHER_AGENT_H
#define PASST_LAUNCHER_AGENT_H

#include "requests.h"

class Agent {
public:
	/** `ctl`: our end of the control socket; `engine`: our child; `signals`: signalfd for all blocked signals; `root`: its root; `notifier`: open. */
	Agent(const Launch &launch, Fd ctl, pid_t engine, Fd signals, EmptyRoot root, EarlyTap early, Notifier notifier);
	/** Until the end of the command, engine, namespace, or a signal; then leaves nothing behind. */
	[[noreturn]] void run();

private:
	/* How we end: with a status, or by a signal's default action */
	struct End { int status = 0, signal = 0; };

	int timeout() const;
	void step();
	void onControl();
	void onLife();
	void onSignals();
	void onSignal(int signal, bool fromKernel);
	void reap();
	void suspend(int signal);
	void engineGone();
	int stopEngine(int graceMs);
	void restoreTerminal() const;
	[[noreturn]] void finish();
	bool engineIsChild() const { return !session_.background; }

	const Launch &launch_;
	Control control_;
	Fd signals_, engineFd_;
	pid_t engine_;
	/* from waitpid(), once it ended */
	std::optional<int> engineStatus_;
	/* the engine has left the command to us */
	bool alone_ = false;
	Session session_;
	Requests requests_;
	int64_t watchAt_ = -1;
	/* terminal whose foreground process group we were in, or -1 */
	int terminal_ = -1;
	std::optional<End> end_;
};

#endif
