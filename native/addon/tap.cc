#include "tap.h"
#include "compat.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace passt {

static_assert(sizeof(Vnet) == VNET_LEN, "struct virtio_net_hdr without num_buffers");

int Tap::use(int descriptor, bool with_vnet)
{
	const int flags = fcntl(descriptor, F_GETFL);
	if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK))
		return errno;

	offloads = 0;
	if (with_vnet) {
		int len = VNET_LEN;
		/* Not a tap but a socket that carries the same frames (tests): no offloads then. */
		const bool tun = !ioctl(descriptor, TUNSETVNETHDRSZ, &len);
		if (!tun && errno != ENOTTY && errno != EINVAL && errno != EOPNOTSUPP)
			return errno;
		/* USO: Linux 6.2. Refused as a whole, so try less each time. */
		static const uint32_t tries[] = {
			OFF_CSUM | OFF_TSO4 | OFF_TSO6 | OFF_USO4 | OFF_USO6, OFF_CSUM | OFF_TSO4 | OFF_TSO6, OFF_CSUM};
		for (const uint32_t t : tries) {
			if (tun && !ioctl(descriptor, TUNSETOFFLOAD, (unsigned long)t)) {
				offloads = t;
				break;
			}
		}
		if (tun && !offloads)
			ioctl(descriptor, TUNSETOFFLOAD, 0ul);
	}
	fd = descriptor, vnet = with_vnet, gone = 0, dropped = 0, drop_errno = 0;
	return 0;
}

int Tap::failed(int error)
{
	switch (error) {
	case EAGAIN:   /* #regression-13, #regression-18, #regression-35: the frame is lost, the tap is not */
	case ENOBUFS:
	case ENOSPC:
	case ENOMEM:
	case EIO:
	case EINVAL:   /* this frame only */
	case EMSGSIZE:
		dropped++;
		drop_errno = error;
		break;
	default:
		gone = error;
	}
	return error;
}

/** Where a frame goes on the link; there it is built, lest it be copied once more. */
uint8_t *Tap::place_link(void *self, size_t len)
{
	uint32_t one = 1;

	return static_cast<Tap *>(self)->link.reserve(std::max<size_t>(len, ETH_MIN), &one);
}

void Tap::commit_link(uint8_t *frame, size_t len)
{
	const size_t padded = std::max<size_t>(len, ETH_MIN); /* #regression-78 */

	memset(frame + len, 0, padded - len);
	pcap.sent(frame, padded, Vnet{});
	link.commit(padded);
}

int Tap::emit_link(void *self, uint8_t *frame, size_t len)
{
	static_cast<Tap *>(self)->commit_link(frame, len);
	return 0;
}

/** Where a frame does not lie in a row in the guest's memory. */
static uint8_t scattered[FRAME_MAX + 1];

uint8_t *Tap::place_vhost(void *self, size_t len)
{
	Tap *const t = static_cast<Tap *>(self);
	const size_t room = NET_HEAD + std::max<size_t>(len, ETH_MIN);

	t->vhost.begin();
	if ((t->place_error = t->vhost.reserve(room, room, t->slot)))
		return nullptr;
	uint8_t *const at = t->vhost.straight(t->slot, room);
	return at ? at + NET_HEAD : scattered;
}

int Tap::emit_vhost(void *self, uint8_t *frame, size_t len)
{
	Tap *const t = static_cast<Tap *>(self);

	if (frame == scattered)
		t->vhost.copy(t->slot, NET_HEAD, frame, len);
	t->pcap.sent(frame, len, Vnet{});
	t->vhost.commit(t->slot, Vnet{}, nullptr, 0, len);
	t->vhost.flush_much();
	return 0;
}

void Tap::capture(const Slot &s, size_t len, const Vnet &v)
{
	vhost.read_back(s, NET_HEAD, scattered, len);
	pcap.sent(scattered, len, v);
}

/** To a guest that does what is left undone. */
int Tap::write_whole(const Vnet &v, const uint8_t *frame, size_t len)
{
	vhost.begin();
	if (const int e = vhost.reserve(NET_HEAD + len, NET_HEAD + len, slot))
		return failed(e);
	vhost.copy(slot, NET_HEAD, frame, len);
	pcap.sent(frame, len, v);
	vhost.commit(slot, v, nullptr, 0, len);
	vhost.flush_much();
	return 0;
}

/** To the guest link, each frame built where it goes. */
int Tap::write_built(const Vnet &v, const uint8_t *frame, size_t len, size_t *payload)
{
	const Place place = vhost.on ? place_vhost : place_link;
	const Emit put = vhost.on ? emit_vhost : emit_link;

	place_error = EAGAIN;
	if (vhost.on && does(v, ether_type(frame) == TYPE_IPV6)) {
		*payload = SIZE_MAX;
		const int e = write_whole(v, frame, len);
		if (e)
			*payload = 0;
		return e;
	}
	if (v.gso_type & (uint8_t)~GSO_ECN) {
		const int e = segment(frame, len, v, put, this, payload, place);
		return e ? failed(e < 0 ? EINVAL : e == EAGAIN ? place_error : e) : 0;
	}
	const size_t start = v.flags & VNET_NEEDS_CSUM ? v.csum_start : len;
	if (start > len || (start < len && start + v.csum_offset + 2 > len))
		return failed(EINVAL);
	uint8_t *const to = place(this, len);
	if (!to)
		return failed(place_error);
	memcpy(to, frame, start);
	if (start < len)
		put_checksum(to + start, v.csum_offset, sum_fold(copy_octets(to + start, frame + start, len - start)));
	*payload = SIZE_MAX;
	return put(this, to, len);
}

int Tap::write_frame(const Vnet &v, const uint8_t *frame, size_t len)
{
	static const uint8_t zeros[ETH_MIN] = {};
	Vnet head = v;
	iovec iov[3];
	int parts = 0;
	size_t want = len;

	if (vnet)
		iov[parts++] = {&head, sizeof(head)}, want += sizeof(head);
	iov[parts++] = {const_cast<uint8_t *>(frame), len};
	if (len < ETH_MIN) /* #regression-78 */
		iov[parts++] = {const_cast<uint8_t *>(zeros), ETH_MIN - len}, want += ETH_MIN - len;
	ssize_t n;
	do
		n = writev(fd, iov, parts);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)want)
		return failed(n < 0 ? errno : EMSGSIZE);
	pcap.sent(frame, len, v);
	return 0;
}

int Tap::emit(void *self, uint8_t *frame, size_t len)
{
	return static_cast<Tap *>(self)->write_frame(Vnet{}, frame, len);
}

bool Tap::does(const Vnet &v, bool v6) const
{
	uint32_t need = v.flags & VNET_NEEDS_CSUM ? (uint32_t)OFF_CSUM : 0;

	switch (v.gso_type & (uint8_t)~GSO_ECN) {
	case GSO_NONE:
		break;
	case GSO_TCPV4:
		need |= OFF_TSO4;
		break;
	case GSO_TCPV6:
		need |= OFF_TSO6;
		break;
	case GSO_UDP_L4:
		need |= v6 ? OFF_USO6 : OFF_USO4;
		break;
	default:
		return false;
	}
	return vnet && (offloads & need) == need;
}

int Tap::write(uint8_t *vnet_frame, size_t len, size_t *payload)
{
	uint8_t *const frame = vnet_frame + VNET_LEN;
	size_t sent = 0;
	Vnet v;

	if (payload)
		*payload = 0;
	const bool nobody = !anybody(); /* as if sent */
	if (nobody && payload)
		*payload = SIZE_MAX;
	if (nobody)
		return 0;
	if (!link.on && !vhost.on && (fd < 0 || gone))
		return ENODEV;
	if (len < VNET_LEN + ETH_LEN || len > VNET_LEN + FRAME_MAX)
		return failed(EINVAL);
	len -= VNET_LEN;
	volume += len;
	memcpy(&v, vnet_frame, sizeof(v));

	int e = 0;
	if (link.on || vhost.on) {
		e = write_built(v, frame, len, &sent);
		if (payload)
			*payload = sent;
		return e;
	}
	if (does(v, ether_type(frame) == TYPE_IPV6)) {
		e = write_frame(v, frame, len);
	} else if (v.gso_type & (uint8_t)~GSO_ECN) {
		e = segment(frame, len, v, emit, this, &sent);
		if (payload)
			*payload = sent;
		return e < 0 ? failed(EINVAL) : e;
	} else {
		if (v.flags & VNET_NEEDS_CSUM && !complete_checksum(frame, len, v.csum_start, v.csum_offset))
			return failed(EINVAL);
		e = write_frame(Vnet{}, frame, len);
	}
	if (!e && payload)
		*payload = SIZE_MAX;
	return e;
}

void Tap::read(Rings &r, uint32_t frames, uint32_t rx_limit)
{
	const uint32_t head = vnet ? (uint32_t)VNET_LEN : 0;

	behind = fd >= 0 && !gone;
	while (frames-- && fd >= 0 && !gone && r.room() && r.rx_left() >= FRAME_ROOM && r.rx_used() < rx_limit) {
		uint8_t *const at = r.slab + r.rx_next();
		ssize_t n;
		do
			n = ::read(fd, at, FRAME_ROOM);
		while (n < 0 && errno == EINTR);
		if (n <= 0) {
			behind = false;
			if (!n)
				gone = EPIPE;
			else if (errno != EAGAIN && errno != EIO)
				gone = errno;
			return;
		}
		if (n < (ssize_t)(head + ETH_LEN) || n > (ssize_t)(head + FRAME_MAX)) {
			dropped++;
			drop_errno = EMSGSIZE;
			continue;
		}
		volume += (uint32_t)n;
		Vnet v = {};
		memcpy(&v, at, head);
		const uint8_t *const frame = at + head;
		const uint32_t len = (uint32_t)n - head;
		auto &e = r.post<ev::TapFrame>(0);
		e.off = r.rx_next() + head;
		e.len = len;
		put_vnet(e, v);
		if (!(v.flags & VNET_NEEDS_CSUM))
			e.ones_complement_sum = sum_fold(sum_octets(frame + ETH_LEN, len - ETH_LEN));
		r.rx_take((uint32_t)n);
		pcap.received(frame, len, v, e.off);
	}
}

} // namespace passt
