/* One frame behind any virtio-net header: cut into segments, and its checksum completed, without a look outside of it. */
#include "../../native/addon/frame.h"
#include "input.h"

#include <cstring>
#include <memory>

using namespace passt;

namespace {

struct Out {
	size_t octets = 0, frames = 0, refuse_at;
};

int take(void *to, uint8_t *frame, size_t len)
{
	Out &out = *static_cast<Out *>(to);
	volatile uint8_t last = len ? frame[len - 1] : 0;

	(void)last;
	MUST(len <= FRAME_MAX);
	out.octets += len;
	return ++out.frames == out.refuse_at ? 11 : 0;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	Input in(data, len);
	Vnet v;

	v.flags = in.u8(), v.gso_type = in.u8(), v.hdr_len = in.u16(), v.gso_size = in.u16();
	v.csum_start = in.u16(), v.csum_offset = in.u16();
	Out out = {0, 0, in.u8()};
	const std::vector<uint8_t> frame = in.octets(SIZE_MAX);
	/* an exact copy: one octet outside is seen */
	const std::unique_ptr<uint8_t[]> exact(new uint8_t[frame.size()]);
	std::copy(frame.begin(), frame.end(), exact.get());
	size_t payload = 0;
	const int e = segment(exact.get(), frame.size(), v, take, &out, &payload);
	MUST(payload <= frame.size());
	MUST(e || !frame.size() || out.frames);
	complete_checksum(exact.get(), frame.size(), v.csum_start, v.csum_offset);
	return 0;
}
