/* SO_PEEK_OFF on TCP (Linux >= 6.9; IPv6 somewhat later): peeks advance the offset, a consuming read lowers it by what it
 * took, setting it rewinds, and MSG_TRUNC without buffer consumes. EOF behind peeked data reads as 0 octets. */
#include "check.h"

static void check(int family)
{
	int s[2], off = 0;
	char b[16] = {};

	tcp_pair(family, s);
	if (setsockopt(s[0], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off))) {
		fprintf(stderr, "no SO_PEEK_OFF on TCP family %d\n", family);
		exit(77);
	}
	CHECK(write(s[1], "0123456789", 10) == 10 && wait_for(s[0], POLLIN));
	CHECK(recv(s[0], b, 4, MSG_PEEK) == 4 && !memcmp(b, "0123", 4));
	CHECK(recv(s[0], b, 3, MSG_PEEK) == 3 && !memcmp(b, "456", 3));
	CHECK(recv(s[0], nullptr, 4, MSG_TRUNC | MSG_DONTWAIT) == 4);
	socklen_t l = sizeof(off);
	CHECK(!getsockopt(s[0], SOL_SOCKET, SO_PEEK_OFF, &off, &l) && off == 3);
	CHECK(recv(s[0], b, 9, MSG_PEEK) == 3 && !memcmp(b, "789", 3));
	CHECK(recv(s[0], b, 9, MSG_PEEK | MSG_DONTWAIT) == -1 && errno == EAGAIN);
	off = 1;
	CHECK(!setsockopt(s[0], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)));
	CHECK(recv(s[0], b, 9, MSG_PEEK) == 5 && !memcmp(b, "56789", 5));
	shutdown(s[1], SHUT_WR);
	CHECK(wait_for(s[0], POLLRDHUP));
	CHECK(recv(s[0], b, 9, MSG_PEEK | MSG_DONTWAIT) == 0);
	CHECK(recv(s[0], nullptr, 6, MSG_TRUNC | MSG_DONTWAIT) == 6);
	CHECK(recv(s[0], b, 9, MSG_PEEK | MSG_DONTWAIT) == 0);
}

int main()
{
	check(AF_INET);
	check(AF_INET6);
}
