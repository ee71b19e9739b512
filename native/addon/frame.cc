#include "frame.h"

#include <cerrno>
#include <cstring>

namespace passt {

/** The headers of what is to be cut. */
static bool layers_of(const uint8_t *f, size_t len, const Vnet &v, Layers &at)
{
	const uint8_t type = v.gso_type & (uint8_t)~GSO_ECN;
	const bool udp = type == GSO_UDP_L4;

	return v.gso_size && read_headers(f, len, udp, v.flags & VNET_NEEDS_CSUM ? v.csum_start : (size_t)BEHIND_IP, at) &&
	       (udp || type == (at.v6 ? GSO_TCPV6 : GSO_TCPV4));
}

bool can_segment(const uint8_t *frame, size_t len, const Vnet &v)
{
	Layers at;
	return len <= FRAME_MAX && layers_of(frame, len, v, at);
}

int segment(const uint8_t *frame, size_t len, const Vnet &v, Emit emit, void *to, size_t *payload, Place place)
{
	static uint8_t here[FRAME_MAX + 1];
	Layers at;

	*payload = 0;
	if (len > FRAME_MAX || !layers_of(frame, len, v, at))
		return -1;
	const uint8_t last_flags = at.udp ? 0 : frame[at.l4 + TCP_FLAGS];
	const uint32_t seq = at.udp ? 0 : get32(frame + at.l4 + TCP_SEQ);
	const uint16_t id = get16(frame + ETH_LEN + IPV4_ID);
	const size_t total = len - at.data;

	for (size_t done = 0, i = 0; done < total || !i; i++) {
		const size_t n = total - done < v.gso_size ? total - done : v.gso_size;
		const size_t end = at.data + n;
		const bool last = done + n == total;

		uint8_t *const out = place ? place(to, end) : here;
		if (!out)
			return EAGAIN;
		memcpy(out, frame, at.data);
		const uint64_t data = copy_octets(out + at.data, frame + at.data + done, n);
		if (!at.v6)
			put16(out + ETH_LEN + IPV4_ID, (uint16_t)(id + i));
		put_lengths(out, at, end);
		if (!at.udp) {
			put32(out + at.l4 + TCP_SEQ, seq + (uint32_t)done);
			uint8_t flags = last_flags;
			if (!last)
				flags &= (uint8_t)~(TCP_FIN | TCP_PSH);
			if (i)
				flags &= (uint8_t)~TCP_CWR;
			out[at.l4 + TCP_FLAGS] = flags;
		}
		put_sum(out, at, end, data);
		if (const int e = emit(to, out, end))
			return e;
		done += n;
		*payload = done;
	}
	return 0;
}

} // namespace passt
