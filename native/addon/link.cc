#include "link.h"
#include "abi.h"
#include "checksum.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace passt {

/** Octets a frame needs in the slab: one that grows, to any length. */
enum : uint32_t { SLAB_ROOM = FRAME_MAX };
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
	const int flags = fcntl(descriptor, F_GETFL), wish = SOCKET_BUFFER;

	close();
	fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
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
	in_head = in_tail = out_head = out_tail = 0;
	full = refused = more_in = false;
	broken = 0, ended = detail = 0;
}

void Link::finish(uint32_t why, uint32_t what)
{
	ended = why, detail = what;
	in_head = in_tail = out_head = out_tail = 0;
	full = false;
}

uint8_t *Link::reserve(size_t len)
{
	const size_t want = LINK_HEAD + len;

	if (out_tail + want > LINK_OUT && !full)
		flush();
	if (out_tail + want > LINK_OUT && out_head) {
		memmove(out.get(), out.get() + out_head, out_tail - out_head);
		out_tail -= out_head, out_head = 0;
	}
	if (out_tail + want > LINK_OUT) {
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
			broken = errno, more_in = true;
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

/** Frames out of the buffer into the slab. False: stopped for want of room, a whole frame may be left. */
bool Link::parse(Rings &r, uint32_t &frames, uint32_t rx_limit, Pcap &pcap)
{
	Coalescer c;
	uint32_t *e = nullptr;
	bool all = true;
	Vnet v = {};
	const auto close_frame = [&] {
		if (!e)
			return;
		e[3] = (uint32_t)c.length();
		if (c.end(v)) {
			e[4] = v.flags | (uint32_t)v.gso_type << 8;
			e[5] = v.gso_size;
			e[6] = v.csum_start | (uint32_t)v.csum_offset << 16;
			e[7] = 0;
		}
		r.rx_take((uint32_t)c.length());
		e = nullptr;
	};

	while (in_tail - in_head >= LINK_HEAD) {
		const uint8_t *const at = in.get() + in_head;
		const uint32_t len = get32(at);
		if (len < ETH_LEN || len > LINK_FRAME_MAX) {
			close_frame();
			finish(LINK_BAD_LENGTH, len);
			return true;
		}
		if (in_tail - in_head < LINK_HEAD + len)
			break;
		const uint8_t *const frame = at + LINK_HEAD;
		if (!e || !c.add(frame, len)) {
			close_frame();
			if (!frames || !r.room() || r.rx_left() < SLAB_ROOM || r.rx_used() >= rx_limit) {
				all = false;
				break;
			}
			uint8_t *const to = r.slab + r.rx_next();
			memcpy(to, frame, len);
			const uint16_t sum = sum_fold(sum_octets(to + ETH_LEN, len - ETH_LEN));
			e = r.post(EV_TAP_FRAME, 0);
			e[2] = r.rx_next();
			e[7] = sum;
			c.begin(to, len, sum);
			frames--;
		}
		pcap.received(frame, len, Vnet{}, e[2]);
		in_head += LINK_HEAD + len;
	}
	close_frame();
	return all;
}

void Link::read(Rings &r, uint32_t frames, uint32_t rx_limit, Pcap &pcap)
{
	more_in = false;
	if (fd < 0 || ended)
		return;
	if (!parse(r, frames, rx_limit, pcap)) {
		more_in = true;
		return;
	}
	if (ended || !frames || !r.room())
		return; /* level-triggered: asked again */
	if (in_head) {
		memmove(in.get(), in.get() + in_head, in_tail - in_head);
		in_tail -= in_head, in_head = 0;
	}
	ssize_t n;
	do
		n = recv(fd, in.get() + in_tail, LINK_IN - in_tail, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		in_tail += (size_t)n;
		more_in = !parse(r, frames, rx_limit, pcap) || broken;
	} else if (!n) {
		finish(broken ? LINK_ERROR : LINK_EOF, (uint32_t)broken);
	} else if (errno != EAGAIN || broken) {
		finish(LINK_ERROR, (uint32_t)(broken ? broken : errno));
	}
}

} // namespace passt
