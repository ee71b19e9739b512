#include "pending.h"

#include <cstdlib>
#include <cstring>

namespace passt {

Pending::~Pending()
{
	free(buf);
}

bool Pending::append(const void *from, size_t n)
{
	if (tail + n > cap && head) {
		memmove(buf, buf + head, tail - head);
		tail -= head, head = 0;
	}
	if (tail + n > cap) {
		size_t want = cap ? cap : 16384;
		while (want < tail + n)
			want *= 2;
		void *const p = realloc(buf, want);
		if (!p)
			return false;
		buf = static_cast<uint8_t *>(p), cap = want;
	}
	memcpy(buf + tail, from, n);
	tail += n;
	return true;
}

void Pending::consume(size_t n)
{
	head += n < size() ? n : size();
	if (head < tail)
		return;
	head = tail = 0;
	free(buf);
	buf = nullptr, cap = 0;
}

} // namespace passt
