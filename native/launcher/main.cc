/* bin/passt and bin/pasta: a single-threaded program that starts the engine (Node) and then serves as its agent.
 *
 * Namespaces can only be entered by a single-threaded process, which Node never is; and the engine, which reads packets from
 * the guest, shall hold no rights in any namespace. So this process enters them and hands over what is made there.
 */
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "agent.h"
#include "confine.h"
#include "earlytap.h"
#include "emptyroot.h"
#include "helper.h"
#include "identity.h"
#include "engine-options.h"
#include "node.h"
#include "options.h"
#include "../common/protocol.h"
#include "snapshot.h"

/* Signals that we read from a descriptor instead of being interrupted */
static constexpr int SIGNALS[] = { SIGTERM, SIGQUIT, SIGINT, SIGHUP, SIGCHLD, SIGPIPE,
				   SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU, SIGXFSZ };

/* Descriptors that a process may have open, at least: Node crashes with fewer than about 20, and each flow takes one */
static constexpr rlim_t FILES_MIN = 64;
/* Threads that Node starts; where it gets the first, but not the second, it waits for that for ever */
static constexpr size_t THREADS = 3;
/* Address space, octets: with less some releases of Node hang instead of ending */
static constexpr rlim_t SPACE_MIN = rlim_t(512) << 20;

/** Standard streams that are closed would get other files' numbers. Returns false if that cannot be helped. */
static bool openStandardStreams()
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
	return fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0;
}

/** What --error-fd names, if that is open. Whether the rest of the command line makes sense is for the engine to say. */
static void openErrorReport(int argc, char **argv)
{
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, OPTION_LETTERS, OPTION_NAMES, nullptr)) != -1;)
		if (c == OPT_ERROR_FD)
			if (const size_t digits = strspn(optarg, "0123456789"); digits && digits < 10 && !optarg[digits])
				errorReport().reset(fcntl(atoi(optarg), F_DUPFD_CLOEXEC, ERROR_FD + 1));
}

/**
 * 0, or errno: that many more processes and threads are not to be had. Only trying tells: limits of users and cgroups differ. Each is
 * the next one's parent and borrows our memory while it lives, so that there is none to copy (vfork(2)).
 */
static int lackOfProcesses(size_t count)
{
	volatile int lack = 0;
	if (count == 0)
		return 0;
	const pid_t pid = vfork();
	if (pid < 0)
		return errno;
	if (pid == 0) {
		lack = lackOfProcesses(count - 1);
		_exit(0);
	}
	awaitEnd(pid);
	return lack;
}

/** In the child: become Node with the engine, our arguments behind. */
[[noreturn]] static void becomeEngine(const Launch &launch, const std::string &engine, const std::vector<char *> &listenFds, Fd ctl, EmptyRoot root)
{
	// The terminal's signals are for the command and for us. Not a session of its own yet: the kernel would set it apart from
	// the programs that it serves (sched(7), autogroup), and let it wait behind them.
	setpgid(0, 0);
	root.enter();
	const Fd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
	if (null)
		dup2(null.get(), STDIN_FILENO);
	if (ctl.get() == CTL_FD)
		fcntl(CTL_FD, F_SETFD, 0);
	else
		dup2(ctl.get(), CTL_FD);
	if (errorReport())
		dup2(errorReport().get(), ERROR_FD);

	const std::string node = nodeProgram();
	std::string snapshot = snapshotFor(engine.substr(0, engine.rfind('/')), node);
	std::vector<char *> argv;
	for (const char *const option : { "node", ENGINE_OPTIONS })
		argv.push_back(const_cast<char *>(option));
	if (!snapshot.empty())
		argv.push_back((snapshot = "--snapshot-blob=" + snapshot).data());
	argv.push_back(const_cast<char *>(engine.c_str()));
	argv.insert(argv.end(), launch.argv, launch.argv + launch.argc);
	handOnLowPorts();
	withoutInspectorAndRings(); // while the signal is blocked still
	restoreSignals(launch);
	const int err = becomeNode(node, argv, listenFds, bool(errorReport()));
	say(fault(err, "Cannot run Node.js (" + node + ")"), " (PASST_NODE names another one)");
	_exit(1);
}

int main(int argc, char **argv)
{
	if (argc < 1)
		return 1;
	setProgram(argv[0]);
	if (!openStandardStreams()) {
		say(fault(errno, "Cannot look at standard streams, or open /dev/null in their place"));
		return 1;
	}
	keepToOurselves(); // RQ_INHERITED may ask for one, RQ_SETUP closes them
	openErrorReport(argc, argv);
	const std::vector<char *> listenFds = takeListenFds();

	Launch launch = { argc, argv, {}, {} };
	sigset_t ours;
	sigemptyset(&ours);
	sigemptyset(&launch.ignored);
	for (const int signal : SIGNALS) {
		struct sigaction old;
		sigaddset(&ours, signal);
		if (sigaction(signal, nullptr, &old) == 0 && old.sa_handler == SIG_IGN)
			sigaddset(&launch.ignored, signal);
	}
	signal(SIGCHLD, SIG_DFL); // ignored, it would hide exit statuses
	sigprocmask(SIG_BLOCK, &ours, &launch.mask);

	rlimit files = {};
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < FILES_MIN) {
		say("Too many open files: the hard limit is " + std::to_string(files.rlim_max) + ", at least " +
		    std::to_string(FILES_MIN) + " are needed (ulimit -Hn)");
		return 1;
	}

	rlimit space = {};
	if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur < SPACE_MIN) {
		say("Cannot start Node.js: the limit for address space is " + std::to_string(space.rlim_cur >> 20) +
		    " MiB, it takes about 1024 (ulimit -v)");
		return 1;
	}

	const std::string engine = bundlePath("engine.cjs");
	if (engine.empty()) {
		say(fault(errno, "Cannot find out where this program lies, and the engine with it"), " (is /proc mounted?)");
		return 1;
	}
	if (access(engine.c_str(), R_OK) < 0) {
		say(fault(errno, "Cannot read the engine (" + engine + ")"));
		return 1;
	}
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		say(fault(errno, "Cannot create a socket"));
		return 1;
	}
	Fd ctl(pair[0]), theirs(pair[1]);
	Notifier notifier;
	notifier.open();
	EarlyTap early;
	early.start(launch);
	Fd signals(signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK));
	EmptyRoot root;
	if (Fault f = root.prepare()) {
		say(f);
		return 1;
	}
	// The engine, the helper that it leaves behind (emptyroot.h), its threads
	const int lack = signals ? lackOfProcesses(2 + THREADS) : errno;
	const pid_t pid = lack ? -1 : fork();
	if (pid < 0) {
		say(fault(lack ? lack : errno, "Cannot start the engine"));
		return 1;
	}
	if (pid == 0)
		becomeEngine(launch, engine, listenFds, std::move(theirs), std::move(root));
	theirs.reset();
	root.started();
	Agent(launch, std::move(ctl), pid, std::move(signals), std::move(root), std::move(early), std::move(notifier)).run();
}
