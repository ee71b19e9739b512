/* Kernel constants newer than the headers of the systems we build on. Values: include/uapi of Linux 6.18. */
#ifndef PASST_COMPAT_H
#define PASST_COMPAT_H

#include <linux/if_tun.h>
#include <linux/net_tstamp.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif
#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

namespace passt {
/* SOF_TIMESTAMPING_OPT_ID_TCP (Linux 6.2); an enumerator there, so it cannot be tested for */
enum : unsigned { TS_OPT_ID_TCP = 1 << 16 };
} // namespace passt

#endif
