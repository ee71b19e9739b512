/* The guest link: a client on a stream socket, with every kind of short read and write. */
#include "harness.h"

#include <algorithm>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

/** An engine whose tap is a stream; `client` is the hypervisor's end. */
struct Linked : Rig {
	int client = -1;

	explicit Linked(Sizes sizes = {1 << 20, 8 << 20, 64, 4096, 512}, int sndbuf = 0)
	    : Rig(true, 0, sizes)
	{
		int s[2];
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s));
		client = s[1];
		CHECK(!engine.clients.offer(s[0], false));
		effect({EF_LINK_USE, 0, (uint32_t)s[0]});
		turn();
		if (sndbuf)
			CHECK(!setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)));
	}
	~Linked()
	{
		if (client >= 0)
			close(client);
	}
	void write_frame(const Octets &f)
	{
		const uint32_t at = put(Octets(VNET_LEN), 4096);
		put(f, at + VNET_LEN);
		effect({EF_TAP_WRITE, 0, at, (uint32_t)(VNET_LEN + f.size())});
	}
};

Octets framed(const Octets &f)
{
	Octets b(4);
	put32(b.data(), (uint32_t)f.size());
	b.insert(b.end(), f.begin(), f.end());
	return b;
}
void give(int fd, const Octets &b)
{
	CHECK(send(fd, b.data(), b.size(), MSG_NOSIGNAL) == (ssize_t)b.size());
}
/** The next frame that the client gets. */
Octets taken(int fd)
{
	const Octets head = read_all(fd, 4);
	CHECK(head.size() == 4);
	return read_all(fd, get32(head.data()));
}

/** `n` octets for the client, in pieces of `piece`, while the engine goes on. */
Octets drained(Linked &r, size_t n, size_t piece)
{
	Octets all, b(piece);
	for (int i = 0; all.size() < n; i++) {
		CHECK(i < 1000000);
		r.turn();
		const ssize_t got = recv(r.client, b.data(), std::min(piece, n - all.size()), MSG_DONTWAIT);
		all.insert(all.end(), b.begin(), b.begin() + std::max<ssize_t>(got, 0));
	}
	return all;
}
/** The next frame for the client, while the engine goes on. */
Octets next_frame(Linked &r)
{
	const size_t len = get32(drained(r, 4, 4).data());
	return drained(r, len, len);
}

} // namespace

TEST(link_frames_split_at_every_position)
{
	const Octets a = noise(60), b = noise(61);
	Octets stream = framed(a);
	const Octets second = framed(b);
	stream.insert(stream.end(), second.begin(), second.end());
	Linked r;
	for (size_t cut = 0; cut <= stream.size(); cut++) {
		if (cut)
			give(r.client, Octets(stream.begin(), stream.begin() + (std::ptrdiff_t)cut));
		std::vector<Octets> got;
		const auto look = [&] {
			for (const Ev &e : r.turn(0)) {
				CHECK(e[0] == EV_TAP_FRAME && e[4] == 0);
				CHECK(e[7] == sum_fold(sum_octets(r.engine.rings.slab + e[2] + 14, e[3] - 14)));
				got.push_back(r.slab(e[2], e[3]));
			}
		};
		look();
		if (cut < stream.size())
			give(r.client, Octets(stream.begin() + (std::ptrdiff_t)cut, stream.end()));
		look();
		CHECK(got == (std::vector<Octets>{a, b}));
	}
}

TEST(link_takes_every_legal_length_and_no_other)
{
	for (const size_t n : {14, 15, 65534, 65535}) {
		Linked r;
		const Octets f = noise(n);
		give(r.client, framed(f));
		const Ev e = r.await(EV_TAP_FRAME);
		CHECK(r.slab(e[2], e[3]) == f);
	}
	for (const uint32_t n : {0u, 1u, 13u, 65536u, 0x80000000u, UINT32_MAX}) {
		Linked r;
		Octets b = framed(noise(20)), head(4), rest = noise(100);
		put32(head.data(), n);
		b.insert(b.end(), head.begin(), head.end());
		b.insert(b.end(), rest.begin(), rest.end());
		give(r.client, b);
		CHECK(r.await(EV_TAP_FRAME)[3] == 20); /* what came before counts */
		const Ev e = r.await(EV_LINK_END);
		CHECK(e[2] == LINK_BAD_LENGTH && e[3] == n);
		CHECK(r.turn(20).empty() && r.take(EV_TAP_FRAME).empty());
	}
}

TEST(link_million_tiny_frames_in_bounded_turns)
{
	Linked r({4096, 1 << 20, 4, 64, 64});
	const Octets one = framed(noise(14));
	Octets many;
	for (int i = 0; i < 5000; i++)
		many.insert(many.end(), one.begin(), one.end());
	size_t sent = 0, got = 0;
	CHECK(fcntl(r.client, F_SETFL, O_NONBLOCK) == 0);
	while (got < 20 * 5000) {
		if (sent < 20 * many.size()) {
			const size_t at = sent % many.size();
			const ssize_t n = send(r.client, many.data() + at, many.size() - at, MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
		}
		const size_t n = r.turn(100).size();
		CHECK(n && n <= 64);
		r.seen.clear();
		got += n;
	}
	CHECK(got == 20 * 5000 && r.turn(10).empty());
}

TEST(link_coalesces_what_one_read_brings)
{
	Linked r;
	Octets b;
	const Octets data = noise(14600);
	for (uint32_t i = 0; i < 10; i++) {
		Octets t = tcp_template(false, 1 + i * 1460), f(t.begin() + VNET_LEN, t.end());
		f.insert(f.end(), data.begin() + i * 1460, data.begin() + (i + 1) * 1460);
		uint8_t *const ip = f.data() + ETH_LEN;
		put16(ip + 2, (uint16_t)(f.size() - ETH_LEN));
		ip[6] = 0x40;
		put16(ip + 10, (uint16_t)~sum_fold(sum_octets(ip, 20)));
		const uint64_t pseudo = sum_pseudo(ip, false, 6, 1480);
		put16(ip + 36, (uint16_t)~sum_fold(sum_octets(ip + 20, 1480, pseudo)));
		const Octets w = framed(f);
		b.insert(b.end(), w.begin(), w.end());
	}
	give(r.client, b);
	const auto e = r.turn(100);
	CHECK(e.size() == 1 && e[0][3] == 54 + 14600 && e[0][5] == 1460);
	CHECK(e[0][4] == (VNET_NEEDS_CSUM | GSO_TCPV4 << 8) && e[0][6] == (34 | 16 << 16));
	CHECK(r.slab(e[0][2] + 54, 14600) == data);
}

TEST(link_writes_lengths_padding_and_checksums)
{
	Linked r;
	const Octets small = noise(42), large = noise(FRAME_MAX);
	r.write_frame(small);
	r.turn();
	r.write_frame(large);
	r.turn();
	Octets padded = small;
	padded.resize(60);
	CHECK(taken(r.client) == padded);
	CHECK(taken(r.client) == large);
	r.write_frame(noise(FRAME_MAX + 1)); /* holds no IP packet */
	r.turn();
	CHECK(r.take(EV_TAP_DROPPED)[3] == EINVAL);
}

TEST(link_cuts_and_sums_what_a_tap_would)
{
	for (const bool v6 : {false, true}) {
		Linked r;
		const size_t l4 = ETH_LEN + (v6 ? 40 : 20);
		const Octets data = noise(1460 * 3 + 1);
		Octets t = tcp_template(v6, 7);
		Vnet v = {};
		v.flags = VNET_NEEDS_CSUM, v.gso_type = v6 ? GSO_TCPV6 : GSO_TCPV4;
		v.gso_size = 1460, v.csum_start = (uint16_t)l4, v.csum_offset = 16;
		memcpy(t.data(), &v, sizeof(v));
		t.insert(t.end(), data.begin(), data.end());
		r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
		r.turn();
		Octets all;
		for (int i = 0; i < 4; i++) {
			const Octets f = taken(r.client);
			const size_t n = i < 3 ? 1460 : 1;
			CHECK(f.size() == std::max<size_t>(l4 + 20 + n, ETH_MIN) && l4_sum_ok(f, l4, 6));
			CHECK(get32(f.data() + l4 + 4) == 7 + (uint32_t)all.size());
			all.insert(all.end(), f.begin() + (std::ptrdiff_t)l4 + 20, f.begin() + (std::ptrdiff_t)(l4 + 20 + n));
		}
		CHECK(all == data);
		/* and one that is whole, but for its checksum */
		t.resize(VNET_LEN + l4 + 20 + 101);
		v.gso_type = v.gso_size = 0;
		memcpy(t.data(), &v, sizeof(v));
		uint8_t *const ip = t.data() + VNET_LEN + ETH_LEN;
		put16(ip + (v6 ? 4 : 2), (uint16_t)(121 + (v6 ? 0 : 20)));
		put16(ip + l4 - ETH_LEN + 16, sum_fold(sum_pseudo(ip, v6, 6, 121)));
		r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
		r.turn();
		const Octets f = taken(r.client);
		CHECK(f.size() == t.size() - VNET_LEN && l4_sum_ok(f, l4, 6));
		v.csum_start = (uint16_t)(f.size() - 17); /* no room for it */
		memcpy(t.data(), &v, sizeof(v));
		r.effect({EF_TAP_WRITE, 0, r.put(t), (uint32_t)t.size()});
		r.turn();
		CHECK(r.take(EV_TAP_DROPPED)[3] == EINVAL && !wait_for(r.client, POLLIN, 0));
	}
}

TEST(link_short_writes_keep_the_stream_in_step)
{
	Linked r({1 << 20, 8 << 20, 64, 4096, 512}, 4608);
	std::vector<Octets> sent;
	size_t seen = 0;
	for (int i = 0; i < 400; i++) {
		const Octets f = noise(60 + chance(60000));
		r.write_frame(f);
		r.turn();
		if (r.take(EV_TAP_DROPPED).empty())
			sent.push_back(f);
		/* a slow reader: less than what comes */
		if (i % 3 == 0 && seen < sent.size()) {
			const Octets w = framed(sent[seen++]);
			CHECK(drained(r, w.size(), 997) == w);
		}
	}
	for (; seen < sent.size(); seen++) {
		const Octets w = framed(sent[seen]);
		CHECK(drained(r, w.size(), 1997) == w);
	}
	CHECK(sent.size() < 400); /* some did not fit, or nothing was tested */
}

TEST(link_stalled_guest_is_bounded_told_and_costs_nothing)
{
	Linked r({1 << 20, 8 << 20, 64, 4096, 512}, 4608);
	const Octets f = noise(60000);
	size_t refused = 0;
	for (int i = 0; i < 100; i++) {
		r.write_frame(f);
		r.turn();
		const Ev d = r.take(EV_TAP_DROPPED);
		CHECK(d.empty() || d[3] == EAGAIN);
		refused += !d.empty();
	}
	CHECK(refused >= 100 - LINK_OUT / f.size() - 1);
	const double before = Engine::now_ms();
	CHECK(r.turn(50).empty() && Engine::now_ms() - before > 45); /* asleep, no event over and over */
	/* it wakes up */
	drained(r, (100 - refused) * (f.size() + 4), 4096);
	r.await(EV_TAP_ROOM);
	CHECK(r.turn(20).empty());
	r.write_frame(f);
	r.turn();
	CHECK(r.take(EV_TAP_DROPPED).empty());
}

/** What a host socket holds, as segments of the client's stream: read to where they stay in it. */
static void check_peek(bool v6, bool peek_off, uint32_t mss, size_t size)
{
	Linked r;
	r.engine.tcp.peek_off_works = peek_off;
	Listener listener(v6, 8 << 20);
	r.open(EF_TCP_CONNECT, 1, listener.port, v6, 1400);
	r.await(EV_CONNECTED);
	const int peer = listener.accept();
	const size_t l4 = ETH_LEN + (v6 ? 40 : 20);
	const Octets data = noise(size);
	Octets got;
	size_t written = 0, frames = 0;

	for (int i = 0; got.size() < size; i++) {
		CHECK(i < 5000);
		const ssize_t n = send(peer, data.data() + written, size - written, MSG_DONTWAIT | MSG_NOSIGNAL);
		written += (size_t)std::max<ssize_t>(n, 0);
		const Octets t = tcp_template(v6, 0xfffff000 + (uint32_t)got.size());
		r.effect({EF_PEEK, 1, r.put(t, 0), (uint32_t)t.size() - VNET_LEN, 700000, mss, v6 ? IS_V6 : 0u});
		const Ev e = r.await(EV_PEEKED);
		CHECK(!e[13] && (e[2] || e[3] & (PEEK_DRAINED | PEEK_TAP_FULL)));
		bool last = true;
		for (const size_t until = got.size() + e[2]; got.size() < until;) {
			const Octets f = next_frame(r);
			const uint8_t *const ip = f.data() + ETH_LEN;
			const size_t end = v6 ? ETH_LEN + 40 + get16(ip + 4) : ETH_LEN + get16(ip + 2);
			CHECK(f.size() == std::max<size_t>(end, ETH_MIN) && end > l4 + 20 && end - l4 - 20 <= mss);
			CHECK(get32(f.data() + l4 + 4) == 0xfffff000 + (uint32_t)got.size());
			CHECK(v6 || sum_fold(sum_octets(ip, 20)) == 0xffff);
			CHECK(l4_sum_ok(f, l4, 6));
			got.insert(got.end(), f.begin() + (ptrdiff_t)l4 + 20, f.begin() + (ptrdiff_t)end);
			last = f[l4 + 13] & 0x08;
			frames++;
		}
		CHECK(last); /* of a batch, #regression-51 */
		/* the guest has it all */
		r.effect({EF_DISCARD, 1, e[2]});
	}
	CHECK(got == data);
	CHECK(frames >= size / mss);
	close(peer);
}

TEST(link_peeks_into_place)
{
	for (const bool v6 : {false, true})
		for (const bool peek_off : {false, true})
			for (const uint32_t mss : {1u, 5u, 48u, 1460u, 9000u, 65480u, 65535u})
				check_peek(v6, peek_off, mss, std::min<size_t>(mss * 3000, 2000000) + chance(1000));
}

/** A host socket that has `data`, and how much of it went to the client. */
struct Peeked : Linked {
	Listener listener{false, 8 << 20};
	int peer = -1;
	const Octets data;
	size_t written = 0, seq = 0;
	Octets got;

	explicit Peeked(size_t size) : Linked({1 << 20, 8 << 20, 64, 4096, 512}, 4608), data(noise(size))
	{
		open(EF_TCP_CONNECT, 1, listener.port, false, 1400);
		await(EV_CONNECTED);
		peer = listener.accept();
	}
	~Peeked() { close(peer); }
	void feed()
	{
		const ssize_t n = send(peer, data.data() + written, data.size() - written, MSG_DONTWAIT | MSG_NOSIGNAL);
		written += (size_t)std::max<ssize_t>(n, 0);
	}
	void ask(uint32_t mss = 1460)
	{
		const Octets t = tcp_template(false, (uint32_t)seq);
		effect({EF_PEEK, 1, put(t, 0), (uint32_t)t.size() - VNET_LEN, 1 << 20, mss, 0});
	}
	/** EV_PEEKED, where there is one: what went is discarded. Return: its flags. */
	uint32_t answer(const Ev &e)
	{
		CHECK(!e[13]);
		seq += e[2];
		effect({EF_DISCARD, 1, e[2]});
		return e[3];
	}
	/** What the client gets, up to SEQ. */
	void collect()
	{
		while (got.size() < seq) {
			const Octets f = next_frame(*this);
			const size_t end = ETH_LEN + get16(f.data() + ETH_LEN + 2);
			CHECK(get32(f.data() + ETH_LEN + 24) == (uint32_t)got.size());
			got.insert(got.end(), f.begin() + ETH_LEN + 40, f.begin() + (ptrdiff_t)end);
		}
	}
};

/** Bulk waits in its socket while the client reads nothing: room is left for what is small, and little lies in front of it. */
TEST(link_bulk_waits_where_there_is_no_room_and_goes_on)
{
	Peeked r(3 * LINK_OUT);
	bool waits = false;

	for (int i = 0; i < 100 && !waits; i++) {
		r.feed();
		r.ask();
		r.turn(20);
		const Ev e = r.take(EV_PEEKED);
		waits = e.empty();
		CHECK(waits || !(r.answer(e) & PEEK_TAP_FULL));
	}
	CHECK(waits && r.seq > LINK_AHEAD && r.seq <= LINK_OUT * 3 / 4 + 8192);
	bool asleep = false; /* but for what the peer still sends */
	for (int i = 0; i < 20 && !asleep; i++) {
		const double before = Engine::now_ms();
		asleep = r.turn(50).empty() && Engine::now_ms() - before > 45;
	}
	CHECK(asleep);
	for (int i = 0; i < 100; i++) {
		r.write_frame(noise(100));
		r.turn();
	}
	CHECK(r.take(EV_TAP_DROPPED).empty());
	r.collect();
	drained(r, 100 * 104, 4096);
	for (int i = 0; r.got.size() < r.data.size(); i++) {
		CHECK(i < 100000);
		r.answer(r.await(EV_PEEKED)); /* nobody asked again, nor was told of room */
		r.collect();
		r.feed();
		r.ask();
	}
	CHECK(r.got == r.data);
	CHECK(r.take(EV_TAP_ROOM).empty());
}

/** Frames of one turn have filled the buffer in front of a peek. */
TEST(link_peek_stops_where_there_is_no_room_and_goes_on)
{
	Peeked r(12000);
	r.feed();
	const Octets f = noise(61670);
	for (int i = 0; i < 17; i++)
		r.write_frame(f);
	r.ask(60000);
	r.turn();
	const Ev e = r.await(EV_PEEKED);
	CHECK(r.answer(e) == (PEEK_TAP_FULL | PEEK_TAP_TELLS) && !e[2] && r.take(EV_TAP_DROPPED).empty());
	drained(r, 17 * (f.size() + 4), 4096);
	r.await(EV_TAP_ROOM);
	r.collect();
	r.ask(60000);
	CHECK(r.answer(r.await(EV_PEEKED)) & PEEK_DRAINED);
	r.collect();
	CHECK(r.got == r.data);
}

TEST(link_end_of_the_client)
{
	{
		Linked r; /* in the middle of a frame */
		give(r.client, Octets{0, 0, 0, 60, 1, 2, 3});
		r.turn();
		close(r.client);
		r.client = -1;
		const Ev e = r.await(EV_LINK_END);
		CHECK(e[2] == LINK_EOF);
		CHECK(r.turn(20).empty());
		r.write_frame(noise(60)); /* as if sent */
		r.turn(10);
		CHECK(r.take(EV_TAP_DROPPED).empty());
	}
	{
		Linked r; /* it does not hear any more, but what it said counts */
		give(r.client, framed(noise(70)));
		r.write_frame(noise(60)); /* unread over there: a reset */
		close(r.client);
		r.client = -1;
		CHECK(r.await(EV_TAP_FRAME)[3] == 70);
		CHECK(r.await(EV_LINK_END)[2] == LINK_ERROR);
	}
}

TEST(link_clients_are_offered_one_by_one)
{
	const std::string path = "/tmp/passt-link-test." + std::to_string(getpid());
	sockaddr_un at = {};
	at.sun_family = AF_UNIX;
	strcpy(at.sun_path, path.c_str());
	const auto dial = [&] {
		const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(!connect(fd, reinterpret_cast<sockaddr *>(&at), sizeof(at)));
		return fd;
	};
	uint32_t mode = 0;
	const auto listen = [&](Rig &at, const std::string &where) { return at.engine.clients.listen(where.c_str(), false, mode).err; };
	Rig r(true, 0);
	unlink(path.c_str());
	const mode_t mask = umask(027);
	CHECK(!listen(r, path) && mode == 0750);
	umask(mask);
	const int a = dial();
	const Ev first = r.await(EV_LINK_CLIENT);
	CHECK(first[3] == (uint32_t)getpid() && !first[4]);
	r.effect({EF_LINK_USE, 0, first[2]});
	r.turn();
	/* a second one while the first is there: refused */
	const int b = dial();
	const Ev second = r.await(EV_LINK_CLIENT);
	CHECK(!second[4]);
	r.effect({EF_LINK_REFUSE, 0, second[2] + 100}); /* no such offer */
	r.effect({EF_LINK_REFUSE, 0, second[2]});
	r.turn();
	CHECK(read_all(b, 1).empty());
	close(b);
	/* one that comes when the first has hung up, with much of its data still unread */
	Octets many;
	for (int i = 0; i < 2000; i++) {
		const Octets w = framed(noise(60));
		many.insert(many.end(), w.begin(), w.end());
	}
	give(a, many);
	close(a);
	const int c = dial();
	const Ev third = r.await(EV_LINK_CLIENT);
	CHECK(third[4] == LINK_HUNG_UP);
	CHECK(r.await(EV_LINK_END)[2] == LINK_EOF);
	size_t frames = 0;
	while (!r.take(EV_TAP_FRAME).empty())
		frames++;
	CHECK(frames == 2000);
	r.effect({EF_LINK_USE, 0, third[2]});
	r.turn();
	give(c, framed(noise(99)));
	CHECK(r.await(EV_TAP_FRAME)[3] == 99);
	close(c);
	CHECK(r.await(EV_LINK_END)[2] == LINK_EOF);
	r.effect({EF_LINK_CLOSE, 0});
	CHECK(r.turn(20).empty());
	/* nobody else may listen there; what is left behind is replaced; a file is never */
	Rig other(true, 0);
	CHECK(listen(other, path) == EADDRINUSE);
	unlink(path.c_str());
	const int file = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	CHECK(file >= 0 && listen(other, path) == EEXIST);
	close(file);
	unlink(path.c_str());
	{
		Rig gone(true, 0);
		CHECK(!listen(gone, path));
	}
	CHECK(!access(path.c_str(), F_OK) && !listen(other, path));
	unlink(path.c_str());
	CHECK(listen(other, std::string(108, 'x')) == ENAMETOOLONG);
}

TEST(link_offers_are_connected_streams)
{
	Rig r(true, 0);
	int s[2], p[2];
	CHECK(r.engine.clients.offer(-1, false) == EBADF);
	CHECK(!pipe(p) && r.engine.clients.offer(p[0], false) == ENOTSOCK);
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s) && r.engine.clients.offer(s[0], false) == ESOCKTNOSUPPORT);
	const int alone = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(r.engine.clients.offer(alone, false) == ENOTCONN);
	for (const int fd : {s[0], s[1], p[0], p[1], alone})
		close(fd);
}
