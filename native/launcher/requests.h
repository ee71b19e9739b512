/* What the engine asks for (protocol.h), carried out: one function a request. How requests come and replies go, and who lives how
 * long, is others' business (control.h, agent.h).
 */
#ifndef PASST_LAUNCHER_REQUESTS_H
#define PASST_LAUNCHER_REQUESTS_H

#include <array>
#include <optional>

#include "../common/netlink.h"
#include "command.h"
#include "control.h"
#include "earlytap.h"
#include "emptyroot.h"
#include "identity.h"
#include "namespace.h"
#include "notify.h"
#include "taphelper.h"
#include "unixpath.h"

/* What the engine gets to end in good order: it may have files to flush. By force after that */
constexpr int GRACE_MS = 1000;

/** What requests have brought about, for whoever is to look after it. */
struct Session {
	/** RQ_SETUP, RQ_READY were carried out; so that we are a process in background, and the engine no child of ours. */
	bool setUp = false, ready = false, background = false;
	/** RQ_LEAVE: the command outlives the engine, as do the files. */
	bool left = false;
	Command command;
	/** Of the namespaces that we joined */
	Watch watch;
	/** Of the engine */
	Guard guard;
	Notifier notifier;
	/** Socket at whose other end the engine writes while it is alive, of our own: no flag of theirs has us wait. Invalid: nobody asks */
	Fd life;
	/** Sockets' files that the engine has made. */
	std::vector<UnixFile> files;
};

class Requests {
public:
	/** `engine`: its process; `ours`: descriptors beside those of `root`, `early` and `session` that it must not get, and that stay open. */
	Requests(const Launch &launch, pid_t engine, const std::array<int, 3> &ours, EmptyRoot root, EarlyTap early, Session &session);
	/** The one reply. RQ_READY may return in another process than it was called in. */
	Message serve(std::string_view request);

private:
	/* What a request leads to, besides a Fault */
	struct Answer {
		uint32_t flags = 0;
		std::string body;
		std::vector<Fd> passed;
	};

	bool isForServing(uint32_t kind) const;
	Fault answer(uint32_t kind, Reader &r, Answer &a);
	Fault guardEngine();
	Fault inherited(Reader &r, Answer &a);
	Fault setup(Reader &r, Answer &a);
	Fault spawn(Reader &r, Answer &a);
	Fault join(Reader &r);
	Fault tap(Reader &r, Answer &a);
	Fault netlink(Reader &r, Answer &a);
	Fault next(Answer &a);
	Fault listen(Reader &r, Answer &a);
	Fault procNet(Answer &a);
	Message sockets(Reader &r);
	Fault unixTarget(Reader &r);
	Fault unixFile(Reader &r);
	Message connectUnix(Reader &r);
	Fault names(Reader &r, Answer &a);
	Fault identity(Reader &r);
	Fault emptyRoot(Reader &r);
	Fault ready(Reader &r);
	Fault leave();
	Fault resolver(Reader &r, Answer &a);
	Fault follow(Reader &r);
	Fault api(Reader &r, Answer &a);
	/* `outside`: where a user namespace will make the command somebody else, that one */
	Fault becomeOther(std::optional<Identity> *outside);
	Fault giveUp();
	Fault writePidFile(pid_t pid);
	Fault goBackground(const std::string &told);
	/* descriptors that RQ_INHERITED must not give away, and RQ_SETUP not close */
	std::vector<int> own() const
	{
		return { ours_[0], ours_[1], ours_[2], root_.fd(), early_.fd(), session_.notifier.fd(), errorReport().get() };
	}

	const Launch &launch_;
	const pid_t engine_;
	const std::array<int, 3> ours_;
	Session &session_;
	EmptyRoot root_;
	EarlyTap early_;
	TapHelper tapHelper_;
	Fd pidFile_;
	bool foreground_ = true, enterTried_ = false, inNamespace_ = false, netnsOnly_ = false;
	std::optional<Identity> identity_;
	/* it is for RQ_READY */
	bool late_ = false;
	passt::Netlink netlink_;
	/* netlink answer that the engine fetches in parts */
	std::string answer_;
	size_t answerAt_ = 0;
	/* of RQ_CONNECT */
	std::vector<UnixPlace> targets_;
	/* RQ_FOLLOW: the interface; 0: there is none */
	uint32_t followed_ = 0;
};

#endif
