/* Segments put together, and cut again by segment(): segment(coalesce(x)) = x. */
#include "../addon/coalesce.h"
#include "harness.h"

namespace {

/** A whole TCP segment, checksums right. */
Octets tcp_frame(bool v6, uint32_t seq, size_t octets, uint8_t flags = 0x10, uint16_t id = 0, const Octets &options = {})
{
	Octets t = tcp_template(v6, seq), f(t.begin() + VNET_LEN, t.end());
	const size_t l4 = ETH_LEN + (v6 ? 40 : 20);
	const Octets data = noise(octets);

	f.insert(f.end(), options.begin(), options.end());
	f.insert(f.end(), data.begin(), data.end());
	f[l4 + 12] = (uint8_t)((20 + options.size()) / 4 << 4), f[l4 + 13] = flags;
	if (v6) {
		put16(f.data() + ETH_LEN + 4, (uint16_t)(f.size() - l4));
	} else {
		put16(f.data() + ETH_LEN + 2, (uint16_t)(f.size() - ETH_LEN));
		put16(f.data() + ETH_LEN + 4, id);
	}
	return f;
}
/** The checksums again, after a change. */
Octets seal(Octets f)
{
	uint8_t *const ip = f.data() + ETH_LEN;
	const bool v6 = ip[0] >> 4 == 6;
	const size_t l4 = ETH_LEN + (v6 ? 40 : 20);

	if (!v6) {
		put16(ip + 10, 0);
		put16(ip + 10, (uint16_t)~sum_fold(sum_octets(ip, 20)));
	}
	const uint8_t proto = ip[v6 ? 6 : 9];
	const size_t field = l4 + (proto == 17 ? 6 : 16);
	put16(f.data() + field, 0);
	const uint64_t pseudo = sum_pseudo(ip, v6, proto, (uint32_t)(f.size() - l4));
	const auto sum = (uint16_t)~sum_fold(sum_octets(f.data() + l4, f.size() - l4, pseudo));
	put16(f.data() + field, !sum && proto == 17 ? 0xffff : sum);
	return f;
}
/** A whole datagram. */
Octets udp_frame(bool v6, size_t octets, uint16_t id)
{
	Octets f = tcp_frame(v6, 0, octets, 0, id);
	const size_t l4 = ETH_LEN + (v6 ? 40 : 20);

	f.erase(f.begin() + (std::ptrdiff_t)l4 + 8, f.begin() + (std::ptrdiff_t)l4 + 20);
	f[ETH_LEN + (v6 ? 6 : 9)] = 17;
	put16(f.data() + ETH_LEN + (v6 ? 4 : 2), (uint16_t)(f.size() - (v6 ? l4 : ETH_LEN)));
	put16(f.data() + l4 + 4, (uint16_t)(f.size() - l4));
	return seal(f);
}

struct Joined {
	Octets frame;
	Vnet v;
	bool many;
};
/** What becomes of frames in a row. */
std::vector<Joined> coalesce(const std::vector<Octets> &frames)
{
	std::vector<Joined> out;
	Octets stream; /* where they stand behind their lengths, as on the link */
	for (const Octets &f : frames) {
		stream.resize(stream.size() + 4);
		stream.insert(stream.end(), f.begin(), f.end());
	}
	Coalescer c;
	uint8_t *p = stream.data(), *first = nullptr;
	const auto flush = [&] {
		if (!first)
			return;
		Joined j = {{}, {}, false};
		j.many = c.end(j.v);
		j.frame.assign(first, first + c.length());
		out.push_back(j);
	};
	for (const Octets &f : frames) {
		p += 4;
		const uint16_t sum = sum_fold(sum_octets(p + ETH_LEN, f.size() - ETH_LEN));
		if (first && c.fits(p, f.size(), sum)) {
			c.append(p, f.size());
		} else {
			flush();
			c.begin(first = p, f.size(), sum);
		}
		p += f.size();
	}
	flush();
	return out;
}

std::vector<Octets> cut;
int collect(void *, uint8_t *f, size_t n)
{
	cut.emplace_back(f, f + n);
	return 0;
}
std::vector<Octets> segmented(std::vector<Joined> joined)
{
	cut.clear();
	for (Joined &j : joined) {
		size_t payload;
		if (j.many)
			CHECK(!segment(j.frame.data(), j.frame.size(), j.v, collect, nullptr, &payload));
		else
			cut.push_back(j.frame);
	}
	return cut;
}
/** Two frames are never one. */
void apart(const Octets &a, const Octets &b)
{
	const auto j = coalesce({a, b});
	CHECK(j.size() == 2 && !j[0].many && !j[1].many && j[0].frame == a && j[1].frame == b);
}

} // namespace

TEST(segments_in_a_row_become_one)
{
	for (const bool v6 : {false, true}) {
		std::vector<Octets> in;
		uint32_t seq = 0xffffff00;
		for (int i = 0; i < 5; i++, seq += 1000)
			in.push_back(seal(tcp_frame(v6, seq, 1000, 0x10, (uint16_t)(0xfffe + i))));
		in.push_back(seal(tcp_frame(v6, seq, 300, 0x19, 3)));
		const auto j = coalesce(in);
		CHECK(j.size() == 1 && j[0].many && j[0].v.gso_size == 1000 && j[0].frame.size() == in[0].size() + 4300);
		CHECK(j[0].v.gso_type == (v6 ? GSO_TCPV6 : GSO_TCPV4) && j[0].v.flags == VNET_NEEDS_CSUM);
		CHECK(segmented(j) == in);
	}
}

TEST(segment_of_coalesce_is_the_identity)
{
	for (int round = 0; round < 400; round++) {
		const bool v6 = chance(2);
		const auto size = (uint32_t)(1 + chance(round % 4 ? 1460 : 20000));
		std::vector<Octets> in;
		uint32_t seq = chance(UINT32_MAX);
		uint16_t id = (uint16_t)chance(65536);
		Octets options;
		for (int i = 0, n = (int)(1 + chance(80)); i < n; i++) {
			const bool odd = !chance(6);
			size_t octets = odd ? chance(size + 2) : size;
			const uint8_t flags = (uint8_t)(chance(10) ? 0x10 : 0x10 | (1 << chance(8)));
			if (!chance(12))
				options = noise(4 * chance(4));
			if (!chance(20))
				seq += chance(3);
			if (!chance(20))
				id++;
			Octets f = seal(tcp_frame(v6, seq, octets, flags, id++, options));
			if (!chance(15))
				f[chance((uint32_t)f.size())] ^= (uint8_t)(1 << chance(8)); /* on the way */
			seq += (uint32_t)octets;
			in.push_back(f);
		}
		CHECK(segmented(coalesce(in)) == in);
	}
}

TEST(never_longer_than_an_ip_packet)
{
	for (const bool v6 : {false, true}) {
		std::vector<Octets> in;
		for (uint32_t i = 0; i < 100; i++)
			in.push_back(seal(tcp_frame(v6, i * 1460, 1460, 0x10, (uint16_t)i)));
		const auto j = coalesce(in);
		CHECK(j.size() == 3);
		for (const Joined &one : j)
			CHECK(one.frame.size() <= FRAME_MAX + (v6 ? 0 : 0));
		CHECK(segmented(j) == in);
	}
}

TEST(what_does_not_belong_together_stays_apart)
{
	for (const bool v6 : {false, true}) {
		const size_t ip = ETH_LEN, l4 = ETH_LEN + (v6 ? 40 : 20);
		const Octets a = seal(tcp_frame(v6, 1, 100, 0x10, 7)), b = seal(tcp_frame(v6, 101, 100, 0x10, 8));
		const auto changed = [&](size_t at, uint8_t by) {
			Octets c = b;
			c[at] ^= by;
			return seal(c);
		};
		CHECK(coalesce({a, b}).size() == 1);
		apart(a, seal(tcp_frame(v6, 102, 100, 0x10, 8))); /* a gap */
		apart(a, seal(tcp_frame(v6, 1, 100, 0x10, 8)));   /* again */
		apart(a, seal(tcp_frame(v6, 101, 101, 0x10, 8))); /* longer */
		apart(a, seal(tcp_frame(v6, 101, 0, 0x10, 8)));   /* nothing */
		apart(a, seal(tcp_frame(v6, 101, 100, 0x10, 8, {1, 1, 1, 1})));
		apart(a, changed(0, 1));       /* Ethernet */
		apart(a, changed(l4, 1));      /* ports */
		apart(a, changed(l4 + 11, 1)); /* ACK */
		apart(a, changed(l4 + 15, 1)); /* window */
		apart(a, changed(l4 + 19, 1)); /* urgent */
		for (const uint8_t flag : {0x02, 0x04, 0x10, 0x20, 0x40, 0x80})
			apart(a, changed(l4 + 13, flag));
		if (v6) {
			for (const size_t at : {1, 7, 8, 39})
				apart(a, changed(ip + at, 1));
		} else {
			for (const size_t at : {1, 8, 12, 19})
				apart(a, changed(ip + at, 1));
			apart(a, changed(ip + 5, 1)); /* identification, without DF */
			apart(a, changed(ip + 6, 0x40));
			apart(a, changed(ip + 6, 0x20)); /* a fragment */
		}
		Octets bad = b;
		bad[bad.size() - 1] ^= 1;
		apart(a, bad);
		bad = a;
		bad[bad.size() - 1] ^= 1;
		apart(bad, b);
		/* the last of a burst is the last one */
		apart(seal(tcp_frame(v6, 1, 100, 0x18, 7)), b);
		apart(seal(tcp_frame(v6, 1, 100, 0x11, 7)), b);
	}
}

TEST(identification_does_not_matter_with_df)
{
	Octets a = tcp_frame(false, 1, 100), b = tcp_frame(false, 101, 100);
	a[ETH_LEN + 6] = b[ETH_LEN + 6] = 0x40;
	CHECK(coalesce({seal(a), seal(b)}).size() == 1);
}

TEST(datagrams_in_a_row_become_one)
{
	for (const bool v6 : {false, true}) {
		std::vector<Octets> in;
		for (int i = 0; i < 200; i++)
			in.push_back(udp_frame(v6, 1000, (uint16_t)i));
		in.push_back(udp_frame(v6, 999, 200));
		in.push_back(udp_frame(v6, 999, 201));
		in.push_back(udp_frame(v6, 1000, 202));
		const auto j = coalesce(in);
		CHECK(j.size() == 6); /* 64, 64, 64, 9, 1, 1: nothing follows a short one, and nothing longer */
		CHECK(j[0].v.gso_type == GSO_UDP_L4 && j[0].v.gso_size == 1000 && j[0].v.csum_offset == 6);
		CHECK(segmented(j) == in);
		/* what does not belong together */
		const size_t ip = ETH_LEN, l4 = ETH_LEN + (v6 ? 40 : 20);
		const Octets a = udp_frame(v6, 100, 7), b = udp_frame(v6, 100, 8);
		CHECK(coalesce({a, b}).size() == 1);
		const auto changed = [&](size_t at, uint8_t by) {
			Octets c = b;
			c[at] ^= by;
			return seal(c);
		};
		apart(a, changed(l4, 1));
		apart(a, changed(l4 + 3, 1));
		apart(a, changed(ip + 1, 1));
		apart(a, changed(ip + (v6 ? 7 : 8), 1)); /* time to live */
		apart(a, udp_frame(v6, 101, 8));
		apart(udp_frame(v6, 0, 7), udp_frame(v6, 0, 8));
		Octets c = b, d = a;
		c[l4 + 5]++; /* longer than its packet */
		apart(a, seal(c));
		c = b, c[l4 + 6] = c[l4 + 7] = 0, d[l4 + 6] = d[l4 + 7] = 0;
		apart(a, c); /* no checksum */
		apart(d, b);
		c = b, c.back() ^= 1;
		apart(a, c);
		apart(c, a);
		apart(a, seal(tcp_frame(v6, 1, 100, 0x10, 8)));
	}
}

TEST(a_later_bare_acknowledgement_supersedes)
{
	for (const bool v6 : {false, true}) {
		const size_t l4 = ETH_LEN + (v6 ? 40 : 20);
		const auto bare = [&](uint32_t acknowledged, uint8_t flags = 0x10, uint32_t seq = 7, size_t octets = 0) {
			Octets f = tcp_frame(v6, seq, octets, flags);
			put32(f.data() + l4 + 8, acknowledged);
			return seal(f);
		};
		const auto superseded = [&](Octets first, const Octets &later) {
			const auto sum = [](const Octets &f) { return sum_fold(sum_octets(f.data() + ETH_LEN, f.size() - ETH_LEN)); };
			Coalescer c;
			c.begin(first.data(), first.size(), sum(first));
			return c.superseded_by(later.data(), later.size(), sum(later));
		};
		const Octets first = bare(0xfffffff0);
		CHECK(superseded(first, bare(0xfffffff1)));
		CHECK(superseded(first, bare(5)));                  /* around the end of sequence space */
		CHECK(!superseded(first, bare(0xfffffff0)));        /* a duplicate asks for something */
		CHECK(!superseded(first, bare(0xffffffef)));        /* an old one */
		CHECK(!superseded(first, bare(5, 0x11)));           /* FIN */
		CHECK(!superseded(first, bare(5, 0x14)));           /* RST */
		CHECK(!superseded(first, bare(5, 0x10, 6)));        /* a keep-alive */
		CHECK(!superseded(first, bare(5, 0x10, 7, 1)));     /* data */
		CHECK(!superseded(bare(1, 0x10, 7, 1), bare(5)));
		CHECK(!superseded(bare(1, 0x11), bare(5)));
		Octets other = bare(5);
		other[l4 + 1] ^= 1; /* another port */
		CHECK(!superseded(first, seal(other)));
		Octets wrong = bare(5);
		wrong[l4 + 15] ^= 1; /* its window, and so its checksum */
		CHECK(!superseded(first, wrong));
	}
}

TEST(any_octets_can_be_offered)
{
	for (int i = 0; i < 20000; i++) {
		Octets a = seal(tcp_frame(chance(2), 1, chance(50))), b = seal(tcp_frame(chance(2), 51, chance(50)));
		for (int k = (int)chance(4); k-- > 0;)
			a[chance((uint32_t)a.size())] = (uint8_t)chance(256);
		a.resize(std::max<size_t>(ETH_LEN, chance((uint32_t)a.size() + 1)));
		b.resize(std::max<size_t>(ETH_LEN, chance((uint32_t)b.size() + 1)));
		CHECK(segmented(coalesce({a, b, a, b})).size() == 4);
	}
}
