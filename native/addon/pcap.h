/* Packet capture: records behind the file header that JS wrote (draft-ietf-opsawg-pcap §5), or enhanced packet blocks behind
 * its section and interface (draft-ietf-opsawg-pcapng §4.3).
 *
 * The records of a turn are held until its effects have been carried out, so that JS, which saw the frames, can say
 * something about them; then they are written at once. Frames are as on the wire but for their length: one that the other
 * side is to cut into segments stays whole, its checksum is completed in the copy.
 */
#ifndef PASST_PCAP_H
#define PASST_PCAP_H

#include "frame.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace passt {

/** Octets of records held or waiting: a pipe that nobody reads; and when to write within a turn. */
enum : size_t { CAPTURE_WAITING = 32u << 20, CAPTURE_HELD = 4u << 20 };

class Pcap {
public:
	/** -1 = off. `ng`: blocks instead of records; `octets`: how many of them may be written. A pipe is made nonblocking. */
	void use(int descriptor, bool ng, uint64_t octets = UINT64_MAX);
	bool on() const { return fd >= 0; }

	/** From the guest; `key`: what note() will call it. */
	void received(const uint8_t *frame, size_t len, const Vnet &v, uint32_t key)
	{
		if (fd >= 0)
			record(frame, len, v, true, key);
	}
	/** To the guest; short ones are padded as they were on the way. */
	void sent(const uint8_t *frame, size_t len, const Vnet &v)
	{
		if (fd >= 0)
			record(frame, len, v, false, 0);
	}
	/** What note() said of the next frame, which is not sent. */
	void forget_note() { next_note.clear(); }
	/** A comment on the frame received in this turn with this key, or (0) on the next one sent. pcapng only. */
	void note(uint32_t key, const uint8_t *text, size_t len);
	/** The end of a turn's effects: everything held goes to the file. A full disk ends the capture between two records. */
	void flush();
	/** flush(), and to the disk. */
	void finish();

	/** errno that ended the capture (EFBIG: the next record has no room), frames that a pipe had no room for; whoever reports them sets them to 0. */
	int ended = 0;
	uint32_t missed = 0;

private:
	struct Entry {
		size_t at, len;
		uint32_t key;
		std::string note;
	};
	void record(const uint8_t *frame, size_t len, const Vnet &v, bool in, uint32_t key);
	void put(const void *from, size_t n);
	void queue_held();
	void stop(int error);

	int fd = -1;
	bool ng = false;
	/** Octets that records may still take; no further record is taken once one did not fit. */
	uint64_t room = UINT64_MAX;
	bool full = false;
	/** This turn's records, serialised without notes; what is to be written, from `done` on, and where its records end. */
	std::vector<uint8_t> held, out;
	std::vector<Entry> entries;
	std::vector<size_t> ends;
	size_t done = 0;
	std::string next_note;
};

} // namespace passt

#endif
