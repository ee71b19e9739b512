"""The hypervisor's end of passt --vhost-user, in Python: vhost_messages.py SCENARIO SOCKET [ARG...], asserts what must come back.

Messages and rings by hand, right and wrong, in any order and in any pieces; vhost-frontend.cc has the speed. Each scenario is one
front-end or several in a row; prints "ok SCENARIO". Sources: vhost-user (QEMU's docs/interop/vhost-user.rst), virtio 1.2.
"""
import array
import mmap
import os
import random
import re
import select
import signal
import socket
import struct
import sys
import time

from packet import OUR_MAC, arp_request, is_arp_reply

MAC = bytes.fromhex("525400123456")
GUEST, GATEWAY = "198.51.100.2", "198.51.100.1"
REPLY, NEED_REPLY = 4, 8
(GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE, SET_LOG_FD, SET_VRING_NUM, SET_VRING_ADDR,
 SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES,
 GET_QUEUE_NUM, SET_VRING_ENABLE, SEND_RARP, NET_SET_MTU) = range(1, 21)
GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG, SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE = 36, 37, 38, 42, 43
GUEST_CSUM, MRG_RXBUF, LOG_ALL, INDIRECT_DESC, EVENT_IDX, PROTOCOL_FEATURES, VERSION_1 = 1, 15, 26, 28, 29, 30, 32
LOG_SHMFD, RARP, REPLY_ACK, MEM_SLOTS, DEVICE_STATE = 1, 2, 3, 15, 19
RX, TX = 0, 1
NEXT, WRITE, INDIRECT = 1, 2, 4
NO_FD = 0x100
HEADER = bytes(12)
NONE = (1 << 64) - 1


class Ring:
    """A split ring of N entries, at an offset into guest memory: descriptors, available, used, each on a page."""

    def __init__(self, memory, at, n=64):
        self.memory, self.at, self.n = memory, at, n
        self.desc, self.avail, self.used = at, at + 0x1000, at + 0x2000
        self.kick, self.call = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
        self.begin(0)

    def begin(self, base):
        self.memory.write(self.at, bytes(0x3000))
        self.memory.write(self.avail + 2, struct.pack("<H", base))
        self.memory.write(self.used + 2, struct.pack("<H", base))
        self.index = self.seen = base

    def describe(self, i, gpa, length, flags=0, next=0):
        self.memory.write(self.desc + 16 * i, struct.pack("<QIHH", gpa, length, flags, next))

    def offer(self, *heads, kick=True):
        for head in heads:
            self.memory.write(self.avail + 4 + self.index % self.n * 2, struct.pack("<H", head))
            self.index = (self.index + 1) % 65536
        self.memory.write(self.avail + 2, struct.pack("<H", self.index))
        if kick:
            os.eventfd_write(self.kick, 1)

    def returned(self):
        return struct.unpack("<H", self.memory.read(self.used + 2, 2))[0]

    def take(self, wait=10):
        """The next chain that came back, and its length; None after `wait` seconds."""
        end = time.monotonic() + wait
        while self.returned() == self.seen:
            if time.monotonic() > end:
                return None
            time.sleep(0.001)
        chain = struct.unpack("<II", self.memory.read(self.used + 4 + self.seen % self.n * 8, 8))
        self.seen = (self.seen + 1) % 65536
        return chain


class Memory:
    """One region; addresses of its own for the guest and for us, none of which is an offset into its file."""

    def __init__(self, size=1 << 20, gpa=0x40000000, user=0x500000000000, offset=0x3000):
        self.size, self.gpa, self.user, self.offset = size, gpa, user, offset
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, offset + size)
        self.map = mmap.mmap(self.fd, offset + size)

    def read(self, at, octets):
        return self.map[self.offset + at : self.offset + at + octets]

    def write(self, at, data):
        self.map[self.offset + at : self.offset + at + len(data)] = data

    def entry(self):
        return struct.pack("<QQQQ", self.gpa, self.size, self.user, self.offset)


class Frontend:
    def __init__(self, where):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(where)
        self.s.settimeout(10)
        self.pieces = 0
        self.protocol = 0
        self.memory = Memory()
        self.rings = [Ring(self.memory, 0), Ring(self.memory, 0x4000)]

    # Messages

    def send(self, request, payload=b"", fds=(), flags=1):
        message = struct.pack("<III", request, flags, len(payload)) + payload
        step = self.pieces or len(message)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        for at in range(0, len(message), step):
            self.s.sendmsg([message[at : at + step]], rights if at == 0 else [], socket.MSG_NOSIGNAL)
            if self.pieces:
                time.sleep(0.0005)

    def octets(self, n):
        data = b""
        while len(data) < n:
            part = self.s.recv(n - len(data))
            assert part, "closed"
            data += part
        return data

    def reply(self, request):
        got, flags, size = struct.unpack("<III", self.octets(12))
        assert (got, flags) == (request, 1 | REPLY), (request, got, flags)
        return self.octets(size)

    def ask64(self, request, payload=b"", fds=()):
        self.send(request, payload, fds)
        return struct.unpack("<Q", self.reply(request))[0]

    def acked(self, request, payload=b"", fds=()):
        """What passt says of it: 0 is done. Needs REPLY_ACK."""
        self.send(request, payload, fds, 1 | NEED_REPLY)
        return struct.unpack("<Q", self.reply(request))[0]

    def tell(self, request, payload=b"", fds=()):
        """With an acknowledgement, once that is negotiated: all before it has been done then."""
        if self.protocol & 1 << REPLY_ACK:
            assert self.acked(request, payload, fds) == 0, request
        else:
            self.send(request, payload, fds)

    def gone(self):
        try:
            rest = self.s.recv(1000)
        except ConnectionResetError:
            rest = b""
        assert rest == b"", rest.hex()
        self.close()

    def refused(self):
        """Closed, or answered by something else than 0."""
        try:
            data = self.s.recv(1000)
        except ConnectionResetError:
            data = b""
        assert data == b"" or (len(data) == 20 and data[12:] != bytes(8)), data.hex()
        self.close()

    def close(self):
        self.s.close()
        self.memory.map.close()
        for fd in [self.memory.fd] + [fd for r in self.rings for fd in (r.kick, r.call)]:
            os.close(fd)

    # Sequences

    def greet(self, protocol=~0, wanted=~0):
        """What QEMU says once it is connected."""
        self.offered = self.ask64(GET_FEATURES)
        known = 1 << VERSION_1 | 1 << PROTOCOL_FEATURES | 1 << MRG_RXBUF | 1 << GUEST_CSUM
        self.features = self.offered & known & wanted
        if self.features & 1 << PROTOCOL_FEATURES:
            self.protocol_offered = self.ask64(GET_PROTOCOL_FEATURES)
            negotiated = self.protocol_offered & protocol
            self.send(SET_PROTOCOL_FEATURES, struct.pack("<Q", negotiated))
            self.protocol = negotiated
        self.tell(SET_OWNER)
        assert self.ask64(GET_FEATURES) == self.offered
        return self

    def number(self, request, ring, value):
        self.tell(request, struct.pack("<II", ring, value))

    def enable(self, on=1, rings=(RX, TX)):
        for r in rings:
            self.number(SET_VRING_ENABLE, r, on)

    def table(self, *regions, fds=None):
        payload = struct.pack("<II", len(regions), 0) + b"".join(m.entry() for m in regions)
        return payload, [m.fd for m in regions] if fds is None else fds

    def address(self, ring, flags=0):
        r, user = self.rings[ring], self.memory.user
        return struct.pack("<IIQQQQ", ring, flags, user + r.desc, user + r.used, user + r.avail, self.memory.gpa + r.used)

    def set_features(self, more=0):
        self.tell(SET_FEATURES, struct.pack("<Q", self.features | more))

    def descriptors(self, ring, kick=True):
        r = self.rings[ring]
        if kick:
            self.tell(SET_VRING_KICK, struct.pack("<Q", ring), [r.kick])
        self.tell(SET_VRING_CALL, struct.pack("<Q", ring), [r.call])

    def configure(self, ring):
        self.number(SET_VRING_NUM, ring, self.rings[ring].n)
        self.number(SET_VRING_BASE, ring, self.rings[ring].returned())
        self.tell(SET_VRING_ADDR, self.address(ring))

    def start(self, enable=True):
        self.set_features()
        self.tell(SET_MEM_TABLE, *self.table(self.memory))
        for ring in (RX, TX):
            self.configure(ring)
            self.descriptors(ring)
        if enable:
            self.enable()
        return self

    def stop(self):
        for ring in (RX, TX):
            self.send(GET_VRING_BASE, struct.pack("<II", ring, 0))
            got = struct.unpack("<II", self.reply(GET_VRING_BASE))
            assert got == (ring, self.rings[ring].returned()), got

    # Frames

    BUFFERS = 16

    def fill(self, kick=True):
        """Receive buffers, each in two descriptors of which the first is for the header."""
        for i in range(self.BUFFERS):
            at = self.memory.gpa + 0x10000 + i * 0x1000
            self.rings[RX].describe(2 * i, at, 12, WRITE | NEXT, 2 * i + 1)
            self.rings[RX].describe(2 * i + 1, at + 12, 0x1000 - 12, WRITE)
        self.rings[RX].offer(*[2 * i for i in range(self.BUFFERS)], kick=kick)
        return self

    def transmit(self, frame, kick=True, at=0x30000, chain=0):
        self.memory.write(at, HEADER + frame)
        self.rings[TX].describe(chain, self.memory.gpa + at, 12 + len(frame))
        self.rings[TX].offer(chain, kick=kick)

    def receive(self, wait=10):
        """The next frame, without header; its buffer is offered again. None after `wait` seconds."""
        got = self.rings[RX].take(wait)
        if got is None:
            return None
        chain, length = got
        octets = self.memory.read(0x10000 + chain // 2 * 0x1000, length)
        assert chain % 2 == 0 and length > 12 and octets[10:12] == b"\1\0", (chain, length, octets[:12].hex())
        self.rings[RX].offer(chain)
        return octets[12:]

    def question(self, kick=True):
        self.transmit(arp_request(MAC, GUEST, GATEWAY), kick)

    def answer(self):
        while True:
            f = self.receive()
            assert f is not None, "no answer"
            if is_arp_reply(f):
                assert f[:6] == MAC and f[22:28] == OUR_MAC and f[28:32] == socket.inet_aton(GATEWAY), f.hex()
                return self

    def alive(self):
        """A question that passt answers by itself, through both rings."""
        self.question()
        assert self.rings[TX].take() is not None, "not sent"
        return self.answer()


def served(where):
    return Frontend(where).greet().start().fill().alive()


# What QEMU does


def qemu(where):
    f = Frontend(where).greet()
    for ring in (RX, TX):
        for request in (SET_VRING_CALL, SET_VRING_ERR):
            fd = os.eventfd(0)
            f.send(request, struct.pack("<Q", ring), [fd])
            os.close(fd)
    f.enable()
    f.start().fill().alive()
    f.stop()
    f.start().alive()


def restarts(where):
    f = served(where)
    for n in range(100):
        f.stop()
        if n % 2:
            for ring in f.rings:
                ring.begin(0)
            f.fill()
        f.start().alive()
    before = descriptors()
    for _ in range(20):
        f.stop()
        f.start()
    assert descriptors() == before, (before, descriptors())


def reconnects(where):
    before = without_client(where)
    for _ in range(100):
        served(where).close()
    settles(before)


def second(where):
    a = served(where)
    for _ in range(3):
        b = Frontend(where)
        b.gone()
        a.alive()


def minimal(where):
    """Nothing but what must be: no protocol features, hence no SET_VRING_ENABLE, and no acknowledgements."""
    f = Frontend(where).greet(wanted=~(1 << PROTOCOL_FEATURES | 1 << MRG_RXBUF | 1 << GUEST_CSUM))
    f.start(enable=False).fill().alive()


def acknowledged(where):
    """need_reply on everything: one answer each, 0; a message that has an answer of its own has that one only."""
    f = Frontend(where).greet()
    assert f.protocol & 1 << REPLY_ACK
    f.send(GET_FEATURES, flags=1 | NEED_REPLY)
    assert struct.unpack("<Q", f.reply(GET_FEATURES))[0] == f.offered
    assert f.acked(SEND_RARP, MAC + bytes(2)) == 0
    f.start().fill().alive()
    f.send(GET_VRING_BASE, struct.pack("<II", TX, 0), flags=1 | NEED_REPLY)
    assert struct.unpack("<II", f.reply(GET_VRING_BASE)) == (TX, f.rings[TX].returned())
    f.configure(TX)
    f.descriptors(TX)
    f.alive()


def queues(where):
    assert Frontend(where).greet().ask64(GET_QUEUE_NUM) == 1


# Ring states


def enabled_first(where):
    """Enabled before there is memory, and never again."""
    f = Frontend(where).greet()
    f.enable()
    f.start(enable=False).fill().alive()


def kicked_first(where):
    """Kicks that came before the ring was enabled, or before passt had the descriptor, are not lost."""
    f = Frontend(where).greet()
    f.fill()
    f.question()
    f.enable()
    f.start(enable=False).answer()
    f.stop()
    f.enable(0)
    for ring in f.rings:
        ring.begin(0)
    f.start(enable=False).fill()
    f.enable()
    f.alive()


def disabled(where):
    """Started and disabled: nothing is received, what is transmitted is discarded."""
    f = served(where)
    f.enable(0, [RX])
    while f.receive(0) is not None:
        pass
    f.question()
    assert f.rings[TX].take() is not None
    assert f.receive(0.5) is None
    f.enable(1, [RX])
    f.enable(0, [TX])
    f.question()
    assert f.rings[TX].take() is not None, "not discarded"
    while (frame := f.receive(0.5)) is not None:
        assert not is_arp_reply(frame), "not discarded"
    f.enable()
    f.alive()


def stopped(where):
    """Nothing is touched; what was offered meanwhile is found at the next start."""
    f = served(where)
    f.stop()
    before = f.memory.read(0, f.memory.size)
    f.question()
    changed = f.memory.read(0, f.memory.size)
    time.sleep(0.5)
    assert f.memory.read(0, f.memory.size) == changed and before != changed
    f.start()
    assert f.rings[TX].take() is not None
    f.answer()


def features_again(where):
    """SET_FEATURES with bit 30 disables nothing (vhost-user, "Ring states")."""
    f = served(where)
    f.set_features()
    f.alive()


def no_call(where):
    """No interrupts wanted: none are needed."""
    f = Frontend(where).greet().start()
    for ring in (RX, TX):
        f.tell(SET_VRING_CALL, struct.pack("<Q", ring | NO_FD))
    f.fill().alive()


def no_kick(where):
    """No descriptor for kicks: passt looks by itself."""
    f = Frontend(where).greet()
    f.set_features()
    f.tell(SET_MEM_TABLE, *f.table(f.memory))
    for ring in (RX, TX):
        f.configure(ring)
        f.tell(SET_VRING_KICK, struct.pack("<Q", ring | NO_FD))
        f.descriptors(ring, kick=False)
    f.enable()
    f.fill(kick=False)
    for _ in range(5):
        f.question(kick=False)
        assert f.rings[TX].take() is not None
        f.answer()


def interrupts(where):
    """A new descriptor for interrupts is written to once; then each use of a ring, unless that is not wanted."""
    f = served(where)
    for ring in f.rings:
        assert readable(ring.call)
        os.eventfd_read(ring.call)
    f.alive()
    assert readable(f.rings[RX].call)
    for ring in f.rings:
        if readable(ring.call):
            os.eventfd_read(ring.call)
        f.memory.write(ring.avail, b"\1\0")
    f.alive()
    assert not any(readable(ring.call) for ring in f.rings)
    f.tell(SET_VRING_CALL, struct.pack("<Q", RX), [f.rings[RX].call])
    assert readable(f.rings[RX].call)


def readable(fd, wait=1):
    return bool(select.select([fd], [], [], wait)[0])


def wraps(where):
    """Indices that begin at 65530, and a ring of two entries."""
    f = Frontend(where).greet()
    for ring in f.rings:
        ring.begin(65530)
    f.start().fill()
    for _ in range(20):
        f.alive()
    f.close()
    f = Frontend(where).greet()
    f.rings = [Ring(f.memory, 0, 2), Ring(f.memory, 0x4000, 2)]
    f.start()
    f.rings[RX].describe(0, f.memory.gpa + 0x10000, 0x1000, WRITE)
    f.rings[RX].offer(0)
    for _ in range(10):
        f.alive()


# Memory


def moves(where):
    """Another table while the rings run: the same addresses of ours, other memory and other addresses of the guest's."""
    f = served(where)
    for n in range(10):
        new = Memory(gpa=0x80000000 + n * 0x10000000, offset=(n + 1) * 0x1000)
        old, f.memory = f.memory, new
        for ring in f.rings:
            ring.memory = new
        new.write(0, old.read(0, old.size))
        delta = new.gpa - old.gpa
        for i in range(2 * f.BUFFERS):
            at = f.rings[RX].desc + 16 * i
            new.write(at, struct.pack("<Q", struct.unpack("<Q", new.read(at, 8))[0] + delta))
        f.tell(SET_MEM_TABLE, *f.table(new))
        old.map.close()
        os.close(old.fd)
        f.alive()


def slots(where):
    """Regions come and go one by one."""
    f = Frontend(where).greet()
    assert f.protocol & 1 << MEM_SLOTS
    most = f.ask64(GET_MAX_MEM_SLOTS)
    assert most >= 8, most
    f.set_features()
    others = [Memory(0x10000, 0x1000000 * (i + 1), 0x600000000000 + 0x1000000 * i) for i in range(7)]
    for m in [*others, f.memory]:
        f.tell(ADD_MEM_REG, bytes(8) + m.entry(), [m.fd])
    for ring in (RX, TX):
        f.configure(ring)
        f.descriptors(ring)
    f.enable()
    f.fill().alive()
    before = descriptors()
    for m in others:
        f.tell(REM_MEM_REG, bytes(8) + m.entry())
        f.alive()
    for m in others:
        f.tell(ADD_MEM_REG, bytes(8) + m.entry(), [m.fd])
    f.alive()
    assert descriptors() == before, "a descriptor of the guest's memory stays open"
    unknown = Memory(0x10000, 0x99000000, 0x700000000000)
    assert f.acked(REM_MEM_REG, bytes(8) + unknown.entry()) != 0
    f.alive()


def no_descriptors(where):
    """Those of the guest's memory are closed once it is mapped."""
    f = Frontend(where).greet().start().fill().alive()
    before = descriptors()
    for _ in range(20):
        f.tell(SET_MEM_TABLE, *f.table(f.memory))
    f.alive()
    assert descriptors() == before, (before, descriptors())


def log(where):
    """The pages that are written to, and no others; logging ends with the feature."""
    f = served(where)
    fd = os.memfd_create("log")
    size = (f.memory.gpa + f.memory.size) // 4096 // 8
    os.ftruncate(fd, size)
    assert f.protocol & 1 << LOG_SHMFD
    f.ask64(SET_LOG_BASE, struct.pack("<QQ", size, 0), [fd])
    f.set_features(1 << LOG_ALL)
    for ring in (RX, TX):
        f.tell(SET_VRING_ADDR, f.address(ring, 1))
    bits = mmap.mmap(fd, size)
    f.alive()
    marked = {8 * i + b for i in range(len(bits)) if bits[i] for b in range(8) if bits[i] >> b & 1}
    used = {(f.memory.gpa + r.used) // 4096 for r in f.rings}
    buffers = {(f.memory.gpa + 0x10000) // 4096 + i for i in range(f.BUFFERS)}
    assert used <= marked and marked & buffers and not marked - used - buffers, sorted(map(hex, marked))
    f.set_features()
    for ring in (RX, TX):
        f.tell(SET_VRING_ADDR, f.address(ring, 0))
    bits[:] = bytes(size)
    f.alive()
    assert not any(bits[:])
    bits.close()


def small_log(where):
    """Too small a log is no way out of it."""
    f = served(where)
    fd = os.memfd_create("log")
    os.ftruncate(fd, 4096)
    f.ask64(SET_LOG_BASE, struct.pack("<QQ", 16, 0), [fd])
    try:
        f.set_features(1 << LOG_ALL)
        f.question()
        time.sleep(0.3)
    except (AssertionError, BrokenPipeError, ConnectionResetError):
        pass
    f.close()
    served(where)


def truncated(where, what):
    """In the middle of traffic the file loses what lies behind: what is sent, where it is received, all, or the log is shorter."""
    f = served(where)
    base = f.memory.offset
    if what == "log":
        fd = os.memfd_create("log")
        size = (f.memory.gpa + f.memory.size) // 4096 // 8
        os.ftruncate(fd, size)
        f.ask64(SET_LOG_BASE, struct.pack("<QQ", size, 0), [fd])
        f.set_features(1 << LOG_ALL)
        for ring in (RX, TX):
            f.tell(SET_VRING_ADDR, f.address(ring, 1))
    else:
        fd = f.memory.fd
    keep = {"transmitted": base + 0x20000, "received": base + 0x10000, "rings": 0, "log": 0}[what]
    # Questions lie where they stay, unless it is about them
    at = 0x30000 if what == "transmitted" else 0x8000
    question = arp_request(MAC, GUEST, GATEWAY)
    f.memory.write(at, HEADER + question)
    for chain in range(8):
        f.rings[TX].describe(chain, f.memory.gpa + at, 12 + len(question))
    for _ in range(20):
        f.rings[TX].offer(0)
        assert f.rings[TX].take() is not None
        f.answer()
    # The ring is looked at without a kick as well: what is offered before the cut may be answered before it
    if what == "rings":
        f.rings[TX].offer(*range(8), kick=False)
    os.ftruncate(fd, keep)
    if what != "rings":
        f.rings[TX].offer(*range(8), kick=False)
    os.eventfd_write(f.rings[TX].kick, 1)
    f.gone()
    served(where)


# Pieces, descriptors, nonsense


def octets(where):
    """Each message in pieces of 1 octet, and of others."""
    for pieces in (1, 5, 12, 13, 19):
        f = Frontend(where)
        f.pieces = pieces
        f.greet().start().fill().alive()
        f.stop()
        f.close()


def together(where):
    """Many messages in one write, descriptors of the right ones."""
    f = Frontend(where).greet(protocol=~(1 << REPLY_ACK))
    whole = []
    f.send = lambda request, payload=b"", fds=(), flags=1: whole.append((request, payload, fds, flags))
    f.start()
    del f.send
    data = b""
    for request, payload, fds, flags in whole:
        if fds and data:
            f.s.sendall(data)
            data = b""
        data += struct.pack("<III", request, flags, len(payload)) + payload
        if fds:
            f.s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
            data = b""
    f.s.sendall(data)
    assert f.ask64(GET_FEATURES) == f.offered  # what is transmitted before all that is done may be discarded
    f.fill().alive()


def cut(where):
    """The end at every octet of a message."""
    before = without_client(where)
    f = Frontend(where)
    message = struct.pack("<III", SET_MEM_TABLE, 1, 40) + f.table(f.memory)[0]
    f.close()
    for n in range(1, len(message)):
        f = Frontend(where).greet()
        f.s.sendmsg([message[:n]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [f.memory.fd]))])
        f.close()
    served(where).close()
    settles(before)


def stray(where):
    """Descriptors where none belong are closed: those of every message, and more than a message may have."""
    idle = without_client(where)
    f = served(where)
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
    before = descriptors()
    for n in (1, 2, 8):
        assert f.ask64(GET_FEATURES, b"", fds[:n]) == f.offered
        f.tell(SET_OWNER, b"", fds[:n])
        f.tell(SET_FEATURES, struct.pack("<Q", f.features), fds[:n])
        f.tell(SEND_RARP, MAC + bytes(2), fds[:n])
        f.tell(SET_VRING_ENABLE, struct.pack("<II", RX, 1), fds[:n])
        f.tell(SET_VRING_CALL, struct.pack("<Q", RX | NO_FD), fds[:n])
        f.tell(SET_VRING_CALL, struct.pack("<Q", RX), [f.rings[RX].call])
        f.alive()
        assert descriptors() == before, (n, before, descriptors())
    f.close()
    settles(idle)
    # More than eight, and several at one that takes one: refused or not, nothing stays open.
    for request, payload, many in [
        (SET_OWNER, b"", fds * 5),
        (SET_VRING_KICK, struct.pack("<Q", RX), fds),
        (SET_MEM_TABLE, f.table(Memory())[0], fds),
        (SET_LOG_BASE, struct.pack("<QQ", 4096, 0), fds),
        (99, b"", fds),
    ]:
        f = served(where)
        f.send(request, payload, many)
        time.sleep(0.05)
        f.close()
        settles(idle)


def unknown(where):
    """A request that nobody knows: an error for who asks, else nothing."""
    f = served(where)
    for request in (0, 21, 34, 44, 99, 0x7FFFFFFF, 0xFFFFFFFF):
        for payload in (b"", bytes(8), bytes(100)):
            f.send(request, payload)
            assert f.acked(request, payload) != 0, request
        f.alive()


def reset_owner(where):
    """Deprecated, and without effect on who the next one is."""
    f = served(where)
    f.tell(RESET_OWNER)
    f.tell(SET_OWNER)
    f.start().alive()


def device_state(where):
    """No migration yet, said so (vhost-user, "Migrating back-end state")."""
    f = served(where)
    assert f.protocol & 1 << DEVICE_STATE
    r, w = os.pipe()
    before = descriptors()
    assert f.ask64(SET_DEVICE_STATE_FD, struct.pack("<II", 0, 0), [w]) & 0xFF != 0
    assert f.ask64(CHECK_DEVICE_STATE) != 0
    assert descriptors() == before
    f.alive()


def malformed(where):
    """Each of them ends its session, or is answered by an error; the next client is served, and nothing stays open."""
    before = without_client(where)
    some = Memory()

    def region(**change):
        r = {"gpa": some.gpa, "size": some.size, "user": some.user, "offset": some.offset, **change}
        return struct.pack("<QQQQ", r["gpa"], r["size"], r["user"], r["offset"])

    def table(n, *entries):
        return struct.pack("<II", n, 0) + b"".join(entries)

    one = [some.fd]
    u64, pair = struct.Struct("<Q").pack, struct.Struct("<II").pack
    short = os.memfd_create("short")
    os.ftruncate(short, 4096)
    pipe = os.pipe()
    user = some.user
    cases = {
        "no memory at all": (SET_MEM_TABLE, table(0), []),
        "nine regions": (SET_MEM_TABLE, table(9, *[region()] * 9), one * 8),
        "a region that is not there": (SET_MEM_TABLE, table(2, region()), one * 2),
        "fewer descriptors": (SET_MEM_TABLE, table(2, region(), region(gpa=0x1000)), one),
        "more descriptors": (SET_MEM_TABLE, table(1, region()), one * 2),
        "none": (SET_MEM_TABLE, table(1, region()), []),
        "size 0": (SET_MEM_TABLE, table(1, region(size=0)), one),
        "size and offset overflow": (SET_MEM_TABLE, table(1, region(size=NONE - 100, offset=4096)), one),
        "guest address overflows": (SET_MEM_TABLE, table(1, region(gpa=NONE - 4096)), one),
        "user address overflows": (SET_MEM_TABLE, table(1, region(user=NONE - 4096)), one),
        "a file shorter than that": (SET_MEM_TABLE, table(1, region()), [short]),
        "one octet more than the file": (SET_MEM_TABLE, table(1, region(size=some.size + 1)), one),
        "no file": (SET_MEM_TABLE, table(1, region()), [pipe[0]]),
        "regions that overlap": (SET_MEM_TABLE, table(2, region(), region(user=0x1000)), one * 2),
        "table too short": (SET_MEM_TABLE, b"\1\0\0\0", one),
        "features too short": (SET_FEATURES, b"\1\0\0\0", []),
        "features too long": (SET_FEATURES, bytes(16), []),
        "no VERSION_1": (SET_FEATURES, u64(1 << PROTOCOL_FEATURES), []),
        "ring 2": (SET_VRING_NUM, pair(2, 64), []),
        "ring 0xffffffff": (SET_VRING_BASE, pair(0xFFFFFFFF, 0), []),
        "size 0 of a ring": (SET_VRING_NUM, pair(0, 0), []),
        "size 3": (SET_VRING_NUM, pair(0, 3), []),
        "size 65536": (SET_VRING_NUM, pair(0, 65536), []),
        "base 65536": (SET_VRING_BASE, pair(0, 65536), []),
        "enable 2": (SET_VRING_ENABLE, pair(0, 2), []),
        "enable ring 7": (SET_VRING_ENABLE, pair(7, 1), []),
        "ring at 0": (SET_VRING_ADDR, struct.pack("<IIQQQQ", 0, 0, 0, 0, 0, 0), []),
        "ring outside": (SET_VRING_ADDR, struct.pack("<IIQQQQ", 0, 0, user + some.size, user, user, 0), []),
        "used ring past the end": (SET_VRING_ADDR, struct.pack("<IIQQQQ", 0, 0, user, user + some.size - 8, user, 0), []),
        "descriptors not aligned": (SET_VRING_ADDR, struct.pack("<IIQQQQ", 0, 0, user + 1, user + 0x2000, user + 0x1000, 0), []),
        "kick without descriptor": (SET_VRING_KICK, u64(0), []),
        "kick of ring 5": (SET_VRING_KICK, u64(5), [pipe[0]]),
        "call without descriptor": (SET_VRING_CALL, u64(1), []),
        "log without descriptor": (SET_LOG_BASE, struct.pack("<QQ", 4096, 0), []),
        "log longer than its file": (SET_LOG_BASE, struct.pack("<QQ", 1 << 30, 0), [short]),
        "log overflows": (SET_LOG_BASE, struct.pack("<QQ", NONE - 1, 4096), [short]),
        "stop of ring 2": (GET_VRING_BASE, pair(2, 0), []),
        "a region without descriptor": (ADD_MEM_REG, bytes(8) + region(), []),
        "a region twice": (ADD_MEM_REG, bytes(8) + region(), one),
        "a short region": (ADD_MEM_REG, bytes(8) + region(gpa=0x1000, user=0x1000), [short]),
    }
    for name, (request, payload, fds) in cases.items():
        try:
            f = served(where)
            f.send(request, payload, fds, 1 | NEED_REPLY)
            f.refused()
        except AssertionError as e:
            raise AssertionError(f"{name}: {e}") from e
    for name, header in {
        "version 0": (GET_FEATURES, 0, 0),
        "version 2": (GET_FEATURES, 2, 0),
        "a reply": (GET_FEATURES, 5, 0),
        "4 GB": (SET_FEATURES, 1, 0xFFFFFFFF),
        "4097 octets": (99, 1, 4097),
    }.items():
        try:
            f = served(where)
            f.s.sendall(struct.pack("<III", *header))
            f.gone()
        except (AssertionError, TimeoutError) as e:
            raise AssertionError(f"{name}: {e}") from e
    served(where).close()
    settles(before)


def noise(where, rounds):
    """Random octets; and messages that look right, with random content, in random order."""
    before = without_client(where)
    for seed in range(int(rounds)):
        rng = random.Random(seed)
        f = Frontend(where) if seed % 4 == 0 else served(where)
        f.s.setblocking(False)
        try:
            if seed % 4 == 0:
                f.s.sendall(rng.randbytes(rng.choice([1, 11, 12, 13, 100, 5000])))
            for _ in range(0 if seed % 4 == 0 else 30):
                request, size = rng.choice([*range(1, 21), 36, 37, 38, 42, 43]), rng.choice([0, 4, 8, 8, 8, 16, 40, 40])
                payload = bytes(rng.choice([0, 0, 0, 1, 1, 2, 255]) for _ in range(size))
                if rng.random() < 0.3:
                    payload = f.table(f.memory)[0] if request == SET_MEM_TABLE else f.address(rng.randrange(2))
                f.send(request, payload, [f.memory.fd] * rng.choice([0, 0, 0, 1, 1, 2, 8]), rng.choice([1, 1, 9]))
                if rng.random() < 0.3:
                    f.question()
        except (BrokenPipeError, ConnectionResetError, BlockingIOError):
            pass
        f.close()
    served(where).close()
    settles(before)


# Rings that no driver makes


def hostile(where):
    """Each ends the session, and only that; but a frame without octets is just dropped."""
    dropped = ("length 0", "the wrong direction")
    before = without_client(where)
    big = 0xFFFFFFFF

    def chain(*descs):
        def put(f, ring):
            for i, (gpa, length, flags, next) in enumerate(descs):
                f.rings[ring].describe(i, f.memory.gpa + gpa if gpa < 1 << 40 else gpa, length, flags, next)
            f.rings[ring].offer(0)

        return put

    def index(f, ring):
        f.rings[ring].offer(f.rings[ring].n)

    def jump(f, ring):
        f.rings[ring].index = (f.rings[ring].index + f.rings[ring].n) % 65536
        f.rings[ring].offer(0)

    def table(*descs, length=None, flags=INDIRECT):
        def put(f, ring):
            data = b"".join(struct.pack("<QIHH", f.memory.gpa + gpa, n, flags, next) for gpa, n, flags, next in descs)
            f.memory.write(0x50000, data)
            f.rings[ring].describe(0, f.memory.gpa + 0x50000, len(data) if length is None else length, flags, 0)
            f.rings[ring].offer(0)

        return put

    at = 0x30000
    w = {RX: WRITE, TX: 0}
    for ring in (TX, RX):
        wr = w[ring]
        cases = {
            "an index outside the ring": index,
            "more offered than the ring has": jump,
            "a loop": chain((at, 12, NEXT | wr, 1), (at, 12, NEXT | wr, 0)),
            "a loop of one": chain((at, 12, NEXT | wr, 0)),
            "next outside": chain((at, 12, NEXT | wr, 64)),
            "an address outside": chain((1 << 50, 100, wr, 0)),
            "an address before memory": chain((-0x1000, 100, wr, 0)),
            "past the end": chain(((1 << 20) - 50, 100, wr, 0)),
            "address and length overflow": chain((NONE - 10, 100, wr, 0)),
            "a huge length": chain((at, big, wr, 0)),
            "length 0": chain((at, 0, wr, 0)),
            "the wrong direction": chain((at, 100, wr ^ WRITE, 0)),
            "written before read": chain((at, 100, WRITE | NEXT, 1), (at, 100, 0, 0)),
            "an indirect table of odd length": table((at, 100, wr, 0), length=17),
            "an empty one": table(length=0),
            "a huge one": table((at, 100, wr, 0), length=0xFFFFFFF0),
            "one outside": lambda f, ring: (f.rings[ring].describe(0, 1 << 50, 16, INDIRECT), f.rings[ring].offer(0)),
            "one within another": table((0x50000, 16, INDIRECT, 0)),
            "one with a successor": table((at, 100, wr, 0), flags=INDIRECT | NEXT),
            "a loop in one": table((at, 12, NEXT | wr, 0)),
            "next outside of one": table((at, 12, NEXT | wr, 1)),
        }
        for name, put in cases.items():
            try:
                f = Frontend(where).greet()
                f.features |= f.offered & 1 << INDIRECT_DESC
                f.start()
                if ring == TX:
                    f.fill()
                    put(f, ring)
                else:
                    # Nobody looks before there is a frame.
                    put(f, ring)
                    try:
                        f.transmit(arp_request(MAC, GUEST, GATEWAY), at=0x38000)
                    except (BrokenPipeError, ConnectionResetError):
                        pass
                if ring == TX and name in dropped:
                    assert f.rings[TX].take() == (0, 0)
                    f.alive()
                    f.close()
                else:
                    f.gone()
            except (AssertionError, TimeoutError) as e:
                raise AssertionError(f"{'RX' if ring == RX else 'TX'}, {name}: {e!r}") from e
    served(where).close()
    settles(before)


def starved(where, how):
    """Says so while nothing can be received; on SIGUSR1 it can."""
    f = Frontend(where).greet()
    f.start(enable=False)
    if how == "disabled":
        f.fill()
        f.enable(1, [TX])
    else:
        f.enable()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    f.question()
    print("starved", flush=True)
    assert signal.sigtimedwait([signal.SIGUSR1], 60) is not None
    if how == "disabled":
        f.enable()
    else:
        f.fill()
    f.alive()


def pause(says="now"):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    print(says, flush=True)
    assert signal.sigtimedwait([signal.SIGUSR1], 60) is not None


def replaced(where):
    """Says "now" when another passt may take this one's place, and goes on at SIGUSR1: in the middle of a message, a ring disabled or
    both stopped; and with a kick that nobody hears."""
    f = served(where)

    def in_pieces(cut):
        call = os.eventfd(0, os.EFD_NONBLOCK)
        message = struct.pack("<IIIQ", SET_VRING_CALL, 1 | NEED_REPLY, 8, RX)
        socket.send_fds(f.s, [message[:cut]], [call])
        pause()
        f.s.send(message[cut:])
        assert f.reply(SET_VRING_CALL) == bytes(8)
        # The new one is told at once that it is used
        assert os.eventfd_read(call) > 0
        return call

    f.enable(0, [RX])
    calls = [in_pieces(5)]
    f.question()
    assert f.rings[TX].take() is not None and f.receive(0.2) is None
    f.enable(1, [RX])
    f.alive()
    assert os.eventfd_read(calls[0]) > 0
    f.stop()
    calls.append(in_pieces(17))
    f.start().alive()
    for _ in range(2):
        pause()
        f.question()
        pause("asked")
        assert f.rings[TX].take() is not None
        f.answer().alive()
    f.stop()
    f.start().alive()


# passt's descriptors


def descriptors():
    """Of all processes of passt that run here; needs root."""
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if re.match(r"(passt|node)", os.path.basename(os.readlink(f"/proc/{pid}/exe"))):
                total += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            continue
    assert total > 0, "no passt to be seen"
    return total


def without_client(where):
    """How many they are once there was a client, and it is gone."""
    served(where).close()
    seen = [descriptors()]
    while len(seen) < 10 or len(set(seen[-10:])) > 1:
        time.sleep(0.02)
        seen.append(descriptors())
    return seen[-1]


def settles(most):
    end = time.monotonic() + 5
    while descriptors() > most:
        assert time.monotonic() < end, (most, descriptors())
        time.sleep(0.02)


scenario, arguments = sys.argv[1], sys.argv[2:]
globals()[scenario](*arguments)
print("ok", scenario, flush=True)
