#include "seccomp.h"

#include "../common/filter.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

namespace passt {

int seal()
{
	const auto OWN_PID = (uint32_t)getpid();
	Filter f;
#include "seccomp-calls.def"
	return f.install();
}

int seal_api()
{
	const auto OWN_PID = (uint32_t)getpid();
	Filter f;
#include "api-calls.def"
	return f.install();
}

} // namespace passt
