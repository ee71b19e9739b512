#include "taphelper.h"

#include "helper.h"
#include "identity.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

/** With the descriptor of the network namespace. */
struct Order {
	bool vnet = false;
	char name[64] = "";
};
/** With the descriptor of the tap, unless `err`. */
struct Outcome {
	int err = 0;
	char text[256] = "";
	uint32_t index = 0;
	bool vnet = false;
	unsigned char mac[6] = {};
	char name[64] = "";
};

} // namespace

/** One message, and a descriptor with it if `fd` >= 0. */
static bool sendWithFd(int line, const void *data, size_t len, int fd)
{
	iovec iov = { const_cast<void *>(data), len };
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
	msghdr m = {};
	m.msg_iov = &iov;
	m.msg_iovlen = 1;
	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(line, &m, MSG_NOSIGNAL) == static_cast<ssize_t>(len);
}

/** One message of just this length; `fd`: what came with it. */
static bool receiveWithFd(int line, void *data, size_t len, Fd &fd)
{
	iovec iov = { data, len };
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
	msghdr m = {};
	m.msg_iov = &iov;
	m.msg_iovlen = 1;
	m.msg_control = control;
	m.msg_controllen = sizeof(control);
	ssize_t n;
	while ((n = recvmsg(line, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	const cmsghdr *c = n < 0 ? nullptr : CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_type == SCM_RIGHTS) {
		int passed;
		memcpy(&passed, CMSG_DATA(c), sizeof(passed));
		fd.reset(passed);
	}
	return n == static_cast<ssize_t>(len);
}

bool giveTap(int line, const Fault &f, const Tap &tap)
{
	Outcome o = {};
	o.err = f.err;
	strncpy(o.text, f.text.c_str(), sizeof(o.text) - 1);
	if (!f) {
		o.index = tap.index;
		o.vnet = tap.vnet;
		memcpy(o.mac, tap.mac, sizeof(o.mac));
		strncpy(o.name, tap.name.c_str(), sizeof(o.name) - 1);
	}
	return sendWithFd(line, &o, sizeof(o), tap.fd.get());
}

Fault takeTap(int line, Tap &tap)
{
	Outcome o = {};
	if (!receiveWithFd(line, &o, sizeof(o), tap.fd))
		return { ECHILD, "No answer from the helper process" };
	if (o.err)
		return { o.err, o.text };
	if (!tap.fd)
		return { EMFILE, "Too many open files" };
	tap.index = o.index;
	tap.vnet = o.vnet;
	memcpy(tap.mac, o.mac, sizeof(tap.mac));
	tap.name = o.name;
	return {};
}

static Fault openIn(int netns, const Order &order, Tap &tap)
{
	if (setns(netns, CLONE_NEWNET) < 0)
		return fault(errno, "Cannot join the network namespace");
	return openTap(order.name, order.vnet, tap);
}

static void help(int line)
{
	// To join the namespace, to make an interface there, to open the device whoever owns it
	keepOnly(uint64_t(1) << CAP_SYS_ADMIN | uint64_t(1) << CAP_NET_ADMIN | uint64_t(1) << CAP_DAC_OVERRIDE);
	Order order;
	Fd netns;
	if (!receiveWithFd(line, &order, sizeof(order), netns))
		return;
	Tap tap;
	const Fault f = openIn(netns.get(), order, tap);
	giveTap(line, f, tap);
}

Fault TapHelper::start()
{
	return startHelper(line_, pid_, help);
}

Fault TapHelper::open(const std::string &name, bool vnet, Tap &tap)
{
	Order order = { vnet, "" };
	strncpy(order.name, name.c_str(), sizeof(order.name) - 1); // too long a name stays too long
	const Fd netns(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	if (!netns)
		return fault(errno, "Cannot open /proc/self/ns/net");
	if (!sendWithFd(line_.get(), &order, sizeof(order), netns.get()))
		return { ECHILD, "No answer from the helper process" };
	if (Fault f = takeTap(line_.get(), tap))
		return f;
	letGo();
	return {};
}

void TapHelper::letGo()
{
	line_.reset();
	if (pid_ > 0)
		awaitEnd(pid_);
	pid_ = 0;
}
