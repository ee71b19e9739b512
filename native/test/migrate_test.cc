/* Connections that are frozen, dumped, closed and made anew in this process, towards real ones on a loopback of their own. */
#include "peers.h"

#include "../addon/isolate.h"
#include "../addon/seccomp.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

/* As src/machines/tcp/tcp-move.ts has it */
const uint32_t TIMESTAMP_AHEAD = 1000;
/* include/net/tcp_states.h */
enum { ESTABLISHED = 1, FIN_WAIT1 = 4, FIN_WAIT2 = 5, CLOSE_WAIT = 8, LAST_ACK = 9, CLOSING = 11 };

Octets joined(const Octets &a, const Octets &b)
{
	Octets all = a;
	all.insert(all.end(), b.begin(), b.end());
	return all;
}
Octets part(const Octets &b, size_t from, size_t to = SIZE_MAX)
{
	return Octets(b.begin() + (std::ptrdiff_t)from, to < b.size() ? b.begin() + (std::ptrdiff_t)to : b.end());
}

/** What a dump says, and its octets. */
struct Dump {
	DumpWords w;
	Octets send, receive;
	bool shut() const { return w.state == FIN_WAIT1 || w.state == FIN_WAIT2 || w.state == LAST_ACK || w.state == CLOSING; }
	bool ended() const { return w.state == CLOSE_WAIT || w.state == LAST_ACK || w.state == CLOSING; }
	/** Our FIN counts while it waits. */
	uint32_t unsent() const { return w.outqnsd - (w.outqnsd && shut()); }
};

/** Handle 1 connected to `peer`; handle 2 is what it becomes. */
struct Migrant : Rig {
	Listener listener;
	int peer;
	bool v6;
	/** us between a dump and the end of its socket. */
	useconds_t pause = 0;

	explicit Migrant(bool six = false, int rcvbuf = 0) : Rig(true, 0, {4 << 20, 8 << 20, 64, 4096, 512}), listener(six, rcvbuf), v6(six)
	{
		open(EF_TCP_CONNECT, 1, listener.port, six);
		await(EV_CONNECTED);
		peer = listener.accept();
	}
	~Migrant() { close(peer); }

	int fd(uint32_t handle) { return engine.table.sock(handle)->fd; }
	void send(const Octets &b, uint32_t handle = 1, uint32_t flags = 0)
	{
		effect({EF_SEND, handle, put(b), (uint32_t)b.size(), flags});
		const Ev e = await(EV_SENT);
		CHECK(e[2] == b.size() && !e[3] && !e[13]);
	}
	void freeze()
	{
		effect({EF_TCP_FREEZE, 1});
		turn();
		seen.clear();
	}
	/** Both queues go through a pipe. */
	Dump dump()
	{
		Dump d = {};
		int p[2];
		repair(fd(1), 1);
		effect({EF_TCP_DUMP, 1});
		const Ev e = await(EV_TCP_DUMPED);
		CHECK(e[1] == 1 && !e[13] && e[3] == sizeof(d.w));
		memcpy(&d.w, slab(e[2], e[3]).data(), sizeof(d.w));
		CHECK(!pipe2(p, O_CLOEXEC));
		effect({EF_STATE_OPEN, 0, (uint32_t)p[1], STATE_SAVE});
		effect({EF_STATE_QUEUES, 1});
		effect({EF_STATE_CLOSE, 0, 0});
		Octets all(d.w.snd_kept + d.w.rcv_kept + 1);
		size_t have = 0;
		turn();
		CHECK(!engine.table.dumped_all);
		for (;;) {
			CHECK(wait_for(p[0], POLLIN, 2000));
			const ssize_t n = read(p[0], all.data() + have, all.size() - have);
			if (n <= 0)
				break;
			have += (size_t)n;
			turn();
		}
		close(p[0]);
		CHECK(have + 1 == all.size() && await(EV_STATE_ENDED)[13] == 0);
		d.send = part(all, 0, d.w.snd_kept), d.receive = part(all, d.w.snd_kept, have);
		return d;
	}
	void pieces(uint32_t handle, const Octets &b, uint32_t queue)
	{
		for (size_t at = 0; at < b.size();) {
			const Octets one = part(b, at, at + 1 + chance(60000));
			effect({EF_TCP_RESTORE_QUEUE, handle, put(one), (uint32_t)one.size(), queue});
			turn();
			at += one.size();
		}
	}
	/** What JS makes of a dump. */
	RestoreWords plan(const Dump &d)
	{
		RestoreWords w = {};
		sockaddr_storage own = {}, other = {};
		socklen_t n = sizeof(own), m = sizeof(other);
		uint16_t own_port, peer_port;
		CHECK(!getsockname(fd(1), reinterpret_cast<sockaddr *>(&own), &n) &&
		      !getpeername(fd(1), reinterpret_cast<sockaddr *>(&other), &m));
		from_sockaddr(own, w.own_addr, &own_port);
		from_sockaddr(other, w.peer_addr, &peer_port);
		w.own_port = own_port, w.peer_port = peer_port;
		w.snd_seq = d.w.snd_seq - d.w.snd_kept - d.shut();
		w.rcv_seq = d.w.rcv_seq - d.w.rcv_kept - d.ended();
		w.max_seg = d.w.max_seg, w.timestamp = d.w.timestamp + TIMESTAMP_AHEAD;
		w.snd_wl1 = d.w.snd_wl1, w.snd_wnd = d.w.snd_wnd, w.max_window = d.w.max_window;
		w.rcv_wnd = d.w.rcv_wnd + d.ended(), w.rcv_wup = d.w.rcv_wup - d.ended();
		w.window_scale = d.w.window_scale, w.options = d.w.options;
		w.sndbuf_wanted = d.w.sndbuf, w.snd_octets = d.w.snd_kept;
		return w;
	}
	void put_words(const RestoreWords &w)
	{
		Octets b(sizeof(w));
		memcpy(b.data(), &w, sizeof(w));
		effect({EF_TCP_RESTORE, 2, put(b), (uint32_t)b.size()});
	}
	/** Handle 1 is closed, handle 2 made of what it was. `before`: done before it leaves repair mode. Return: EV_CONNECTED. */
	Ev move(uint32_t peek_offset = 0, const std::function<void()> &before = [] {})
	{
		freeze();
		const Dump d = dump();
		const RestoreWords w = plan(d);
		usleep(pause);
		effect({EF_CLOSE, 1});
		effect({EF_TCP_RESTORE_OPEN, 2, v6 ? IS_V6 : 0u});
		turn();
		repair(fd(2), 1);
		put_words(w);
		turn();
		const uint32_t sent = d.w.snd_kept - d.unsent();
		pieces(2, d.receive, QUEUE_RECV);
		pieces(2, part(d.send, 0, sent), QUEUE_SEND);
		pieces(2, part(d.send, sent), QUEUE_UNSENT);
		effect({EF_TCP_RESTORE_END, 2, d.w.state == FIN_WAIT2 ? RESTORE_SHUT : 0u});
		CHECK(await(EV_RESTORED)[13] == 0);
		CHECK(unacknowledged(fd(2)) == (int)(sent + (d.w.state == FIN_WAIT2)));
		before();
		take_packets(fd(2)); /* as EF_REPAIR does */
		repair(fd(2), 0);
		effect({EF_TCP_RUN, 2, d.shut() && d.w.state != FIN_WAIT2 ? RUN_SHUT : 0u, peek_offset});
		const Ev e = await(EV_CONNECTED);
		CHECK(e[1] == 2 && take(EV_FAILED).empty());
		return e;
	}
	/** Exactly these octets come from the peer, by reading handle 2's socket. */
	void comes(const Octets &want)
	{
		effect({EF_REWIND, 2, 0});
		turn();
		CHECK(read_all(fd(2), want.size()) == want);
	}
	/** Exactly these octets arrive at the peer, the engine taking its turns meanwhile. */
	void arrives(const Octets &want)
	{
		Octets got(want.size());
		size_t have = 0;
		for (int i = 0; i < 4000 && have < got.size(); i++) {
			const ssize_t n = recv(peer, got.data() + have, got.size() - have, MSG_DONTWAIT);
			CHECK(n);
			have += n > 0 ? (size_t)n : 0;
			turn(n > 0 ? 0 : 1);
		}
		CHECK(have == got.size() && got == want);
	}
	/** Both directions still work, and end as they should. */
	void goes_on(bool out = true, bool in = true)
	{
		const Octets more = noise(5000), back = noise(7000);
		if (out) {
			send(more, 2);
			arrives(more);
		}
		if (in) {
			CHECK(write(peer, back.data(), back.size()) == (ssize_t)back.size());
			comes(back);
		}
	}
};

} // namespace

TEST(migrate_both_queues_and_what_comes_behind_them)
{
	for (const bool v6 : {false, true}) {
		Alone alone;
		Migrant m(v6, 100000);
		const Octets out = noise(700000), in = noise(90000);
		CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size());
		CHECK(soon([&] { return unacknowledged(m.peer) == 0; }));
		m.effect({EF_DISCARD, 1, 10000});
		m.turn();
		/* As much as the window takes is on its way and not known to have arrived, the rest waits */
		deafen(m.fd(1));
		m.send(out);
		m.freeze();
		const Dump d = m.dump();
		CHECK(d.w.state == ESTABLISHED && d.w.outq == out.size() && d.w.outqnsd && d.w.outqnsd < d.w.outq);
		CHECK(d.receive == part(in, 10000) && d.send == out);
		m.move(); /* dumped again */
		m.comes(part(in, 10000));
		m.arrives(out);
		m.goes_on();
		m.effect({EF_SHUTDOWN_WR, 2});
		m.turn();
		CHECK(read_all(m.peer, 1).empty());
		CHECK(!shutdown(m.peer, SHUT_WR));
		CHECK(read_all(m.fd(2), 1).empty());
	}
}

TEST(migrate_without_what_both_ends_did_not_agree_on)
{
	for (const char *const off : {"", "sack", "timestamps", "window_scaling", "sack timestamps window_scaling"}) {
		Alone alone;
		for (const char *const name : {"sack", "timestamps", "window_scaling"})
			if (strstr(off, name))
				alone.sysctl((std::string("net/ipv4/tcp_") + name).c_str(), "0");
		Migrant m(false, 4096);
		const Octets out = noise(300000), in = noise(20000);
		m.send(out);
		CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size());
		CHECK(soon([&] { return unacknowledged(m.peer) == 0; }));
		tcp_info before = {}, after = {};
		socklen_t len = sizeof(before);
		CHECK(!getsockopt(m.fd(1), IPPROTO_TCP, TCP_INFO, &before, &len));
		m.move();
		len = sizeof(after);
		CHECK(!getsockopt(m.fd(2), IPPROTO_TCP, TCP_INFO, &after, &len));
		CHECK((before.tcpi_options & 7) == (after.tcpi_options & 7));
		CHECK(!(before.tcpi_options & TCPI_OPT_SACK) == (strstr(off, "sack") != nullptr));
		CHECK(before.tcpi_snd_wscale == after.tcpi_snd_wscale && before.tcpi_rcv_wscale == after.tcpi_rcv_wscale);
		m.comes(in);
		m.arrives(out);
		m.goes_on();
	}
}

TEST(migrate_half_closed_by_us)
{
	/* The FIN waits behind octets that have no room at the peer; is on its way; is known to have arrived */
	enum { WAITS, SENT, ACKNOWLEDGED };
	for (const int fin : {WAITS, SENT, ACKNOWLEDGED}) {
		Alone alone;
		Migrant m(false, fin == WAITS ? 4096 : 0);
		const Octets out = noise(fin == WAITS ? 300000 : 1000), in = noise(3000);
		CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size());
		CHECK(soon([&] { return !unacknowledged(m.peer); }));
		if (fin == SENT)
			deafen(m.fd(1));
		m.send(out);
		m.effect({EF_SHUTDOWN_WR, 1});
		const int state = fin == ACKNOWLEDGED ? FIN_WAIT2 : FIN_WAIT1;
		CHECK(soon([&] {
			m.turn();
			return state_of(m.fd(1)) == state;
		}));
		m.move();
		m.comes(in);
		m.arrives(out);
		CHECK(read_all(m.peer, 1).empty()); /* the FIN, once */
		m.goes_on(false, true);
		CHECK(soon([&] { return state_of(m.fd(2)) == FIN_WAIT2; }));
		CHECK(!shutdown(m.peer, SHUT_WR) && read_all(m.fd(2), 1).empty());
	}
}

TEST(migrate_half_closed_by_the_peer)
{
	Alone alone;
	Migrant m(false, 4096);
	const Octets out = noise(300000), in = noise(3000);
	m.send(out);
	CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size() && !shutdown(m.peer, SHUT_WR));
	CHECK(soon([&] { return state_of(m.fd(1)) == CLOSE_WAIT; }));
	m.freeze();
	const Dump d = m.dump();
	CHECK(d.w.inq == in.size() && d.receive == in); /* the FIN is no octet of SIOCINQ */
	m.move();
	m.comes(in);
	m.arrives(out);
	m.goes_on(true, false);
}

TEST(migrate_closed_by_both_with_octets_on_their_way)
{
	Alone alone;
	Migrant m(false, 4096);
	const Octets out = noise(300000), in = noise(3000);
	m.send(out);
	CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size() && !shutdown(m.peer, SHUT_WR));
	CHECK(soon([&] { return state_of(m.fd(1)) == CLOSE_WAIT; }));
	m.effect({EF_SHUTDOWN_WR, 1});
	m.turn();
	CHECK(state_of(m.fd(1)) == LAST_ACK);
	m.move();
	m.comes(in);
	m.arrives(out);
	CHECK(read_all(m.peer, 1).empty());
}

TEST(migrate_of_a_socket_that_acknowledges_once_more)
{
	/* Its delayed ACK goes out behind the dump, with a timestamp of then: the other one's must not be older (RFC 7323 §5.3) */
	Alone alone;
	Migrant m(false, 4096);
	const Octets out = noise(30000), in = noise(3000);
	m.pause = 100000;
	m.send(out);
	CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size() && !shutdown(m.peer, SHUT_WR));
	CHECK(soon([&] { return state_of(m.fd(1)) == CLOSE_WAIT; }));
	m.move();
	m.comes(in);
	m.arrives(out);
}

TEST(migrate_octets_are_counted_from_the_head_of_the_send_queue)
{
	Alone alone;
	Migrant m;
	const Octets first = noise(1000), waits = noise(500);
	m.send(first);
	m.arrives(first);
	CHECK(soon([&] { return !unacknowledged(m.fd(1)); }));
	deafen(m.peer);
	m.send(waits);
	const Ev e = m.move();
	CHECK(e[9] == 0); /* bytes_acked */
	hear(m.peer);
	m.arrives(waits);
	m.send(noise(10), 2, SEND_REPORT_ACK);
	CHECK(m.await(EV_ACKED)[2] == 509);
	m.effect({EF_INFO, 2});
	CHECK(m.await(EV_INFO)[9] == 510);
}

TEST(migrate_peek_goes_on_behind_what_the_guest_has)
{
	Alone alone;
	Migrant m;
	const Octets in = noise(3000);
	CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size());
	CHECK(m.await(EV_READY)[2] & READY_IN);
	m.move(1000);
	CHECK(m.await(EV_READY)[2] & READY_IN);
	const Octets t = tcp_template(false, 7);
	m.effect({EF_PEEK, 2, m.put(t, 0), (uint32_t)t.size() - VNET_LEN, 65536, 60000, 0});
	const Ev e = m.await(EV_PEEKED);
	CHECK(e[2] == 2000 && !e[13]);
	const Octets frame = m.frame();
	CHECK(part(frame, t.size()) == part(in, 1000));
	m.effect({EF_DISCARD, 2, 3000});
	m.goes_on();
}

TEST(migrate_what_was_not_sent_waits_for_room)
{
	Alone alone;
	Migrant m(false, 4096);
	const Octets out = noise(900000);
	m.send(out);
	m.freeze();
	Dump d = m.dump();
	CHECK(d.unsent() > 500000);
	RestoreWords w = m.plan(d);
	m.effect({EF_CLOSE, 1});
	m.effect({EF_TCP_RESTORE_OPEN, 2, 0});
	m.turn();
	repair(m.fd(2), 1);
	w.sndbuf_wanted = w.snd_octets = 0;
	m.put_words(w);
	m.turn();
	CHECK(set_int(m.fd(2), SOL_SOCKET, SO_SNDBUF, 20000));
	const uint32_t sent = d.w.snd_kept - d.unsent();
	m.pieces(2, part(d.send, 0, sent), QUEUE_SEND);
	m.pieces(2, part(d.send, sent), QUEUE_UNSENT);
	m.effect({EF_TCP_RESTORE_END, 2, 0});
	CHECK(m.await(EV_RESTORED)[13] == 0);
	repair(m.fd(2), 0);
	m.effect({EF_TCP_RUN, 2, 0, 0});
	m.await(EV_CONNECTED);
	CHECK(m.engine.table.pending_all);
	m.seen.clear();
	/* What the guest sends now comes behind, and alone counts as taken */
	const Octets more = noise(1000);
	m.effect({EF_SEND, 2, m.put(more), (uint32_t)more.size(), 0});
	m.arrives(joined(out, more));
	m.turn();
	uint32_t taken = 0;
	for (Ev e = m.take(EV_SENT); !e.empty(); e = m.take(EV_SENT))
		taken += e[2];
	CHECK(taken == more.size() && !m.engine.table.pending_all);
}

TEST(migrate_queues_that_are_larger_than_a_new_socket_has_room_for)
{
	Alone alone(1500);
	Migrant m;
	const Octets much = noise(3000000), out = noise(250000), in = noise(2500000);
	/* The windows open as octets flow */
	m.effect({EF_SEND, 1, m.put(much), (uint32_t)much.size(), 0});
	m.arrives(much);
	deafen(m.fd(1));
	m.seen.clear();
	m.send(out);
	m.freeze();
	Dump d = m.dump();
	CHECK(d.w.outq == out.size());
	const uint32_t sent = d.w.outq - d.unsent();
	CHECK(sent > 100000); /* more than a new socket's send buffer takes */
	m.move();
	m.arrives(out);
	m.goes_on();

	Migrant n;
	CHECK(set_int(n.fd(1), SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20));
	for (size_t at = 0; at < in.size();) {
		const ssize_t k = ::send(n.peer, in.data() + at, in.size() - at, 0);
		CHECK(k > 0);
		at += (size_t)k;
	}
	CHECK(soon([&] { return !unacknowledged(n.peer); }));
	n.move();
	n.comes(in);
	n.goes_on();
}

TEST(migrate_frozen_neither_acknowledges_nor_answers)
{
	for (const int way : {0, 1, 2, 3}) {
		const bool in_repair = way & 1;
		filter_works = !(way & 2);
		Alone alone;
		Migrant m;
		const Octets before = noise(3000), late = noise(2000), out = noise(500);
		CHECK(write(m.peer, before.data(), before.size()) == (ssize_t)before.size());
		CHECK(m.await(EV_READY)[2] & READY_IN);
		const Octets t = tcp_template(false, 7);
		m.effect({EF_PEEK, 1, m.put(t, 0), (uint32_t)t.size() - VNET_LEN, 1000, 60000, 0});
		CHECK(m.await(EV_PEEKED)[2] == 1000);
		m.frame();
		m.freeze();
		if (in_repair)
			repair(m.fd(1), 1);
		CHECK(write(m.peer, late.data(), late.size()) == (ssize_t)late.size());
		CHECK(m.turn(30).empty());
		CHECK(unacknowledged(m.peer) == (int)late.size() && state_of(m.peer) == ESTABLISHED);
		/* nor does anything else become of it */
		m.effect({EF_SEND, 1, m.put(out), 500, 0});
		m.effect({EF_DISCARD, 1, 100});
		m.effect({EF_SHUTDOWN_WR, 1});
		m.effect({EF_INFO, 1});
		CHECK(m.turn(30).empty());
		CHECK(!shutdown(m.peer, SHUT_WR));
		CHECK(m.turn(30).empty() && state_of(m.fd(1)) == ESTABLISHED);
		if (in_repair) {
			const Dump d = m.dump();
			CHECK(d.receive == before && d.send.empty());
			repair(m.fd(1), 0);
		}
		m.effect({EF_TCP_THAW, 1});
		Ev e = m.await(EV_READY);
		CHECK(e[2] & READY_IN && e[2] & READY_INFO && e[2] & READY_OUT);
		CHECK(soon([&] {
			m.turn();
			return !unacknowledged(m.peer);
		}));
		/* the peek goes on where it was */
		m.effect({EF_PEEK, 1, m.put(t, 0), (uint32_t)t.size() - VNET_LEN, 65536, 60000, 0});
		e = m.await(EV_PEEKED);
		CHECK(e[2] == 4000 && !e[13]);
		CHECK(part(m.frame(), t.size()) == part(joined(before, late), 1000));
		m.send(out);
		m.arrives(out);
	}
	filter_works = true;
}

TEST(migrate_target_acknowledges_nothing_before_it_runs)
{
	Alone alone;
	Migrant m;
	const Octets in = noise(3000), late = noise(2000);
	CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size());
	CHECK(soon([&] { return !unacknowledged(m.peer); }));
	m.move(0, [&] {
		CHECK(write(m.peer, late.data(), late.size()) == (ssize_t)late.size());
		usleep(30000);
		CHECK(unacknowledged(m.peer) == (int)late.size());
	});
	m.comes(joined(in, late));
	m.goes_on();
}

TEST(migrate_thaw_of_a_full_socket_is_told)
{
	Alone alone;
	Migrant m(false, 4096);
	CHECK(set_int(m.fd(1), SOL_SOCKET, SO_SNDBUF, 20000));
	const Octets out = noise(200000);
	m.effect({EF_SEND, 1, m.put(out), (uint32_t)out.size(), 0});
	const Ev sent = m.await(EV_SENT);
	CHECK(sent[2] && sent[3]);
	m.freeze();
	CHECK(!m.engine.table.pending_all); /* the guest has them still */
	m.effect({EF_TCP_THAW, 1});
	const Ev e = m.await(EV_READY);
	CHECK(e[2] == READY_INFO && e[11]);
	m.seen.clear();
	m.arrives(part(out, 0, sent[2]));
	CHECK(m.await(EV_READY)[2] & READY_OUT);
}

TEST(migrate_freeze_forgets_a_peek_that_waits)
{
	Alone alone;
	Migrant m;
	const Octets in = noise(60000);
	CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size());
	CHECK(soon([&] { return !unacknowledged(m.peer); }));
	m.turn();
	m.seen.clear();
	const Octets t = tcp_template(false, 7);
	m.effect({EF_PEEK, 1, m.put(t, 0), (uint32_t)t.size() - VNET_LEN, 60000, 60000, 0});
	m.effect({EF_TCP_FREEZE, 1});
	CHECK(m.turn(20).empty() && m.frame().empty());
	m.effect({EF_TCP_THAW, 1});
	CHECK(m.await(EV_READY)[2] & READY_IN);
	CHECK(m.take(EV_PEEKED).empty());
}

TEST(migrate_close_in_repair_mode_is_silent)
{
	for (const uint32_t how : {EF_CLOSE, EF_RESET}) {
		Alone alone;
		Migrant m;
		m.freeze();
		repair(m.fd(1), 1);
		m.effect({how, 1});
		m.turn();
		CHECK(!wait_for(m.peer, POLLIN | POLLRDHUP, 50) && state_of(m.peer) == ESTABLISHED);
	}
	/* but a frozen one is reset, if it is to be */
	Alone alone;
	Migrant m;
	m.freeze();
	m.effect({EF_RESET, 1});
	m.turn();
	CHECK(wait_for(m.peer, POLLIN, 500) && recv(m.peer, nullptr, 0, 0) < 0 && errno == ECONNRESET);
}

TEST(migrate_listener_comes_back_to_its_port)
{
	Alone alone;
	Rig r;
	const ListenAt at = {{0, 0, 0xffff, INADDR_LOOPBACK}, 5555, false, false, nullptr};
	CHECK(!r.engine.listeners.listen(3, Kind::Tcp, at));
	const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sockaddr_storage ss;
	const socklen_t len = to_sockaddr(ss, at.addr, at.port, 0, false);
	CHECK(!connect(client, reinterpret_cast<sockaddr *>(&ss), len));
	const Ev e = r.await(EV_ACCEPTED);
	r.effect({EF_ADOPT, 1, e[2]});
	r.await(EV_CONNECTED);
	const int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* paused: refused, and no event for ever */
	CHECK(r.engine.listeners.silence(3) && !r.engine.listeners.silence(4));
	CHECK(connect(other, reinterpret_cast<sockaddr *>(&ss), len) < 0 && errno == ECONNREFUSED);
	CHECK(r.turn(20).empty());
	CHECK(r.engine.listeners.listen_again(3) == 0 && r.engine.listeners.listen_again(3) == 0 && r.engine.listeners.listen_again(4));
	CHECK(!connect(other, reinterpret_cast<sockaddr *>(&ss), len));
	r.effect({EF_REJECT, 0, r.await(EV_ACCEPTED)[2]});
	r.turn();

	/* closed and opened again: the end of repair mode must not have left the connection in its way */
	CHECK(r.engine.listeners.close(3));
	r.effect({EF_TCP_FREEZE, 1});
	r.turn();
	const int fd = r.engine.table.sock(1)->fd;
	repair(fd, 1);
	repair(fd, 0);
	r.effect({EF_TCP_THAW, 1});
	r.turn();
	CHECK(!r.engine.listeners.listen(3, Kind::Tcp, at));
	close(client), close(other);

	/* nor one that came */
	Migrant m;
	m.move();
	ListenAt own = at;
	own.port = bound_port(m.fd(2));
	CHECK(!m.engine.listeners.listen(3, Kind::Tcp, own));
}

TEST(migrate_what_the_guest_began_leaves_by_its_interface)
{
	Alone alone;
	Rig r;
	r.engine.outbound.if4 = "lo";
	r.engine.outbound.if6 = "none";
	const auto device = [&](uint32_t flags, uint32_t outbound) {
		char name[64] = {};
		socklen_t len = sizeof(name);
		r.effect({EF_TCP_RESTORE_OPEN, 2, flags, outbound});
		CHECK(r.turn().empty());
		CHECK(!getsockopt(r.engine.table.sock(2)->fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
		return std::string(name);
	};
	CHECK(device(0, BIND_OUTBOUND) == "lo" && device(0, 0).empty() && device(IS_V6, 0).empty());
	r.effect({EF_TCP_RESTORE_OPEN, 2, IS_V6, BIND_OUTBOUND});
	CHECK(r.await(EV_RESTORED)[13] == ENODEV);
}

TEST(migrate_what_cannot_be_is_told)
{
	Alone alone;
	Migrant m;
	/* no dump without a freeze, nor out of repair mode */
	m.effect({EF_TCP_DUMP, 1});
	CHECK(m.await(EV_TCP_DUMPED)[13] == EINVAL);
	m.freeze();
	m.effect({EF_TCP_DUMP, 1});
	CHECK(m.await(EV_TCP_DUMPED)[13]);
	/* nor does a socket live on in repair mode */
	repair(m.fd(1), 1);
	m.effect({EF_TCP_THAW, 1});
	CHECK(m.await(EV_FAILED)[13] == EPERM);

	Migrant n;
	n.freeze();
	const Dump d = n.dump();
	RestoreWords w = n.plan(d);
	const auto restored = [&](bool in_repair, const RestoreWords &words) {
		n.effect({EF_TCP_RESTORE_OPEN, 2, 0});
		n.turn();
		if (in_repair)
			repair(n.fd(2), 1);
		n.put_words(words);
		n.effect({EF_TCP_RESTORE_QUEUE, 2, 4096, 100, QUEUE_RECV});
		n.effect({EF_TCP_RESTORE_END, 2, 0});
		return (int)n.await(EV_RESTORED)[13];
	};
	CHECK(restored(false, w)); /* who is not in repair mode */
	n.effect({EF_TCP_RUN, 2, 0, 0});
	CHECK(n.await(EV_FAILED)[13]);
	CHECK(restored(true, w) == EADDRNOTAVAIL); /* the one that is still here */
	n.effect({EF_CLOSE, 1});
	n.turn();
	RestoreWords other = w;
	other.own_addr[3] = 0x0a000001;
	CHECK(restored(true, other) == EADDRNOTAVAIL);
	other = w;
	other.own_addr[2] = 0;
	CHECK(restored(true, other) == EAFNOSUPPORT);
	other = w;
	other.window_scale = 15;
	CHECK(restored(true, other) == EFBIG);
	other = w;
	other.max_window = 0;
	CHECK(restored(true, other) == EINVAL);
	n.effect({EF_TCP_RESTORE_OPEN, 2, 0});
	n.effect({EF_TCP_RESTORE, 2, 4096, 8});
	n.effect({EF_TCP_RESTORE_END, 2, 0});
	CHECK(n.await(EV_RESTORED)[13] == EFAULT);
	n.effect({EF_TCP_RESTORE_OPEN, 2, 0});
	n.effect({EF_TCP_RESTORE_QUEUE, 2, 0xfffffff0, 100, QUEUE_SEND});
	n.effect({EF_TCP_RESTORE_END, 2, 0});
	CHECK(n.await(EV_RESTORED)[13] == EFAULT);
	/* and a right one is still possible; without its end it does not run */
	n.effect({EF_TCP_RESTORE_OPEN, 2, 0});
	n.turn();
	repair(n.fd(2), 1);
	n.put_words(w);
	n.effect({EF_TCP_RUN, 2, 0, 0});
	CHECK(n.await(EV_FAILED)[13] == EINVAL);
	n.effect({EF_CLOSE, 2});
	n.turn();
	CHECK(state_of(n.peer) == ESTABLISHED);
}

TEST(migrate_a_queue_has_a_bound)
{
	Alone alone;
	Migrant m;
	m.effect({EF_TCP_RESTORE_OPEN, 2, 0});
	for (int i = 0; i < 17; i++) {
		m.effect({EF_TCP_RESTORE_QUEUE, 2, 0, 4 << 20, QUEUE_UNSENT});
		m.turn();
	}
	m.effect({EF_TCP_RESTORE_END, 2, 0});
	CHECK(m.await(EV_RESTORED)[13] == EFBIG && m.engine.table.pending_all == QUEUE_MAX);
	m.effect({EF_CLOSE, 2});
	m.turn();
	CHECK(!m.engine.table.pending_all);
}

TEST(migrate_dumps_that_nobody_takes_are_freed)
{
	Alone alone;
	Migrant m;
	const Octets in = noise(20000);
	CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size());
	CHECK(soon([&] { return !unacknowledged(m.peer); }));
	m.freeze();
	repair(m.fd(1), 1);
	for (int i = 0; i < 3; i++) {
		m.effect({EF_TCP_DUMP, 1});
		CHECK(m.await(EV_TCP_DUMPED)[13] == 0 && m.engine.table.dumped_all == in.size());
	}
	m.effect({EF_STATE_QUEUES, 1}); /* without a pipe */
	m.turn();
	CHECK(!m.engine.table.dumped_all);
	m.effect({EF_TCP_DUMP, 1});
	m.effect({EF_CLOSE, 1}); /* its event is nobody's */
	CHECK(m.turn().empty() && !m.engine.table.dumped_all);
}

TEST(migrate_within_the_sandbox)
{
	fflush(nullptr);
	const pid_t pid = fork();
	if (pid == 0) {
		Alone alone;
		Migrant m(false, 100000);
		const Octets out = noise(700000), in = noise(9000);
		CHECK(write(m.peer, in.data(), in.size()) == (ssize_t)in.size());
		CHECK(soon([&] { return !unacknowledged(m.peer); }));
		deafen(m.fd(1));
		m.send(out);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		CHECK(!confine({true, true, true, false}) && !seal());
		m.move();
		m.comes(in);
		m.arrives(out);
		m.goes_on();
		_exit(0);
	}
	int status = -1;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}
