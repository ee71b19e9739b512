#include "port.h"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

namespace passt {

/** virtio 1.2 §5.1.6: num_buffers stands behind what Vnet has. */
enum : size_t { NUM_BUFFERS = 10 };
/** ms that few buffers are left to become more; ms between two looks at them, where the guest cannot say when they are enough. */
static constexpr double FEW_WAIT = 1, FEW_LOOK = 0.2, AT_ONCE = 0;

uint32_t Port::use_features(uint64_t bits)
{
	features = bits;
	rx.event_idx = tx.event_idx = has(RING_EVENT_IDX);
	rx.may_indirect = tx.may_indirect = has(RING_INDIRECT);
	memory.logging = has(VHOST_LOG_ALL);
	if (!has(NET_GUEST_CSUM))
		return 0; /* the others stand on it (virtio 1.2 §5.1.3.1) */
	return OFF_CSUM | (has(NET_GUEST_TSO4) ? (uint32_t)OFF_TSO4 : 0) | (has(NET_GUEST_TSO6) ? (uint32_t)OFF_TSO6 : 0) |
	       (has(NET_GUEST_USO4) ? (uint32_t)OFF_USO4 : 0) | (has(NET_GUEST_USO6) ? (uint32_t)OFF_USO6 : 0);
}

void Port::reset()
{
	fetch();
	rx.reset(), tx.reset();
	memory.clear();
	memory.no_log();
	Mapping::reset_lost();
	use_features(0);
	begin();
	held = dropped = 0, hungry = false, plenty = 0;
}

void Port::begin()
{
	pieces.clear(), chains.clear();
}

bool Port::room_again()
{
	if (!refused || starved())
		return false;
	refused = false;
	return true;
}

void Port::start(Vring &ring)
{
	ring.start();
	if (&ring == &rx)
		hungry = false, plenty = 0;
}

void Port::look_for_buffers(double now)
{
	if (!hungry || !takes())
		return;
	rx.refresh();
	if (rx.newest() == hungry_at) {
		if (look_at == AT_ONCE) {
			look_at = now + FEW_LOOK;
			rx.hush();
		} else if (look_at <= now) {
			/* It has none for now, so it has time to kick for the first one */
			look_at = INFINITY;
			rx.ask();
			rx.refresh();
		}
		if (rx.newest() == hungry_at)
			return;
	}
	plenty = std::max(plenty, rx.waiting());
	const uint32_t enough = plenty / 4;
	if (rx.waiting() < enough && now < few_until) {
		if (few_until == INFINITY) {
			few_until = now + FEW_WAIT;
			if (rx.event_idx)
				rx.ask(enough - rx.waiting() - 1);
			else
				rx.hush(); /* else it would kick for each bit that it gives */
			/* As in reserve() */
			rx.refresh();
		}
		if (rx.waiting() < enough) {
			look_at = rx.event_idx ? few_until : std::min(few_until, now + FEW_LOOK);
			return;
		}
	}
	hungry = false, few_until = look_at = INFINITY;
	rx.hush();
}

int Port::reserve(uint64_t least, uint64_t most, Slot &s)
{
	const bool many = has(NET_MRG_RXBUF);
	bool asked = false;

	if (!takes())
		return EAGAIN;
	least = std::max<uint64_t>(least, NET_HEAD + ETH_MIN), most = std::max(most, least);
	if (chains.empty())
		plenty = std::max(plenty, rx.waiting());
	for (;;) {
		uint32_t slots = 0, walked = 0;
		s = {(uint32_t)pieces.size(), 0, (uint32_t)chains.size(), 0, 0};
		while (s.room < most && walked < PORT_WALKED && takes() && rx.waiting((uint32_t)chains.size())) {
			Chain c;
			if (!rx.walk((uint32_t)chains.size(), true, pieces, c) || (!c.len && !rx.fail(VRING_BAD_LENGTH, 0)))
				break;
			chains.push_back(c);
			s.room += c.len, slots += c.slots, walked += c.walked;
			if (!many)
				break;
		}
		s.pieces = (uint32_t)pieces.size() - s.piece, s.chains = (uint32_t)chains.size() - s.chain;
		if (!rx.why && s.room >= least) {
			if (rx.asked() && !hungry)
				rx.hush();
			return 0;
		}
		const uint32_t found = s.chains;
		pieces.resize(s.piece), chains.resize(s.chain);
		if (rx.why || s.chain)
			return EAGAIN;
		/* More of the same will not come: the guest has given all that it can, or one chain is what a frame gets */
		if ((found && !many) || slots >= rx.size() || walked >= PORT_WALKED)
			return EMSGSIZE;
		if (asked) {
			hungry = refused = true;
			few_until = INFINITY, look_at = rx.event_idx ? INFINITY : AT_ONCE;
			hungry_at = rx.newest();
			return EAGAIN;
		}
		/* First say so, then look again: what came in between nobody would tell */
		rx.ask();
		rx.refresh();
		asked = true;
	}
}

void Port::shorten(Slot &s, uint64_t len)
{
	s.room = 0, s.chains = 0;
	for (len = std::max<uint64_t>(len, NET_HEAD + ETH_MIN); s.room < len; s.chains++)
		s.room += chains[s.chain + s.chains].len;
	chains.resize(s.chain + s.chains);
	s.pieces = chains.back().first + chains.back().count - s.piece;
	pieces.resize(s.piece + s.pieces);
}

/** `f(at, n)`: the octets [from, from + n) of a slot, piece by piece. */
template <typename F> static void each(const Piece *p, size_t from, size_t n, F f)
{
	for (; n; p++) {
		if (from >= p->len) {
			from -= p->len;
			continue;
		}
		const size_t here = std::min(n, p->len - from);
		f(p->at + from, here);
		n -= here, from = 0;
	}
}

void Port::parts(const Slot &s, size_t from, size_t n, std::vector<iovec> &to) const
{
	each(&pieces[s.piece], from, n, [&](uint8_t *at, size_t len) { to.push_back({at, len}); });
}

void Port::copy(const Slot &s, size_t at, const uint8_t *from, size_t n)
{
	each(&pieces[s.piece], at, n, [&](uint8_t *to, size_t len) {
		memcpy(to, from, len);
		from += len;
	});
}

void Port::read_back(const Slot &s, size_t at, uint8_t *to, size_t n) const
{
	each(&pieces[s.piece], at, n, [&](const uint8_t *from, size_t len) {
		memcpy(to, from, len);
		to += len;
	});
}

uint8_t *Port::straight(const Slot &s, size_t n) const
{
	const Piece &p = pieces[s.piece];
	return p.len >= n ? p.at : nullptr;
}

uint64_t Port::sum(const Slot &s, size_t from, size_t n) const
{
	uint64_t sum = 0;
	size_t done = 0;

	each(&pieces[s.piece], from, n, [&](const uint8_t *at, size_t len) {
		if (done & 1) {
			/* Its octets stand in the other half of each word */
			const auto swapped = (uint16_t)__builtin_bswap16(htons(sum_fold(sum_octets(at, len))));
			sum = sum_octets(&swapped, sizeof(swapped), sum);
		} else {
			sum = sum_octets(at, len, sum);
		}
		done += len;
	});
	return sum;
}

void Port::commit(const Slot &s, const Vnet &v, const uint8_t *headers, size_t headers_len, size_t len)
{
	static const uint8_t zeros[ETH_MIN] = {};
	const size_t padded = NET_HEAD + std::max<size_t>(len, ETH_MIN); /* #regression-78 */
	uint8_t head[NET_HEAD];
	uint16_t buffers = 0;

	for (uint64_t left = padded; left; buffers++)
		left -= std::min(left, chains[s.chain + buffers].len);
	memcpy(head, &v, sizeof(v));
	memcpy(head + NUM_BUFFERS, &buffers, sizeof(buffers));
	copy(s, 0, head, NET_HEAD);
	copy(s, NET_HEAD, headers, headers_len);
	copy(s, NET_HEAD + len, zeros, padded - NET_HEAD - len);
	uint64_t left = padded;
	for (uint32_t i = 0; i < buffers; i++) {
		const Chain &c = chains[s.chain + i];
		const auto written = (uint32_t)std::min(left, c.len);
		if (memory.logs()) {
			uint32_t rest = written;
			for (const Piece *p = &pieces[c.first]; rest; p++) {
				const uint32_t n = std::min(rest, p->len);
				memory.dirty(p->gpa, n);
				rest -= n;
			}
		}
		rx.give_back(c.head, written);
		left -= written;
	}
	held += (uint32_t)padded, volume += padded;
}

void Port::notify(Vring &ring)
{
	const uint64_t one = 1;
	/* EAGAIN: it has not looked since the last time, so it will. Whatever else it is, it is the front-end's choice */
	if (ring.call >= 0 && write(ring.call, &one, sizeof(one)) < 0)
		return;
}

void Port::flush()
{
	held = 0;
	if (rx.pending() && rx.publish())
		notify(rx);
	if (tx.pending() && tx.publish())
		notify(tx);
}

bool Port::broken()
{
	if (Mapping::lost()) {
		rx.fail(VRING_BAD_MEMORY, 0);
		tx.fail(VRING_BAD_MEMORY, 0);
	}
	return rx.failed() || tx.failed();
}

/** May a header say this of the frame, by the features in force? */
bool Port::sensible(const Vnet &v, const uint8_t *frame, size_t len) const
{
	const uint8_t type = v.gso_type & (uint8_t)~GSO_ECN;

	if (v.flags & VNET_NEEDS_CSUM &&
	    (!has(NET_CSUM) || v.csum_start < ETH_LEN || (size_t)v.csum_start + v.csum_offset + 2 > len))
		return false;
	if (!type)
		return !v.gso_type;
	const uint32_t bit = type == GSO_TCPV4 ? NET_HOST_TSO4 : type == GSO_TCPV6 ? NET_HOST_TSO6 : NET_HOST_USO;
	return (type == GSO_TCPV4 || type == GSO_TCPV6 || type == GSO_UDP_L4) && has(bit) && v.flags & VNET_NEEDS_CSUM &&
	       can_segment(frame, len, v);
}

void Port::let_go()
{
	const bool live = tx.live();

	outside.clear([&](uint16_t head) {
		if (live)
			tx.give_kept(head, 0);
	});
	if (tx.pending() && tx.publish())
		notify(tx);
}

/** A frame from `pieces` behind its header. `sum`: null, or of all octets from ETH_LEN on. */
static void take_frame(const std::vector<Piece> &pieces, uint8_t *to, uint16_t *sum)
{
	size_t skip = NET_HEAD, done = 0;
	uint64_t s = 0;
	bool even = true;

	for (const Piece &p : pieces) {
		const uint8_t *from = p.at;
		size_t len = p.len;
		const size_t over = std::min(skip, len);
		from += over, len -= over, skip -= over;
		const size_t eth = done < ETH_LEN ? std::min(ETH_LEN - done, len) : 0;
		memcpy(to + done, from, eth);
		from += eth, len -= eth, done += eth;
		if (!len)
			continue;
		even = even && !((done - ETH_LEN) & 1);
		if (sum && even)
			s = copy_octets(to + done, from, len, s);
		else
			memcpy(to + done, from, len);
		done += len;
	}
	if (sum)
		*sum = sum_fold(even ? s : sum_octets(to + ETH_LEN, done - ETH_LEN));
}

/** What of it is copied, where its payload stays. */
static void take_head(const std::vector<Piece> &pieces, uint8_t *to)
{
	each(pieces.data(), NET_HEAD, OUTSIDE_HEAD, [&](const uint8_t *from, size_t n) {
		memcpy(to, from, n);
		to += n;
	});
}

/** By the headers in `frame`: a segment of TCP for everybody who reads them, and nothing behind it. */
static bool is_stream(const uint8_t *frame, size_t len, const Vnet &v)
{
	Layers at;

	return read_plain(frame, len, at) && !at.udp && v.csum_start == at.l4;
}

void Port::read(Rings &r, uint32_t frames, uint32_t rx_limit, Pcap &pcap)
{
	/** A frame, and the one that it may grow by. */
	enum : size_t { ROOM = 2 * (FRAME_MAX + 64) };
	if (!tx.live())
		return;
	slab = r.slab;
	uint32_t waiting = tx.waiting();
	if (waiting && tx.asked())
		tx.hush();
	uint8_t *const begin_at = r.slab + r.rx_next();
	uint8_t *first = begin_at, *end = begin_at;
	uint32_t octets = 0, walked = 0;
	Coalescer c;
	ev::TapFrame *e = nullptr;
	const auto close_frame = [&] {
		if (!e)
			return;
		c.end(*e);
		end = first + c.length();
		e = nullptr;
	};
	const auto next_place = [&] {
		const auto at = (size_t)((e ? first + c.length() : end) - begin_at);
		return begin_at + ((at + 63) & ~(size_t)63);
	};

	begin();
	for (; waiting; waiting--) {
		uint8_t *const to = next_place();
		const auto used = (size_t)(to - begin_at);
		if (r.rx_left() < used + ROOM || r.rx_used() + used >= rx_limit || octets >= PORT_AT_ONCE || walked >= PORT_WALKED || (!e && (!frames || !r.room())))
			break;
		Chain chain;
		Vnet v;
		uint8_t head[NET_HEAD];
		pieces.clear();
		if (!tx.walk(0, false, pieces, chain))
			break;
		walked += chain.walked;
		if (tx.mode == VRING_DISCARD) {
			tx.give_back(chain.head, 0);
			continue;
		}
		if (chain.len < NET_HEAD + ETH_LEN || chain.len > NET_HEAD + FRAME_MAX) {
			dropped++;
			tx.give_back(chain.head, 0);
			continue;
		}
		size_t got = 0;
		each(pieces.data(), 0, NET_HEAD, [&](const uint8_t *from, size_t n) {
			take(head + got, from, n);
			got += n;
		});
		memcpy(&v, head, sizeof(v));
		v.flags &= VNET_NEEDS_CSUM;
		const auto len = (size_t)chain.len - NET_HEAD;
		uint16_t sum = 0;
		/* Nobody reads the payload of a stream but who sends it, a capture and a record. Is it one? The header of virtio-net is not what JS goes by */
		bool stays = v.flags && v.gso_type && (v.gso_type & (uint8_t)~GSO_ECN) != GSO_UDP_L4 && len >= OUTSIDE_MIN &&
				   pieces.size() <= OUTSIDE_PIECES && !pcap.on() && !whole;
		if (stays) {
			take_head(pieces, to);
			stays = is_stream(to, len, v);
		}
		if (!stays)
			take_frame(pieces, to, v.flags ? nullptr : &sum);
		if (Mapping::lost())
			break;
		octets += (uint32_t)len;
		if (!sensible(v, to, stays ? (size_t)OUTSIDE_HEAD : len)) {
			dropped++;
			tx.give_back(chain.head, 0);
			continue;
		}
		if (v.flags) {
			close_frame();
			if (!frames || !r.room())
				break;
			frames--;
			auto &one = r.post<ev::TapFrame>(0);
			one.off = (uint32_t)(to - r.slab), one.len = (uint32_t)len;
			put_vnet(one, v);
			pcap.received(to, len, v, one.off);
			end = to + len;
			if (stays) {
				outside.add(one.off + OUTSIDE_HEAD, pieces, NET_HEAD + OUTSIDE_HEAD, chain.head);
				tx.keep();
				continue;
			}
		} else if (e && c.fits(to, len, sum)) {
			pcap.received(to, len, v, e->off);
			c.append(to, len);
		} else {
			/* As in Link::parse(): the latest of a run of acknowledgements has their place */
			if (!e || !c.superseded_by(to, len, sum)) {
				close_frame();
				if (!frames || !r.room())
					break;
				e = &r.post<ev::TapFrame>(0);
				frames--;
			}
			e->off = (uint32_t)(to - r.slab);
			e->ones_complement_sum = sum;
			first = to;
			pcap.received(to, len, v, e->off);
			c.begin(to, len, sum);
		}
		tx.give_back(chain.head, 0);
	}
	close_frame();
	volume += octets;
	r.rx_take((uint32_t)(end - begin_at));
	begin();
	if (tx.pending() && tx.publish())
		notify(tx);
}

} // namespace passt
