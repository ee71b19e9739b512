/* A real tap in a network namespace of its own (root). */
#include "harness.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/** /dev/net/tun, or where the machine has no such file one of our own, gone again at once. */
static int open_tun()
{
	const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	char dir[] = "/tmp/tun-test-XXXXXX";
	CHECK(mkdtemp(dir));
	const std::string path = std::string(dir) + "/tun";
	CHECK(!mknod(path.c_str(), S_IFCHR | 0600, makedev(10, 200)));
	const int own = open(path.c_str(), O_RDWR | O_CLOEXEC);
	CHECK(!unlink(path.c_str()) && !rmdir(dir));
	return own;
}

/** Descriptor of a new tap `t0`, up, MTU 1500. */
static int new_tap(short flags)
{
	const int fd = open_tun();
	ifreq ifr = {};
	strcpy(ifr.ifr_name, "t0");
	ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags);
	CHECK(fd >= 0 && !ioctl(fd, TUNSETIFF, &ifr));
	const int s = socket(AF_INET, SOCK_DGRAM, 0);
	auto *const in = reinterpret_cast<sockaddr_in *>(&ifr.ifr_addr);
	in->sin_family = AF_INET, in->sin_addr.s_addr = htonl(0x0a000002);
	CHECK(!ioctl(s, SIOCSIFADDR, &ifr));
	ifr.ifr_flags = IFF_UP;
	CHECK(!ioctl(s, SIOCSIFFLAGS, &ifr));
	close(s);
	return fd;
}

static void with_tap(short flags, bool vnet)
{
	Engine e;
	CHECK(!e.open({1 << 20, 4 << 20, 16, 64, 256}));
	const int fd = new_tap(flags);
	CHECK(!e.tap_port.use(fd, vnet));
	CHECK(vnet ? e.tap.offloads & OFF_CSUM && e.tap.offloads & OFF_TSO4 : !e.tap.offloads);
	printf("   (offloads %#x)\n", e.tap.offloads);

	/* The kernel speaks: an ARP request or whatever comes first */
	const int first = socket(AF_INET, SOCK_DGRAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0);
	sockaddr_storage ss;
	const uint32_t peer[4] = {0, 0, 0xffff, 0x0a000001};
	socklen_t len = to_sockaddr(ss, peer, 9, 0, false);
	sendto(first, "x", 1, 0, reinterpret_cast<sockaddr *>(&ss), len);
	bool arp = false;
	for (int i = 0; i < 20 && !arp; i++) {
		const int n = e.turn(0, 50);
		for (int k = 0; k < n; k++) {
			const uint32_t *const r = e.rings.events[k];
			CHECK(r[0] == EV_TAP_FRAME);
			const uint8_t *const f = e.rings.slab + r[2];
			arp |= r[3] >= 42 && get16(f + 12) == 0x0806 && get32(f + 38) == 0x0a000001;
		}
	}
	CHECK(arp);

	/* The kernel hears: a USO frame of three datagrams, to a socket */
	const uint32_t own[4] = {0, 0, 0xffff, 0x0a000002};
	len = to_sockaddr(ss, own, 5000, 0, false);
	CHECK(!bind(u, reinterpret_cast<sockaddr *>(&ss), len));
	ifreq ifr = {};
	strcpy(ifr.ifr_name, "t0");
	CHECK(!ioctl(u, SIOCGIFHWADDR, &ifr));
	const uint32_t at = 4096, total = 2500;
	uint8_t *const b = e.rings.slab + at, *const f = b + VNET_LEN, *const ip = f + 14;
	memset(b, 0, VNET_LEN + 42 + total);
	memcpy(f, ifr.ifr_hwaddr.sa_data, 6);
	f[6] = 2, put16(f + 12, 0x0800);
	ip[0] = 0x45, ip[8] = 64, ip[9] = 17;
	put16(ip + 2, (uint16_t)(28 + total)), put32(ip + 12, 0x0a000001), put32(ip + 16, 0x0a000002);
	put16(ip + 10, (uint16_t)~sum_fold(sum_octets(ip, 20)));
	put16(ip + 20, 9), put16(ip + 22, 5000), put16(ip + 24, (uint16_t)(8 + total));
	put16(ip + 26, sum_fold(sum_pseudo(ip, false, 17, 8 + total)));
	Vnet v = {};
	v.flags = VNET_NEEDS_CSUM, v.gso_type = GSO_UDP_L4, v.gso_size = 1000, v.hdr_len = 42, v.csum_start = 34, v.csum_offset = 6;
	memcpy(b, &v, sizeof(v));
	uint32_t *const x = e.rings.effects[0];
	x[0] = EF_TAP_WRITE, x[2] = at, x[3] = VNET_LEN + 42 + total;
	e.turn(1, 0);
	CHECK(!e.tap.dropped && !e.tap.gone);
	for (const ssize_t want : {1000, 1000, 500}) {
		char got[3000];
		CHECK(wait_for(u, 1));
		CHECK(recv(u, got, sizeof(got), MSG_DONTWAIT) == want);
	}

	/* Down: EIO, a dropped frame and no more (#regression-35) */
	CHECK(!ioctl(u, SIOCGIFFLAGS, &ifr));
	ifr.ifr_flags = (short)(ifr.ifr_flags & ~IFF_UP);
	CHECK(!ioctl(u, SIOCSIFFLAGS, &ifr));
	x[0] = EF_TAP_WRITE, x[2] = at, x[3] = VNET_LEN + 60;
	memset(b, 0, VNET_LEN);
	const int n = e.turn(1, 5);
	CHECK(n >= 1 && e.rings.events[0][0] == EV_TAP_DROPPED && e.rings.events[0][3] == EIO && !e.tap.gone);
	CHECK(e.turn(0, 5) == 0);
}

static void with_tap_in_namespace(short flags, bool vnet)
{
	in_namespace([=] {
		with_tap(flags, vnet);
		fflush(stdout);
	});
}

TEST(real_tap_with_offloads)
{
	with_tap_in_namespace(IFF_VNET_HDR, true);
}

TEST(real_tap_without_virtio_net_header)
{
	with_tap_in_namespace(0, false);
}
