/* The tap: reading frames into the slab, writing them with or without its offloads, or to the guest link in its place: a stream, or
 * rings in the guest's memory. */
#ifndef PASST_TAP_H
#define PASST_TAP_H

#include "frame.h"
#include "link.h"
#include "pcap.h"
#include "rings.h"
#include "vhost/port.h"

namespace passt {

/** Octets a read needs in front of it: the longest frame, and what tells a truncated one (#regression-42). */
enum : uint32_t { FRAME_ROOM = VNET_LEN + FRAME_MAX + 1 };

class Tap {
public:
	int fd = -1;
	bool vnet = false;
	/** TUN_F_*: what the kernel takes from us and may give to us. */
	uint32_t offloads = 0;
	/** Frames lost since the last report, and why the latest was. */
	uint32_t dropped = 0;
	int drop_errno = 0;
	/** Other than 0: of no further use. */
	int gone = 0;
	/** The last read() left frames where they are. */
	bool behind = false;
	/** Octets of frames to the guest, and by a tap from it. */
	uint64_t volume = 0;
	Pcap pcap;
	/** Once one of them is on, frames go to its client instead. */
	Link link;
	Port vhost;

	/** Make it nonblocking, negotiate header length and offloads. 0 or errno. */
	int use(int descriptor, bool with_vnet);

	/**
	 * One frame behind its virtio-net header; `len` includes it. Where the tap lacks an offload it is done here, in
	 * place. `*payload`: octets of L4 payload that went out of a segmented frame, all or none of any other.
	 * Return: 0; errno of a frame that was dropped; `gone` is set where nothing will ever be taken again.
	 */
	int write(uint8_t *vnet_frame, size_t len, size_t *payload = nullptr);

	/** A whole frame is in the place that link.reserve() gave for it. */
	void commit_link(uint8_t *frame, size_t len);

	/** A frame of `len` octets that stands in a slot of the guest's, for the capture. */
	void capture(const Slot &s, size_t len, const Vnet &v);

	/** May bulk be added? */
	bool takes_bulk() const { return vhost.on ? !vhost.starved() : link.takes_bulk(); }
	/** Is who was refused told when there is room (EV_TAP_ROOM)? */
	bool tells() const { return link.on || vhost.starved(); }
	/** Is there a client, if it takes one? Otherwise frames count as sent. */
	bool anybody() const { return vhost.on ? vhost.takes() : !link.on || (link.fd >= 0 && !link.ended); }
	/** Does the other side do what `v` leaves undone? */
	bool does(const Vnet &v, bool v6) const;

	/** Read at most `frames` frames as EV_TAP_FRAME, while ring and slab (up to `rx_limit` octets) have room. */
	void read(Rings &r, uint32_t frames, uint32_t rx_limit);

private:
	static int emit(void *self, uint8_t *frame, size_t len);
	int write_frame(const Vnet &v, const uint8_t *frame, size_t len);
	static uint8_t *place_link(void *self, size_t len);
	static int emit_link(void *self, uint8_t *frame, size_t len);
	static uint8_t *place_vhost(void *self, size_t len);
	static int emit_vhost(void *self, uint8_t *frame, size_t len);
	int write_whole(const Vnet &v, const uint8_t *frame, size_t len);
	int write_built(const Vnet &v, const uint8_t *frame, size_t len, size_t *payload);
	int failed(int error);
	/** Of place_vhost() */
	Slot slot = {};
	int place_error = 0;
};

} // namespace passt

#endif
