#include "apiprocess.h"

#include "../common/protocol.h"
#include "confine.h"
#include "engine-options.h"
#include "helper.h"
#include "node.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Descriptors of the process: 64 clients, where they connect, the engine, Node's own */
static constexpr rlim_t FILES = 160;
/* In the process that serves packets, what clients ask for comes second: nice(2) */
static constexpr int NICE = 10;

[[noreturn]] static void api(const Launch &launch, Fd line, const std::optional<Identity> &who)
{
	setsid();
	(void)!chdir("/");
	(void)!nice(NICE);
	nullStreams();
	if (dup2(line.get(), API_ENGINE_FD) < 0)
		_exit(1);
	fcntl(API_ENGINE_FD, F_SETFD, 0); // the same already: dup2() changes nothing
	closeAllBut({ API_ENGINE_FD });
	const rlimit files = { FILES, FILES }, none = {};
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &none);
	// It becomes another user and confines itself, as Node: that user may not read where we are installed
	const auto bit = [](int cap) { return uint64_t(1) << cap; };
	if (who)
		syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
	keepOnly(who ? bit(CAP_SETUID) | bit(CAP_SETGID) | bit(CAP_SETPCAP) : 0, true);
	withoutInspectorAndRings();
	restoreSignals(launch);
	const std::string bundle = bundlePath("api.cjs");
	const std::string uid = who ? std::to_string(who->uid) : "", gid = who ? std::to_string(who->gid) : "";
	std::vector<char *> argv;
	for (const char *const text : { "node", ENGINE_OPTIONS, "--max-old-space-size=64", bundle.c_str(), uid.c_str(), gid.c_str() })
		argv.push_back(const_cast<char *>(text));
	becomeNode(nodeProgram(), argv, {}, false);
	_exit(1);
}

Fault startApi(const Launch &launch, const std::optional<Identity> &who, Fd &engine)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return fault(errno, "Cannot create a socket");
	Fd ours(pair[0]), theirs(pair[1]);
	const pid_t pid = fork();
	if (pid < 0)
		return fault(errno, "Cannot start the process of the API");
	if (pid == 0)
		api(launch, std::move(theirs), who);
	engine = std::move(ours);
	return {};
}
