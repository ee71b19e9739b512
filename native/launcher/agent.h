/* The launcher after it has started the engine: serves its requests, watches over everything, ends everything. */
#ifndef PASST_LAUNCHER_AGENT_H
#define PASST_LAUNCHER_AGENT_H

#include <optional>

#include "command.h"
#include "namespace.h"

/* What the engine gets to end in good order: it may have files to flush. By force after that */
constexpr int GRACE_MS = 1000;

class Agent {
public:
	/** `ctl`: our end of the control socket; `engine`: our child; `signals`: signalfd for all blocked signals. */
	Agent(const Launch &launch, Fd ctl, pid_t engine, Fd signals);
	/** Until the end of the command, engine, namespace, or a signal; then leaves nothing behind. */
	[[noreturn]] void run();

private:
	/* How we end: with a status, or by a signal's default action */
	struct End { int status; int signal; };

	/* agent.cc: life */
	int timeout() const;
	void step();
	void onSignals();
	void onSignal(int signal, bool fromKernel);
	void reap();
	void suspend(int signal);
	void engineGone();
	int stopEngine(int graceMs);
	void restoreTerminal() const;
	[[noreturn]] void finish();

	/* requests.cc: what the engine asks for */
	void onControl();
	void serve(Reader request);
	Fault guardEngine();
	Fault setup(Reader &r);
	Fault spawn(Reader &r, std::string &body);
	Fault join(Reader &r);
	Fault tap(Reader &r, std::string &body, Fd &passed);
	Fault netlink(Reader &r, std::string &body, uint32_t &flags);
	Fault next(std::string &body, uint32_t &flags);
	Fault ready();
	Fault writePidFile(pid_t pid);
	Fault goBackground();
	void reply(uint32_t kind, const Fault &f, uint32_t flags, const std::string &body, int passed);

	const Launch &launch_;
	Fd ctl_, signals_, engineFd_, pidFile_, netlink_;
	pid_t engine_;
	/* it is our child: not any more once we are in background */
	bool engineIsChild_ = true;
	/* from waitpid(), once it ended */
	std::optional<int> engineStatus_;
	Guard guard_;
	Command command_;
	Watch watch_;
	int64_t watchAt_ = -1;
	/* terminal whose foreground process group we were in, or -1 */
	int terminal_ = -1;
	bool setUp_ = false, foreground_ = true, enterTried_ = false, inNamespace_ = false, ready_ = false;
	/* netlink answer that the engine fetches in parts */
	std::string answer_;
	size_t answerAt_ = 0;
	std::optional<End> end_;
};

#endif
