#include "spawn.h"

#include "userns.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void warn(std::string &warnings, int err, const std::string &what)
{
	if (err)
		warnings += fault(err, what).text + "\n";
}

static void setHostname(const std::string &wanted, std::string &warnings)
{
	std::string name = wanted;
	if (name.empty()) {
		char own[HOST_NAME_MAX + 1] = "";
		gethostname(own, HOST_NAME_MAX);
		name = std::string("pasta-") + own;
	}
	name.resize(std::min<size_t>(name.size(), HOST_NAME_MAX));
	if (sethostname(name.data(), name.size()) < 0)
		warn(warnings, errno, "Cannot set the host name");
}

/** The host's unmounts shall reach the new mount namespace, its own mounts never leave it. */
static void mountProc(std::string &warnings)
{
	if (mount("", "/", "", MS_SLAVE | MS_REC, nullptr) < 0)
		return warn(warnings, errno, "Cannot keep mounts private, no new /proc");
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0)
		warn(warnings, errno, "Cannot mount a new /proc");
}

[[noreturn]] static void execute(const Launch &launch, uint32_t argvIndex)
{
	restoreSignals(launch);
	if (argvIndex > 0) {
		execvp(launch.argv[argvIndex], launch.argv + argvIndex);
		say(fault(errno, std::string("Cannot run ") + launch.argv[argvIndex]));
		_exit(1);
	}
	const char *shell = getenv("SHELL");
	if (!shell || !*shell)
		shell = "/bin/sh";
	std::string login = std::string("-") + shell;
	char *const argv[] = { login.data(), nullptr };
	execvp(shell, argv);
	say(fault(errno, std::string("Cannot run the shell ") + shell));
	_exit(1);
}

/** Child: die with the launcher, own /proc, report, wait for the gate, become the command. */
[[noreturn]] static void child(const Launch &launch, const SpawnOrder &order, int gate, int report)
{
	// The launcher waits for our report, so it lived after this; its death from then on is seen by the kernel
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	closeAllBut({ gate, report, errorReport().get() });
	std::string warnings;
	if (!order.noPidns)
		mountProc(warnings);
	(void)writeAll(report, warnings + '\0');
	close(report);
	char go;
	ssize_t n;
	while ((n = read(gate, &go, 1)) < 0 && errno == EINTR)
		;
	if (n != 1)
		_exit(1);
	close(gate);
	execute(launch, order.argvIndex);
}

static pid_t cloneProcess(unsigned long flags)
{
#if defined(__s390__)
	return static_cast<pid_t>(syscall(SYS_clone, nullptr, flags | SIGCHLD, nullptr, nullptr, 0));
#else
	return static_cast<pid_t>(syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, 0));
#endif
}

Fault spawnCommand(const Launch &launch, const SpawnOrder &order, Command &command, std::string &warnings)
{
	if (!order.netnsOnly)
		if (Fault f = order.outside ? enterUserNamespaceAs(*order.outside) : enterUserNamespace(0, 0, 0, warnings))
			return f;
	if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return fault(errno, "Cannot create a network namespace");
	setHostname(order.hostname, warnings);
	// /proc/sys/net is that of the process which opens it (proc(5))
	warn(warnings, writeFile("/proc/sys/net/ipv4/ping_group_range", "0 0"), "Cannot set net.ipv4.ping_group_range");

	int gate[2], report[2];
	if (pipe2(gate, O_CLOEXEC) < 0)
		return fault(errno, "Cannot create a pipe");
	const Fd gateOut(gate[0]);
	Fd gateIn(gate[1]);
	if (pipe2(report, O_CLOEXEC) < 0)
		return fault(errno, "Cannot create a pipe");
	const Fd reportOut(report[0]);
	Fd reportIn(report[1]);

	const pid_t pid = cloneProcess(CLONE_NEWNS | (order.noPidns ? 0 : CLONE_NEWPID));
	if (pid < 0)
		return fault(errno, "Cannot create a process in new namespaces");
	if (pid == 0)
		child(launch, order, gate[0], report[1]);
	command = Command(pid, !order.noPidns, std::move(gateIn));
	reportIn.reset();

	char buffer[1024];
	ssize_t n;
	bool whole = false;
	while ((n = read(reportOut.get(), buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR))
		if (n > 0) {
			whole = buffer[n - 1] == 0;
			warnings.append(buffer, static_cast<size_t>(n) - (whole ? 1 : 0));
		}
	if (!whole)
		return { ECHILD, "The process for the command ended before its time" };
	// In a user namespace with one user, nobody can change it; else the command may
	if (order.netnsOnly)
		if (Fault f = command.guard())
			warnings += f.text + "\n";
	return {};
}
