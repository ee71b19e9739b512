/* The words of each record of the two rings (abi.h), by name: nothing else counts them. property-tests/abi.test.ts holds each
 * name equal to what abi.h calls the word; words that abi.h does not speak of are `unused`.
 */
#ifndef PASST_RECORDS_H
#define PASST_RECORDS_H

#include "abi.h"

namespace passt {

/** One place in a ring. */
using Record = uint32_t[ABI_WORDS];

/** What each record begins with. */
struct Head {
	uint32_t kind, handle;
};

/** "info" of abi.h */
struct Info {
	uint32_t snd_wnd, peer_window_scale, snd_mss, rtt, min_rtt, bytes_acked, sndbuf_free, sndbuf;
};

/** Native.listen(): LISTEN_WORDS */
struct ListenRecord {
	uint32_t listener_id, protocol, addr[4], port, flags, interface;
};

/** "dump" of abi.h */
struct DumpWords {
	uint32_t snd_seq, rcv_seq, outq, outqnsd, inq, snd_kept, rcv_kept, max_seg, timestamp, snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup,
		window_scale, state, options, sndbuf;
};
/** "restore" of abi.h */
struct RestoreWords {
	uint32_t own_addr[4], own_port, peer_addr[4], peer_port, snd_seq, rcv_seq, max_seg, timestamp, snd_wl1, snd_wnd, max_window, rcv_wnd,
		rcv_wup, window_scale, options, sndbuf_wanted, snd_octets;
};

/** Effects: JS writes them. In front of each stands which. */
namespace fx {

/** EF_TAP_WRITE, EF_NETLINK, EF_VHOST_REPLY, EF_STATE_WRITE, EF_TCP_RESTORE, EF_CONF_SEND, EF_API_SEND */
struct Octets : Head {
	uint32_t off, len;
};
/** EF_TCP_CONNECT, EF_UDP_OPEN, EF_PING_OPEN, EF_SPLICE */
struct Open : Head {
	uint32_t dst[4], dst_port, scope;
	union {
		uint32_t mss, source_port, slot;
	};
	uint32_t src[4], flags, listener;
};
/** EF_SEND, EF_UDP_SEND, EF_PING_SEND */
struct Send : Head {
	uint32_t off, len;
	union {
		uint32_t flags, ttl;
	};
	uint32_t segment;
};
/** EF_PEEK */
struct Peek : Head {
	uint32_t header_off, header_len, budget, mss, flags;
};
/** EF_DISCARD, EF_REWIND, EF_STATE_NEXT */
struct Count : Head {
	uint32_t octets;
};
/** EF_VHOST_FEATURES */
struct Features : Head {
	uint32_t features[2];
};
/** EF_VHOST_MEMORY, EF_VHOST_ADD_REGION */
struct Regions : Head {
	uint32_t off, regions;
};
/** EF_VHOST_REMOVE_REGION */
struct RemoveRegion : Head {
	uint32_t guest_physical_address[2], size[2], user_address[2];
};
/** EF_VHOST_LOG */
struct DirtyLog : Head {
	uint32_t descriptor, unused, size[2], mmap_offset[2];
};
/** EF_VHOST_LOG_FD, EF_CLOSE_FD, EF_GIVE */
struct Descriptor : Head {
	uint32_t descriptor;
};
/** EF_VRING_ADDR */
struct VringAddr : Head {
	uint32_t ring, flags, desc[2], used[2], avail[2], log[2], ring_size;
};
/** EF_VRING_BASE */
struct VringBase : Head {
	uint32_t ring, next_avail_index;
};
/** EF_VRING_FD */
struct VringFd : Head {
	uint32_t ring, which, descriptor;
};
/** EF_VRING_RUN */
struct VringRun : Head {
	uint32_t ring, mode;
};
/** EF_VRING_STOP */
struct VringStop : Head {
	uint32_t ring;
};
/** EF_ADOPT, EF_REJECT */
struct Slot : Head {
	uint32_t slot;
};
/** EF_SPLICE_SHUT */
struct SpliceShut : Head {
	uint32_t side;
};
/** EF_READ_ALLOW */
struct ReadAllow : Head {
	uint32_t side, octets;
};
/** EF_UDP_JOIN */
struct UdpJoin : Head {
	uint32_t other_handle;
};
/** EF_LINK_USE, EF_LINK_REFUSE */
struct LinkClient : Head {
	uint32_t descriptor;
};
/** EF_CAPTURE_NOTE */
struct CaptureNote : Head {
	uint32_t off, len, frame;
};
/** EF_REPAIR */
struct Repair : Head {
	uint32_t off, sockets, command;
};
/** EF_STATE_OPEN */
struct StateOpen : Head {
	uint32_t descriptor, direction;
};
/** EF_STATE_CLOSE, EF_TCP_RESTORE_END, EF_TCP_FREEZE, EF_HAND_OVER_HOLD */
struct Flags : Head {
	uint32_t flags;
};
/** EF_TCP_RESTORE_OPEN */
struct RestoreOpen : Head {
	uint32_t flags, outbound;
};
/** EF_TCP_RESTORE_QUEUE */
struct RestoreQueue : Head {
	uint32_t off, len, queue;
};
/** EF_TCP_RUN */
struct Run : Head {
	uint32_t flags, peek_offset;
};
/** EF_TCP_TAKE */
struct Take : Head {
	uint32_t descriptor, flags, peek_offset, taken;
};
/** EF_HAND_OVER_ANSWER */
struct HandOverAnswer : Head {
	uint32_t off, len, names_off, descriptors;
};

} // namespace fx

/** Events: JS reads them. */
namespace ev {

template <uint32_t K> struct Event : Head {
	static constexpr uint32_t KIND = K;
};
/** Another event with the words of `W`. */
template <uint32_t K, class W> struct Like : W {
	static constexpr uint32_t KIND = K;
};

struct TapFrame : Event<EV_TAP_FRAME> {
	uint32_t off, len, vnet_flags, gso_size, csum_start, ones_complement_sum;
};
struct TapGone : Event<EV_TAP_GONE> {
	uint32_t error;
};
struct TapDropped : Event<EV_TAP_DROPPED> {
	uint32_t frames, error;
};
struct TapRoom : Event<EV_TAP_ROOM> {};
struct Connected : Event<EV_CONNECTED> {
	uint32_t unused[2];
	Info info;
};
struct InfoAsked : Like<EV_INFO, Connected> {};
struct Sent : Event<EV_SENT> {
	uint32_t taken, pending;
	Info info;
	uint32_t dropped, error;
};
struct Peeked : Event<EV_PEEKED> {
	uint32_t octets, flags, unused[9], error;
};
struct Ready : Event<EV_READY> {
	uint32_t flags, unused;
	Info info;
};
struct Acked : Event<EV_ACKED> {
	uint32_t octet;
};
struct Failed : Event<EV_FAILED> {
	uint32_t unused[10], refused, error;
};
struct Refused : Event<EV_REFUSED> {
	uint32_t unused[11], error;
};
struct Datagram : Event<EV_DATAGRAM> {
	uint32_t off, len, segment;
};
struct IcmpError : Event<EV_ICMP_ERROR> {
	uint32_t off, len, ee_errno, ee_type, ee_code, ee_info, offender[4];
};
struct Ctl : Event<EV_CTL> {
	uint32_t off, len;
};
struct Accepted : Event<EV_ACCEPTED> {
	uint32_t slot, ports, peer_addr[4], local_addr[4], scope;
};
struct ListenTrouble : Like<EV_LISTEN_TROUBLE, Refused> {};
struct ListenDatagram : Event<EV_LISTEN_DATAGRAM> {
	uint32_t off, len, segment, peer_port, peer_addr[4], sent_to[4], interface, own_ipv4;
};
struct Answer : Like<EV_ANSWER, ListenDatagram> {};
struct ListenIcmpError : Event<EV_LISTEN_ICMP_ERROR> {
	uint32_t off, len, ee_errno, ee_type, ee_info, dst_port, offender[4], destination[4];
};
struct SpliceFailed : Event<EV_SPLICE_FAILED> {
	uint32_t side, unused, moved[4], unused_behind[5], error;
};
struct SpliceEof : Like<EV_SPLICE_EOF, SpliceFailed> {};
struct SpliceConnected : Like<EV_SPLICE_CONNECTED, SpliceFailed> {};
struct ReadAsks : Event<EV_READ_ASKS> {
	uint32_t side, octets;
};
struct UdpMoved : Event<EV_UDP_MOVED> {
	uint32_t datagrams, lost;
};
struct LinkClient : Event<EV_LINK_CLIENT> {
	uint32_t descriptor, process_id, flags;
};
struct LinkEnd : Event<EV_LINK_END> {
	uint32_t why, detail;
};
struct VhostMessage : Event<EV_VHOST_MESSAGE> {
	uint32_t off, len, number_of_descriptors, descriptors[8];
};
struct VhostDone : Event<EV_VHOST_DONE> {
	uint32_t unused[11], error;
};
struct VringStopped : Event<EV_VRING_STOPPED> {
	uint32_t ring, next_avail_index;
};
struct VringBroken : Event<EV_VRING_BROKEN> {
	uint32_t ring, why, detail;
};
struct RepairHelper : Event<EV_REPAIR_HELPER> {
	uint32_t there;
};
struct Repaired : Like<EV_REPAIRED, VhostDone> {};
struct TcpDumped : Event<EV_TCP_DUMPED> {
	uint32_t off, len, unused[9], error;
};
struct StateWritten : Event<EV_STATE_WRITTEN> {
	uint32_t octets;
};
struct StateProgress : Like<EV_STATE_PROGRESS, StateWritten> {};
struct StateEnded : Like<EV_STATE_ENDED, VhostDone> {};
struct StateOctets : Event<EV_STATE_OCTETS> {
	uint32_t off, len;
};
struct Restored : Like<EV_RESTORED, VhostDone> {};
struct HandOverPeer : Event<EV_HAND_OVER_PEER> {
	uint32_t there;
};
struct HandOverAsked : Like<EV_HAND_OVER_ASKED, StateOctets> {};
struct ConfClient : Event<EV_CONF_CLIENT> {
	uint32_t process_id, flags;
};
struct ConfOctets : Like<EV_CONF_OCTETS, StateOctets> {};
struct HostBell : Event<EV_HOST_BELL> {};
struct Host : Like<EV_HOST, StateOctets> {};
struct ApiOctets : Like<EV_API_OCTETS, StateOctets> {};
struct Netlink : Event<EV_NETLINK> {
	uint32_t off, len;
};
struct Capture : Event<EV_CAPTURE> {
	uint32_t error, frames;
};
struct Bound : Event<EV_BOUND> {
	uint32_t port;
};

} // namespace ev

/** A record by the names of its words. All of them are uint32_t, as the record is: the compiler knows them for the same memory. */
template <class R> const R &as(const uint32_t *words)
{
	static_assert(sizeof(R) <= sizeof(Record) && alignof(R) == alignof(uint32_t));
	return *reinterpret_cast<const R *>(words);
}
template <class R> R &as(uint32_t *words) { return const_cast<R &>(as<R>(const_cast<const uint32_t *>(words))); }

static_assert(sizeof(fx::Open) == sizeof(uint32_t) * 15 && sizeof(ev::Answer) == sizeof(Record));
static_assert(sizeof(ListenRecord) == sizeof(uint32_t) * LISTEN_WORDS);
static_assert(sizeof(DumpWords) == sizeof(uint32_t) * DUMP_WORDS && sizeof(RestoreWords) == sizeof(uint32_t) * RESTORE_WORDS);

} // namespace passt

#endif
