/* Whoever has something gets its share of a turn, however many have much: counted in turns and octets, never timed. */
#include "forward.h"

#include <algorithm>
#include <memory>
#include <set>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr Sizes MANY = {1 << 20, 8 << 20, 1024, 4096, 512};

/** Connections on handles 0, 1, ..., with room in the tap for all that they have. */
struct Crowd : Rig {
	Listener listener;
	std::vector<int> peers;

	explicit Crowd(uint32_t n) : Rig(true, OFF_CSUM | OFF_TSO4 | OFF_TSO6, MANY)
	{
		for (uint32_t h = 0; h < n; h++) {
			open(EF_TCP_CONNECT, h, listener.port);
			CHECK(await(EV_CONNECTED)[1] == h);
			peers.push_back(listener.accept());
		}
		seen.clear();
	}
	~Crowd()
	{
		for (const int fd : peers)
			close(fd);
	}
	void give(uint32_t h, size_t n)
	{
		const Octets b = noise(n);
		CHECK(send(peers[h], b.data(), n, 0) == (ssize_t)n);
	}
	void ask(uint32_t h)
	{
		const Octets t = tcp_template(false, 1);
		effect({EF_PEEK, h, put(t, 0), (uint32_t)t.size() - VNET_LEN, 1 << 20, 1460, 0});
	}
	/** Octets that the guest got in this turn. */
	size_t taken()
	{
		size_t n = 0;
		for (Octets f = frame(); !f.empty(); f = frame())
			n += f.size() - VNET_LEN - ETH_LEN - 40;
		return n;
	}
};

std::vector<Ev> peeked(const std::vector<Ev> &events)
{
	std::vector<Ev> out;
	std::copy_if(events.begin(), events.end(), std::back_inserter(out), [](const Ev &e) { return e[0] == EV_PEEKED; });
	return out;
}

} // namespace

TEST(fair_peeks_share_a_turn_and_the_next_goes_on_with_the_next)
{
	constexpr uint32_t N = 128, EACH = 40000;
	Crowd c(N);
	uint32_t next = 0, turns = 0;

	for (uint32_t h = 0; h < N; h++) {
		c.give(h, EACH);
		c.ask(h);
	}
	while (next < N) {
		const std::vector<Ev> done = peeked(c.turn());
		const size_t octets = c.taken();
		CHECK(octets == done.size() * EACH && octets <= PEEK_ALL);
		for (const Ev &e : done)
			CHECK(e[1] == next++ && e[2] == EACH && e[3] == PEEK_DRAINED && !e[13]);
		/* as much as there may be, while somebody waits */
		CHECK(next == N || octets > PEEK_ALL - 65536);
		turns++;
	}
	CHECK(turns == (N * EACH + PEEK_ALL - 65536 - 1) / (PEEK_ALL - 65536) && c.turn().empty());
}

TEST(fair_peeks_of_little_do_not_wait)
{
	constexpr uint32_t N = 100;
	Crowd c(N + 2);

	for (uint32_t h = 0; h < N; h++) {
		c.give(h, 40000);
		c.ask(h);
	}
	c.turn();
	c.taken();
	c.give(N, 1);
	c.ask(N);
	c.ask(N + 1); /* nothing there: this is told at once, too */
	bool one = false, none = false;
	for (const Ev &e : peeked(c.turn())) {
		one |= e[1] == N && e[2] == 1 && e[3] == PEEK_DRAINED;
		none |= e[1] == N + 1 && !e[2] && e[3] == PEEK_DRAINED;
	}
	CHECK(one && none);
}

TEST(fair_peeks_of_little_are_bounded_as_well)
{
	constexpr uint32_t N = 128, EACH = 12000;
	Crowd c(N);
	uint32_t done = 0;

	for (uint32_t h = 0; h < N; h++) {
		c.give(h, EACH);
		c.ask(h);
	}
	for (uint32_t turns = 0; done < N; turns++) {
		CHECK(turns < 3);
		done += (uint32_t)peeked(c.turn()).size();
		CHECK(c.taken() <= PEEK_ALL + PEEK_LITTLE_ALL);
	}
}

TEST(fair_peeks_of_sockets_that_are_closed_or_fail_meanwhile)
{
	constexpr uint32_t N = 128;
	Crowd c(N);

	for (uint32_t h = 0; h < N; h++) {
		c.give(h, 40000);
		c.ask(h);
	}
	std::set<uint32_t> told;
	const size_t first = peeked(c.turn()).size();
	CHECK(first && first < N / 2);
	c.taken();
	/* Three of those that wait: closed; closed and used again; reset by the peer */
	c.effect({EF_CLOSE, N - 1});
	c.effect({EF_RESET, N - 2});
	c.open(EF_TCP_CONNECT, N - 2, c.listener.port);
	const linger hard = {1, 0};
	setsockopt(c.peers[N - 3], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(c.peers[N - 3]);
	c.peers[N - 3] = dup(2);
	for (int i = 0; i < 20; i++) {
		for (const Ev &e : peeked(c.turn())) {
			CHECK(told.insert(e[1]).second);
			CHECK(e[1] == N - 3 ? e[13] == ECONNRESET || e[2] : e[2] == 40000);
		}
		c.taken();
	}
	CHECK(told.size() + first >= N - 3 && !told.count(N - 1) && !told.count(N - 2));
}

TEST(fair_spliced_pairs_all_go_on_in_each_turn_and_what_is_small_goes_first)
{
	constexpr uint32_t N = 24, BULK_EACH = 600000;
	Rig r(true, 0, MANY);
	Listener l(false, 4 << 20);
	const uint16_t port = listen_at(r, 0, Kind::Tcp);
	std::vector<std::unique_ptr<Pair>> pairs;
	for (uint32_t h = 0; h <= N; h++)
		pairs.push_back(std::make_unique<Pair>(r, port, l, h));
	const auto at_server = [&](uint32_t h) {
		int n = 0;
		ioctl(pairs[h]->server, FIONREAD, &n);
		return (size_t)n;
	};
	const Octets data = noise(BULK_EACH);
	std::vector<size_t> given(N), before(N);
	for (uint32_t h = 0; h < N; h++)
		given[h] = (size_t)std::max<ssize_t>(send(pairs[h]->client.fd, data.data(), data.size(), MSG_DONTWAIT), 0);
	size_t all = 0;
	for (uint32_t turns = 0, complete = 0; complete < N; turns++) {
		CHECK(turns < 40);
		if (turns == 1)
			pairs[N]->client.send("small");
		r.turn();
		size_t moved = 0;
		complete = 0;
		for (uint32_t h = 0; h < N; h++) {
			const size_t now = at_server(h);
			moved += now - before[h];
			before[h] = now;
			complete += now == given[h];
			CHECK(turns || now); /* the first turn has something for each */
		}
		CHECK(moved <= 10u << 20);
		all += moved;
		if (turns == 1)
			CHECK(at_server(N) == 5);
	}
	CHECK(all > N * 65536u);
}

/** Datagram sockets that have sent to `d`, handles from 0 on. Return: their ports. */
static std::vector<uint16_t> open_many(Rig &r, Datagrams &d, uint32_t count)
{
	std::vector<uint16_t> ports(count);
	for (uint32_t h = 0; h < count; h++) {
		r.open(EF_UDP_OPEN, h, d.port);
		r.effect({EF_UDP_SEND, h, r.put(octets("x")), 1, 0, 0});
		r.turn();
		CHECK(d.receive(&ports[h]).size() == 1);
	}
	return ports;
}

/** More to each than is read in a turn; of different lengths, so that GRO does not join them. */
static void flood(Datagrams &d, const std::vector<uint16_t> &ports)
{
	for (const uint16_t port : ports)
		for (uint32_t i = 0; i < 80; i++)
			d.send_to(port, octets(i & 1 ? "flood" : "floods"));
}

TEST(fair_datagram_sockets_that_are_never_empty_starve_no_other)
{
	constexpr uint32_t N = 100;
	Rig r(true, 0, MANY);
	Datagrams d;
	const std::vector<uint16_t> ports = open_many(r, d, N);
	std::set<uint32_t> heard;
	for (uint32_t turns = 0; heard.size() < N; turns++) {
		CHECK(turns < 8); /* a call takes room for DATAGRAMS_MIN of the largest: 15 sockets have that in a turn */
		flood(d, ports);
		for (const Ev &e : r.turn())
			if (e[0] == EV_DATAGRAM)
				heard.insert(e[1]);
	}
}

TEST(fair_guest_is_heard_beside_full_datagram_sockets)
{
	constexpr uint32_t N = 40;
	Rig r(true, 0, MANY);
	Datagrams d;
	const std::vector<uint16_t> ports = open_many(r, d, N);
	for (uint32_t turns = 0; turns < 5; turns++) {
		flood(d, ports);
		const Octets f = noise(VNET_LEN + 60);
		CHECK(write(r.guest, f.data(), f.size()) == (ssize_t)f.size());
		bool guest = false, host = false;
		for (const Ev &e : r.turn()) {
			guest |= e[0] == EV_TAP_FRAME;
			host |= e[0] == EV_DATAGRAM;
		}
		CHECK(guest && host);
	}
}
