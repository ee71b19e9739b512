#!/bin/busybox sh
# PID 1 of the virtual machines of vm.ts: brings up eth0, then runs the scripts that come over the second serial port.
# A line there is "ID SUM SCRIPT", the answers "@got ID" and "@ID STATUS OUTPUT"; scripts and outputs in base64. The port may lose octets on a
# machine under load: what is not whole is answered by "@again".
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /etc /mnt/w /var/lib/dhcp /usr/sbin
/bin/busybox --install -s /bin 2> /dev/null # but for what is there
export PATH=/bin:/usr/bin:/usr/sbin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
hostname guest
ip link set lo up
# Which of them needs which differs between kernels: those that cannot be loaded yet are tried again.
for pass in 1 2 3 4; do
	for m in failover net_failover virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_net; do
		insmod "/modules/$m.ko" 2> /dev/null
	done
done
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
# Debian's kernels leave ip=dhcp to the initramfs, which has the kernel's code for it in a program of klibc's.
case " $(cat /proc/cmdline) " in
*" ip=dhcp "*)
	ip link set eth0 up # or its first question is lost, and the next follows after 10 s
	until [ "$(cat /sys/class/net/eth0/operstate)" = up ]; do sleep 0.1; done
	ipconfig -t 20 -c dhcp eth0
	;;
esac
stty -F /dev/ttyS1 raw -echo
exec < /dev/ttyS1 > /dev/ttyS1
echo @ready
last=
while read -r id sum script; do
	if [ "$(echo "$script" | md5sum | cut -c 1-8)" != "$sum" ]; then
		echo @again
		continue
	fi
	echo "@got $id"
	[ "$id" != "$last" ] || continue
	last=$id
	echo "$script" | base64 -d > /tmp/script
	sh -e /tmp/script > /tmp/output 2>&1 < /dev/null
	echo "@$id $? $(base64 -w 0 /tmp/output)"
done
