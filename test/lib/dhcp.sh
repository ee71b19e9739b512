#!/bin/sh
# For dhclient (variable reason) and udhcpc (first argument): keeps in /mnt/w/env.REASON what it was told, and configures.
# By its path: a busybox shell takes its own ip otherwise, which does not know nodad.
event=${reason:-$1}
env | sort > "/mnt/w/env.$event"
case $event in
PREINIT | PREINIT6) /bin/ip link set "$interface" up ;;
BOUND)
	[ -z "$new_interface_mtu" ] || /bin/ip link set "$interface" mtu "$new_interface_mtu"
	/bin/ip addr add "$new_ip_address/$new_subnet_mask" dev "$interface"
	/bin/ip route add default via "${new_routers%% *}" dev "$interface"
	;;
BOUND6) /bin/ip -6 addr add "$new_ip6_address/$new_ip6_prefixlen" dev "$interface" nodad ;;
bound)
	[ -z "$mtu" ] || /bin/ip link set "$interface" mtu "$mtu"
	/bin/ip addr add "$ip/$mask" dev "$interface"
	/bin/ip route add default via "${router%% *}" dev "$interface"
	;;
esac
exit 0
