/* The launcher after it has started the engine: serves its requests, watches over everything, ends everything. */
#ifndef PASST_LAUNCHER_AGENT_H
#define PASST_LAUNCHER_AGENT_H

#include <array>
#include <optional>
#include <vector>

#include "command.h"
#include "earlytap.h"
#include "emptyroot.h"
#include "identity.h"
#include "namespace.h"
#include "taphelper.h"

/* What the engine gets to end in good order: it may have files to flush. By force after that */
constexpr int GRACE_MS = 1000;
/* How long replies may wait for the engine to fetch earlier ones. It fetches them before it does anything else */
constexpr int STALLED_MS = 5000;

class Agent {
public:
	/** `ctl`: our end of the control socket; `engine`: our child; `signals`: signalfd for all blocked signals; `root`: its root. */
	Agent(const Launch &launch, Fd ctl, pid_t engine, Fd signals, EmptyRoot root, EarlyTap early);
	/** Until the end of the command, engine, namespace, or a signal; then leaves nothing behind. */
	[[noreturn]] void run();

private:
	/* How we end: with a status, or by a signal's default action */
	struct End { int status; int signal; };
	/* What a request leads to, besides a Fault */
	struct Answer {
		uint32_t flags = 0;
		std::string body;
		/* handed over, and closed here: the engine's end shall be theirs */
		std::vector<Fd> passed;
	};
	/* `without`: to be sent instead when the kernel does not take the descriptors */
	struct Message { std::string data, without; std::vector<Fd> passed; };

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
	Fault answer(uint32_t kind, Reader &r, Answer &a);
	Fault guardEngine();
	Fault inherited(Reader &r, Answer &a);
	Fault setup(Reader &r);
	Fault spawn(Reader &r, Answer &a);
	Fault join(Reader &r);
	Fault tap(Reader &r, Answer &a);
	Fault netlink(Reader &r, Answer &a);
	Fault next(Answer &a);
	Fault listen(Reader &r, Answer &a);
	Fault procNet(Answer &a);
	void sockets(Reader &r);
	Fault identity(Reader &r);
	Fault emptyRoot(Reader &r);
	Fault ready();
	/* `outside`: where a user namespace will make the command somebody else, that one */
	Fault becomeOther(std::optional<Identity> *outside);
	Fault giveUp();
	Fault writePidFile(pid_t pid);
	Fault goBackground();

	/* replies.cc */
	void reply(uint32_t kind, const Fault &f, Answer &&a);
	void post(Message &&m);
	void flush();

	const Launch &launch_;
	Fd ctl_, signals_, engineFd_, pidFile_, netlink_;
	EmptyRoot root_;
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
	/* descriptors of ours that RQ_INHERITED must not give away, and RQ_SETUP not close */
	std::array<int, 5> own() const { return { ctl_.get(), signals_.get(), engineFd_.get(), root_.fd(), early_.fd() }; }
	bool setUp_ = false, foreground_ = true, enterTried_ = false, inNamespace_ = false, ready_ = false;
	std::optional<Identity> identity_;
	/* it is for RQ_READY */
	bool late_ = false;
	TapHelper tapHelper_;
	EarlyTap early_;
	bool netnsOnly_ = false;
	/* netlink answer that the engine fetches in parts */
	std::string answer_;
	size_t answerAt_ = 0;
	/* a reply that the engine's side had no room for; no request is read before it is sent, or the engine given up */
	std::optional<Message> unsent_;
	int64_t stalledAt_ = -1;
	std::optional<End> end_;
};

#endif
