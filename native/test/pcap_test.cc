/* The capture: whole records only, checksums as on the wire, comments on the right frames. */
#include "harness.h"

#include <csignal>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

Octets contents(FILE *f)
{
	struct stat st;
	CHECK(!fstat(fileno(f), &st));
	Octets b((size_t)st.st_size);
	CHECK(pread(fileno(f), b.data(), b.size(), 0) == (ssize_t)b.size());
	return b;
}

uint32_t word(const Octets &b, size_t at)
{
	uint32_t w;
	CHECK(at + 4 <= b.size());
	memcpy(&w, b.data() + at, 4);
	return w;
}

/** A TCP frame of the guest whose checksum its kernel has left to the device. */
Octets partial(size_t payload)
{
	Octets f = tcp_template(false, 1);
	f.resize(f.size() + payload, 7);
	Vnet v = {};
	v.flags = VNET_NEEDS_CSUM, v.csum_start = 34, v.csum_offset = 16;
	memcpy(f.data(), &v, sizeof(v));
	uint8_t *const ip = f.data() + VNET_LEN + 14;
	put16(ip + 2, (uint16_t)(40 + payload));
	put16(ip + 20 + 16, sum_fold(sum_pseudo(ip, false, 6, (uint32_t)(20 + payload))));
	return f;
}

Octets note(const std::string &s)
{
	return Octets(s.begin(), s.end());
}

} // namespace

TEST(capture_completes_checksums_in_the_copy_only)
{
	Rig r;
	FILE *const f = tmpfile();
	r.engine.tap.pcap.use(fileno(f), false);
	const Octets in = partial(3000);
	CHECK(write(r.guest, in.data(), in.size()) > 0);
	const Ev e = r.await(EV_TAP_FRAME);
	CHECK(std::equal(in.begin() + VNET_LEN, in.end(), r.slab(e[2], e[3]).begin()));
	r.effect({EF_TAP_WRITE, 0, r.put(in), (uint32_t)in.size()});
	r.turn();
	CHECK(r.frame() == in);
	const Octets b = contents(f);
	const size_t len = in.size() - VNET_LEN;
	CHECK(b.size() == 2 * (16 + len));
	for (size_t i = 0; i < 2; i++) {
		const auto at = b.begin() + (std::ptrdiff_t)(i * (16 + len) + 16);
		CHECK(l4_sum_ok(Octets(at, at + (std::ptrdiff_t)len), 34, 6));
	}
	fclose(f);
}

TEST(capture_pads_what_was_padded)
{
	Rig r(true, 0);
	FILE *const f = tmpfile();
	r.engine.tap.pcap.use(fileno(f), false);
	Octets t(VNET_LEN + 42, 1);
	std::fill(t.begin(), t.begin() + VNET_LEN, 0);
	r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
	r.turn();
	const Octets b = contents(f);
	CHECK(b.size() == 16 + 60 && word(b, 8) == 60 && b[16 + 41] == 1 && !b[16 + 42] && !b[16 + 59]);
	fclose(f);
}

TEST(capture_notes_stand_on_the_frames_they_are_about)
{
	Rig r;
	FILE *const f = tmpfile();
	r.engine.tap.pcap.use(fileno(f), true);
	Octets a(VNET_LEN + 61), b(VNET_LEN + 62);
	CHECK(write(r.guest, a.data(), a.size()) > 0 && write(r.guest, b.data(), b.size()) > 0);
	const Ev first = r.await(EV_TAP_FRAME), second = r.await(EV_TAP_FRAME);
	r.effect({EF_CAPTURE_NOTE, 0, r.put(note("about the second"), 1024), 16, second[2]});
	r.effect({EF_CAPTURE_NOTE, 0, r.put(note("out"), 2048), 3, 0});
	r.effect({EF_TAP_WRITE, 0, r.put(a), (uint32_t)a.size()});
	r.effect({EF_TAP_WRITE, 0, r.put(b), (uint32_t)b.size()});
	r.effect({EF_CAPTURE_NOTE, 0, 0xfffffff0u, 99, 0});
	/* What is not sent has no note, nor has the frame behind it */
	r.effect({EF_CAPTURE_NOTE, 0, r.put(note("lost"), 3072), 4, 0});
	r.effect({EF_TAP_WRITE, 0, 0xfffffff0u, 99});
	r.effect({EF_TAP_WRITE, 0, r.put(a), (uint32_t)a.size()});
	r.turn();
	const Octets all = contents(f);
	const char *const wanted[] = {nullptr, "about the second", "out", nullptr, nullptr};
	const uint32_t lengths[] = {61, 62, 61, 62, 61}, flags[] = {1, 1, 2, 2, 2};
	size_t at = 0;
	for (int i = 0; i < 5; i++) {
		const uint32_t whole = word(all, at + 4);
		CHECK(word(all, at) == 6 && !(whole % 4) && word(all, at + whole - 4) == whole);
		CHECK(word(all, at + 20) == lengths[i] && word(all, at + 24) == lengths[i]);
		size_t o = at + 28 + 64;
		if (wanted[i]) {
			const size_t n = strlen(wanted[i]);
			CHECK(word(all, o) == (1 | n << 16) && !memcmp(all.data() + o + 4, wanted[i], n));
			o += 4 + (n + 3) / 4 * 4;
		}
		CHECK(word(all, o) == (2 | 4 << 16) && word(all, o + 4) == flags[i] && !word(all, o + 8));
		CHECK(o + 16 == at + whole);
		at += whole;
	}
	CHECK(at == all.size());
	fclose(f);
}

TEST(capture_ends_between_records_where_the_disk_is_full)
{
	Rig r;
	FILE *const f = tmpfile();
	rlimit old;
	CHECK(!getrlimit(RLIMIT_FSIZE, &old));
	const rlimit small = {1000, old.rlim_max};
	r.engine.tap.pcap.use(fileno(f), false);
	CHECK(!setrlimit(RLIMIT_FSIZE, &small));
	Octets t(VNET_LEN + 284, 3);
	std::fill(t.begin(), t.begin() + VNET_LEN, 0);
	for (int i = 0; i < 5; i++)
		r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
	r.turn();
	CHECK(!setrlimit(RLIMIT_FSIZE, &old));
	const Ev e = r.await(EV_CAPTURE);
	CHECK(e[2] == EFBIG && contents(f).size() == 3 * 300);
	r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
	r.turn();
	CHECK(contents(f).size() == 3 * 300 && r.take(EV_CAPTURE).empty());
	int frames = 0;
	while (!r.frame().empty())
		frames++;
	CHECK(frames == 6);
	fclose(f);
}

TEST(capture_ends_in_front_of_the_record_that_would_exceed_its_size)
{
	for (const bool ng : {false, true}) {
		Rig r;
		FILE *const f = tmpfile();
		/* 28 + 284 + 16, and a note of 4 + 8 on the second */
		const size_t one = ng ? 328 : 300, first = ng ? one + one + 12 : 2 * one;
		r.engine.tap.pcap.use(fileno(f), ng, first + one - 1);
		Octets t(VNET_LEN + 284, 3);
		std::fill(t.begin(), t.begin() + VNET_LEN, 0);
		r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
		r.effect({EF_CAPTURE_NOTE, 0, r.put(note("12345678"), 2048), 8, 0});
		for (int i = 0; i < 4; i++)
			r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
		r.turn();
		CHECK(r.await(EV_CAPTURE)[2] == EFBIG && contents(f).size() == first);
		/* nor a smaller one later: what there is has no gap */
		t.resize(VNET_LEN + 60);
		r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
		r.turn();
		CHECK(contents(f).size() == first && r.take(EV_CAPTURE).empty());
		fclose(f);
	}
	Rig r; /* just full is not too much */
	FILE *const f = tmpfile();
	r.engine.tap.pcap.use(fileno(f), false, 300);
	Octets t(VNET_LEN + 284, 3);
	std::fill(t.begin(), t.begin() + VNET_LEN, 0);
	r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
	r.turn();
	CHECK(contents(f).size() == 300 && r.take(EV_CAPTURE).empty());
	fclose(f);
}

TEST(capture_into_a_pipe_waits_for_nobody_and_tears_nothing)
{
	Rig r;
	int p[2];
	CHECK(!pipe(p));
	r.engine.tap.pcap.use(p[1], false);
	Octets t(VNET_LEN + 60000);
	const size_t frames = CAPTURE_WAITING / 60016 + 10;
	for (size_t i = 0; i < frames; i++) {
		r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
		r.turn();
		r.frame();
	}
	const Ev e = r.await(EV_CAPTURE);
	CHECK(!e[2] && e[3] > 0 && e[3] < 20);
	size_t got = 0, whole = 0;
	for (Octets all; whole < 100; whole++) {
		while (all.size() < 60016) {
			Octets b(65536);
			const ssize_t n = read(p[0], b.data(), b.size());
			CHECK(n > 0);
			all.insert(all.end(), b.begin(), b.begin() + n);
			got += (size_t)n;
			r.engine.tap.pcap.flush();
		}
		CHECK(word(all, 8) == 60000 && word(all, 12) == 60000);
		all.erase(all.begin(), all.begin() + 60016);
	}
	CHECK(got >= 100 * 60016);
	r.engine.tap.pcap.use(-1, false);
	close(p[0]);
	close(p[1]);
}
