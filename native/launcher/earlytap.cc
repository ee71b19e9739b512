#include "earlytap.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "identity.h"
#include "namespace.h"
#include "options.h"
#include "taphelper.h"

/* How long the engine's request may wait for the helper, which takes a few ms from the launcher's start on */
static constexpr int PATIENCE_MS = 500;

namespace {

/** What the command line names. */
struct Plain {
	JoinOrder join;
	std::string tap;
};

} // namespace

/** A whole number and nothing else: a PID (passt(1)); 0: it is not. */
static uint32_t processId(const char *text)
{
	const size_t digits = strspn(text, "0123456789");
	const unsigned long n = digits && !text[digits] ? strtoul(text, nullptr, 10) : 0;
	return n <= INT_MAX ? static_cast<uint32_t>(n) : 0;
}

/** False: it is for the engine alone to say what is meant. */
static bool readPlain(const Launch &launch, Plain &p)
{
	const char *slash = strrchr(launch.argv[0], '/');
	if (!strstr(slash ? slash + 1 : launch.argv[0], "pasta"))
		return false;
	opterr = 0;
	optind = 1;
	for (int c; (c = getopt_long(launch.argc, launch.argv, OPTION_LETTERS, OPTION_NAMES, nullptr)) != -1;)
		switch (c) {
		case OPT_NS_IFNAME:
			p.tap = optarg;
			break;
		case OPT_NETNS:
			p.join.netns = strchr(optarg, '/') ? optarg : std::string("/run/netns/") + optarg;
			break;
		case OPT_USERNS:
			p.join.userns = optarg;
			break;
		case '?':
		case OPT_HELP:
		case OPT_VERSION:
		case OPT_RUNAS:
		case OPT_CONF_PATH:
		case OPT_FD:
		case OPT_VHOST_USER:
		case OPT_PRINT_CAPABILITIES:
		case OPT_NETNS_ONLY:
		case OPT_SPLICE_ONLY:
			return false;
		default:
			break;
		}
	const int more = launch.argc - optind;
	if (more == 1 && p.join.netns.empty())
		p.join.pid = processId(launch.argv[optind]);
	else if (more > 0)
		return false;
	p.join.noQuit = true; // to watch it is not the helper's
	return !p.tap.empty() && (p.join.pid > 0 || !p.join.netns.empty());
}

/** Of our network namespace. */
static bool ownNamespace(struct stat &st)
{
	return stat("/proc/self/ns/net", &st) == 0;
}

static void help(int line, const Plain &p)
{
	constexpr uint64_t ATTACH = uint64_t(1) << CAP_NET_ADMIN;
	keepOnly(ATTACH | uint64_t(1) << CAP_SYS_ADMIN); // to join
	Watch none;
	Tap tap;
	struct stat st = {};
	Fault f = joinNamespaces(p.join, none);
	keepOnly(ATTACH); // a user namespace that is joined gives all rights over it
	// One that is not there would be made, by its name
	if (!f && (!ownNamespace(st) || if_nametoindex(p.tap.c_str()) == 0))
		f = fault(errno, p.tap);
	if (!f)
		f = openTap(p.tap, true, tap);
	if (!f && send(line, &st, sizeof(st), MSG_NOSIGNAL) == sizeof(st))
		giveTap(line, f, tap);
}

void EarlyTap::start(const Launch &launch)
{
	Plain plain;
	if (geteuid() != 0 && readPlain(launch, plain))
		(void)startHelper(line_, pid_, [&](int line) { help(line, plain); });
}

bool EarlyTap::take(const std::string &name, bool vnet, Tap &tap)
{
	const Fd line(line_.release());
	if (!line)
		return false;
	pollfd p = { line.get(), POLLIN, 0 };
	if (poll(&p, 1, PATIENCE_MS) != 1)
		kill(pid_, SIGKILL); // no end of file, so it is there
	struct stat theirs = {}, ours = {};
	Tap early;
	if (recv(line.get(), &theirs, sizeof(theirs), 0) != sizeof(theirs) || takeTap(line.get(), early))
		return false;
	if (!vnet || early.name != name || !ownNamespace(ours) || ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino)
		return false;
	tap = std::move(early);
	return true;
}
