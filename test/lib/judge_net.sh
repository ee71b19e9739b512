#!/bin/bash
# judge_net.sh DIRECTORY RATE OFFLOAD [SYSCTL...], in a network namespace of its own: A, which is this one, and B, with a router
# between them. Connections of every kind from A to B, captured at both, into a.pcap and b.pcap. RATE of the router, with short
# queues in front of it, or 0; OFFLOAD: on, or off: then there is one frame for each segment, with its checksum.
set -e
dir=$1 rate=$2 offload=$3
shift 3
here=$(dirname "$(readlink -f "$0")")
# Whatever happens, nothing stays behind.
started=()
trap 'kill "${started[@]}" 2> /dev/null || true' EXIT
unshare --net sleep 300 & R=$! started+=($!)
unshare --net sleep 300 & B=$! started+=($!)
until [ "$(readlink /proc/$R/ns/net)" != "$(readlink /proc/$$/ns/net)" ] && [ "$(readlink /proc/$B/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do
	sleep 0.05
done
r() { nsenter -t $R -n "$@"; }
b() { nsenter -t $B -n "$@"; }
ip link add a0 type veth peer name r0
ip link set r0 netns $R
r ip link add r1 type veth peer name b0
r ip link set b0 netns $B
ip address add 10.9.1.1/24 dev a0
ip address add 2001:db8:1::1/64 dev a0 nodad
r ip address add 10.9.1.2/24 dev r0
r ip address add 2001:db8:1::2/64 dev r0 nodad
r ip address add 10.9.2.2/24 dev r1
r ip address add 2001:db8:2::2/64 dev r1 nodad
b ip address add 10.9.2.1/24 dev b0
b ip address add 2001:db8:2::1/64 dev b0 nodad
ip link set a0 up
r ip link set r0 up
r ip link set r1 up
b ip link set b0 up
r sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip route add default via 10.9.1.2
ip route add default via 2001:db8:1::2
b ip route add default via 10.9.2.2
b ip route add default via 2001:db8:2::2
for s in "$@"; do
	sysctl -qw "$s"
	b sysctl -qw "$s"
done
if [ "$offload" = off ]; then
	ethtool -K a0 tx off tso off gso off gro off > /dev/null
	b ethtool -K b0 tx off tso off gso off gro off > /dev/null
	for i in r0 r1; do r ethtool -K $i tx off tso off gso off gro off > /dev/null; done
fi
if [ "$rate" != 0 ]; then
	for i in r0 r1; do r tc qdisc add dev $i root tbf rate "$rate" burst 20k limit 30k; done
fi
tcpdump -Z root -U -B 65536 -i a0 -w "$dir/a.pcap" 2> "$dir/a.log" & T1=$! started+=($!)
nsenter -t $B -n tcpdump -Z root -U -B 65536 -i b0 -w "$dir/b.pcap" 2> "$dir/b.log" & T2=$! started+=($!)
nsenter -t $B -n python3 "$here/judge_traffic.py" serve 10.9.2.1 > "$dir/s4.log" & started+=($!)
nsenter -t $B -n python3 "$here/judge_traffic.py" serve 2001:db8:2::1 > "$dir/s6.log" & started+=($!)
until grep -q listening "$dir/a.log" && grep -q listening "$dir/b.log" && grep -q ready "$dir/s4.log" && grep -q ready "$dir/s6.log"; do
	sleep 0.05
done
python3 "$here/judge_traffic.py" talk 10.9.2.1
python3 "$here/judge_traffic.py" talk 2001:db8:2::1 up zero reset alive
sleep 0.5
kill -INT $T1 $T2
wait $T1 $T2 || true
