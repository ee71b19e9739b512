#include "args.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

static std::optional<int> descriptor(const std::string &text)
{
	int fd = -1;
	const char *end = text.data() + text.size();
	const auto [rest, error] = std::from_chars(text.data(), end, fd);
	// 0 to 2 are QEMU's own standard streams.
	if (error != std::errc() || rest != end || fd < 3)
		return std::nullopt;
	return fd;
}

std::optional<Order> explicitOrder(const std::vector<std::string> &args)
{
	if (args.size() < 2 || args[1].empty() || args[1][0] == '-')
		return std::nullopt;
	const auto fd = descriptor(args[0]);
	if (!fd)
		return std::nullopt;
	return Order{ *fd, { args.begin() + 1, args.end() } };
}

static bool startsWith(std::string_view text, std::string_view start)
{
	return text.substr(0, start.size()) == start;
}

/** QEMU takes "-netdev" and "--netdev"; the name without dashes, empty for what is no option. */
static std::string_view optionName(std::string_view arg)
{
	if (startsWith(arg, "--"))
		return arg.substr(2);
	return startsWith(arg, "-") ? arg.substr(1) : std::string_view();
}

/** A network device, as "DRIVER,..." or as JSON with the driver first, which is how libvirt writes it. */
static bool isNetworkDevice(std::string_view device)
{
	constexpr std::string_view json = "{\"driver\":\"";
	const bool isJson = startsWith(device, json);
	if (isJson)
		device.remove_prefix(json.size());
	for (const std::string_view driver : { "virtio-net-pci", "virtio-net-ccw", "e1000", "e1000e", "rtl8139" })
		if (startsWith(device, driver) && device.size() > driver.size() &&
		    device[driver.size()] == (isJson ? '"' : ','))
			return true;
	return false;
}

static bool conflicts(std::string_view option, std::string_view value)
{
	const std::string_view name = optionName(option);
	return name == "net" || name == "netdev" || (name == "device" && isNetworkDevice(value));
}

Order patchedOrder(const std::string &qemu, const std::vector<std::string> &args, int fd)
{
	Order order{ fd, { qemu } };
	for (size_t i = 0; i < args.size(); i++) {
		if (i + 1 < args.size() && conflicts(args[i], args[i + 1]))
			i++;
		else
			order.argv.push_back(args[i]);
	}
	// The bus of a mainframe has no PCI.
	const bool ccw = qemu.find("s390x") != std::string::npos;
	for (const std::string &more : { std::string("-device"), std::string("virtio-net-") + (ccw ? "ccw" : "pci") + ",netdev=hostnet0",
					 std::string("-netdev"), "socket,fd=" + std::to_string(fd) + ",id=hostnet0" })
		order.argv.push_back(more);
	return order;
}
