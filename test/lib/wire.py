"""Single segments and datagrams from inside the namespace: wire.py SCENARIO, asserts what must come back.

A guest of its own beside the kernel's: frames leave and arrive by AF_PACKET, from an address that the kernel here does
not have, so it stays silent. Usage: run under pasta --config-net; prints "ok SCENARIO".
"""
import random
import select
import socket
import struct
import sys
import time

OUR_MAC = bytes.fromhex("9a559a559a55")
SERVER4, SERVER6 = "198.51.100.3", "2001:db8:9::3"
ME4, ME6 = "198.51.100.77", "2001:db8:9::77"
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
ECHO, SINK, SOURCE, HOW_IT_ENDS, FIN_FIRST = 7001, 7002, 7003, 7005, 7011


def checksum(data):
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def link():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind(("eth0", 3))
    return s


def ipv4(proto, payload, src=ME4, dst=SERVER4, options=b"", ttl=64, frag=0, total=None):
    ihl = 5 + len(options) // 4
    size = ihl * 4 + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | ihl, 0, size, 1, frag, ttl, proto, 0, *map(socket.inet_aton, (src, dst)))
    head += options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(proto, payload, src=ME6, dst=SERVER6, length=None):
    pton = lambda a: socket.inet_pton(socket.AF_INET6, a)
    size = len(payload) if length is None else length
    return struct.pack("!IHBB", 0x60000000, size, proto, 64) + pton(src) + pton(dst) + payload


def ethernet(kind, payload, mac):
    return OUR_MAC + mac + struct.pack("!H", kind) + payload


def pseudo(v, src, dst, proto, size):
    if v == 4:
        return socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!BBH", 0, proto, size)
    pton = lambda a: socket.inet_pton(socket.AF_INET6, a)
    return pton(src) + pton(dst) + struct.pack("!IHBB", size, 0, 0, proto)


def udp(v, sport, dport, payload, check=True):
    head = struct.pack("!4H", sport, dport, 8 + len(payload), 0)
    if not check:
        return head + payload
    src, dst = (ME4, SERVER4) if v == 4 else (ME6, SERVER6)
    value = checksum(pseudo(v, src, dst, 17, 8 + len(payload)) + head + payload) or 0xFFFF
    return head[:6] + struct.pack("!H", value) + payload


class Segment:
    def __init__(self, frame):
        ip = frame[14:]
        tcp = ip[(ip[0] & 15) * 4 : struct.unpack("!H", ip[2:4])[0]]
        self.sport, self.dport, self.seq, self.ack, off, self.flags, self.window = struct.unpack("!HHIIBBH", tcp[:16])
        self.options = {}
        at = 20
        while at < (off >> 4) * 4:
            kind = tcp[at]
            if kind == 0:
                break
            if kind == 1:
                at += 1
                continue
            self.options[kind] = tcp[at + 2 : at + tcp[at + 1]]
            at += tcp[at + 1]
        self.data = tcp[(off >> 4) * 4 :]

    def __repr__(self):
        return f"<{self.flags:02x} seq {self.seq} ack {self.ack} win {self.window} len {len(self.data)}>"


class Tcp:
    """One connection, or what pretends to be one."""

    def __init__(self, port, sport=None):
        self.link = link()
        self.mac = self.link.getsockname()[4]
        self.port = port
        self.sport = sport or random.SystemRandom().randrange(20000, 60000)
        self.seq = random.SystemRandom().randrange(1 << 32)
        self.ack = 0
        self.window = 60000

    def send(self, flags, seq=None, ack=None, data=b"", options=b"", window=None, bad_checksum=False, port=None, urgent=0):
        seq = self.seq if seq is None else seq
        ack = self.ack if ack is None else ack
        window = self.window if window is None else window
        off = (20 + len(options)) // 4 << 4
        port = self.port if port is None else port
        head = struct.pack("!HHIIBBHHH", self.sport, port, seq % 2**32, ack % 2**32, off, flags, window, 0, urgent)
        tcp = head + options + data
        value = checksum(pseudo(4, ME4, SERVER4, 6, len(tcp)) + tcp)
        if bad_checksum:
            value ^= 0x5555
        tcp = tcp[:16] + struct.pack("!H", value) + tcp[18:]
        self.link.send(ethernet(0x0800, ipv4(6, tcp), self.mac))

    def receive(self, wait=5.0, match=lambda s: True):
        """The next segment for which `match` holds; None when none comes in time."""
        end = time.monotonic() + wait
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.link], [], [], left)[0]:
                return None
            frame, address = self.link.recvfrom(1 << 17)
            if address[2] == socket.PACKET_OUTGOING or frame[12:14] != b"\x08\0" or frame[23] != 6:
                continue
            s = Segment(frame)
            if (s.sport, s.dport) != (self.port, self.sport):
                continue
            if not s.flags & (SYN | RST):
                assert s.flags & ACK, f"segment without ACK: {s}"
            if match(s):
                return s

    def need(self, match, what, wait=5.0):
        s = self.receive(wait, match)
        assert s is not None, f"did not come: {what}"
        return s

    def open(self, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07"):
        self.send(SYN, ack=0, options=options)
        s = self.need(lambda s: s.flags & SYN, "SYN,ACK")
        assert s.flags == SYN | ACK and s.ack == (self.seq + 1) % 2**32, s
        self.seq = (self.seq + 1) % 2**32
        self.ack = (s.seq + 1) % 2**32
        self.synack = s
        return s

    def established(self, **options):
        self.open(**options)
        self.send(ACK)
        return self

    def push(self, data):
        self.send(ACK | PSH, data=data)
        self.seq = (self.seq + len(data)) % 2**32

    def collect(self, count, wait=8.0):
        """Reads `count` octets in order, acknowledging them."""
        got, end = b"", time.monotonic() + wait
        while len(got) < count:
            s = self.receive(max(0.01, end - time.monotonic()), lambda s: s.data)
            assert s is not None, f"{len(got)} of {count} octets came"
            skip = (self.ack - s.seq) % 2**32
            if skip < len(s.data):
                got += s.data[skip:]
                self.ack = (self.ack + len(s.data) - skip) % 2**32
                self.send(ACK)
        return got

    def expect_echo(self, data):
        self.push(data)
        got = self.collect(len(data))
        assert got == data, (got, data)


def third_segment_data():
    c = Tcp(ECHO)
    c.open()
    c.expect_echo(b"with the handshake")


def no_window_scale():
    c = Tcp(ECHO)
    s = c.open(options=b"\x02\x04\x05\xb4")
    assert 3 not in s.options, "window scale in SYN,ACK although the SYN had none"
    c.send(ACK)
    c.push(b"hello")
    s = c.need(lambda s: s.data or s.ack == c.seq, "acknowledgement")
    assert s.window >= 1460, f"window {s.window}: scaled although no scale was agreed"
    c.send(RST, seq=c.seq)


def window_scale():
    s = Tcp(ECHO).open()
    assert 3 in s.options and 2 in s.options, s.options


def mss_from_mtu():
    s = Tcp(ECHO).open()
    mss = struct.unpack("!H", s.options[2])[0]
    assert 536 <= mss <= 65480, mss


def syn_ack_repeats():
    c = Tcp(ECHO)
    s = c.open()
    again = c.need(lambda r: r.flags & SYN, "SYN,ACK again", 6)
    assert (again.flags, again.seq, again.ack) == (SYN | ACK, s.seq, s.ack), (s, again)
    c.send(ACK)
    c.expect_echo(b"late but here")


def syn_repeats():
    c = Tcp(ECHO)
    s = c.open()
    c.send(SYN, seq=c.seq - 1, ack=0, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07")
    c.send(ACK)
    c.expect_echo(b"after a second SYN")


def old_data_is_acknowledged():
    c = Tcp(SINK).established()
    c.push(b"0123456789")
    c.need(lambda s: s.ack == c.seq, "first acknowledgement")
    c.send(ACK, seq=c.seq - 10, data=b"0123456789")
    c.need(lambda s: s.ack == c.seq, "acknowledgement of old data", 2)


def keep_alive():
    for data in (b"", b"x"):
        c = Tcp(ECHO).established()
        c.expect_echo(b"abc")
        c.send(ACK, seq=c.seq - 1, data=data)
        c.need(lambda s: s.ack == c.seq and not s.data, "answer to a keep-alive", 2)


def reset_out_of_window():
    c = Tcp(ECHO).established()
    c.expect_echo(b"before")
    c.send(RST, seq=c.seq + (1 << 30), ack=0)
    c.send(RST, seq=c.seq - 1000, ack=0)
    time.sleep(0.1)
    c.expect_echo(b"still here")


def reset_in_window():
    """RFC 5961 3.2: in the window but not exact is answered by a challenge ACK."""
    c = Tcp(ECHO).established()
    c.expect_echo(b"before")
    c.send(RST, seq=c.seq + 1, ack=0)
    c.need(lambda s: s.flags & ACK and s.ack == c.seq and not s.flags & RST, "challenge ACK", 2)
    c.expect_echo(b"still here")


def reset_exact():
    c = Tcp(HOW_IT_ENDS).established()
    assert c.collect(5) == b"hello"
    c.send(RST, seq=c.seq, ack=0)
    time.sleep(0.2)
    c.send(ACK)
    c.need(lambda s: s.flags & RST, "RST: the connection is gone", 2)


def no_connection():
    """RFC 9293 3.10.7.1."""
    c = Tcp(7777)
    c.ack = 12345
    c.send(ACK)
    s = c.need(lambda s: True, "RST for an ACK")
    assert s.flags == RST and s.seq == 12345, s
    c.send(FIN, seq=100, ack=0)
    s = c.need(lambda s: True, "RST for a FIN")
    assert s.flags == RST | ACK and (s.seq, s.ack) == (0, 101), s
    c.send(0, seq=100, ack=0, data=b"four")
    s = c.need(lambda s: True, "RST for data")
    assert s.flags == RST | ACK and s.ack == 104, s
    c.send(RST, seq=1)
    c.send(RST | ACK, seq=1)
    assert c.receive(0.5) is None, "a RST was answered"


def refused():
    c = Tcp(7998)
    c.send(SYN, ack=0)
    s = c.need(lambda s: True, "RST", 2)
    assert s.flags == RST | ACK and s.ack == (c.seq + 1) % 2**32, s


def odd_syns():
    """Port 0, our own address, multicast, broadcast, SYN with everything set: no answer needed, no harm done."""
    c = Tcp(ECHO)
    c.send(SYN, port=0)
    c.sport, keep = 0, c.sport
    c.send(SYN)
    c.sport = keep
    for flags in (SYN | FIN, SYN | RST, 0x3F, 0xFF, SYN | ACK, 0):
        c.send(flags)
        c.seq += 1000
    for dst in ("255.255.255.255", "224.0.0.1", "0.0.0.0", "198.51.100.255", "240.0.0.1"):
        tcp = struct.pack("!HHIIBBHHH", c.sport, 80, 1, 0, 0x50, SYN, 1000, 0, 0)
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo(4, ME4, dst, 6, len(tcp)) + tcp)) + tcp[18:]
        c.link.send(ethernet(0x0800, ipv4(6, tcp, dst=dst), c.mac))
    time.sleep(0.2)
    Tcp(ECHO).established().expect_echo(b"alive")


def out_of_order():
    c = Tcp(ECHO).established()
    c.send(ACK, seq=c.seq + 5, data=b"World")
    s = c.need(lambda s: not s.data, "duplicate acknowledgement", 2)
    assert s.ack == c.seq, s
    c.push(b"Hello")
    c.push(b"World")
    got = c.collect(10)
    assert got == b"HelloWorld", got


def overlapping():
    c = Tcp(ECHO).established()
    c.push(b"abcdef")
    assert c.collect(6) == b"abcdef"
    c.send(ACK, seq=c.seq - 3, data=b"defghi")
    c.seq += 3
    assert c.collect(3) == b"ghi"


def early_fin():
    """A FIN behind a gap says nothing yet."""
    c = Tcp(ECHO).established()
    c.send(FIN | ACK, seq=c.seq + 5)
    c.push(b"Hello")
    assert c.collect(5) == b"Hello"
    c.send(FIN | ACK)
    c.seq += 1
    assert c.collect(3) == b"bye"


def fin_with_data():
    c = Tcp(ECHO).established()
    c.send(FIN | ACK | PSH, data=b"last words")
    c.seq += 11
    assert c.collect(13) == b"last wordsbye"
    c.need(lambda s: s.flags & FIN, "FIN", 3)


def retransmission():
    """What is not acknowledged comes again, the same."""
    c = Tcp(SOURCE).established()
    c.push(b"100 1\n")
    first = c.need(lambda s: s.data, "data")
    again = c.need(lambda s: s.data, "the same again", 6)
    assert (first.seq, first.data) == (again.seq, again.data)
    assert c.collect(100) == random.Random(1).randbytes(100)


def fin_repeats():
    c = Tcp(SOURCE).established()
    c.push(b"10 1\n")
    c.collect(10)
    first = c.need(lambda s: s.flags & FIN, "FIN")
    again = c.need(lambda s: s.flags & FIN, "FIN again", 8)
    assert first.seq + len(first.data) == again.seq + len(again.data), (first, again)


def duplicate_acks_of_fin():
    """Only the FIN is outstanding: duplicate ACKs do not multiply it."""
    c = Tcp(FIN_FIRST).established()
    s = c.need(lambda s: s.flags & FIN, "FIN")
    c.ack = s.seq
    for _ in range(10):
        c.send(ACK)
    end, fins = time.monotonic() + 0.4, 0
    while time.monotonic() < end:
        fins += c.receive(0.05, lambda s: s.flags & FIN) is not None
    assert fins <= 3, f"{fins} FINs for 10 duplicate ACKs"


def three_duplicates():
    """RFC 5681 3.2."""
    c = Tcp(SOURCE).established(options=b"\x02\x04\x03\xe8\x01\x03\x03\x07")
    c.push(b"20000 3\n")
    time.sleep(0.05)
    seen = set()
    while (s := c.receive(0.1, lambda s: s.data)) is not None:
        seen.add(s.seq)
    for _ in range(4):
        c.send(ACK)
    c.need(lambda s: s.data and s.seq == c.ack, "fast retransmission", 2)
    assert c.collect(20000) == random.Random(3).randbytes(20000)


def zero_window():
    """A closed window is probed, and what was held back comes when it opens."""
    c = Tcp(SOURCE)
    c.window = 8
    c.established()
    c.window = 8
    c.push(b"6000 4\n")
    got = b""
    while len(got) < 1024:
        s = c.receive(3, lambda s: s.data)
        assert s is not None, f"{len(got)} octets came"
        if s.seq == c.ack:
            got += s.data
            c.ack = (c.ack + len(s.data)) % 2**32
            c.window = max(0, (1024 - len(got)) >> 7)
            c.send(ACK)
    assert len(got) == 1024, f"{len(got)} octets into a window of 1024"
    c.send(ACK, window=0)
    c.need(lambda s: len(s.data) <= 256, "window probe", 8)
    c.send(ACK, window=0)
    c.window = 60000
    c.send(ACK)
    got += c.collect(6000 - len(got))
    assert got == random.Random(4).randbytes(6000)


def bad_tcp_checksum():
    c = Tcp(ECHO).established()
    c.send(ACK | PSH, data=b"wrong", bad_checksum=True)
    s = c.receive(0.5, lambda s: s.data or s.ack != c.seq)
    assert s is None, f"a segment with a wrong checksum was taken: {s}"
    c.expect_echo(b"right")


def urgent_in_line():
    c = Tcp(ECHO).established()
    c.send(ACK | PSH | URG, data=b"abc!def", urgent=4)
    c.seq += 7
    assert c.collect(7) == b"abc!def"


def ack_beyond():
    c = Tcp(ECHO).established()
    c.send(ACK, ack=c.ack + 100000)
    c.expect_echo(b"fine")


class Datagrams:
    def __init__(self, v):
        self.v, self.link = v, link()
        self.mac = self.link.getsockname()[4]
        self.sport = random.SystemRandom().randrange(20000, 60000)

    def send(self, packet):
        self.link.send(ethernet(0x0800 if self.v == 4 else 0x86DD, packet, self.mac))

    def answer(self, wait=3.0):
        """Payload of the UDP answer to us."""
        end = time.monotonic() + wait
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.link], [], [], left)[0]:
                return None
            frame, address = self.link.recvfrom(1 << 17)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            at = 14 + (20 if self.v == 4 else 40)
            proto = frame[23] if self.v == 4 else frame[20]
            if proto == 17 and struct.unpack("!H", frame[at + 2 : at + 4])[0] == self.sport:
                size = struct.unpack("!H", frame[at + 4 : at + 6])[0]
                return frame[at + 8 : at + size]

    def both(self, packet, data, what):
        self.send(packet)
        got = self.answer()
        assert got == data, f"{what}: {got}"

    def neither(self, packet, what):
        self.send(packet)
        got = self.answer(0.4)
        assert got is None, f"{what} was taken: {got}"


def ipv6_extension_headers():
    d = Datagrams(6)
    pad = b"\x01\x04" + bytes(4)
    inner = udp(6, d.sport, ECHO, b"extended")
    for name, first, chain in (
        ("hop-by-hop", 0, [(0, pad)]),
        ("destination options", 60, [(60, pad)]),
        ("both", 0, [(0, pad), (60, pad)]),
        ("long destination options", 60, [(60, pad + b"\x01\x16" + bytes(22))]),
        ("atomic fragment", 44, [(44, None)]),
        ("atomic fragment behind hop-by-hop", 0, [(0, pad), (44, None)]),
    ):
        kinds = [k for k, _ in chain[1:]] + [17]
        out = b""
        for (_, body), following in zip(chain, kinds):
            if body is None:
                out += struct.pack("!BBHI", following, 0, 0, 77)
            else:
                out += struct.pack("!BB", following, (len(body) + 2) // 8 - 1) + body
        d.both(ipv6(first, out + inner), b"extended", name)
    d.neither(ipv6(44, struct.pack("!BBHI", 17, 0, 1, 78) + inner), "first fragment")
    d.neither(ipv6(44, struct.pack("!BBHI", 17, 0, 64, 79) + inner), "later fragment")
    d.neither(ipv6(0, struct.pack("!BB", 17, 255) + pad + inner), "overrunning option header")
    d.neither(ipv6(59, inner), "no next header")


def padding():
    for v, make in ((4, ipv4), (6, ipv6)):
        d = Datagrams(v)
        d.both(make(17, udp(v, d.sport, ECHO, b"x")) + bytes(20), b"x", f"IPv{v} with Ethernet padding")


def ipv4_options():
    d = Datagrams(4)
    d.both(ipv4(17, udp(4, d.sport, ECHO, b"opt"), options=b"\x01\x01\x01\x00"), b"opt", "no-operation options")


def udp_checksums():
    d = Datagrams(4)
    d.both(ipv4(17, udp(4, d.sport, ECHO, b"none", check=False)), b"none", "IPv4 without checksum (RFC 768)")
    good = udp(4, d.sport, ECHO, b"bad")
    d.neither(ipv4(17, good[:6] + struct.pack("!H", struct.unpack("!H", good[6:8])[0] ^ 0x1111) + good[8:]), "wrong checksum")
    d = Datagrams(6)
    d.neither(ipv6(17, udp(6, d.sport, ECHO, b"none", check=False)), "IPv6 without checksum (RFC 8200 8.1)")


def cut(v, inner, ident, *at):
    """`inner`, a UDP datagram, in fragments that begin at 0 and at these octets."""
    edges = [0, *at, len(inner)]
    out = []
    for start, end in zip(edges, edges[1:]):
        more = end < len(inner)
        if v == 4:
            packet = bytearray(ipv4(17, inner[start:end], frag=start // 8 | (0x2000 if more else 0)))
            packet[4:6] = struct.pack("!H", ident)
            packet[10:12] = b"\0\0"
            packet[10:12] = struct.pack("!H", checksum(bytes(packet[:20])))
            out.append(bytes(packet))
        else:
            out.append(ipv6(44, struct.pack("!BBHI", 17, 0, start | more, ident) + inner[start:end]))
    return out


def fragments(v):
    d = Datagrams(v)
    data = bytes(i * 7 & 255 for i in range(3000))
    inner = udp(v, d.sport, ECHO, data)
    d.both((ipv4 if v == 4 else ipv6)(17, udp(v, d.sport, ECHO, b"whole")), b"whole", "a datagram in one piece")
    one, two, three = cut(v, inner, 1, 1480, 2960)
    for what, order in (
        ("in order", (one, two, three)),
        ("in reverse", (three, two, one)),
        ("with copies", (two, two, three, one)),
    ):
        for f in order[:-1]:
            d.neither(f, what + ", not all")
        d.both(order[-1], data, what)
    one, two, three = cut(v, inner, 2, 1480, 2960)
    for f in (one, cut(v, inner, 2, 1472, 2952)[1], two):
        d.send(f)
    d.neither(three, "overlapping fragments")
    d.neither(cut(v, inner, 3, 8)[0], "a first fragment alone")


def fragments_v4():
    fragments(4)


def fragments_v6():
    fragments(6)


def main():
    name = sys.argv[1]
    globals()[name.replace("-", "_")]()
    print("ok", name)


if __name__ == "__main__":
    main()
