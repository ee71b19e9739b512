#!/bin/sh
# For dhclient (variable reason) and udhcpc (first argument): keeps in /mnt/w/env.REASON what it was told, and configures.
event=${reason:-$1}
env | sort > "/mnt/w/env.$event"
case $event in
PREINIT | PREINIT6) ip link set "$interface" up ;;
BOUND)
	[ -z "$new_interface_mtu" ] || ip link set "$interface" mtu "$new_interface_mtu"
	ip addr add "$new_ip_address/$new_subnet_mask" dev "$interface"
	ip route add default via "${new_routers%% *}" dev "$interface"
	;;
BOUND6) ip -6 addr add "$new_ip6_address/$new_ip6_prefixlen" dev "$interface" nodad ;;
bound)
	[ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
	ip addr add "$ip/$mask" dev "$interface"
	ip route add default via "${router%% *}" dev "$interface"
	;;
esac
exit 0
