#include "agent.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "netlink.h"
#include "protocol.h"
#include "spawn.h"
#include "tap.h"

static const Fault MALFORMED = { EBADMSG, "The launcher does not understand the engine: they are of different versions" };
static const Fault OUT_OF_ORDER = { EPROTO, "The engine asked the launcher for something out of order" };

void Agent::onControl()
{
	static char buffer[CTL_MAX];
	const ssize_t n = recv(ctl_.get(), buffer, sizeof(buffer), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		return engineGone();
	if (static_cast<size_t>(n) > sizeof(buffer))
		return reply(0, MALFORMED, 0, "", -1);
	serve(Reader(buffer, static_cast<size_t>(n)));
}

void Agent::serve(Reader r)
{
	const uint32_t kind = r.u32();
	Fault f;
	uint32_t flags = 0;
	std::string body;
	Fd passed;
	if (ready_ && kind != RQ_NETLINK && kind != RQ_NEXT)
		f = OUT_OF_ORDER; // it has read the guest's packets: it may be somebody else by now
	else switch (kind) {
	case RQ_SETUP: f = setup(r); break;
	case RQ_SPAWN: f = spawn(r, body); break;
	case RQ_JOIN: f = join(r); break;
	case RQ_TAP: f = tap(r, body, passed); break;
	case RQ_NETLINK: f = netlink(r, body, flags); break;
	case RQ_NEXT: f = r.done() ? next(body, flags) : MALFORMED; break;
	case RQ_READY: f = r.done() ? ready() : MALFORMED; break;
	default: f = MALFORMED;
	}
	reply(kind, f, flags, body, passed.get());
}

Fault Agent::setup(Reader &r)
{
	const uint32_t flags = r.u32();
	const std::string path = r.str();
	if (!r.done())
		return MALFORMED;
	if (setUp_ || enterTried_)
		return OUT_OF_ORDER;
	foreground_ = flags & SETUP_FOREGROUND;
	if (!path.empty()) {
		pidFile_.reset(open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOCTTY, 0600));
		if (!pidFile_)
			return fault(errno, "Cannot open pid file " + path);
	}
	setUp_ = true;
	return {};
}

/**
 * Started by root, the engine changes its user, and we, once in another user namespace, have no right over it any more: a
 * process that stays behind ends it for us.
 */
Fault Agent::guardEngine()
{
	return geteuid() == 0 ? guard_.start(engine_, GRACE_MS) : Fault{};
}

Fault Agent::spawn(Reader &r, std::string &body)
{
	const uint32_t flags = r.u32(), argvIndex = r.u32();
	const SpawnOrder order = { (flags & SPAWN_NETNS_ONLY) != 0, (flags & SPAWN_NO_PIDNS) != 0, argvIndex, r.str() };
	if (!r.done() || argvIndex >= static_cast<uint32_t>(launch_.argc))
		return MALFORMED;
	if (!setUp_ || enterTried_)
		return OUT_OF_ORDER;
	enterTried_ = true;
	foreground_ = true;
	if (Fault f = guardEngine())
		return f;
	std::string warnings;
	if (Fault f = spawnCommand(launch_, order, command_, warnings))
		return f;
	inNamespace_ = true;
	putU32(body, static_cast<uint32_t>(command_.pid()));
	body += warnings.substr(0, CTL_MAX / 2);
	return {};
}

Fault Agent::join(Reader &r)
{
	JoinOrder order;
	order.pid = r.u32();
	order.noQuit = r.u32() & JOIN_NO_QUIT;
	order.userns = r.str();
	order.netns = r.str();
	if (!r.done())
		return MALFORMED;
	if (!setUp_ || enterTried_)
		return OUT_OF_ORDER;
	enterTried_ = true;
	if (Fault f = guardEngine())
		return f;
	if (Fault f = joinNamespaces(order, watch_))
		return f;
	inNamespace_ = true;
	return {};
}

Fault Agent::tap(Reader &r, std::string &body, Fd &passed)
{
	const uint32_t flags = r.u32();
	const std::string name = r.str();
	if (!r.done())
		return MALFORMED;
	if (!inNamespace_)
		return OUT_OF_ORDER;
	Tap tap;
	if (Fault f = openTap(name, flags & TAP_VNET, tap))
		return f;
	putU32(body, tap.index);
	putU32(body, tap.vnet ? uint32_t(TAP_VNET) : 0);
	body.append(reinterpret_cast<const char *>(tap.mac), sizeof(tap.mac));
	body.append(2, '\0');
	body += tap.name;
	passed = std::move(tap.fd); // ours is closed once it is sent: the engine's end shall be the tap's end
	return {};
}

Fault Agent::netlink(Reader &r, std::string &body, uint32_t &flags)
{
	const std::string_view request = r.rest();
	if (!r.ok)
		return MALFORMED;
	if (!inNamespace_)
		return OUT_OF_ORDER; // never in the host's namespace with our rights
	answerAt_ = 0;
	if (Fault f = netlinkCall(netlink_, request, answer_)) {
		answer_.clear();
		return f;
	}
	return next(body, flags);
}

Fault Agent::next(std::string &body, uint32_t &flags)
{
	body = answer_.substr(answerAt_, NETLINK_PART);
	answerAt_ += body.size();
	if (answerAt_ < answer_.size()) {
		flags |= REPLY_MORE;
		return {};
	}
	answerAt_ = 0;
	answer_ = std::string();
	return {};
}

Fault Agent::writePidFile(pid_t pid)
{
	if (!pidFile_)
		return {};
	const int err = writeAll(pidFile_.get(), std::to_string(pid) + "\n");
	pidFile_.reset();
	return err ? fault(err, "Cannot write the pid file") : Fault{};
}

Fault Agent::ready()
{
	if (!setUp_ || enterTried_ != inNamespace_)
		return OUT_OF_ORDER;
	if (Fault f = foreground_ ? writePidFile(getpid()) : goBackground())
		return f;
	ready_ = true;
	if (command_)
		command_.open();
	return {};
}

/** Returns in a new process with a session of its own. The old one then ends with status 0; on a Fault it is the one here. */
Fault Agent::goBackground()
{
	int line[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) < 0)
		return fault(errno, "Cannot create a socket");
	Fd parent(line[0]), background(line[1]);
	const auto await = [](const Fd &fd) {
		char byte;
		ssize_t n;
		while ((n = read(fd.get(), &byte, 1)) < 0 && errno == EINTR)
			;
		return n == 1;
	};
	const pid_t pid = fork();
	if (pid < 0)
		return fault(errno, "Cannot go to background");
	if (pid > 0) {
		background.reset();
		Fault f = await(parent) ? writePidFile(pid) : Fault{ ECHILD, "The background process ended before its time" };
		if (!f)
			_exit(0);
		kill(pid, SIGKILL);
		return f;
	}
	parent.reset();
	pidFile_.reset();
	engineIsChild_ = false;
	terminal_ = -1;
	setsid();
	(void)!chdir("/");
	const Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
	for (int fd = 0; null && fd <= 2; fd++)
		dup2(null.get(), fd);
	if (writeAll(background.get(), std::string_view("", 1)))
		_exit(1);
	await(background); // the other has written the pid file and ended; or it kills us
	return {};
}

void Agent::reply(uint32_t kind, const Fault &f, uint32_t flags, const std::string &body, int passed)
{
	std::string head;
	putU32(head, kind);
	putU32(head, static_cast<uint32_t>(f.err));
	putU32(head, flags);
	const std::string &rest = f ? f.text : body;
	iovec iov[2] = { { head.data(), head.size() }, { const_cast<char *>(rest.data()), rest.size() } };
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
	msghdr msg = {};
	msg.msg_iov = iov;
	msg.msg_iovlen = 2;
	if (passed >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &passed, sizeof(int));
	}
	// An engine that does not fetch its replies is out of its mind, and we must stay able to end it
	if (sendmsg(ctl_.get(), &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		engineGone();
}
