/* The tap, with a socket pair in its place. */
#include "harness.h"

#include <unistd.h>

TEST(frames_in_are_packed_summed_and_described)
{
	Rig r;
	Octets a(VNET_LEN), b(VNET_LEN);
	const Octets body = noise(100), big = noise(65549);
	a.insert(a.end(), body.begin(), body.end());
	b[0] = VNET_NEEDS_CSUM, b[1] = GSO_TCPV4;
	b[4] = 0xb4, b[5] = 0x05, b[6] = 34, b[8] = 16;
	b.insert(b.end(), big.begin(), big.end());
	CHECK(write(r.guest, a.data(), a.size()) > 0 && write(r.guest, b.data(), b.size()) > 0);
	const auto e = r.turn(100);
	CHECK(e.size() == 2 && e[0][0] == EV_TAP_FRAME && e[1][0] == EV_TAP_FRAME);
	CHECK(r.slab(e[0][2], e[0][3]) == body && r.slab(e[1][2], e[1][3]) == big);
	CHECK(e[0][7] == sum_fold(sum_octets(body.data() + 14, 86)) && !e[1][7]);
	CHECK(e[1][4] == (VNET_NEEDS_CSUM | GSO_TCPV4 << 8) && e[1][5] == 1460 && e[1][6] == (34 | 16 << 16));
	CHECK(e[1][2] - e[0][2] < 256); /* small frames do not take the place of large ones */
}

TEST(no_frame_is_cut_when_the_slab_is_nearly_full_row_42)
{
	Rig r(true, OFF_CSUM, {4096, 1 << 20, 4, 64, 64});
	size_t sent = 0, got = 0;
	for (int i = 0; i < 40; i++) {
		Octets f = noise(VNET_LEN + 60000);
		f[0] = VNET_NEEDS_CSUM;
		sent += write(r.guest, f.data(), f.size()) > 0;
	}
	for (int i = 0; i < 40 && got < sent; i++) {
		for (const Ev &e : r.turn(10)) {
			CHECK(e[0] == EV_TAP_FRAME && e[3] == 60000);
			got++;
		}
	}
	CHECK(sent > 20 && got == sent);
}

TEST(small_ring_takes_what_fits_and_the_rest_later)
{
	Rig r(true, OFF_CSUM, {4096, 4 << 20, 4, 64, 16});
	const Octets f = noise(VNET_LEN + 60);
	for (int i = 0; i < 50; i++)
		CHECK(write(r.guest, f.data(), f.size()) > 0);
	size_t got = 0;
	for (int i = 0; i < 20; i++) {
		const size_t n = r.turn(1).size();
		CHECK(n <= 16);
		got += n;
	}
	CHECK(got == 50);
}

TEST(short_and_overlong_frames_are_counted)
{
	Rig r;
	const Octets tiny(VNET_LEN + 13), huge(VNET_LEN + FRAME_MAX + 1);
	CHECK(write(r.guest, tiny.data(), tiny.size()) > 0 && write(r.guest, huge.data(), huge.size()) > 0);
	CHECK(r.await(EV_TAP_DROPPED)[2] == 2);
	CHECK(r.take(EV_TAP_FRAME).empty());
}

TEST(frames_out_are_padded_and_completed_without_offloads_row_78)
{
	Rig r(false, 0);
	Octets t = tcp_template(false, 1);
	Vnet v = {};
	v.flags = VNET_NEEDS_CSUM, v.csum_start = 34, v.csum_offset = 16;
	memcpy(t.data(), &v, sizeof(v));
	uint8_t *const ip = t.data() + VNET_LEN + 14;
	put16(ip + 2, 40);
	put16(ip + 20 + 16, sum_fold(sum_pseudo(ip, false, 6, 20)));
	r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
	r.turn();
	const Octets f = r.frame();
	CHECK(f.size() == 60 && l4_sum_ok(f, 34, 6));
	CHECK(std::equal(f.begin() + 54, f.end(), Octets(6).begin()));
}

TEST(frames_out_keep_offloads_that_the_tap_has)
{
	Rig r;
	Octets t = tcp_template(true, 1);
	t[0] = VNET_NEEDS_CSUM, t[6] = 54, t[8] = 16;
	t.resize(t.size() + 100, 7);
	r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
	r.turn();
	CHECK(r.frame() == t);
}

/** Sockets 0 to `count` of a rig, each with a datagram to read. */
static void many_ready(Rig &r, uint32_t count)
{
	Datagrams host;
	std::vector<uint16_t> ports(count);

	for (uint32_t h = 0; h < count; h++) {
		r.open(EF_UDP_OPEN, h, host.port);
		r.effect({EF_UDP_SEND, h, r.put({1}), 1});
		r.turn();
		CHECK(host.receive(&ports[h]).size() == 1);
	}
	for (const uint16_t port : ports)
		host.send_to(port, {1});
}

TEST(the_guest_comes_before_however_many_sockets)
{
	Rig r(true, OFF_CSUM, {1 << 20, 8 << 20, 512, 4096, 512});
	const Octets f = noise(VNET_LEN + 60);

	many_ready(r, 400);
	CHECK(write(r.guest, f.data(), f.size()) > 0);
	const auto e = r.turn();
	CHECK(e.size() > 1 && e[0][0] == EV_TAP_FRAME);
}

TEST(no_more_is_begun_while_the_guest_waits)
{
	Rig r(true, OFF_CSUM, {1 << 20, 8 << 20, 512, 4096, 512});
	const Octets f = noise(VNET_LEN + 60);
	size_t frames = 0, others = 0;

	many_ready(r, 400);
	for (int i = 0; i < 200; i++)
		CHECK(write(r.guest, f.data(), f.size()) > 0);
	r.turn();
	for (const Ev &e : r.turn())
		(e[0] == EV_TAP_FRAME ? frames : others)++;
	/* The rest of them, and of the sockets less than would fill the queue again; but never none */
	CHECK(frames == 200 - TAP_FRAMES && others && others * 4 <= TAP_FRAMES);
	CHECK(r.turn().size() > others);
}

TEST(full_tap_drops_and_counts_rows_13_35)
{
	Rig r;
	const Octets f(VNET_LEN + 60000);
	r.put(f);
	for (int i = 0; i < 1000; i++)
		r.effect({EF_TAP_WRITE, 0, 4096, (uint32_t)f.size()});
	r.turn();
	const Ev d = r.take(EV_TAP_DROPPED);
	CHECK(!d.empty() && d[2] > 0 && d[3] == EAGAIN);
	CHECK(r.take(EV_TAP_GONE).empty());
	while (!r.frame().empty()) {
	}
	r.effect({EF_TAP_WRITE, 0, 4096, (uint32_t)f.size()});
	r.turn();
	CHECK(r.frame().size() == f.size() && r.take(EV_TAP_DROPPED).empty());
}

TEST(end_of_the_tap_is_told_once)
{
	Rig r;
	close(r.guest);
	r.guest = -1;
	CHECK(r.await(EV_TAP_GONE)[2]);
	CHECK(r.turn(30).empty());
	r.effect({EF_TAP_WRITE, 0, r.put(Octets(100)), 100});
	CHECK(r.turn(30).empty());
}

TEST(capture_has_both_directions)
{
	Rig r;
	FILE *const f = tmpfile();
	r.engine.tap.pcap.use(fileno(f), false);
	const Octets out = noise(80);
	Octets in = noise(VNET_LEN + 70);
	std::fill(in.begin(), in.begin() + VNET_LEN, 0);
	Octets framed(VNET_LEN);
	framed.insert(framed.end(), out.begin(), out.end());
	CHECK(write(r.guest, in.data(), in.size()) > 0);
	r.await(EV_TAP_FRAME);
	r.effect({EF_TAP_WRITE, 0, r.put(framed), (uint32_t)framed.size()});
	r.turn();
	uint32_t head[4];
	Octets got(70);
	CHECK(lseek(fileno(f), 0, SEEK_SET) == 0);
	CHECK(read(fileno(f), head, 16) == 16 && head[2] == 70 && head[3] == 70 && head[1] < 1000000);
	CHECK(read(fileno(f), got.data(), 70) == 70 && std::equal(got.begin(), got.end(), in.begin() + VNET_LEN));
	CHECK(read(fileno(f), head, 16) == 16 && head[2] == 80);
	fclose(f);
}
