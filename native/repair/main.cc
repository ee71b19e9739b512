/* passt-repair(1): sets and clears TCP_REPAIR (tcp(7)), which takes CAP_NET_ADMIN, on sockets of a passt that has no capability. */
#include "../common/filter.h"
#include "../common/landlock.h"
#include "../launcher/rights.h"
#include "serve.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static constexpr uint64_t mask(int capability)
{
	return uint64_t(1) << capability;
}

/** Whoever serves the socket talks to us from here on. 0 or errno; a kernel without filters is none. */
static int confine()
{
	using namespace passt;
	keepOnly(mask(CAP_NET_ADMIN));
	const Fd ruleset(make_ruleset({ false, false, false, false }));
	if (ruleset)
		restrict_here(ruleset.get());
	Filter f;
#include "repair-calls.def"
	const int err = f.install();
	return err == ENOSYS ? 0 : err;
}

int main(int argc, char **argv)
{
	setProgram(argc > 0 ? argv[0] : "passt-repair");
	if (argc != 2) {
		say("Usage: passt-repair PATH\n"
		    "Sets and clears TCP_REPAIR for a passt whose guest moves, until that hangs up. Needs CAP_NET_ADMIN.\n"
		    "  PATH      the socket of --repair-path, or a directory in which one is, or will be: *.repair");
		return USAGE;
	}
	closeAllBut({});
	// Root of a container looks for a socket of its users'
	keepOnly(mask(CAP_NET_ADMIN) | mask(CAP_DAC_OVERRIDE) | mask(CAP_DAC_READ_SEARCH));
	Found found = findPasst(argv[1]);
	if (!found.sock)
		return found.status;
	if (fcntl(found.sock.get(), F_SETFL, fcntl(found.sock.get(), F_GETFL) & ~O_NONBLOCK) < 0) {
		say(fault(errno, "Cannot make the socket block").text);
		return FAILED;
	}
	if (const int err = confine()) {
		say(fault(err, "Cannot filter system calls").text);
		return FAILED;
	}
	return serve(found.sock);
}
