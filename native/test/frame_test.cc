/* Checksums and software segmentation against naive versions. */
#include "harness.h"

static uint16_t naive_sum(const uint8_t *p, size_t n, uint32_t sum = 0)
{
	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

TEST(checksum_is_naive_sum_at_any_address_row_52)
{
	const Octets b = noise(70000);
	for (int i = 0; i < 3000; i++) {
		const size_t off = chance(67), n = chance(i % 50 ? 200 : 66000);
		CHECK(sum_fold(sum_octets(b.data() + off, n)) == naive_sum(b.data() + off, n));
	}
	const Octets ones(65535, 0xff), zeros(64, 0);
	CHECK(sum_fold(sum_octets(ones.data(), ones.size())) == naive_sum(ones.data(), ones.size()));
	CHECK(sum_fold(sum_octets(zeros.data(), zeros.size())) == 0);
	CHECK(sum_fold(UINT64_MAX) == 0xffff);
	/* carries of the starting value are not lost */
	CHECK(sum_fold(sum_octets(ones.data(), 64, UINT64_MAX - 1)) == sum_fold(UINT64_MAX - 1));
}

TEST(copying_sums_and_copies)
{
	const Octets b = noise(70000);
	for (int i = 0; i < 2000; i++) {
		const size_t off = chance(67), at = chance(67), n = chance(i % 50 ? 400 : 66000);
		Octets to(n + at + 1, 0x5a);
		CHECK(sum_fold(copy_octets(to.data() + at, b.data() + off, n, 77)) ==
		      sum_fold(sum_octets(b.data() + off, n, 77)));
		CHECK(std::equal(to.begin() + (std::ptrdiff_t)at, to.end() - 1, b.begin() + (std::ptrdiff_t)off));
		CHECK(to.back() == 0x5a && (!at || to[at - 1] == 0x5a));
	}
}

TEST(complete_checksum_refuses_offsets_outside)
{
	Octets f = noise(100);
	CHECK(!complete_checksum(f.data(), f.size(), 90, 9));
	CHECK(!complete_checksum(f.data(), f.size(), 65535, 65535));
	CHECK(complete_checksum(f.data(), f.size(), 90, 8));
	put16(f.data() + 96, 0);
	CHECK(complete_checksum(f.data(), f.size(), 90, 6));
	CHECK(sum_fold(sum_octets(f.data() + 90, 10)) == 0xffff);
}

static std::vector<Octets> out;
static int collect(void *limit, uint8_t *f, size_t n)
{
	if (limit && out.size() == *static_cast<size_t *>(limit))
		return EAGAIN;
	out.emplace_back(f, f + n);
	return 0;
}

static void check_tcp(bool v6, size_t total, uint16_t mss)
{
	Octets h = tcp_template(v6, 0xfffffff0), f(h.begin() + VNET_LEN, h.end());
	const size_t l4 = ETH_LEN + (v6 ? 40 : 20);
	const Octets data = noise(total);
	f[l4 + 13] = 0x10 | 0x08 | 0x01 | 0x80; /* ACK PSH FIN CWR */
	f.insert(f.end(), data.begin(), data.end());
	Vnet v = {};
	v.flags = VNET_NEEDS_CSUM, v.gso_type = v6 ? GSO_TCPV6 : GSO_TCPV4;
	v.gso_size = mss, v.csum_start = (uint16_t)l4, v.csum_offset = 16;
	size_t payload;
	out.clear();
	CHECK(!segment(f.data(), f.size(), v, collect, nullptr, &payload) && payload == total);
	CHECK(out.size() == (total + mss - 1) / mss);
	Octets all;
	for (size_t i = 0; i < out.size(); i++) {
		const Octets &s = out[i];
		CHECK(l4_sum_ok(s, l4, 6));
		CHECK(get32(s.data() + l4 + 4) == 0xfffffff0 + (uint32_t)all.size());
		CHECK(v6 ? get16(s.data() + 18) == s.size() - 54 : get16(s.data() + 16) == s.size() - 14);
		CHECK(v6 || sum_fold(sum_octets(s.data() + 14, 20)) == 0xffff);
		const bool last = i + 1 == out.size();
		CHECK(s[l4 + 13] == (0x10 | (last ? 0x09 : 0) | (i ? 0 : 0x80)));
		all.insert(all.end(), s.begin() + (std::ptrdiff_t)l4 + 20, s.end());
	}
	CHECK(all == data);
}

TEST(software_tcp_segmentation)
{
	for (const bool v6 : {false, true}) {
		check_tcp(v6, 1, 1460);
		check_tcp(v6, 1460, 1460);
		check_tcp(v6, 1461, 1460);
		check_tcp(v6, 65000, 1448);
		check_tcp(v6, 3001, 1);
	}
}

TEST(software_segmentation_stops_at_refusal)
{
	Octets h = tcp_template(false, 1), f(h.begin() + VNET_LEN, h.end());
	f.resize(f.size() + 5000);
	Vnet v = {};
	v.gso_type = GSO_TCPV4, v.gso_size = 1000;
	size_t limit = 3, payload;
	out.clear();
	CHECK(segment(f.data(), f.size(), v, collect, &limit, &payload) == EAGAIN && payload == 3000);
}

TEST(software_udp_segmentation)
{
	Octets f(14 + 40 + 8);
	put16(f.data() + 12, 0x86dd);
	f[14] = 0x60, f[20] = 17, f[14 + 23] = 1, f[14 + 39] = 2;
	const Octets data = noise(2500);
	f.insert(f.end(), data.begin(), data.end());
	Vnet v = {};
	v.flags = VNET_NEEDS_CSUM, v.gso_type = GSO_UDP_L4, v.gso_size = 1000, v.csum_start = 54, v.csum_offset = 6;
	size_t payload;
	out.clear();
	CHECK(!segment(f.data(), f.size(), v, collect, nullptr, &payload) && out.size() == 3);
	CHECK(get16(out[0].data() + 58) == 1008 && get16(out[2].data() + 58) == 508);
	for (const Octets &s : out)
		CHECK(l4_sum_ok(s, 54, 17));
}

TEST(segmentation_survives_any_header)
{
	for (int i = 0; i < 20000; i++) {
		Octets f = chance(2) ? noise(chance(200)) : tcp_template(chance(2), 0);
		for (int k = 0; k < 4 && !f.empty(); k++)
			f[chance((uint32_t)f.size())] = (uint8_t)chance(256);
		/* an exact heap copy: reading one octet outside is seen */
		uint8_t *const exact = new uint8_t[f.size()];
		std::copy(f.begin(), f.end(), exact);
		Vnet v;
		v.flags = (uint8_t)chance(4), v.hdr_len = (uint16_t)chance(65536), v.gso_size = (uint16_t)chance(300);
		v.gso_type = (uint8_t)(chance(2) ? 1 + chance(5) : chance(256));
		v.csum_start = (uint16_t)chance(chance(2) ? 80 : 65536), v.csum_offset = (uint16_t)chance(65536);
		size_t payload;
		out.clear();
		segment(exact, f.size(), v, collect, nullptr, &payload);
		complete_checksum(exact, f.size(), v.csum_start, v.csum_offset);
		delete[] exact;
	}
}
