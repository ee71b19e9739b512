/* qrap(1): connects to a passt, puts the socket at a descriptor and becomes QEMU; for QEMU older than 7.2. */
#include "apart.h"
#include "args.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

/** As in the examples of passt(1). */
static constexpr int DEFAULT_FD = 5;

static bool executable(const std::string &path)
{
	return access(path.c_str(), X_OK) == 0;
}

/** The full path of `name` in PATH, empty if there is none. */
static std::string inPath(const std::string &name)
{
	const char *path = getenv("PATH");
	std::string_view rest = path ? path : "/usr/bin:/bin";
	while (!rest.empty()) {
		const size_t end = rest.find(':');
		const std::string candidate = std::string(rest.substr(0, end)) + "/" + name;
		if (executable(candidate))
			return candidate;
		rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
	}
	return {};
}

/** A QEMU for this machine, the accelerated names first; empty if there is none. */
static std::string findQemu()
{
	utsname u{};
	uname(&u);
	const std::string machine = u.machine;
	for (const std::string &name : { std::string("kvm"), std::string("qemu-kvm"), "qemu-system-" + machine })
		if (const std::string found = inPath(name); !found.empty())
			return found;
	const std::string redHat = "/usr/libexec/qemu-kvm";
	return executable(redHat) ? redHat : std::string();
}

/** Moves the socket to `fd`, without close-on-exec and blocking, as QEMU expects what it inherits. */
static Fault place(Fd sock, int fd)
{
	const int from = sock.get();
	if (fcntl(from, F_SETFL, fcntl(from, F_GETFL) & ~O_NONBLOCK) < 0)
		return fault(errno, "Cannot make the socket block");
	if (from == fd) {
		sock.release();
		return fcntl(fd, F_SETFD, 0) < 0 ? fault(errno, "Cannot keep the socket open") : Fault{};
	}
	if (dup2(from, fd) < 0)
		return fault(errno, "Cannot use descriptor " + std::to_string(fd));
	return {};
}

static int usage()
{
	say("Usage: qrap [FDNUM QEMU_CMD] [QEMU_ARG]...\n"
	    "Connects to the first passt found at /tmp/passt_1.socket to /tmp/passt_64.socket and runs QEMU.\n"
	    "  FDNUM     descriptor, 3 or above, where QEMU finds the socket: -net socket,fd=FDNUM -net nic,model=virtio\n"
	    "Without FDNUM and QEMU_CMD: finds QEMU in PATH and replaces its -net, -netdev and network devices.");
	return 0;
}

int main(int argc, char **argv)
{
	setProgram(argc > 0 ? argv[0] : "qrap");
	const std::vector<std::string> args(argv + (argc > 0 ? 1 : 0), argv + argc);
	if (args.size() == 1 && (args[0] == "-h" || args[0] == "--help"))
		return usage();

	auto order = explicitOrder(args);
	if (!order) {
		const std::string qemu = findQemu();
		if (qemu.empty()) {
			say("No kvm, qemu-kvm or qemu-system-* for this machine in PATH; name one: qrap FDNUM QEMU_CMD [QEMU_ARG]...");
			return 1;
		}
		order = patchedOrder(qemu, args, DEFAULT_FD);
	}

	Fd sock = findPasstApart();
	if (!sock)
		return 1;
	if (const Fault f = place(std::move(sock), order->fd)) {
		say(f.text);
		return 1;
	}
	std::vector<char *> out;
	for (std::string &arg : order->argv)
		out.push_back(arg.data());
	out.push_back(nullptr);
	execvp(out[0], out.data());
	say(fault(errno, std::string("Cannot run ") + out[0]).text);
	return 1;
}
