/* Unread data of a host TCP socket to the guest, without taking it: peeked straight behind a header into a frame. */
#include "peek.h"
#include "compat.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <sys/uio.h>

namespace passt {

/** For the guest link: octets peeked at once, and segments that they are read to. */
enum : uint32_t { LINK_AT_ONCE = 512u << 10, LINK_SEGMENTS = 96 };
/** The largest part that one look takes: no share is cut finer. */
enum : uint32_t { LOOK_MAX = 65536 };

bool Header::begin(const uint8_t *header, uint32_t length, uint32_t segment, bool six)
{
	len = length, mss = segment;
	if (len > HEADER_MAX || !mss)
		return false;
	memcpy(octets, header, len);
	if (!read_headers(octets, len, false, BEHIND_IP, at) || at.v6 != six || at.data != len ||
	    at.l4 != ETH_LEN + (six ? IPV6_LEN : IPV4_LEN))
		return false;
	seq = get32(octets + at.l4 + TCP_SEQ);
	return true;
}

uint32_t Header::most() const
{
	const uint32_t max = (uint32_t)(IP_MAX + ETH_LEN) - len;
	return mss < max ? max / mss * mss : max;
}

void Header::write(uint8_t *frame, uint32_t behind, uint32_t n, uint32_t index, bool last) const
{
	uint8_t *const id = frame + ETH_LEN + IPV4_ID, *const tcp = frame + at.l4;

	memcpy(frame, octets, len);
	if (!at.v6)
		put16(id, (uint16_t)(get16(id) + index));
	put_lengths(frame, at, len + n);
	put32(tcp + TCP_SEQ, seq + behind);
	tcp[TCP_FLAGS] = (uint8_t)(last ? tcp[TCP_FLAGS] | TCP_PSH : tcp[TCP_FLAGS] & ~TCP_PSH);
	put_pseudo(frame, at, len + n);
}

void Peeks::drop(size_t n)
{
	head += n;
	if (head * 2 < all.size())
		return;
	all.erase(all.begin(), all.begin() + (std::ptrdiff_t)head);
	head = 0;
}

/** What lies behind our peek offset, octets. */
static uint32_t unread(const Sock &s)
{
	int n = 0;

	if (ioctl(s.fd, SIOCINQ, &n) || n < 0 || (uint32_t)n < s.peek_off)
		return 0;
	return (uint32_t)n - s.peek_off;
}

/** For octets that nobody looks at: older kernels have no peek offset, so what was seen is read again in front. */
enum : uint32_t { SKIPPED = 1u << 20 };
static uint32_t seen_again(const Sock &s)
{
	return s.peek_off_kept ? 0 : s.peek_off;
}

/** recvmsg() behind the peek offset; octets, 0 at the end of the stream, -1 with errno. */
static ssize_t peek_at(const Sock &s, iovec *to, size_t parts)
{
	static uint8_t skipped[SKIPPED];
	std::vector<iovec> iov;
	msghdr m = {};
	ssize_t got;

	m.msg_iov = to, m.msg_iovlen = parts;
	const uint32_t seen = seen_again(s);
	if (seen) {
		for (uint32_t left = seen; left;) {
			const uint32_t part = std::min<uint32_t>(left, SKIPPED);
			iov.push_back({skipped, part});
			left -= part;
		}
		iov.insert(iov.end(), to, to + parts);
		m.msg_iov = iov.data(), m.msg_iovlen = iov.size();
	}
	/* We look where there is something, so EAGAIN is nothing that the kernel says of itself; and no edge would follow it */
	int again = 1;
	do
		got = recvmsg(s.fd, &m, MSG_PEEK | MSG_DONTWAIT);
	while (got < 0 && (errno == EINTR || (errno == EAGAIN && again--)));
	if (got > 0 && (size_t)got <= seen) {
		/* Nothing new. End of stream, or nothing yet? Only the kernel's state can tell. */
		if (s.rdhup && !unread(s))
			return 0;
		errno = EAGAIN;
		return -1;
	}
	return got > 0 ? got - (ssize_t)seen : got;
}

/** What one look at the socket came to. */
struct Peeked {
	/** Octets, 0 at the end of the stream, -1 with errno. `whole`: as many as one look takes. */
	ssize_t got;
	bool whole;
	/** Octets that went out. `refused`: the rest did not. */
	uint32_t out;
	bool refused;
};

/** One frame to the tap, which cuts it into segments. `left`: of the batch, `avail`: in the socket. */
static Peeked peek_to_tap(Tap &tap, const Sock &s, const Header &h, uint32_t left, uint32_t avail)
{
	static uint8_t frame[VNET_LEN + FRAME_MAX];
	const uint32_t want = std::min({left, avail, h.most()});
	iovec iov = {frame + VNET_LEN + h.len, want};
	Peeked p = {peek_at(s, &iov, 1), false, 0, false};

	if (p.got <= 0)
		return p;
	const auto got = (uint32_t)p.got;
	Vnet v = {};
	v.flags = VNET_NEEDS_CSUM;
	v.csum_start = (uint16_t)h.at.l4;
	v.csum_offset = TCP_CSUM;
	if (got > h.mss) {
		v.gso_type = h.at.v6 ? GSO_TCPV6 : GSO_TCPV4;
		v.gso_size = (uint16_t)h.mss;
		v.hdr_len = (uint16_t)h.len;
	}
	memcpy(frame, &v, sizeof(v));
	h.write(frame + VNET_LEN, 0, got, 0, got == left || got == avail || got < want);

	size_t taken = 0;
	p.whole = got == h.most();
	p.refused = tap.write(frame, VNET_LEN + h.len + got, &taken);
	p.out = (uint32_t)std::min<size_t>(taken, got);
	return p;
}

/** Segments into the link's buffer: read to where they stay, each behind room for its header. */
static Peeked peek_to_link(Tap &tap, const Sock &s, const Header &h, uint32_t left, uint32_t avail)
{
	iovec iov[LINK_SEGMENTS];
	/* An IP packet may be shorter than the MSS that the guest announced */
	const uint32_t mss = std::min(h.mss, h.most());
	const size_t longest = std::max<size_t>(h.len + mss, ETH_MIN), stride = LINK_HEAD + longest;
	const uint32_t most = std::clamp<uint32_t>(LINK_AT_ONCE / mss, 1, LINK_SEGMENTS);
	uint32_t want = std::min(left, avail), segments = std::min(most, (want + mss - 1) / mss);
	uint8_t *const to = tap.link.reserve(longest, &segments);
	Peeked p = {-1, false, 0, !to};

	if (!to)
		return p;
	want = std::min(want, segments * mss);
	for (uint32_t i = 0, at = 0; i < segments; i++, at += mss)
		iov[i] = {to + i * stride + h.len, std::min(mss, want - at)};
	p.got = peek_at(s, iov, segments);
	if (p.got <= 0)
		return p;
	const auto got = (uint32_t)p.got;
	const bool last = got == left || got == avail || got < want;
	for (uint32_t i = 0, at = 0; at < got; i++, at += mss) {
		uint8_t *const frame = to + i * stride;
		const uint32_t n = std::min(mss, got - at);
		h.write(frame, at, n, i, last && at + n == got);
		complete_checksum(frame, h.len + n, h.at.l4, TCP_CSUM);
		tap.commit_link(frame, h.len + n);
	}
	tap.link.flush();
	p.whole = segments == most && got == want;
	p.out = got;
	return p;
}

/** Octets of a turn's look, frames of it, and parts of the guest's memory that recvmsg() takes (UIO_MAXIOV). */
enum : uint32_t { GUEST_AT_ONCE = 512u << 10, GUEST_FRAMES = 128, GUEST_PARTS = 1024 };

/** Into the guest's own buffers, behind room for headers: whole frames where the guest cuts them itself, else segments. */
static Peeked peek_to_guest(Tap &tap, const Sock &s, const Header &h, uint32_t left, uint32_t avail)
{
	static std::vector<iovec> iov;
	static Slot slots[GUEST_FRAMES];
	static uint32_t sizes[GUEST_FRAMES];
	Port &port = tap.vhost;
	Vnet whole = {}, one = {};
	one.csum_start = (uint16_t)h.at.l4, one.csum_offset = TCP_CSUM;
	one.flags = VNET_NEEDS_CSUM;
	whole = one;
	whole.gso_type = h.at.v6 ? GSO_TCPV6 : GSO_TCPV4;
	whole.gso_size = (uint16_t)h.mss;
	whole.hdr_len = (uint16_t)h.len;
	const bool cuts = tap.does(whole, h.at.v6), sums = tap.does(one, h.at.v6);
	const uint32_t most = h.most(), mss = std::min(h.mss, most), each = cuts ? most : mss, head = NET_HEAD + h.len;
	const uint32_t want = std::min({left, avail, std::max<uint32_t>(GUEST_AT_ONCE, each)});
	const size_t parts_max = GUEST_PARTS - std::min<size_t>((seen_again(s) + SKIPPED - 1) / SKIPPED, GUEST_PARTS / 2);
	uint32_t frames = 0, planned = 0;
	int e = 0;

	iov.clear(), port.begin();
	while (planned < want && frames < GUEST_FRAMES) {
		const uint32_t n = std::min(each, want - planned);
		Slot &slot = slots[frames];
		if ((e = port.reserve(head + std::min(n, mss), head + n, slot)))
			break;
		const auto room = (uint32_t)std::min<uint64_t>(slot.room - head, n);
		uint32_t size = room == n ? n : room / mss * mss;
		const size_t parts = iov.size();
		port.parts(slot, head, size, iov);
		const bool many = iov.size() > parts_max;
		if (many) {
			iov.resize(parts);
			if (frames)
				break;
			size = std::min(size, mss);
			port.parts(slot, head, size, iov);
			if (iov.size() > parts_max)
				break;
		}
		/* The guest may give buffers meanwhile, and the next frame begins where this one ends */
		port.shorten(slot, head + size);
		sizes[frames++] = size;
		planned += size;
		if (many)
			break;
	}
	/* Of buffers that are too small, or in too many parts, the tap makes what can be made */
	if (!frames)
		return e == EAGAIN ? Peeked{-1, false, 0, true} : peek_to_tap(tap, s, h, std::min(left, mss), avail);
	Peeked p = {peek_at(s, iov.data(), iov.size()), false, 0, false};
	if (p.got < 0 && errno == EFAULT) {
		port.rx.fail(VRING_BAD_MEMORY, 0);
		p.refused = true;
	}
	if (p.got <= 0)
		return p;
	const auto got = (uint32_t)p.got;
	const bool last = got == left || got == avail || got < want;
	for (uint32_t i = 0, at = 0; at < got; at += sizes[i++]) {
		const uint32_t n = std::min(sizes[i], got - at);
		const Slot &slot = slots[i];
		uint8_t headers[HEADER_MAX];
		h.write(headers, at, n, at / mss, last && at + n == got);
		if (!sums)
			put_checksum(headers + h.at.l4, TCP_CSUM,
				     sum_both(sum_fold(sum_octets(headers + h.at.l4, h.len - h.at.l4)), sum_fold(port.sum(slot, head, n))));
		port.commit(slot, n > mss ? whole : sums ? one : Vnet{}, headers, h.len, h.len + n);
		if (tap.pcap.on())
			tap.capture(slot, h.len + n, n > mss ? whole : sums ? one : Vnet{});
	}
	port.begin();
	port.flush_much();
	/* An answer is not much: who sent it waits for us */
	p.whole = got == planned && planned == want && want >= most;
	p.out = got;
	return p;
}

/** Up to `left` octets of what is there; `avail` of them are known. EV_PEEKED. Return: octets that went out. */
uint32_t Peeker::peek_now(Sock &s, Header &h, uint32_t left, uint32_t avail)
{
	/* Frames for a client that is not there vanish in the tap */
	const auto look = !tap.anybody() ? peek_to_tap : tap.vhost.on ? peek_to_guest : tap.link.on ? peek_to_link : peek_to_tap;
	uint32_t sent = 0, flags = 0;
	int error = 0;

	while (left && avail) {
		const Peeked p = look(tap, s, h, left, avail);
		if (p.got <= 0 && !p.refused) {
			avail = 0;
			error = p.got < 0 && errno != EAGAIN ? errno : 0;
			break;
		}
		sent += p.out, left -= p.out, h.seq += p.out;
		s.peek_off += p.out;
		if (p.refused) { /* #regression-18: back to the first octet that did not go out */
			flags |= PEEK_TAP_FULL | (tap.tells() ? (uint32_t)PEEK_TAP_TELLS : 0);
			/* The kernel's offset has moved where something was read */
			if (p.got > (ssize_t)p.out && s.peek_off_kept && !set_int(s.fd, SOL_SOCKET, SO_PEEK_OFF, (int)s.peek_off))
				error = errno;
			break;
		}
		avail -= p.out;
		if (!tap.takes_bulk())
			break;
		/* As much as one look takes: much is coming, so look whether more came. What comes later has its own edge. */
		if (!avail && p.whole && left)
			avail = unread(s);
	}
	if (!avail && !error && !(flags & PEEK_TAP_FULL)) {
		flags |= PEEK_DRAINED;
		if (s.broken) {
			flags |= s.fin && !unread(s) ? (uint32_t)PEEK_EOF : 0;
		} else if (s.rdhup && !unread(s)) {
			uint8_t probe;
			iovec iov = {&probe, 1};
			const ssize_t n = peek_at(s, &iov, 1);
			if (!n)
				flags |= PEEK_EOF, s.fin = true;
			else if (n > 0)
				tcp.rewind(s, s.peek_off);
			else if (errno != EAGAIN)
				error = errno;
		}
	}
	/* recv() has taken the error from the socket: nobody else will tell */
	if (error && table.keeps(s, error))
		error = 0;
	auto &r = table.event<ev::Peeked>(s);
	r.octets = sent, r.flags = flags, r.error = (uint32_t)error;
	if (error)
		table.fail(s, error);
	return sent;
}

void Peeker::peek(Sock &s, const fx::Peek &e)
{
	Peek p = {e.handle, s.generation, e.budget, {}};

	if (s.phase != Phase::Open) {
		auto &r = table.event<ev::Peeked>(s);
		r.flags = PEEK_DRAINED;
		r.error = (uint32_t)(s.error ? s.error : ENOTCONN);
		return;
	}
	if (e.header_len > HEADER_MAX || !rings.in_slab(e.header_off, VNET_LEN + e.header_len) ||
	    !p.header.begin(rings.slab + e.header_off + VNET_LEN, e.header_len, std::min<uint32_t>(e.mss, 65535), e.flags & IS_V6))
		return table.fail(s, EFAULT);
	const uint32_t avail = unread(s);
	if (avail > PEEK_LITTLE || little + avail > PEEK_LITTLE_ALL || !tap.takes_bulk())
		return peeks.add(p, [this](const Peek &q) { return table.generation(q.handle) == q.generation; });
	little += avail;
	peek_now(s, p.header, std::min<uint32_t>(p.budget, PEEK_LITTLE), avail);
}

void Peeker::go_on()
{
	const auto n = (uint32_t)peeks.size();
	uint32_t left = PEEK_ALL, done = 0;

	for (; done < n && left >= LOOK_MAX && tap.takes_bulk(); done++) {
		Peek &p = peeks[done];
		if (table.generation(p.handle) != p.generation)
			continue;
		Sock &s = table.at(p.handle);
		if (s.phase == Phase::Failed) /* that was told */
			continue;
		/* Whole frames; a share holds one */
		const uint32_t share = std::min(left, std::max<uint32_t>(PEEK_SHARE, PEEK_ALL / n)), most = p.header.most();
		left -= peek_now(s, p.header, std::min(p.budget, share / most * most), unread(s));
	}
	peeks.drop(done);
	little = 0;
}

} // namespace passt
