#include "link.h"
#include "abi.h"
#include "sock.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace passt {

/** Wished for; the kernel gives what its limits allow (socket(7), wmem_max). */
enum : int { SOCKET_BUFFER = 4 << 20 };

int Link::check(int descriptor)
{
	struct stat st;
	int type = 0;
	socklen_t len = sizeof(type);
	sockaddr_storage peer;
	socklen_t peer_len = sizeof(peer);

	if (fstat(descriptor, &st))
		return errno;
	if (!S_ISSOCK(st.st_mode))
		return ENOTSOCK;
	if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &len))
		return errno;
	if (type != SOCK_STREAM)
		return ESOCKTNOSUPPORT;
	return getpeername(descriptor, reinterpret_cast<sockaddr *>(&peer), &peer_len) ? errno : 0;
}

void Link::use(int descriptor)
{
	const int wish = SOCKET_BUFFER;

	close();
	set_nonblocking(descriptor);
	fcntl(descriptor, F_SETFD, FD_CLOEXEC);
	setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &wish, sizeof(wish));
	setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &wish, sizeof(wish));
	if (!in) {
		in.reset(new uint8_t[LINK_IN]);
		out.reset(new uint8_t[LINK_OUT]);
	}
	fd = descriptor;
}

void Link::close()
{
	if (fd >= 0)
		::close(fd);
	fd = -1;
	kept = out_head = out_tail = 0;
	full = refused = whole = false;
	broken = 0, ended = detail = 0;
}

bool Link::resume(const std::string &came, const std::string &unsent)
{
	if (came.size() > LINK_IN || unsent.size() > LINK_OUT)
		return false;
	memcpy(in.get(), came.data(), came.size());
	memcpy(out.get(), unsent.data(), unsent.size());
	kept = came.size(), whole = !came.empty();
	out_head = 0, out_tail = unsent.size();
	return true;
}

void Link::finish(uint32_t why, uint32_t what)
{
	ended = why, detail = what;
	kept = out_head = out_tail = 0;
	full = false;
}

uint8_t *Link::reserve(size_t len, uint32_t *frames)
{
	const size_t each = LINK_HEAD + len;

	if (out_tail + *frames * each > LINK_OUT && !full)
		flush();
	if (out_tail + each > LINK_OUT && out_head) {
		memmove(out.get(), out.get() + out_head, out_tail - out_head);
		out_tail -= out_head, out_head = 0;
	}
	*frames = std::min<uint32_t>(*frames, (uint32_t)((LINK_OUT - out_tail) / each));
	if (!*frames) {
		refused = true;
		return nullptr;
	}
	return out.get() + out_tail + LINK_HEAD;
}

void Link::commit(size_t len)
{
	put32(out.get() + out_tail, (uint32_t)len);
	out_tail += LINK_HEAD + len;
}

void Link::flush()
{
	if (broken)
		out_head = out_tail;
	while (out_head < out_tail && fd >= 0 && !full) {
		const ssize_t n = send(fd, out.get() + out_head, out_tail - out_head, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)) {
			full = true;
			break;
		}
		if (n < 0) {
			/* What it sent before it went is still to be read, up to the end of the stream */
			broken = errno;
			out_head = out_tail;
			break;
		}
		out_head += (size_t)n;
	}
	if (out_head == out_tail)
		out_head = out_tail = 0;
}

void Link::writable()
{
	full = false;
	flush();
}

bool Link::room_again()
{
	if (!refused || full || LINK_OUT - (out_tail - out_head) < LINK_OUT / 2)
		return false;
	refused = false;
	return true;
}

/**
 * Frames in [at, at + n) of the slab, where they stay; segments in a row move together. Return: octets used up; `whole`:
 * there is more, but no room for one more event.
 */
size_t Link::parse(Rings &r, size_t at, size_t n, uint32_t frames, Pcap &pcap)
{
	uint8_t *const begin = r.slab + at, *const end = begin + n;
	uint8_t *p = begin;
	Coalescer c;
	ev::TapFrame *e = nullptr;
	const auto close_frame = [&] {
		if (e)
			c.end(*e);
		e = nullptr;
	};

	whole = false;
	while ((size_t)(end - p) >= LINK_HEAD) {
		const uint32_t len = get32(p);
		uint8_t *const frame = p + LINK_HEAD;
		if (len < ETH_LEN || len > LINK_FRAME_MAX) {
			finish(LINK_BAD_LENGTH, len);
			p = end;
			break;
		}
		if ((size_t)(end - p) < LINK_HEAD + len)
			break;
		const uint16_t sum = sum_fold(sum_octets(frame + ETH_LEN, len - ETH_LEN));
		if (e && c.fits(frame, len, sum)) {
			pcap.received(frame, len, Vnet{}, e->off);
			c.append(frame, len);
		} else {
			/* One event for a run of acknowledgements: the latest has their place */
			if (!e || !c.superseded_by(frame, len, sum)) {
				close_frame();
				if (!frames || !r.room()) {
					whole = true;
					break;
				}
				e = &r.post<ev::TapFrame>(0);
				frames--;
			}
			e->off = (uint32_t)(frame - r.slab);
			e->ones_complement_sum = sum;
			pcap.received(frame, len, Vnet{}, e->off);
			c.begin(frame, len, sum);
		}
		p += LINK_HEAD + len;
	}
	close_frame();
	return (size_t)(p - begin);
}

void Link::read(Rings &r, uint32_t frames, uint32_t rx_limit, Pcap &pcap)
{
	if (fd < 0 || ended || !r.room() || r.rx_left() < LINK_IN || r.rx_used() >= rx_limit)
		return; /* asked again */
	const size_t at = r.rx_next();
	uint8_t *const to = r.slab + at;
	size_t have = kept;

	memcpy(to, in.get(), kept);
	if (!whole) {
		ssize_t n;
		do
			n = recv(fd, to + have, LINK_IN - have, MSG_DONTWAIT);
		while (n < 0 && errno == EINTR);
		if (n <= 0) {
			const int e = n < 0 ? errno : 0;
			if (e == EAGAIN && !broken)
				return;
			return finish(e || broken ? LINK_ERROR : LINK_EOF, (uint32_t)(broken ? broken : e));
		}
		have += (size_t)n, volume += (size_t)n;
	}
	const size_t used = parse(r, at, have, frames, pcap);
	r.rx_take((uint32_t)used);
	kept = ended ? 0 : have - used;
	memcpy(in.get(), to + used, kept);
}

} // namespace passt
