#include "pcap.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace passt {

/* draft-ietf-opsawg-pcapng §4.3, §3.5; lengths in octets */
enum : uint32_t { EPB = 6, EPB_HEAD = 28, OPT_COMMENT = 1, EPB_FLAGS = 2, EPB_TAIL = 16, INBOUND = 1, OUTBOUND = 2 };
enum : size_t { NOTE_MAX = 1024 };

static size_t padding(size_t n)
{
	return (4 - n % 4) % 4;
}

void Pcap::use(int descriptor, bool blocks, uint64_t octets)
{
	struct stat st;

	fd = descriptor, ng = blocks, room = octets, full = false;
	if (fd >= 0 && !fstat(fd, &st) && !S_ISREG(st.st_mode))
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void Pcap::put(const void *from, size_t n)
{
	const auto *const p = static_cast<const uint8_t *>(from);
	held.insert(held.end(), p, p + n);
}

void Pcap::record(const uint8_t *frame, size_t len, const Vnet &v, bool in, uint32_t key)
{
	static const uint8_t zeros[ETH_MIN] = {};
	const size_t pad = !in && len < ETH_MIN ? ETH_MIN - len : 0;
	const auto total = (uint32_t)(len + pad);
	timespec now;

	if (full)
		return; /* a pipe has not taken all that did fit */
	if (held.size() + out.size() - done > CAPTURE_WAITING) {
		missed++;
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	Entry e = {held.size(), 0, key, {}};
	if (ng) {
		const uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
		const uint32_t block = EPB_HEAD + total + (uint32_t)padding(total) + EPB_TAIL;
		const uint32_t head[7] = {EPB, block, 0, (uint32_t)(ns >> 32), (uint32_t)ns, total, total};
		put(head, sizeof(head));
	} else {
		/* To the nearest µs */
		const long us = (now.tv_nsec + 500) / 1000;
		const uint32_t head[4] = {(uint32_t)(now.tv_sec + us / 1000000), (uint32_t)(us % 1000000), total, total};
		put(head, sizeof(head));
	}
	const size_t at = held.size();
	put(frame, len);
	put(zeros, pad);
	if (v.flags & VNET_NEEDS_CSUM)
		complete_checksum(held.data() + at, len, v.csum_start, v.csum_offset);
	if (ng) {
		const uint32_t tail[4] = {EPB_FLAGS | 4u << 16, in ? INBOUND : OUTBOUND, 0,
					  EPB_HEAD + total + (uint32_t)padding(total) + EPB_TAIL};
		put(zeros, padding(total));
		put(tail, sizeof(tail));
		if (!in)
			e.note.swap(next_note);
		next_note.clear();
	}
	e.len = held.size() - e.at;
	entries.push_back(std::move(e));
	if (held.size() > CAPTURE_HELD)
		flush();
}

void Pcap::note(uint32_t key, const uint8_t *text, size_t len)
{
	std::string s(reinterpret_cast<const char *>(text), std::min<size_t>(len, NOTE_MAX));

	if (fd < 0 || !ng)
		return;
	if (!key) {
		next_note = std::move(s);
		return;
	}
	for (Entry &e : entries) {
		if (e.key == key) {
			e.note = std::move(s);
			return;
		}
	}
}

/** Held records behind those that are to be written, with their notes in front of the other options. */
void Pcap::queue_held()
{
	const auto append = [this](const void *from, size_t n) {
		const auto *const p = static_cast<const uint8_t *>(from);
		out.insert(out.end(), p, p + n);
	};

	for (const Entry &e : entries) {
		const uint8_t *const block = held.data() + e.at;
		const auto n = (uint32_t)e.note.size();
		const auto whole = (uint32_t)(e.len + (n ? 4 + n + padding(n) : 0));
		if (whole > room) {
			full = true;
			break;
		}
		room -= whole;
		if (!n) {
			append(block, e.len);
		} else {
			const uint32_t head = OPT_COMMENT | n << 16;
			const size_t at = out.size();
			append(block, e.len - EPB_TAIL);
			append(&head, 4);
			append(e.note.data(), n);
			append("\0\0\0", padding(n));
			append(block + e.len - EPB_TAIL, EPB_TAIL);
			memcpy(out.data() + at + 4, &whole, 4);
			memcpy(out.data() + out.size() - 4, &whole, 4);
		}
		ends.push_back(out.size());
	}
	held.clear();
	entries.clear();
}

/** What a full disk left of a record goes, so that the file can be read to its end. */
void Pcap::stop(int error)
{
	size_t whole = 0;
	for (const size_t e : ends) {
		if (e <= done)
			whole = e;
	}
	const off_t at = lseek(fd, 0, SEEK_CUR);
	if (at >= 0 && done > whole && !ftruncate(fd, at - (off_t)(done - whole)))
		fsync(fd);
	ended = error;
	fd = -1;
	held = {}, out = {}, entries = {}, ends = {};
	done = 0;
}

void Pcap::flush()
{
	if (fd < 0)
		return;
	queue_held();
	while (done < out.size()) {
		const ssize_t n = ::write(fd, out.data() + done, out.size() - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break; /* a pipe: next time */
		if (n <= 0)
			return stop(n ? errno : EIO);
		done += (size_t)n;
	}
	if (done < out.size()) {
		/* A reader that is slow, not gone: what it has read need not be kept. Nobody can truncate a pipe */
		if (done > CAPTURE_HELD) {
			out.erase(out.begin(), out.begin() + (std::ptrdiff_t)done);
			ends.clear();
			done = 0;
		}
		return;
	}
	out.clear();
	ends.clear();
	done = 0;
	if (full)
		stop(EFBIG);
}

void Pcap::finish()
{
	flush();
	if (fd >= 0)
		fsync(fd);
}

} // namespace passt
