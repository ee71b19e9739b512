/* What is in the receive queue when a RST comes stays readable; the error shows only behind it (or through SO_ERROR). */
#include "check.h"

int main()
{
	int s[2], off = 0;
	char b[16];
	tcp_pair(AF_INET, s);
	setsockopt(s[0], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
	CHECK(write(s[1], "unread", 6) == 6 && wait_for(s[0], POLLIN));
	const linger hard = {1, 0};
	CHECK(!setsockopt(s[1], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)));
	close(s[1]);
	CHECK(wait_for(s[0], 0));
	CHECK(recv(s[0], b, sizeof(b), MSG_PEEK | MSG_DONTWAIT) == 6 && !memcmp(b, "unread", 6));
	int err = 0;
	socklen_t l = sizeof(err);
	CHECK(!getsockopt(s[0], SOL_SOCKET, SO_ERROR, &err, &l) && err == ECONNRESET);
	CHECK(recv(s[0], nullptr, 6, MSG_TRUNC | MSG_DONTWAIT) == 6);
	CHECK(recv(s[0], b, sizeof(b), MSG_DONTWAIT) == 0); /* error taken by SO_ERROR: looks like an end of stream */
}
