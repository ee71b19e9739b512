/* Packet capture: records behind the file header that JS wrote (draft-ietf-opsawg-pcap §5). */
#ifndef PASST_PCAP_H
#define PASST_PCAP_H

#include <cstddef>
#include <cstdint>

namespace passt {

class Pcap {
public:
	/** -1 = off. */
	void use(int descriptor) { fd = descriptor; }
	/** One frame without virtio-net header. A write that fails or comes out short ends the capture: what follows
	 * could not be read. */
	void record(const uint8_t *frame, size_t len)
	{
		if (fd >= 0)
			write(frame, len);
	}

private:
	void write(const uint8_t *frame, size_t len);
	int fd = -1;
};

} // namespace passt

#endif
