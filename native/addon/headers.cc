#include "headers.h"

namespace passt {

bool read_plain(const uint8_t *f, size_t len, Layers &at)
{
	const uint8_t *const ip = f + ETH_LEN;
	uint8_t proto = 0;

	at = {};
	if (len >= ETH_LEN + IPV4_LEN && ether_type(f) == TYPE_IPV4) {
		if (ip[0] != 0x45 || get16(ip + IPV4_FRAGMENT) & ~IPV4_DF || get16(ip + IPV4_TOTAL) != len - ETH_LEN)
			return false;
		at.l4 = ETH_LEN + IPV4_LEN, proto = ip[IPV4_PROTO];
	} else if (len >= ETH_LEN + IPV6_LEN && ether_type(f) == TYPE_IPV6) {
		if (ip[0] >> 4 != 6 || get16(ip + IPV6_PAYLOAD) != len - ETH_LEN - IPV6_LEN)
			return false;
		at.v6 = true, at.l4 = ETH_LEN + IPV6_LEN, proto = ip[IPV6_NEXT];
	}
	const uint8_t *const l4 = f + at.l4;
	if (proto == IPPROTO_TCP && len >= at.l4 + TCP_LEN) {
		at.data = at.l4 + tcp_length(l4);
		return true;
	}
	at.udp = true, at.data = at.l4 + UDP_LEN;
	return proto == IPPROTO_UDP && len >= at.data && get16(l4 + UDP_LENGTH) == len - at.l4 && get16(l4 + UDP_CSUM);
}

/** An extension header of the common format (RFC 6564 §4, IANA), or a fragment's, whose second octet is 0 (RFC 8200 §4.5). */
static bool is_extension(uint8_t h)
{
	return h == 0 || h == 43 || h == 44 || h == 60 || h == 135 || h == 139 || h == 140 || h == 253 || h == 254;
}

/** Which protocol stands `n` octets behind the start of IPv6's header, by that and the extension headers in between; -1: none does. */
static int protocol_at(const uint8_t *ip, size_t n)
{
	uint8_t next = ip[IPV6_NEXT];
	size_t at = IPV6_LEN;

	while (at < n && is_extension(next)) {
		const uint8_t *const h = ip + at;
		at += next == 44 ? (size_t)8 : (h[1] + (size_t)1) * 8;
		next = h[0];
	}
	return at == n ? next : -1;
}

bool read_headers(const uint8_t *f, size_t len, bool udp, size_t l4, Layers &at)
{
	const size_t ip = ETH_LEN;

	if (len < ip + IPV4_LEN)
		return false;
	at.v6 = ether_type(f) == TYPE_IPV6, at.udp = udp;
	if (f[ip] >> 4 != (at.v6 ? 6 : 4) || (!at.v6 && ether_type(f) != TYPE_IPV4))
		return false;
	const size_t iph = at.v6 ? (size_t)IPV6_LEN : ipv4_length(f + ip);
	at.l4 = l4 == BEHIND_IP ? ip + iph : l4;
	if (iph < IPV4_LEN || at.l4 < ip + iph || (!at.v6 && at.l4 != ip + iph))
		return false;
	if (at.l4 + (udp ? UDP_LEN : TCP_LEN) > len)
		return false;
	const size_t l4h = udp ? (size_t)UDP_LEN : tcp_length(f + at.l4);
	at.data = at.l4 + l4h;
	return (udp || l4h >= TCP_LEN) && at.data <= len &&
	       (at.v6 ? protocol_at(f + ip, at.l4 - ip) : (int)f[ip + IPV4_PROTO]) == at.protocol();
}

bool same_path(const uint8_t *a, const uint8_t *b, bool v6)
{
	const auto same = [&](size_t from, size_t octets) { return !memcmp(a + ETH_LEN + from, b + ETH_LEN + from, octets); };

	if (memcmp(a, b, ETH_LEN))
		return false;
	return v6 ? same(0, 4) && same(IPV6_NEXT, 2 + 32)
		  : same(IPV4_TOS, 1) && same(IPV4_FRAGMENT, 2) && same(IPV4_TTL, 2) && same(IPV4_ADDRESSES, 8);
}

bool complete_checksum(uint8_t *frame, size_t len, size_t csum_start, size_t csum_offset)
{
	if (csum_start + csum_offset + 2 > len)
		return false;
	put_checksum(frame + csum_start, csum_offset, sum_fold(sum_octets(frame + csum_start, len - csum_start)));
	return true;
}

bool sums_right(const uint8_t *frame, size_t len, const Layers &at, uint16_t sum)
{
	const uint16_t header = sum_fold(sum_words(frame + ETH_LEN, at.l4 - ETH_LEN));

	if (!at.v6 && header != 0xffff)
		return false;
	/* The header's share taken off again: its complement added */
	const uint32_t all = (uint32_t)sum + (uint16_t)~header + sum_fold(at.pseudo(frame, len));
	return ((all & 0xffff) + (all >> 16)) % 0xffff == 0;
}

} // namespace passt
