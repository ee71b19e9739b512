/* Unread data of a host TCP socket to the guest, without taking it: peeked straight behind a header into a frame. */
#include "abi.h"
#include "checksum.h"
#include "compat.h"
#include "engine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <sys/uio.h>

namespace passt {

enum : uint32_t { HEADER_MAX = 256, TCP_MIN = 20, TCP_PSH = 0x08, CSUM_OFFSET = 16, PROTO_TCP = 6 };

namespace {

/** The frame under construction; its header stays in place from segment to segment. */
struct Builder {
	uint8_t frame[VNET_LEN + FRAME_MAX];
	uint32_t hlen, l4, seq, mss;
	/** Payload octets of the largest frame, a multiple of the MSS. */
	uint32_t most;
	bool v6;

	/** False: not a header of ours. */
	bool begin(const uint8_t *header, uint32_t len, uint32_t segment, bool six)
	{
		const uint32_t ip = VNET_LEN + ETH_LEN;

		hlen = len, mss = segment, v6 = six;
		l4 = (uint32_t)ETH_LEN + (v6 ? 40 : 20);
		if (hlen > HEADER_MAX || hlen < l4 + TCP_MIN || !mss)
			return false;
		memcpy(frame, header, VNET_LEN + hlen);
		if (frame[ip] >> 4 != (v6 ? 6 : 4) || (!v6 && frame[ip] != 0x45) ||
		    (uint32_t)(frame[VNET_LEN + l4 + 12] >> 4) * 4 != hlen - l4)
			return false;
		seq = get32(frame + VNET_LEN + l4 + 4);
		/* The same for both: IPv4 counts its header in the length, IPv6 does not */
		const uint32_t max = 65535 - (hlen - (uint32_t)ETH_LEN);
		most = mss < max ? max / mss * mss : max;
		return true;
	}

	uint8_t *payload() { return frame + VNET_LEN + hlen; }

	/** Lengths, SEQ, PSH and partial checksum for `n` octets of payload; `last` of the batch (regression 51). */
	void seal(uint32_t n, bool last)
	{
		uint8_t *const ip = frame + VNET_LEN + ETH_LEN, *const tcp = frame + VNET_LEN + l4;
		const uint32_t len = hlen - l4 + n;
		Vnet v = {};

		v.flags = VNET_NEEDS_CSUM;
		v.csum_start = (uint16_t)l4;
		v.csum_offset = CSUM_OFFSET;
		if (n > mss) {
			v.gso_type = v6 ? GSO_TCPV6 : GSO_TCPV4;
			v.gso_size = (uint16_t)mss;
			v.hdr_len = (uint16_t)hlen;
		}
		memcpy(frame, &v, sizeof(v));
		if (v6) {
			put16(ip + 4, (uint16_t)len);
		} else {
			put16(ip + 2, (uint16_t)(20 + len));
			put16(ip + 10, 0);
			put16(ip + 10, (uint16_t)~sum_fold(sum_octets(ip, 20)));
		}
		put32(tcp + 4, seq);
		tcp[13] = (uint8_t)(last ? tcp[13] | TCP_PSH : tcp[13] & ~TCP_PSH);
		put16(tcp + CSUM_OFFSET, sum_fold(sum_pseudo(ip, v6, PROTO_TCP, len)));
	}
};

} // namespace

/** What lies behind our peek offset, octets. */
static uint32_t unread(const Sock &s)
{
	int n = 0;

	if (ioctl(s.fd, SIOCINQ, &n) || n < 0 || (uint32_t)n < s.peek_off)
		return 0;
	return (uint32_t)n - s.peek_off;
}

/** recv() behind the peek offset; octets, 0 at the end of the stream, -1 with errno. */
ssize_t Engine::peek_at(const Sock &s, uint8_t *to, size_t n)
{
	static uint8_t skipped[1 << 20];
	std::vector<iovec> iov;
	msghdr m = {};
	ssize_t got;

	if (s.peek_off_kept) {
		do
			got = recv(s.fd, to, n, MSG_PEEK | MSG_DONTWAIT);
		while (got < 0 && errno == EINTR);
		return got;
	}
	/* Older kernels: what the guest has already seen is read again, into a place nobody looks at */
	for (uint32_t left = s.peek_off; left;) {
		const uint32_t part = std::min<uint32_t>(left, sizeof(skipped));
		iov.push_back({skipped, part});
		left -= part;
	}
	iov.push_back({to, n});
	m.msg_iov = iov.data(), m.msg_iovlen = iov.size();
	do
		got = recvmsg(s.fd, &m, MSG_PEEK | MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	if (got > 0 && (size_t)got <= s.peek_off) {
		/* Nothing new. End of stream, or nothing yet? Only the kernel's state can tell. */
		if (s.rdhup && !unread(s))
			return 0;
		errno = EAGAIN;
		return -1;
	}
	return got > 0 ? got - (ssize_t)s.peek_off : got;
}

void Engine::peek(Sock &s, const uint32_t *e)
{
	static Builder b;
	uint32_t left = e[4], sent = 0, flags = 0;
	int error = 0;

	if (s.phase != Phase::Open) {
		uint32_t *const r = event(EV_PEEKED, s);
		r[3] = PEEK_DRAINED;
		r[13] = (uint32_t)(s.error ? s.error : ENOTCONN);
		return;
	}
	if (e[3] > HEADER_MAX || !rings.in_slab(e[2], VNET_LEN + e[3]) ||
	    !b.begin(rings.slab + e[2], e[3], std::min<uint32_t>(e[5], 65535), e[6] & IS_V6))
		return fail(s, EFAULT);

	uint32_t avail = unread(s);
	while (left && avail) {
		const uint32_t want = std::min({left, avail, b.most});
		const ssize_t n = peek_at(s, b.payload(), want);
		if (n <= 0) {
			avail = 0;
			error = n < 0 && errno != EAGAIN ? errno : 0;
			break;
		}
		const auto got = (uint32_t)n;
		b.seal(got, got == left || got == avail || got < want);

		size_t taken = 0;
		const int refused = tap.write(b.frame, VNET_LEN + b.hlen + got, &taken);
		const auto out = (uint32_t)std::min<size_t>(taken, got);
		sent += out, left -= out, b.seq += out;
		s.peek_off += out;
		if (refused) { /* regression 18: back to the first octet that did not go out */
			flags |= PEEK_TAP_FULL | (tap.link.on ? (uint32_t)PEEK_TAP_TELLS : 0);
			if (s.peek_off_kept && !set_int(s.fd, SOL_SOCKET, SO_PEEK_OFF, (int)s.peek_off))
				error = errno;
			break;
		}
		avail -= got;
		/* A full frame: much is coming, so look whether more came. What comes later has its own edge. */
		if (!avail && got == b.most && left)
			avail = unread(s);
	}
	if (!avail && !error && !(flags & PEEK_TAP_FULL)) {
		flags |= PEEK_DRAINED;
		if (s.rdhup && !unread(s)) {
			uint8_t probe;
			const ssize_t n = peek_at(s, &probe, 1);
			if (!n)
				flags |= PEEK_EOF;
			else if (n > 0)
				rewind(s, s.peek_off);
			else if (errno != EAGAIN)
				error = errno;
		}
	}
	uint32_t *const r = event(EV_PEEKED, s);
	r[2] = sent, r[3] = flags, r[13] = (uint32_t)error;
	if (error) /* recv() has taken the error from the socket: nobody else will tell */
		fail(s, error);
}

} // namespace passt
