/* Ethernet frames as the tap exchanges them: virtio-net header, segmentation in software. */
#ifndef PASST_FRAME_H
#define PASST_FRAME_H

#include "headers.h"

namespace passt {

enum : uint8_t { VNET_NEEDS_CSUM = 1, VNET_DATA_VALID = 2 };
enum : uint8_t { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };
enum : uint32_t { OFF_CSUM = 0x01, OFF_TSO4 = 0x02, OFF_TSO6 = 0x04, OFF_USO4 = 0x20, OFF_USO6 = 0x40 };

/** struct virtio_net_hdr (virtio 1.2 §5.1.6), host order: what tun(4) takes without TUNSETVNETLE. */
struct Vnet {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

/** One segment out: 0 or errno. */
using Emit = int (*)(void *to, uint8_t *frame, size_t len);
/** Where a segment of `len` octets is to be built; nullptr: nowhere, EAGAIN. */
using Place = uint8_t *(*)(void *to, size_t len);

/** Do the frame's headers hold together, and are of the kind that `v` says? */
bool can_segment(const uint8_t *frame, size_t len, const Vnet &v);

/**
 * Cut a GSO frame (TCP or UDP_L4) into frames of gso_size octets of payload, headers and checksums complete: lengths,
 * IPv4 header checksum, sequence number; FIN and PSH on the last one only, CWR on the first one only (RFC 3168 §6.1.2).
 * `*payload` = octets of payload in the frames that emit() took. Return: 0, -1 where the headers do not hold
 * together, or what emit() said first; later segments are then not tried.
 */
int segment(const uint8_t *frame, size_t len, const Vnet &v, Emit emit, void *to, size_t *payload, Place place = nullptr);

} // namespace passt

#endif
