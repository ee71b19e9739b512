/* A client of the guest link that sends any octets, and frames to it with any virtio-net header. What JS is told lies inside
 * the slab, and its sums are right. */
#include "../../native/addon/checksum.h"
#include "../../native/addon/engine.h"
#include "input.h"

#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace passt;

namespace {

using Octets = std::vector<uint8_t>;
enum : size_t { TX = 1 << 18, RX = 1 << 20, EFFECTS = 64 };

struct Linked {
	std::unique_ptr<Engine> own{new Engine};
	Engine &engine = *own;
	int client = -1;
	uint32_t effects = 0;

	Linked()
	{
		int s[2];
		MUST(!engine.open({TX, RX, 16, EFFECTS, 64}));
		MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s));
		client = s[1];
		MUST(!engine.clients.offer(s[0], false));
		uint32_t *const e = effect(EF_LINK_USE);
		e[2] = (uint32_t)s[0];
		turn();
	}
	~Linked()
	{
		const Rings rings = engine.rings;

		close(client);
		own.reset();
		/* Rings are never unmapped, since JS may hold a view of them */
		munmap(rings.slab, TX + RX), munmap(rings.clock, 2 * sizeof(double));
		munmap(rings.effects, sizeof(Record) * rings.size.effects), munmap(rings.events, sizeof(Record) * rings.size.events);
	}

	uint32_t *effect(uint32_t kind)
	{
		if (effects == EFFECTS)
			turn();
		uint32_t *const e = engine.rings.effects[effects++];
		memset(e, 0, sizeof(Record));
		e[0] = kind;
		return e;
	}
	void turn()
	{
		const int n = engine.turn(effects, 0);
		effects = 0;
		MUST(n >= 0);
		for (int i = 0; i < n; i++) {
			const uint32_t *const e = engine.rings.events[i];
			if (e[0] != EV_TAP_FRAME)
				continue;
			MUST(e[3] >= ETH_LEN && engine.rings.in_slab(e[2], e[3]));
			if (!(e[4] & VNET_NEEDS_CSUM))
				MUST(e[7] == sum_fold(sum_octets(engine.rings.slab + e[2] + ETH_LEN, e[3] - ETH_LEN)));
		}
		/* what it has for the client, so that there is room */
		uint8_t sink[65536];
		while (recv(client, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
	}
	void give(const Octets &b)
	{
		if (send(client, b.data(), b.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			turn();
	}
	void give_frame(const Octets &f)
	{
		Octets b(LINK_HEAD);
		put32(b.data(), (uint32_t)f.size());
		b.insert(b.end(), f.begin(), f.end());
		give(b);
	}
};

/** A segment or datagram with right sums, `changes` octets of it changed before they were taken. */
Octets shaped(Input &in, uint32_t &seq)
{
	const uint8_t kind = in.u8();
	const bool v6 = kind & 1, udp = kind & 2;
	const size_t ip = v6 ? 40 : 20, l4 = ETH_LEN + ip, head = l4 + (udp ? 8 : 20);
	const Octets data = in.octets(in.u8() * (kind & 4 ? 4 : 1));
	Octets f(head);

	f.insert(f.end(), data.begin(), data.end());
	put16(f.data() + 12, v6 ? 0x86dd : 0x0800);
	uint8_t *const h = f.data() + ETH_LEN;
	if (v6) {
		h[0] = 0x60, h[6] = udp ? 17 : 6, h[7] = 64, h[23] = 1, h[39] = 2;
		put16(h + 4, (uint16_t)(f.size() - l4));
	} else {
		h[0] = 0x45, h[6] = 0x40, h[8] = 64, h[9] = udp ? 17 : 6, h[12] = 10, h[15] = 1, h[16] = 10, h[19] = 2;
		put16(h + 2, (uint16_t)(f.size() - ETH_LEN));
	}
	uint8_t *const t = f.data() + l4;
	put16(t, 40000), put16(t + 2, 80);
	if (udp) {
		put16(t + 4, (uint16_t)(f.size() - l4));
	} else {
		put32(t + 4, seq), put32(t + 8, 1), t[12] = 0x50, t[13] = 0x10, put16(t + 14, 500);
		seq += (uint32_t)data.size();
	}
	for (int n = in.u8() & 3; n; n--) {
		const size_t at = in.u8() % f.size();
		f[at] = in.u8();
	}
	if (!v6) {
		put16(h + 10, 0);
		put16(h + 10, (uint16_t)~sum_fold(sum_octets(h, 20)));
	}
	const size_t field = udp ? 6 : 16;
	put16(t + field, 0);
	const uint64_t pseudo = sum_pseudo(h, v6, udp ? 17 : 6, (uint32_t)(f.size() - l4));
	put16(t + field, (uint16_t)~sum_fold(sum_octets(t, f.size() - l4, pseudo)));
	return f;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	Input in(data, len);
	Linked r;
	uint32_t seq = 0xffffff00, tx = 0;

	while (!in.done()) {
		switch (in.u8() % 5) {
		case 0:
			r.give(in.octets(in.u8()));
			break;
		case 1:
			r.give_frame(in.octets(in.u16() % 2048));
			break;
		case 2:
			r.give_frame(shaped(in, seq));
			break;
		case 3: {
			const Octets f = in.octets(VNET_LEN + in.u16() % 2048);
			if (tx + f.size() > TX)
				r.turn(), tx = 0;
			std::copy(f.begin(), f.end(), r.engine.rings.slab + tx);
			uint32_t *const e = r.effect(EF_TAP_WRITE);
			e[2] = tx, e[3] = (uint32_t)f.size() + (in.u8() == 255 ? in.u32() : 0);
			tx += (uint32_t)f.size();
			break;
		}
		default:
			r.turn(), tx = 0;
		}
	}
	r.turn();
	return 0;
}
