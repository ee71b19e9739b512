"""hostile.py INTERFACE COUNT SEED: sends COUNT malformed frames, so slowly that the device takes all of them.

Valid frames of each kind, then cut, stretched, given wrong lengths, checksums, offsets, options and header chains; and
random octets. By hand, since scapy puts right what is to be wrong. Every tenth goes with a virtio-net header of its own (PACKET_VNET_HDR), which the kernel checks a little.
Prints {"sent": frames that the device carried, "refused": by the kernel}.
"""
import json
import random
import socket
import struct
import sys
import time

from packet import checksum

interface, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
OURS = bytes.fromhex("9a559a559a55")
SERVERS4 = [socket.inet_aton(a) for a in ("198.51.100.3", "198.51.100.1", "203.0.113.2", "198.51.100.2", "224.0.0.1")]
SERVERS6 = [
    socket.inet_pton(socket.AF_INET6, a)
    for a in ("2001:db8:9::3", "2001:db8:9::1", "2001:db8:fa::2", "fe80::1", "ff02::1", "ff02::2", "ff02::1:2")
]
ME4, ME6 = socket.inet_aton("198.51.100.2"), socket.inet_pton(socket.AF_INET6, "2001:db8:9::2")
PORTS = [7001, 7002, 7999, 53, 67, 68, 546, 547, 0, 65535, 853]


def tcp():
    options = rng.choice(
        [b"", b"\x02\x04\x05\xb4", b"\x03\x03\x0e\0", b"\x03\x03\xff\0", b"\x02\x00\0\0", b"\x02\x01\0\0", b"\x08\xff\0\0"]
        + [b"\x02\x04\0\0", b"\x01" * 40, b"\x02\x02\x02\x02", b"\xfd\x28" + bytes(38), rng.randbytes(40)]
    )
    off = rng.choice([(20 + len(options)) // 4, (20 + len(options)) // 4, rng.randrange(16)])
    flags = rng.choice([2, 16, 18, 17, 4, 20, 24, 0, 63, 255, rng.randrange(256)])
    head = struct.pack(
        "!HHIIBBHHH",
        *(rng.choice([40000 + rng.randrange(50), 0]), rng.choice(PORTS)),
        *(rng.randrange(1 << 32), rng.randrange(1 << 32), off << 4 | rng.randrange(16), flags),
        *(rng.randrange(1 << 16), 0, rng.randrange(1 << 16)),
    )
    return 6, head + options + rng.randbytes(rng.choice([0, 1, 3, 500, 1400]))


def dhcp():
    options = b"".join(
        bytes([rng.randrange(256), rng.choice([0, 1, 4, 8, 255])]) + rng.randbytes(rng.choice([0, 1, 4, 8]))
        for _ in range(rng.randrange(20))
    )
    body = bytes([rng.choice([1, 2, 77]), 1, rng.choice([6, 16, 255]), 0]) + rng.randbytes(232)
    return body + rng.choice([b"\x63\x82\x53\x63", b"\0\0\0\0"]) + b"\x35\x01" + bytes([rng.randrange(20)]) + options


def dhcpv6():
    def option(depth):
        body = rng.randbytes(rng.choice([0, 1, 12, 14, 28]))
        if depth and rng.random() < 0.5:
            body += b"".join(option(depth - 1) for _ in range(3))
        return struct.pack("!HH", rng.choice([1, 2, 3, 4, 5, 6, 14, 25, 39, 65535]), rng.choice([len(body), len(body), 65535, 1])) + body

    return bytes([rng.randrange(14)]) + rng.randbytes(3) + b"".join(option(4) for _ in range(rng.randrange(6)))


def udp():
    port = rng.choice(PORTS)
    body = dhcp() if port == 67 else dhcpv6() if port == 547 else rng.randbytes(rng.choice([0, 1, 7, 100, 1400]))
    size = rng.choice([8 + len(body)] * 4 + [0, 7, 8, 65535])
    return 17, struct.pack("!HHHH", rng.choice([68, 546, 50000 + rng.randrange(50), 0]), port, size, rng.randrange(1 << 16)) + body


def icmp():
    return 1, struct.pack("!BBHHH", rng.choice([8, 8, 0, 3, 5, 13, 255]), rng.randrange(3), 0, 7, 1) + rng.randbytes(rng.randrange(60))


def ndp():
    kind = rng.choice([128, 129, 133, 134, 135, 136, 137, 143, 1, 2, 200])
    options = b"".join(
        bytes([rng.choice([1, 2, 3, 5, 25, 31, 255]), rng.choice([0, 1, 1, 2, 255])]) + rng.randbytes(6)
        for _ in range(rng.randrange(5))
    )
    return 58, struct.pack("!BBHI", kind, 0, 0, 0) + rng.choice([b"", rng.choice(SERVERS6)]) + options


def fill(proto, l4, pseudo):
    """A right checksum in three of four."""
    at = {6: 16, 17: 6, 1: 2, 58: 2}[proto]
    if rng.random() < 0.25 or len(l4) < at + 2:
        return l4
    l4 = l4[:at] + b"\0\0" + l4[at + 2 :]
    return l4[:at] + struct.pack("!H", checksum(pseudo + l4)) + l4[at + 2 :]


def frame4():
    proto, l4 = rng.choice([tcp, tcp, udp, udp, icmp])()
    src = rng.choice([ME4, ME4, ME4, bytes(4), rng.choice(SERVERS4), b"\x7f\0\0\1"])
    dst = rng.choice(SERVERS4 + [bytes(4), b"\xff" * 4, b"\x7f\0\0\1"])
    pseudo = b"" if proto == 1 else src + dst + struct.pack("!HH", proto, len(l4))
    l4 = fill(proto, l4, pseudo)
    options = rng.choice([b"", b"", b"", b"\x44\x28\x05" + bytes(37), b"\x83\xff\0\0", rng.randbytes(20)])
    ihl = rng.choice([5 + len(options) // 4] * 5 + [0, 4, 15])
    size = rng.choice([20 + len(options) + len(l4)] * 5 + [0, 19, 20, 65535, rng.randrange(1 << 16)])
    frag = rng.choice([0x4000, 0, 0x4000, 0, 0x2000, 0x8000, 1, 0x1FFF, rng.randrange(1 << 16)])
    version = rng.choice([4] * 9 + [rng.randrange(16)])
    head = struct.pack("!BBHHHBBH", version << 4 | ihl, 0, size, 1, frag, rng.choice([64, 1, 0]), proto, 0) + src + dst + options
    if rng.random() < 0.8:
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return 0x0800, head + l4


def frame6():
    proto, l4 = rng.choice([tcp, udp, udp, ndp, ndp])()
    src = rng.choice([ME6, ME6, ME6, bytes(16), rng.choice(SERVERS6), bytes(15) + b"\1"])
    dst = rng.choice(SERVERS6 + [bytes(16), bytes(15) + b"\1", rng.randbytes(16)])
    l4 = fill(proto, l4, src + dst + struct.pack("!IHBB", len(l4), 0, 0, proto))
    chain, following = b"", proto
    for _ in range(rng.choice([0, 0, 0, 1, 2, 7, 150])):
        kind = rng.choice([0, 43, 44, 50, 51, 60, 135, 139, 140, 253, 254, 59])
        units = 0 if kind == 44 else rng.choice([0, 0, 0, 1, 3, 255])
        chain = struct.pack("!BB", following, units) + rng.randbytes(6 + 8 * (units if units < 5 else 0)) + chain
        following = kind
    size = rng.choice([len(chain) + len(l4)] * 5 + [0, 1, 65535, rng.randrange(1 << 16)])
    head = struct.pack("!IHBB", rng.choice([6] * 9 + [rng.randrange(16)]) << 28 | rng.randrange(1 << 20), size, following, rng.choice([255, 64, 1, 0]))
    return 0x86DD, head + src + dst + chain + l4


def arp():
    body = struct.pack("!HHBBH", rng.choice([1, 1, 6]), rng.choice([0x0800, 0x0800, 7]), rng.choice([6, 6, 255]), rng.choice([4, 4, 0]), rng.choice([1, 1, 2, 9]))
    return 0x0806, body + rng.randbytes(6) + rng.choice([ME4, bytes(4)]) + bytes(6) + rng.choice(SERVERS4)


def noise():
    return rng.choice([0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0, 0x05DC, rng.randrange(1 << 16)]), rng.randbytes(rng.randrange(1500))


def mutated(frame):
    what = rng.randrange(6)
    if what == 0:
        return frame[: rng.randrange(14, len(frame) + 1)]
    if what == 1:
        return frame + rng.randbytes(rng.randrange(1, 300))
    if what == 2:
        out = bytearray(frame)
        for _ in range(rng.randrange(1, 9)):
            out[rng.randrange(12, len(out))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        return bytes(out)
    return frame


def statistics():
    """Frames carried and dropped; from procfs, since sysfs shows the namespace that it was mounted in."""
    with open("/proc/self/net/dev") as f:
        for line in f:
            name, _, rest = line.partition(":")
            if name.strip() == interface:
                fields = rest.split()
                return int(fields[9]), int(fields[11])
    raise RuntimeError(f"no interface {interface}")


def sender(vnet):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.bind((interface, 0))
    if vnet:
        s.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
    return s


def main():
    plain, offloading = sender(False), sender(True)
    mac = plain.getsockname()[4]
    before, dropped_before = statistics()
    refused, tried, pause = 0, 0, 0.0
    while True:
        sent, dropped = statistics()
        if sent - before >= count:
            break
        pause = min(0.05, pause * 2 + 0.001) if dropped > dropped_before else pause / 2
        dropped_before = dropped
        time.sleep(pause)
        if tried > 10 * count:
            raise RuntimeError(f"only {sent - before} of {tried} frames were carried")
        for _ in range(min(100, count)):
            tried += 1
            kind, packet = rng.choice([frame4, frame4, frame4, frame6, frame6, frame6, arp, noise])()
            source = rng.choice([mac] * 8 + [rng.randbytes(6)])
            frame = mutated(rng.choice([OURS, OURS, b"\xff" * 6]) + source + struct.pack("!H", kind) + packet)
            try:
                if tried % 10:
                    plain.send(frame)
                else:
                    header = struct.pack(
                        "=BBHHHH",
                        *(rng.choice([0, 1, 1, 2, 255]), rng.choice([0, 0, 1, 3, 4, 5, 0x81, 255])),
                        *(rng.choice([54, 74, 34, 0, 65535]), rng.choice([0, 1, 100, 1448, 65535])),
                        *(rng.choice([34, 54, 14, 0, 65535]), rng.choice([16, 6, 2, 65535])),
                    )
                    offloading.send(header + frame)
            except OSError:
                refused += 1
    print(json.dumps({"sent": statistics()[0] - before, "refused": refused}), flush=True)


main()
