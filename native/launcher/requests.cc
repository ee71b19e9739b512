#include "requests.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/outfile.h"
#include "apiprocess.h"
#include "configure.h"
#include "confine.h"
#include "names.h"
#include "../common/protocol.h"
#include "resolver.h"
#include "sockets.h"
#include "spawn.h"
#include "tap.h"

/* Longest answer, octets; a full routing table of the Internet is larger and of no use to us */
static constexpr size_t NETLINK_MAX = 16 << 20;

static const Fault MALFORMED = { EBADMSG, "The launcher does not understand the engine: they are of different versions" };
static const Fault OUT_OF_ORDER = { EPROTO, "The engine asked the launcher for something out of order" };

Requests::Requests(const Launch &launch, pid_t engine, const std::array<int, 3> &ours, EmptyRoot root, EarlyTap early, Session &session)
	: launch_(launch), engine_(engine), ours_(ours), session_(session), root_(std::move(root)), early_(std::move(early))
{
}

Message Requests::serve(std::string_view request)
{
	Reader r(request.data(), request.size());
	const uint32_t kind = r.u32();
	if (kind == RQ_SOCKETS)
		return sockets(r);
	if (kind == RQ_CONNECT)
		return connectUnix(r);
	Answer a;
	if (const Fault f = answer(kind, r, a))
		return { replyHead(kind, f.err, 0) + f.text, {}, {} };
	const Fault refused = fault(ETOOMANYREFS, "Cannot hand over descriptors");
	std::string without = a.passed.empty() ? std::string() : replyHead(kind, refused.err, 0) + refused.text;
	return { replyHead(kind, 0, a.flags) + a.body, std::move(without), std::move(a.passed) };
}

/** After Ready the engine reads the guest's packets, and may be somebody else by now: no more than serving takes. */
bool Requests::isForServing(uint32_t kind) const
{
	return kind == RQ_LISTEN || kind == RQ_LEAVE || ((kind == RQ_NETLINK || kind == RQ_NEXT) && followed_);
}

Fault Requests::answer(uint32_t kind, Reader &r, Answer &a)
{
	if (!r.ok)
		return MALFORMED;
	if (session_.ready && !isForServing(kind))
		return OUT_OF_ORDER;
	switch (kind) {
	case RQ_SETUP: return setup(r, a);
	case RQ_INHERITED: return inherited(r, a);
	case RQ_SPAWN: return spawn(r, a);
	case RQ_JOIN: return join(r);
	case RQ_TAP: return tap(r, a);
	case RQ_NETLINK: return netlink(r, a);
	case RQ_NEXT: return r.done() ? next(a) : MALFORMED;
	case RQ_NAMES: return names(r, a);
	case RQ_API: return api(r, a);
	case RQ_IDENTITY: return identity(r);
	case RQ_EMPTY_ROOT: return emptyRoot(r);
	case RQ_LEAVE: return r.done() ? leave() : MALFORMED;
	case RQ_RESOLVER: return resolver(r, a);
	case RQ_FOLLOW: return follow(r);
	case RQ_READY: return ready(r);
	case RQ_LISTEN: return listen(r, a);
	case RQ_UNIX_TARGET: return unixTarget(r);
	case RQ_UNIX_FILE: return unixFile(r);
	case RQ_PROCNET: return r.done() ? procNet(a) : MALFORMED;
	default: return MALFORMED;
	}
}

Fault Requests::inherited(Reader &r, Answer &a)
{
	const uint32_t number = r.u32();
	if (!r.done())
		return MALFORMED;
	if (session_.setUp || enterTried_)
		return OUT_OF_ORDER;
	const std::vector<int> ours = own();
	const bool isOurs = std::find(ours.begin(), ours.end(), static_cast<int>(number)) != ours.end();
	const int fd = number <= INT_MAX && !isOurs ? static_cast<int>(number) : -1;
	Fd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
	if (!copy)
		return fault(errno, "Cannot use descriptor " + std::to_string(number));
	a.passed.push_back(std::move(copy));
	return {};
}

/** Before anything is given up, and where names mean what they do to the caller. */
Fault Requests::names(Reader &r, Answer &a)
{
	const std::string user = r.str(), group = r.str();
	if (!r.done())
		return MALFORMED;
	if (enterTried_ || identity_)
		return OUT_OF_ORDER;
	Identity who = {};
	if (Fault f = lookUp(launch_, user, group, who))
		return f;
	putU32(a.body, who.uid);
	putU32(a.body, who.gid);
	return {};
}

Fault Requests::setup(Reader &r, Answer &a)
{
	const uint32_t flags = r.u32();
	const std::string path = r.str();
	if (!r.done())
		return MALFORMED;
	if (session_.setUp || enterTried_)
		return OUT_OF_ORDER;
	closeAllBut(own());
	foreground_ = flags & SETUP_FOREGROUND;
	if (!path.empty()) {
		int fd = -1;
		if (const passt::Fault no = passt::open_unemptied(path.c_str(), O_WRONLY, fd); no.err)
			return { no.err, "Cannot open pid file " + path + ": " + no.text };
		pidFile_.reset(fd);
	}
	const uint32_t lifeMs = session_.notifier.lifeMs();
	if (lifeMs > 0) {
		int ends[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
			return fault(errno, "Cannot watch over the engine (WATCHDOG_USEC)");
		session_.life.reset(ends[0]);
		a.passed.emplace_back(ends[1]);
	}
	putU32(a.body, lifeMs);
	session_.setUp = true;
	return {};
}

/**
 * Started by root, the engine changes its user, and we, once in another user namespace, have no right over it any more: a
 * process that stays behind ends it for us.
 */
Fault Requests::guardEngine()
{
	return geteuid() == 0 ? session_.guard.start(engine_, GRACE_MS) : Fault{};
}

/** Whom RQ_IDENTITY names, before namespaces. */
Fault Requests::becomeOther(std::optional<Identity> *outside)
{
	if (!identity_ || late_)
		return {};
	if (geteuid() == 0 && identity_->uid != 0)
		if (Fault f = tapHelper_.start())
			return f;
	if (outside && mayActFor(*identity_)) {
		*outside = identity_;
		return {};
	}
	return become(*identity_);
}

Fault Requests::spawn(Reader &r, Answer &a)
{
	const uint32_t flags = r.u32(), argvIndex = r.u32();
	SpawnOrder order = { (flags & SPAWN_NETNS_ONLY) != 0, (flags & SPAWN_NO_PIDNS) != 0, argvIndex, r.str(), {} };
	if (!r.done() || argvIndex >= static_cast<uint32_t>(launch_.argc))
		return MALFORMED;
	if (!session_.setUp || enterTried_)
		return OUT_OF_ORDER;
	enterTried_ = true;
	foreground_ = true;
	if (Fault f = guardEngine())
		return f;
	if (Fault f = becomeOther(order.netnsOnly ? nullptr : &order.outside))
		return f;
	netnsOnly_ = order.netnsOnly;
	std::string warnings;
	if (Fault f = spawnCommand(launch_, order, session_.command, warnings))
		return f;
	inNamespace_ = true;
	putU32(a.body, static_cast<uint32_t>(session_.command.pid()));
	a.body += warnings.substr(0, CTL_MAX / 2);
	return {};
}

Fault Requests::join(Reader &r)
{
	JoinOrder order;
	order.pid = r.u32();
	order.noQuit = r.u32() & JOIN_NO_QUIT;
	order.userns = r.str();
	order.netns = r.str();
	if (!r.done())
		return MALFORMED;
	if (!session_.setUp || enterTried_)
		return OUT_OF_ORDER;
	enterTried_ = true;
	if (Fault f = guardEngine())
		return f;
	if (Fault f = becomeOther(nullptr))
		return f;
	if (Fault f = joinNamespaces(order, session_.watch))
		return f;
	inNamespace_ = true;
	return {};
}

Fault Requests::tap(Reader &r, Answer &a)
{
	const uint32_t flags = r.u32();
	const std::string name = r.str();
	if (!r.done())
		return MALFORMED;
	if (!inNamespace_)
		return OUT_OF_ORDER;
	Tap tap;
	Fault f;
	if (!early_.take(name, flags & TAP_VNET, tap))
		f = openTap(name, flags & TAP_VNET, tap);
	if (f.err == EACCES && tapHelper_)
		f = tapHelper_.open(name, flags & TAP_VNET, tap);
	if (f)
		return f;
	putU32(a.body, tap.index);
	putU32(a.body, tap.vnet ? uint32_t(TAP_VNET) : 0);
	a.body.append(reinterpret_cast<const char *>(tap.mac), sizeof(tap.mac));
	a.body.append(2, '\0');
	a.body += tap.name;
	a.passed.push_back(std::move(tap.fd));
	return {};
}

Fault Requests::netlink(Reader &r, Answer &a)
{
	const std::string_view request = r.rest();
	if (!r.ok)
		return MALFORMED;
	if (!inNamespace_)
		return OUT_OF_ORDER; // never in the host's namespace with our rights
	if (session_.ready && !mayConfigure(request, followed_))
		return { EPERM, "The engine may change addresses and routes of its interface only" };
	answerAt_ = 0;
	if (Fault f = netlink_.ask(request, answer_, NETLINK_MAX)) {
		answer_.clear();
		return f;
	}
	return next(a);
}

Fault Requests::next(Answer &a)
{
	a.body = answer_.substr(answerAt_, NETLINK_PART);
	answerAt_ += a.body.size();
	if (answerAt_ < answer_.size()) {
		a.flags |= REPLY_MORE;
		return {};
	}
	answerAt_ = 0;
	answer_ = std::string();
	return {};
}

Fault Requests::listen(Reader &r, Answer &a)
{
	const uint32_t count = r.u32();
	if (!r.ok || count < 1 || count > LISTEN_MAX)
		return MALFORMED;
	std::vector<ListenOrder> orders(count);
	for (ListenOrder &o : orders) {
		o.proto = r.u32();
		o.v6only = r.u32() & LISTEN_V6ONLY;
		const uint32_t port = r.u32();
		o.port = static_cast<uint16_t>(port);
		r.octets(o.addr, sizeof(o.addr));
		o.device = r.str();
		if (!r.ok || (o.proto != IPPROTO_TCP && o.proto != IPPROTO_UDP) || port < 1 || port > 0xffff)
			return MALFORMED;
	}
	if (!r.done())
		return MALFORMED;
	if (!inNamespace_)
		return OUT_OF_ORDER;
	bool split = false;
	for (const ListenOrder &o : orders) {
		const size_t before = a.passed.size();
		putU32(a.body, static_cast<uint32_t>(makeListener(o, a.passed, split)));
		putU32(a.body, static_cast<uint32_t>(a.passed.size() - before));
	}
	a.flags = split ? uint32_t(LISTEN_SPLIT) : 0;
	return {};
}

Fault Requests::procNet(Answer &a)
{
	if (!inNamespace_)
		return OUT_OF_ORDER;
	uint32_t which;
	if (Fault f = openProcNet(a.passed, which)) {
		a.passed.clear();
		return f;
	}
	putU32(a.body, which);
	return {};
}

/** The reply to RQ_SOCKETS and RQ_CONNECT. */
static std::string socketsHead(uint32_t family, uint32_t type, size_t passed, int err)
{
	std::string s;
	for (const uint32_t word : { uint32_t(SOCKETS), family, type, uint32_t(passed), uint32_t(err) })
		putU32(s, word);
	return s;
}

Fault Requests::unixTarget(Reader &r)
{
	UnixPlace place;
	const std::string path = r.str();
	if (!r.done())
		return MALFORMED;
	if (!session_.setUp || enterTried_)
		return OUT_OF_ORDER;
	if (Fault f = findUnixPlace(path, place))
		return f;
	targets_.push_back(std::move(place));
	return {};
}

Fault Requests::unixFile(Reader &r)
{
	UnixFile file;
	const std::string path = r.str();
	if (!r.done())
		return MALFORMED;
	if (!session_.setUp)
		return OUT_OF_ORDER;
	if (Fault f = findUnixFile(path, file))
		return f;
	session_.files.push_back(std::move(file));
	return {};
}

Message Requests::connectUnix(Reader &r)
{
	const uint32_t number = r.u32();
	std::vector<Fd> made;
	Fd fd;
	int err = EBADMSG;
	if (r.done())
		err = number < targets_.size() ? connectTo(targets_[number], fd) : EPROTO;
	if (!err)
		made.push_back(std::move(fd));
	std::string head = socketsHead(AF_UNIX, number, made.size(), err);
	return { std::move(head), socketsHead(AF_UNIX, number, 0, ETOOMANYREFS), std::move(made) };
}

Message Requests::sockets(Reader &r)
{
	const uint32_t family = r.u32(), type = r.u32(), count = r.u32();
	const bool known = (family == AF_INET || family == AF_INET6) && (type == SOCK_STREAM || type == SOCK_DGRAM);
	const auto head = [&](size_t passed, int err) { return socketsHead(family, type, passed, err); };
	std::vector<Fd> made;
	int err = EBADMSG;
	if (r.done() && known && count >= 1 && count <= SOCKETS_MAX)
		err = inNamespace_ ? makeSockets(static_cast<int>(family), static_cast<int>(type), count, made) : EPROTO;
	return { head(made.size(), err), head(0, ETOOMANYREFS), std::move(made) };
}

Fault Requests::writePidFile(pid_t pid)
{
	if (!pidFile_)
		return {};
	/* Emptied now only: until we serve it may be another one's */
	struct stat st;
	const bool file = !fstat(pidFile_.get(), &st) && S_ISREG(st.st_mode);
	int err = file && ftruncate(pidFile_.get(), 0) ? errno : 0;
	if (!err)
		err = writeAll(pidFile_.get(), std::to_string(pid) + "\n");
	pidFile_.reset();
	return err ? fault(err, "Cannot write the pid file") : Fault{};
}

Fault Requests::identity(Reader &r)
{
	const uint32_t uid = r.u32(), gid = r.u32(), flags = r.u32();
	if (!r.done() || static_cast<int32_t>(uid) < 0 || static_cast<int32_t>(gid) < 0)
		return MALFORMED;
	if (!session_.setUp || enterTried_)
		return OUT_OF_ORDER;
	identity_ = Identity{ uid, gid };
	late_ = flags & IDENTITY_LATE;
	return {};
}

Fault Requests::api(Reader &r, Answer &a)
{
	const uint32_t uid = r.u32(), gid = r.u32();
	if (!r.done())
		return MALFORMED;
	if (!session_.setUp || enterTried_)
		return OUT_OF_ORDER;
	std::optional<Identity> who;
	if (uid != API_STAY)
		who = Identity{ uid, gid };
	Fd engine;
	if (Fault f = startApi(launch_, who, engine))
		return f;
	a.passed.push_back(std::move(engine));
	return {};
}

/** What serving does not take. */
Fault Requests::giveUp()
{
	const auto bit = [](int cap) { return uint64_t(1) << cap; };
	uint64_t kept = 0;
	if (followed_)
		kept |= bit(CAP_NET_ADMIN);
	if (inNamespace_)
		kept |= bit(CAP_NET_BIND_SERVICE); // listeners that ports in the namespace ask for later
	if (session_.command)
		kept |= bit(CAP_SYS_PTRACE); // is it waiting for this signal (command.cc)
	if (session_.command && netnsOnly_)
		kept |= bit(CAP_KILL); // it may change its user
	if (session_.watch.byTimer())
		kept |= bit(CAP_DAC_READ_SEARCH); // is the namespace's entry still there
	// In the user namespace that we joined there may be no such user (EINVAL); we stay who we are then, without rights
	if (identity_ && (late_ || !inNamespace_))
		if (Fault f = becomeCapable(*identity_); f && (f.err != EINVAL || !inNamespace_))
			return f;
	keepOnly(kept);
	const bool looks = session_.command || session_.watch.byTimer();
	return confineLauncher({ inNamespace_, session_.command.pid(), engine_, followed_ != 0, !targets_.empty(), !session_.files.empty() }, looks);
}

Fault Requests::emptyRoot(Reader &r)
{
	const uint32_t flags = r.u32();
	if (!r.done())
		return MALFORMED;
	return root_.fd() < 0 ? OUT_OF_ORDER : root_.close(flags & ROOT_BY_CHROOT);
}

/** A command of ours is the service, and says itself when it is ready (NOTIFY_SOCKET is in its environment). */
static std::string readyText(const Session &session, const std::string &status)
{
	return session.command ? "" : "READY=1\nSTATUS=" + status;
}

Fault Requests::ready(Reader &r)
{
	const std::string status = r.str();
	if (!r.done() || status.find('\n') != std::string::npos)
		return MALFORMED;
	if (!session_.setUp || enterTried_ != inNamespace_)
		return OUT_OF_ORDER;
	root_.letGo();
	tapHelper_.letGo();
	const std::string told = readyText(session_, status);
	if (Fault f = foreground_ ? writePidFile(getpid()) : goBackground(told))
		return f;
	if (Fault f = giveUp())
		return f;
	session_.ready = true;
	errorReport().reset();
	if (foreground_ && !told.empty())
		session_.notifier.say(told);
	if (session_.command)
		session_.command.open();
	return {};
}

Fault Requests::resolver(Reader &r, Answer &a)
{
	if (!r.done())
		return MALFORMED;
	if (!session_.setUp || enterTried_)
		return OUT_OF_ORDER; // the caller's files
	Fd theirs;
	if (Fault f = watchResolver(identity_, theirs))
		return f;
	a.passed.push_back(std::move(theirs));
	return {};
}

Fault Requests::follow(Reader &r)
{
	const uint32_t index = r.u32();
	if (!r.done() || index == 0)
		return MALFORMED;
	if (!inNamespace_)
		return OUT_OF_ORDER;
	if (Fault f = netlink_.open())
		return f;
	followed_ = index;
	return {};
}

Fault Requests::leave()
{
	if (!session_.ready)
		return OUT_OF_ORDER;
	session_.left = true;
	return {};
}

/**
 * Returns in a new process with a session of its own. The old one then ends with status 0; on a Fault it is the one here. It is also the
 * one that a service manager knows and believes: `told`, and whom to know from now on.
 */
Fault Requests::goBackground(const std::string &told)
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
		if (!f) {
			session_.notifier.say(told + "\nMAINPID=" + std::to_string(pid));
			_exit(0);
		}
		kill(pid, SIGKILL);
		return f;
	}
	parent.reset();
	pidFile_.reset();
	session_.background = true;
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
