#!/bin/bash
# judge_user.sh MODE PROGRAM DIRECTORY [OPTION...]: captures of a user-mode network's TCP, for passt-judge (docs/judge.md). As root:
#   unshare --net --mount test/lib/judge_user.sh pasta bin/pasta /tmp/x -m 1500
#   unshare --net --mount test/lib/judge_user.sh slirp /usr/bin/slirp4netns /tmp/x
# A machine B, and this one, on which PROGRAM runs as an ordinary user (pasta) or root (slirp4netns). Connections of every kind from
# its namespace to B and, with pasta, from B to it. DIRECTORY/x.pcap is what passes PROGRAM.
here=$(dirname "$(readlink -f "$0")")
if [ "$1" = inside ]; then
	cd "$2" || exit
	trap 'kill $(jobs -p) 2> /dev/null' EXIT
	/usr/bin/python3 traffic.py serve 0.0.0.0 > /dev/null 2>&1 &
	/usr/bin/python3 traffic.py serve :: > /dev/null 2>&1 &
	until ip route get 10.9.3.3 > /dev/null 2>&1; do sleep 0.1; done
	ping -c 2 -i 0.2 10.9.3.3 > /dev/null 2>&1
	timeout 60 /usr/bin/python3 traffic.py talk 10.9.3.3
	[ "$3" = 4 ] || timeout 60 /usr/bin/python3 traffic.py talk 2001:db8:3::3
	touch outward
	for ((i = 0; i < 600; i++)); do [ -e inward ] && break; sleep 0.1; done
	exit
fi
set -e
mode=$1 program=$2 dir=$3
shift 3
started=()
trap 'kill "${started[@]}" 2> /dev/null || true' EXIT
# For an ordinary user, wherever they are
root=$(dirname "$(dirname "$here")")
mkdir -p "$dir"
chmod 777 "$dir"
dir=$(readlink -f "$dir")
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/repo /mnt/x
mount --bind "$root" /mnt/repo
mount --bind "$dir" /mnt/x
program=$(realpath -s "$program")
program=${program/#$root\//\/mnt\/repo\/}
dir=/mnt/x
rm -f "$dir"/{x.pcap,outward,inward}
cp "$here/judge_traffic.py" "$dir/traffic.py"
cp "$here/judge_user.sh" "$dir/inside.sh"
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
ip link set lo up
unshare --net sleep 300 & B=$! started+=($!)
sleep 0.5
b() { nsenter -t $B -n "$@"; }
ip link add a0 type veth peer name b0
ip link set b0 netns $B
ip address add 10.9.1.1/24 dev a0
ip address add 2001:db8:1::1/64 dev a0 nodad
ip link set a0 up
b ip address add 10.9.1.2/24 dev b0
b ip address add 2001:db8:1::2/64 dev b0 nodad
b ip address add 10.9.3.3/32 dev b0
b ip address add 2001:db8:3::3/128 dev b0 nodad
b ip link set b0 up
sysctl -qw net.ipv4.ping_group_range="0 2147483647"
ip route add default via 10.9.1.2
ip route add default via 2001:db8:1::2
for a in 10.9.3.3 2001:db8:3::3; do
	nsenter -t $B -n python3 "$here/judge_traffic.py" serve $a > /dev/null 2>&1 & started+=($!)
done
sleep 1
if [ "$mode" = pasta ]; then
	timeout 150 setpriv --reuid=1000 --regid=1000 --clear-groups "$program" --config-net -f -t 7100 --pcap "$dir/x.pcap" "$@" \
		-- bash "$dir/inside.sh" inside "$dir" & P=$!
	for ((i = 0; i < 900; i++)); do [ -e "$dir/outward" ] && break; sleep 0.1; done
	b timeout 60 python3 "$here/judge_traffic.py" talk 10.9.1.1 up down both zero half reset unread alive chat
	touch "$dir/inward"
	wait $P || true
else
	touch "$dir/inward"
	unshare --net sleep 300 & N=$! started+=($!)
	sleep 0.5
	"$program" --configure --mtu=1500 "$@" $N tap0 > "$dir/log" 2>&1 & started+=($!)
	sleep 2
	nsenter -t $N -n tcpdump -Z root -U -B 65536 -i tap0 -w "$dir/x.pcap" 2> "$dir/tcpdump.log" & T=$! started+=($!)
	sleep 1
	nsenter -t $N -n bash "$dir/inside.sh" inside "$dir" 4
	kill -INT $T
	wait $T || true
fi
