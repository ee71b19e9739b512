/* An engine that has been taken over asks the launcher for anything, in any order. Each request has one reply; before there is a
 * namespace nothing is made in it, and after RQ_READY nothing is done but to make sockets there, and to connect to what was named before. What would reach the system is
 * made up here. */
#include "../../native/common/outfile.h"
#include "../../native/launcher/apiprocess.h"
#include "../../native/launcher/confine.h"
#include "../../native/launcher/identity.h"
#include "../../native/launcher/names.h"
#include "../../native/common/protocol.h"
/* Classes of which only the declaration is used here: their members seem idle. */
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunused-private-field"
#include "../../native/launcher/requests.h"
#pragma clang diagnostic pop
#include "../../native/launcher/resolver.h"
#include "../../native/launcher/sockets.h"
#include "../../native/launcher/spawn.h"
#include "input.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <linux/rtnetlink.h>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

/** What the requests of an input have led to. */
struct {
	bool entered = false, ready = false;
	/** RQ_FOLLOW: netlink goes on behind RQ_READY. */
	bool followed = false;
	/** RQ_UNIX_TARGET, as many as were found. */
	uint32_t targets = 0;
	/** Each made-up call fails with this, if it is not 0. */
	int fails = 0;
} world;

Fault outcome()
{
	return world.fails ? Fault{ world.fails, "made up" } : Fault{};
}
Fd aFile()
{
	return Fd(memfd_create("fuzz", MFD_CLOEXEC));
}
void beforeReady()
{
	MUST(!world.ready);
}
void inside()
{
	MUST(world.entered);
}

} // namespace

/* the rest of the launcher */
Fault Guard::start(pid_t, int)
{
	beforeReady();
	return outcome();
}
Fault TapHelper::start()
{
	beforeReady();
	return outcome();
}
Fault TapHelper::open(const std::string &, bool, Tap &)
{
	beforeReady();
	return outcome();
}
void TapHelper::letGo() {}
void EmptyRoot::letGo() {}
Fault EmptyRoot::close(bool)
{
	beforeReady();
	return outcome();
}
bool EarlyTap::take(const std::string &, bool, Tap &)
{
	inside();
	beforeReady();
	return false;
}
void Command::open()
{
	MUST(world.ready);
}
Fault become(const Identity &)
{
	beforeReady();
	return outcome();
}
Fault becomeCapable(const Identity &)
{
	beforeReady();
	return outcome();
}
Fault lookUp(const Launch &, const std::string &user, const std::string &group, Identity &who)
{
	beforeReady();
	MUST(!world.entered);
	MUST(user.find('\0') == std::string::npos && group.find('\0') == std::string::npos);
	who = { 1, 2 };
	return outcome();
}
bool mayActFor(const Identity &who)
{
	return who.uid & 1;
}
void keepOnly(uint64_t, bool)
{
	beforeReady();
}
Fault confineLauncher(const Served &, bool)
{
	beforeReady();
	const Fault f = outcome();
	world.ready = !f;
	return f;
}
Fault spawnCommand(const Launch &launch, const SpawnOrder &order, Command &, std::string &warnings)
{
	beforeReady();
	MUST(!world.entered && order.argvIndex < (uint32_t)launch.argc);
	warnings.assign(order.hostname.size() * 40, 'w');
	const Fault f = outcome();
	world.entered = !f;
	return f;
}
Fault joinNamespaces(const JoinOrder &order, Watch &)
{
	beforeReady();
	MUST(!world.entered);
	MUST(order.userns.find('\0') == std::string::npos && order.netns.find('\0') == std::string::npos);
	const Fault f = outcome();
	world.entered = !f;
	return f;
}
Fault openTap(const std::string &name, bool vnet, Tap &tap)
{
	inside();
	beforeReady();
	MUST(name.find('\0') == std::string::npos);
	tap.fd = aFile(), tap.name = name, tap.vnet = vnet;
	return outcome();
}
passt::Fault passt::Netlink::open()
{
	inside();
	beforeReady();
	world.followed |= !world.fails;
	return { world.fails, "made up" };
}
Fault passt::Netlink::ask(std::string_view request, std::string &answer, size_t)
{
	inside();
	if (world.ready) { /* an address or a route comes or goes, and no more */
		nlmsghdr h;
		MUST(world.followed && request.size() >= sizeof(h));
		memcpy(&h, request.data(), sizeof(h));
		MUST(h.nlmsg_len == request.size());
		MUST(h.nlmsg_type == RTM_NEWADDR || h.nlmsg_type == RTM_DELADDR || h.nlmsg_type == RTM_NEWROUTE || h.nlmsg_type == RTM_DELROUTE);
	}
	answer.assign(request.size() * 100, 'n');
	return outcome();
}
int makeSockets(int family, int type, uint32_t count, std::vector<Fd> &out)
{
	inside();
	MUST((family == AF_INET || family == AF_INET6) && (type == SOCK_STREAM || type == SOCK_DGRAM));
	for (uint32_t i = 0; i < (world.fails ? count / 2 : count); i++)
		out.push_back(aFile());
	return world.fails;
}
int makeListener(const ListenOrder &order, std::vector<Fd> &out, bool &split)
{
	inside();
	MUST(order.port && order.device.find('\0') == std::string::npos);
	if (world.fails)
		return world.fails;
	split = order.port & 1;
	for (int i = 0; i < (split ? 2 : 1); i++)
		out.push_back(aFile());
	return 0;
}
Fault openProcNet(std::vector<Fd> &out, uint32_t &which)
{
	inside();
	beforeReady();
	out.push_back(aFile()), which = PROCNET_UDP;
	return outcome();
}
Fault watchResolver(const std::optional<Identity> &, Fd &theirs)
{
	beforeReady();
	MUST(!world.entered);
	theirs = aFile();
	return outcome();
}
Fault startApi(const Launch &, const std::optional<Identity> &, Fd &engine)
{
	beforeReady();
	MUST(!world.entered);
	engine = aFile();
	return outcome();
}
Fault findUnixPlace(const std::string &path, UnixPlace &place)
{
	beforeReady();
	MUST(!world.entered && path.find('\0') == std::string::npos);
	const Fault f = outcome();
	if (!f)
		place.name = std::to_string(world.targets++);
	return f;
}
Fault findUnixFile(const std::string &path, UnixFile &)
{
	beforeReady();
	MUST(path.find('\0') == std::string::npos);
	return outcome();
}
int connectTo(const UnixPlace &place, Fd &out)
{
	MUST(!place.name.empty() && std::stoul(place.name) < world.targets); /* nobody is connected to whom no option names */
	if (!world.fails)
		out = aFile();
	return world.fails;
}
passt::Fault passt::open_unemptied(const char *, int, int &fd)
{
	beforeReady();
	fd = world.fails ? -1 : aFile().release();
	return { world.fails, "made up" };
}

/* By the linker (Makefile): no child, and no descriptor of the fuzzer's closed */
extern "C" pid_t __wrap_fork()
{
	errno = EAGAIN;
	return -1;
}
extern "C" void __wrap__Z11closeAllButSt6vectorIiSaIiEE(std::vector<int>) {}

namespace {

void text(std::string &body, Input &in)
{
	const std::vector<uint8_t> octets = in.octets(in.u8() % 40);

	putU32(body, (uint32_t)octets.size());
	body.append(octets.begin(), octets.end());
}

/** A request that holds together, but for what the last octets say. */
std::string request(Input &in)
{
	const uint32_t kind = 1 + in.u8() % RQ_FOLLOW;
	std::string body;

	putU32(body, kind);
	switch (kind) {
	case RQ_SETUP:
	case RQ_TAP:
		putU32(body, in.u8());
		text(body, in);
		break;
	case RQ_SPAWN:
		putU32(body, in.u8());
		putU32(body, in.u8() % 4);
		text(body, in);
		break;
	case RQ_JOIN:
		putU32(body, in.u16());
		putU32(body, in.u8());
		text(body, in);
		text(body, in);
		break;
	case RQ_SOCKETS:
		for (const uint32_t word : { in.u8() & 1 ? 2u : 10u, in.u8() & 1 ? 1u : 2u, uint32_t(in.u8()) })
			putU32(body, word);
		break;
	case RQ_LISTEN: {
		const uint32_t count = in.u8() % (LISTEN_MAX + 2);
		putU32(body, count);
		for (uint32_t i = 0; i < count && !in.done(); i++) {
			for (const uint32_t word : { in.u8() & 1 ? 6u : 17u, uint32_t(in.u8()), uint32_t(in.u16()) })
				putU32(body, word);
			body.append(16, (char)in.u8());
			text(body, in);
		}
		break;
	}
	case RQ_NAMES:
		text(body, in);
		text(body, in);
		break;
	case RQ_NETLINK:
		text(body, in);
		break;
	case RQ_API:
		putU32(body, in.u8());
		putU32(body, in.u8());
		break;
	case RQ_IDENTITY:
		for (int i = 0; i < 3; i++)
			putU32(body, in.u32());
		break;
	case RQ_UNIX_TARGET:
	case RQ_UNIX_FILE:
		text(body, in);
		break;
	case RQ_INHERITED:
	case RQ_EMPTY_ROOT:
	case RQ_CONNECT:
	case RQ_FOLLOW:
		putU32(body, in.u8());
		break;
	default:
		break;
	}
	const uint8_t change = in.u8();
	if (change & 1)
		body.resize(in.u16() % (body.size() + 1));
	if (change & 2)
		text(body, in);
	if (change & 4 && !body.empty())
		body[in.u16() % body.size()] = (char)in.u8();
	return body;
}

/** The one reply to `asked`. */
void reply(int engine, const std::string &asked)
{
	static char buffer[CTL_MAX + 1];
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * (PASSED_MAX + 1))];
	iovec iov = { buffer, sizeof(buffer) };
	msghdr m = {};
	m.msg_iov = &iov, m.msg_iovlen = 1, m.msg_control = control, m.msg_controllen = sizeof(control);
	const ssize_t n = recvmsg(engine, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	MUST(n >= (ssize_t)REPLY_HEAD && n <= (ssize_t)CTL_MAX && !(m.msg_flags & MSG_CTRUNC));
	size_t passed = 0;
	for (cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		passed += (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
			close(reinterpret_cast<int *>(CMSG_DATA(c))[i]);
	}
	Reader r(buffer, (size_t)n), q(asked.data(), asked.size());
	const uint32_t kind = r.u32(), of = q.u32();
	if (kind == SOCKETS && (of == RQ_SOCKETS || of == RQ_CONNECT)) {
		r.u32(), r.u32();
		MUST(r.u32() == passed);
		return;
	}
	MUST(kind == (q.ok ? of : 0));
	const uint32_t error = r.u32();
	MUST(!error || !passed);
	/* A namespace may be entered in vain, and with it the only try; RQ_READY itself is what makes it so */
	if (world.ready && kind != RQ_LISTEN && kind != RQ_LEAVE && kind != RQ_READY && !(world.followed && (kind == RQ_NETLINK || kind == RQ_NEXT)))
		MUST(error);
	MUST(recv(engine, buffer, 1, MSG_DONTWAIT) < 0);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	Input in(data, len);
	char name[] = "pasta", command[] = "true";
	char *argv[] = { name, command, nullptr };
	const Launch launch = { 2, argv, {}, {} };
	int pair[2];

	world = {};
	MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	const Fd engine(pair[1]);
	Control control{ Fd(pair[0]) };
	Session session;
	Requests requests(launch, 0, { control.fd(), -1, -1 }, EmptyRoot(), EarlyTap(), session);
	while (!in.done()) {
		world.fails = in.u8() > 0xf0 ? 1 + in.u8() % 100 : 0;
		const std::string asked = in.u8() == 0xff ? std::string(in.u16(), 'x') : request(in);
		if (asked.empty()) /* as the end of the engine */
			continue;
		MUST(send(engine.get(), asked.data(), asked.size(), MSG_DONTWAIT) == (ssize_t)asked.size());
		std::string_view request;
		MUST(control.take(request) == Control::Came::REQUEST);
		if (!control.post(requests.serve(request)))
			break;
		reply(engine.get(), asked);
	}
	return 0;
}
