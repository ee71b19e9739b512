"""Single segments and datagrams from inside the namespace: wire.py SCENARIO..., asserts what must come back.

A guest of its own beside the kernel's: frames leave and arrive by AF_PACKET, from an address that the kernel here does
not have, so it stays silent. Scapy makes them, and says what lengths and checksums of an answer have to be: what it knows of the
formats comes from others than us. All scenarios in one process, since it takes a second to load. Usage: run under
pasta --config-net; prints "ok SCENARIO" or "not ok SCENARIO" and why.
"""
import itertools
import random
import select
import socket
import struct
import sys
import time
import traceback

from scapy.layers.inet import IP, TCP, UDP, IPOption_EOL, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN
from scapy.layers.l2 import Ether
from scapy.packet import Padding, Raw

OUR_MAC = "9a:55:9a:55:9a:55"
SERVER4, SERVER6 = "198.51.100.3", "2001:db8:9::3"
ME4, ME6 = "198.51.100.77", "2001:db8:9::77"
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
ECHO, SINK, SOURCE, HOW_IT_ENDS, FIN_FIRST = 7001, 7002, 7003, 7005, 7011


SOL_PACKET, PACKET_AUXDATA, TP_STATUS_CSUMNOTREADY = 263, 8, 8
MSS, NOP, SCALE = ("MSS", 1460), ("NOP", None), ("WScale", 7)


def link():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind(("eth0", 3))
    s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    return s


def ethernet(packet, mac):
    return bytes(Ether(dst=OUR_MAC, src=mac) / packet)


def ip(v, **fields):
    return IP(src=ME4, dst=SERVER4, id=1, **fields) if v == 4 else IPv6(src=ME6, dst=SERVER6, **fields)


def read(s, wait):
    """The next frame from outside, dissected; None after `wait` seconds. Its lengths and checksums are what scapy makes them."""
    end = time.monotonic() + wait
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([s], [], [], left)[0]:
            return None
        frame, aux, _, address = s.recvmsg(1 << 17, 256)
        if address[2] == socket.PACKET_OUTGOING:
            continue
        # A tap with offloads leaves the sum of TCP and UDP to whoever needs it.
        summed = not any(level == SOL_PACKET and struct.unpack("=I", a[:4])[0] & TP_STATUS_CSUMNOTREADY for level, _, a in aux)
        return sound(Ether(frame), summed)


def sound(p, summed):
    fresh, fields = p.copy(), [(IP, "len"), (IP, "chksum"), (IPv6, "plen"), (UDP, "len"), (TCP, "dataofs")]
    fields += [(TCP, "chksum"), (UDP, "chksum")] if summed else []
    fields = [(layer, name) for layer, name in fields if layer in p]
    for layer, name in fields:
        fresh[layer].delfieldval(name)
    fresh = Ether(bytes(fresh))
    for layer, name in fields:
        there, ours = getattr(p[layer], name), getattr(fresh[layer], name)
        assert there == ours, f"{layer.__name__}.{name} is {there}, should be {ours}: {p!r}"
    return p


def payload(p, layer):
    """Octets inside that layer, without what only fills the Ethernet frame."""
    octets = bytes(p[layer].payload)
    return octets[: len(octets) - (len(p[Padding]) if Padding in p else 0)]


class Segment:
    def __init__(self, p):
        tcp = p[TCP]
        self.sport, self.dport, self.seq, self.ack = tcp.sport, tcp.dport, tcp.seq, tcp.ack
        self.flags, self.window = int(tcp.flags), tcp.window
        self.options = dict(tcp.options)
        self.data = payload(p, TCP)

    def __repr__(self):
        return f"<{self.flags:02x} seq {self.seq} ack {self.ack} win {self.window} len {len(self.data)}>"


# Never one twice: a connection that a scenario has left open would be met again.
PORTS = itertools.count(random.SystemRandom().randrange(20000, 59000))


class Tcp:
    """One connection, or what pretends to be one."""

    def __init__(self, port, sport=None):
        self.link = link()
        self.mac = self.link.getsockname()[4].hex(":")
        self.port = port
        self.sport = sport or next(PORTS)
        self.seq = random.SystemRandom().randrange(1 << 32)
        self.ack = 0
        self.window = 60000

    def send(self, flags, seq=None, ack=None, data=b"", options=(), window=None, bad_checksum=False, port=None, urgent=0, dst=SERVER4):
        tcp = TCP(
            sport=self.sport,
            dport=self.port if port is None else port,
            seq=(self.seq if seq is None else seq) % 2**32,
            ack=(self.ack if ack is None else ack) % 2**32,
            flags=flags,
            window=self.window if window is None else window,
            urgptr=urgent,
            options=list(options),
        )
        packet = IP(src=ME4, dst=dst, id=1) / tcp / data
        if bad_checksum:
            packet = IP(bytes(packet))
            packet[TCP].chksum ^= 0x5555
        self.link.send(ethernet(packet, self.mac))

    def receive(self, wait=5.0, match=lambda s: True):
        """The next segment for which `match` holds; None when none comes in time."""
        end = time.monotonic() + wait
        while True:
            p = read(self.link, end - time.monotonic())
            if p is None:
                return None
            if IP not in p or TCP not in p:
                continue
            s = Segment(p)
            if (s.sport, s.dport) != (self.port, self.sport):
                continue
            if not s.flags & (SYN | RST):
                assert s.flags & ACK, f"segment without ACK: {s}"
            if match(s):
                return s

    def need(self, match, what, wait=15.0):
        s = self.receive(wait, match)
        assert s is not None, f"did not come: {what}"
        return s

    def open(self, options=(MSS, NOP, SCALE)):
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
    s = c.open(options=[MSS])
    assert "WScale" not in s.options, "window scale in SYN,ACK although the SYN had none"
    c.send(ACK)
    c.push(b"hello")
    s = c.need(lambda s: s.data or s.ack == c.seq, "acknowledgement")
    assert s.window >= 1460, f"window {s.window}: scaled although no scale was agreed"
    c.send(RST, seq=c.seq)


def window_scale():
    s = Tcp(ECHO).open()
    assert "WScale" in s.options and "MSS" in s.options, s.options


def mss_from_mtu():
    s = Tcp(ECHO).open()
    mss = s.options["MSS"]
    assert 536 <= mss <= 65480, mss


def syn_ack_repeats():
    c = Tcp(ECHO)
    s = c.open()
    again = c.need(lambda r: r.flags & SYN, "SYN,ACK again")
    assert (again.flags, again.seq, again.ack) == (SYN | ACK, s.seq, s.ack), (s, again)
    c.send(ACK)
    c.expect_echo(b"late but here")


def syn_repeats():
    c = Tcp(ECHO)
    s = c.open()
    c.send(SYN, seq=c.seq - 1, ack=0, options=(MSS, NOP, SCALE))
    c.send(ACK)
    c.expect_echo(b"after a second SYN")


def old_data_is_acknowledged():
    c = Tcp(SINK).established()
    c.push(b"0123456789")
    c.need(lambda s: s.ack == c.seq, "first acknowledgement")
    c.send(ACK, seq=c.seq - 10, data=b"0123456789")
    c.need(lambda s: s.ack == c.seq, "acknowledgement of old data")


def keep_alive():
    for data in (b"", b"x"):
        c = Tcp(ECHO).established()
        c.expect_echo(b"abc")
        c.send(ACK, seq=c.seq - 1, data=data)
        c.need(lambda s: s.ack == c.seq and not s.data, "answer to a keep-alive")


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
    c.need(lambda s: s.flags & ACK and s.ack == c.seq and not s.flags & RST, "challenge ACK")
    c.expect_echo(b"still here")


def reset_exact():
    c = Tcp(HOW_IT_ENDS).established()
    assert c.collect(5) == b"hello"
    c.send(RST, seq=c.seq, ack=0)
    time.sleep(0.2)
    c.send(ACK)
    c.need(lambda s: s.flags & RST, "RST: the connection is gone")


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
    s = c.need(lambda s: True, "RST")
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
        c.send(SYN, port=80, seq=1, ack=0, dst=dst)
    time.sleep(0.2)
    Tcp(ECHO).established().expect_echo(b"alive")


def out_of_order():
    c = Tcp(ECHO).established()
    c.send(ACK, seq=c.seq + 5, data=b"World")
    s = c.need(lambda s: not s.data, "duplicate acknowledgement")
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
    c.need(lambda s: s.flags & FIN, "FIN")


def retransmission():
    """What is not acknowledged comes again, the same."""
    c = Tcp(SOURCE).established()
    c.push(b"100 1\n")
    first = c.need(lambda s: s.data, "data")
    again = c.need(lambda s: s.data, "the same again")
    assert (first.seq, first.data) == (again.seq, again.data)
    assert c.collect(100) == random.Random(1).randbytes(100)


def fin_repeats():
    c = Tcp(SOURCE).established()
    c.push(b"10 1\n")
    c.collect(10)
    first = c.need(lambda s: s.flags & FIN, "FIN")
    again = c.need(lambda s: s.flags & FIN, "FIN again")
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
    """RFC 5681 3.2. By the time that it takes: a retransmission by the timer would come too, but not before the least RTO."""
    took = []
    while not took or took[-1] >= 0.2:
        assert len(took) < 10, f"no fast retransmission, only one after {took} s"
        c = Tcp(SOURCE).established(options=[("MSS", 1000), NOP, SCALE])
        began = time.monotonic()
        c.push(b"20000 3\n")
        c.need(lambda s: s.data, "data")
        while c.receive(0.02, lambda s: s.data) is not None:
            pass
        for _ in range(4):
            c.send(ACK)
        c.need(lambda s: s.data and s.seq == c.ack, "retransmission")
        took.append(time.monotonic() - began)
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
    c.need(lambda s: len(s.data) <= 256, "window probe")
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
        self.mac = self.link.getsockname()[4].hex(":")
        self.sport = random.SystemRandom().randrange(20000, 60000)

    def udp(self, data, **fields):
        return UDP(sport=self.sport, dport=ECHO, **fields) / data

    def send(self, packet):
        self.link.send(ethernet(packet, self.mac))

    def answer(self, wait=3.0):
        """Payload of the UDP answer to us."""
        end = time.monotonic() + wait
        while True:
            p = read(self.link, end - time.monotonic())
            if p is None:
                return None
            if UDP in p and p[UDP].dport == self.sport and (IP if self.v == 4 else IPv6) in p:
                return payload(p, UDP)

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
    pad, inner = PadN(optdata=bytes(4)), d.udp(b"extended")
    hops, options, whole = IPv6ExtHdrHopByHop(options=[pad]), IPv6ExtHdrDestOpt(options=[pad]), IPv6ExtHdrFragment(id=77)
    for name, chain in (
        ("hop-by-hop", hops),
        ("destination options", options),
        ("both", hops / options),
        ("long destination options", IPv6ExtHdrDestOpt(options=[pad, PadN(optdata=bytes(22))])),
        ("atomic fragment", whole),
        ("atomic fragment behind hop-by-hop", hops / whole),
    ):
        d.both(ip(6) / chain / inner, b"extended", name)
    d.neither(ip(6) / IPv6ExtHdrFragment(id=78, m=1) / inner, "first fragment")
    d.neither(ip(6) / IPv6ExtHdrFragment(nh=17, id=79, offset=8) / bytes(ip(6) / inner)[40:], "later fragment")
    d.neither(ip(6) / IPv6ExtHdrHopByHop(len=255, options=[pad]) / inner, "overrunning option header")
    d.neither(ip(6, nh=59) / bytes(ip(6) / inner)[40:], "no next header")


def padding():
    for v in (4, 6):
        d = Datagrams(v)
        d.both(ip(v) / d.udp(b"x") / Padding(bytes(20)), b"x", f"IPv{v} with Ethernet padding")


def ipv4_options():
    d = Datagrams(4)
    d.both(ip(4, options=[IPOption_NOP()] * 3 + [IPOption_EOL()]) / d.udp(b"opt"), b"opt", "no-operation options")


def udp_checksums():
    d = Datagrams(4)
    d.both(ip(4) / d.udp(b"none", chksum=0), b"none", "IPv4 without checksum (RFC 768)")
    bad = IP(bytes(ip(4) / d.udp(b"bad")))
    bad[UDP].chksum ^= 0x1111
    d.neither(bad, "wrong checksum")
    d = Datagrams(6)
    d.neither(ip(6) / d.udp(b"none", chksum=0), "IPv6 without checksum (RFC 8200 8.1)")


def cut(v, inner, ident, *at):
    """`inner`, the octets of a UDP datagram, in fragments that begin at 0 and at these octets."""
    edges = [0, *at, len(inner)]
    out = []
    for start, end in zip(edges, edges[1:]):
        more = end < len(inner)
        if v == 4:
            head = IP(src=ME4, dst=SERVER4, id=ident, proto=17, flags="MF" if more else 0, frag=start // 8)
        else:
            head = ip(6) / IPv6ExtHdrFragment(nh=17, id=ident, m=int(more), offset=start // 8)
        out.append(head / Raw(inner[start:end]))
    return out


def fragments(v):
    d = Datagrams(v)
    data = bytes(i * 7 & 255 for i in range(3000))
    inner = bytes(ip(v) / d.udp(data))[20 if v == 4 else 40 :]
    d.both(ip(v) / d.udp(b"whole"), b"whole", "a datagram in one piece")
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
    for name in sys.argv[1:]:
        try:
            globals()[name.replace("-", "_")]()
            print("ok", name, flush=True)
        except Exception:
            print("not ok", name, traceback.format_exc(), flush=True)


if __name__ == "__main__":
    main()
