#include "agent.h"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/uio.h>

#include "protocol.h"

/** Send one message, never waiting. Returns 0 or errno. */
static int transmit(int socket, const std::string &data, const std::vector<Fd> &passed)
{
	iovec iov = { const_cast<char *>(data.data()), data.size() };
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * PASSED_MAX)] = {};
	msghdr msg = {};
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	if (!passed.empty()) { // never more than PASSED_MAX
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * passed.size());
		cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * passed.size());
		for (size_t i = 0; i < passed.size(); i++) {
			const int fd = passed[i].get();
			memcpy(CMSG_DATA(c) + i * sizeof(fd), &fd, sizeof(fd));
		}
	}
	ssize_t n;
	do
		n = sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? errno : 0;
}

static std::string replyHead(uint32_t kind, int err, uint32_t flags)
{
	std::string s;
	putU32(s, kind);
	putU32(s, static_cast<uint32_t>(err));
	putU32(s, flags);
	return s;
}

void Agent::reply(uint32_t kind, const Fault &f, Answer &&a)
{
	if (f)
		return post({ replyHead(kind, f.err, 0) + f.text, {}, {} });
	const Fault refused = fault(ETOOMANYREFS, "Cannot hand over descriptors");
	std::string without = a.passed.empty() ? std::string() : replyHead(kind, refused.err, 0) + refused.text;
	post({ replyHead(kind, 0, a.flags) + a.body, std::move(without), std::move(a.passed) });
}

void Agent::post(Message &&m)
{
	unsent_ = std::move(m);
	flush();
}

void Agent::flush()
{
	int err = transmit(ctl_.get(), unsent_->data, unsent_->passed);
	if (err && err != EAGAIN && !unsent_->passed.empty()) {
		// So many are on their way already that the user may have no more (unix(7), ETOOMANYREFS), or memory is short
		unsent_ = Message{ unsent_->without, {}, {} };
		err = transmit(ctl_.get(), unsent_->data, {});
	}
	if (err == EAGAIN) {
		const int64_t now = monotonicMs();
		if (stalledAt_ < 0)
			stalledAt_ = now + STALLED_MS;
		if (now < stalledAt_)
			return;
	}
	unsent_.reset();
	stalledAt_ = -1;
	// One that does not fetch its replies is out of its mind, and we must stay able to end it
	if (err)
		engineGone();
}
