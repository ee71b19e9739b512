#include "tap.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

static constexpr const char *TUN_DEVICE = "/dev/net/tun";

/** Why it cannot be opened, perhaps, and what helps. */
static const char *advice(int err)
{
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO: return " (is the tun module loaded? modprobe tun; a container has it by --device /dev/net/tun)";
	case EACCES: return " (it is for all users where it has its usual mode: chmod 0666 /dev/net/tun)";
	case EPERM: return " (a container has it by --device /dev/net/tun)";
	default: return "";
	}
}

Fault openTap(const std::string &name, bool vnet, Tap &tap)
{
	if (name.empty() || name.size() >= IFNAMSIZ)
		return { EINVAL, "Interface name \"" + name + "\" is not 1 to 15 characters long" };
	Fd fd(open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC));
	if (!fd) {
		Fault f = fault(errno, std::string("Cannot open ") + TUN_DEVICE);
		f.text += advice(f.err);
		return f;
	}
	ifreq ifr = {};
	memcpy(ifr.ifr_name, name.data(), name.size());
	ifr.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | (vnet ? IFF_VNET_HDR : 0));
	int rc = ioctl(fd.get(), TUNSETIFF, &ifr);
	if (rc < 0 && vnet && errno == EINVAL) { // before IFF_VNET_HDR (Linux 2.6.27), or a stand-in for the device
		vnet = false;
		ifr.ifr_flags = IFF_TAP | IFF_NO_PI;
		rc = ioctl(fd.get(), TUNSETIFF, &ifr);
	}
	if (rc < 0)
		return fault(errno, "Cannot create tap interface " + name);
	tap.name.assign(ifr.ifr_name, strnlen(ifr.ifr_name, IFNAMSIZ));
	tap.index = if_nametoindex(tap.name.c_str());
	if (tap.index == 0)
		return fault(errno, "Cannot look up the index of interface " + tap.name);
	if (ioctl(fd.get(), SIOCGIFHWADDR, &ifr) < 0)
		return fault(errno, "Cannot read the MAC address of interface " + tap.name);
	memcpy(tap.mac, ifr.ifr_hwaddr.sa_data, sizeof(tap.mac));
	tap.vnet = vnet;
	tap.fd = std::move(fd);
	return {};
}
