/* tcpi_bytes_acked counts the SYN of a socket that connected as one octet and that of an accepted one not at all; the FIN
 * counts in both. TX_ACK reports with OPT_ID_TCP count payload alone in both (tcp_tx_ack.cc). */
#include "check.h"
#include <cstddef>
#include <linux/tcp.h>

/** Octets acknowledged, once they are `want`; what they are after a second otherwise. */
static uint64_t acked(int fd, uint64_t want)
{
	tcp_info i = {};

	for (int ms = 0; ms < 1000; ms++) {
		socklen_t len = sizeof(i);
		CHECK(!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len));
		if (len < offsetof(tcp_info, tcpi_bytes_acked) + sizeof(i.tcpi_bytes_acked))
			exit(77);
		if (i.tcpi_bytes_acked == want)
			break;
		usleep(1000);
	}
	return i.tcpi_bytes_acked;
}

static void check(int family)
{
	int s[2];

	tcp_pair(family, s);
	CHECK(acked(s[0], 1) == 1);
	CHECK(acked(s[1], 0) == 0);
	CHECK(write(s[0], "0123456789", 10) == 10);
	CHECK(acked(s[0], 11) == 11);
	CHECK(write(s[1], "0123456789", 10) == 10);
	CHECK(acked(s[1], 10) == 10);
	CHECK(acked(s[0], 11) == 11); /* what it receives does not count */
	CHECK(!shutdown(s[1], SHUT_WR));
	CHECK(acked(s[1], 11) == 11);
	CHECK(!shutdown(s[0], SHUT_WR));
	close(s[0]);
	close(s[1]);
}

int main()
{
	check(AF_INET);
	check(AF_INET6);
}
