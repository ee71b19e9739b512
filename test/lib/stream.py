"""The hypervisor's end of passt's socket, in Python: stream.py SCENARIO SOCKET [ARG...], asserts what must come back.

SOCKET is a path, or the number of a descriptor. Each scenario is one client or several in a row; prints "ok SCENARIO".
"""
import hashlib
import os
import random
import signal
import socket
import struct
import sys
import time

from packet import ACK, ARP_TYPE, FIN, SERVER4, SYN, Segment, arp_request, checksum, ethernet, ipv4, is_arp_reply, pseudo

MAC = bytes.fromhex("525400123456")
OURS = bytes.fromhex("9a559a559a55")
GUEST = "198.51.100.2"
GATEWAY = "198.51.100.1"


class Client:
    def __init__(self, where):
        if where.isdigit():
            self.s = socket.socket(fileno=int(where))
        else:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.connect(where)
        self.s.settimeout(10)
        self.buffer = b""

    def send(self, *frames):
        self.s.sendall(b"".join(struct.pack("!I", len(f)) + f for f in frames))

    def frame(self):
        """The next one; None at the end of the stream."""
        while len(self.buffer) < 4 or len(self.buffer) < 4 + int.from_bytes(self.buffer[:4], "big"):
            try:
                data = self.s.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self.buffer, f"ended within a frame: {self.buffer[:80].hex()}"
                return None
            self.buffer += data
        n = int.from_bytes(self.buffer[:4], "big")
        assert 60 <= n <= 65535, n
        f, self.buffer = self.buffer[4 : 4 + n], self.buffer[4 + n :]
        return f

    def until(self, wanted):
        while True:
            f = self.frame()
            assert f is not None, "closed"
            if wanted(f):
                return f

    def close(self):
        self.s.close()

    def alive(self):
        """A question that passt answers by itself."""
        self.send(arp_request(MAC, GUEST, GATEWAY))
        f = self.until(is_arp_reply)
        assert f[:6] == MAC and f[22:28] == OURS and f[28:32] == socket.inet_aton(GATEWAY), f.hex()
        return self

    def gone(self):
        assert self.frame() is None


def greeted(where, mac=b"\xff" * 6):
    """A client that got what passt asks everybody: ARP and NS for the guest's addresses."""
    c = Client(where)
    arp, ns = c.frame(), c.frame()
    assert arp[:22] == b"\xff" * 6 + OURS + ARP_TYPE + bytes.fromhex("0001080006040001"), arp.hex()
    assert arp[28:32] == socket.inet_aton(GATEWAY) and arp[38:42] == socket.inet_aton(GUEST), arp.hex()
    assert ns[:6] == mac and ns[12:14] == bytes.fromhex("86dd") and ns[54] == 135, ns.hex()
    return c


def probes(where):
    c = greeted(where)
    c.alive().close()
    greeted(where, MAC).alive()


def second(where):
    a = greeted(where)
    for _ in range(3):
        Client(where).gone()
        a.alive()


def bad(where, *inputs):
    """Each on a connection of its own, which ends; the next client is served."""
    for text in inputs:
        c = greeted(where, MAC if text != inputs[0] else b"\xff" * 6).alive()
        c.s.sendall(bytes.fromhex(text))
        c.gone()
    greeted(where, MAC).alive()


def noise(where, rounds):
    for seed in range(int(rounds)):
        c = Client(where)
        try:
            c.s.sendall(random.Random(seed).randbytes(100_000))
        except (BrokenPipeError, ConnectionResetError):
            pass
        c.s.settimeout(0.5)
        try:
            while c.frame() is not None:
                pass
        except (socket.timeout, AssertionError):
            pass  # a length that might be one: passt waits for the rest
        c.close()
    Client(where).alive()


def tiny(where, count):
    """As many frames of the least length: not one of them makes sense."""
    c = greeted(where)
    some = struct.pack("!I", 14) + bytes(14)
    for _ in range(int(count) // 1000):
        c.s.sendall(some * 1000)
    c.s.settimeout(60)
    c.alive()


def endless(where):
    """The longest frame, octet by octet and never whole; one split at each place."""
    c = greeted(where)
    c.s.sendall(struct.pack("!I", 65535))
    for _ in range(300):
        c.s.sendall(b"\xff")
        time.sleep(0.002)
    c.s.sendall(bytes(65534 - 300))
    c.close()
    c = greeted(where)
    arp = bytes.fromhex("0001080006040001") + MAC + socket.inet_aton(GUEST) + bytes(6) + socket.inet_aton(GATEWAY)
    f = b"\xff" * 6 + MAC + ARP_TYPE + arp
    wire = struct.pack("!I", len(f)) + f
    for cut in range(1, len(wire)):
        c.s.sendall(wire[:cut])
        time.sleep(0.001)
        c.s.sendall(wire[cut:])
        c.until(lambda f: f[20:22] == b"\0\2")
    c.close()


def restart(where, times):
    """Hang up with much unread, and be back at once: never turned away."""
    junk = struct.pack("!I", 60) + bytes(60)
    for _ in range(int(times)):
        c = Client(where)
        c.until(lambda f: f[12:14] == ARP_TYPE)
        c.s.sendall(junk * 3000)
        c.close()
    Client(where).alive()


class Tcp:
    """A guest's TCP connection, just enough of it: in order, nothing lost."""

    def __init__(self, c, port, sport, to=SERVER4):
        self.c, self.port, self.sport, self.to = c, port, sport, to
        self.seq, self.ack, self.window = random.randrange(1 << 32), 0, 65535

    def send(self, flags, data=b"", options=b""):
        off = (20 + len(options)) // 4 << 4
        head = struct.pack(
            "!HHIIBBHHH", self.sport, self.port, self.seq % 2**32, self.ack % 2**32, off, flags, self.window, 0, 0
        )
        tcp = head + options + data
        value = checksum(pseudo(GUEST, self.to, 6, len(tcp)) + tcp)
        tcp = tcp[:16] + struct.pack("!H", value) + tcp[18:]
        self.seq += len(data) + (1 if flags & (SYN | FIN) else 0)
        self.c.send(ethernet(0x0800, ipv4(6, tcp, src=GUEST, dst=self.to), MAC))

    def receive(self):
        def ours(f):
            return f[:6] == MAC and f[12:14] == b"\x08\0" and f[23] == 6 and f[36:38] == struct.pack("!H", self.sport)

        f = self.c.until(ours)
        ip = f[14 : 14 + struct.unpack("!H", f[16:18])[0]]
        assert checksum(pseudo(self.to, GUEST, 6, len(ip) - 20) + ip[20:]) == 0, "checksum"
        return Segment(f)

    def open(self):
        self.send(SYN, options=bytes.fromhex("020405b4" "01030308"))
        s = self.receive()
        assert s.flags == SYN | ACK, s
        self.ack = s.seq + 1
        self.send(ACK)
        return self


def stalled(where, octets):
    """A download by a guest that stops until SIGUSR1: bounded over there, complete in the end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    c = greeted(where)
    t = Tcp(c, 7003, 40000).open()
    t.send(ACK, f"{octets} 5\n".encode())
    got, sha, stalls = 0, hashlib.sha256(), 0
    while got < int(octets):
        if got > stalls * int(octets) // 4:
            stalls += 1
            print("stalled", flush=True)
            signal.sigwait([signal.SIGUSR1])
        s = t.receive()
        if s.seq != t.ack % 2**32:
            t.send(ACK)
            continue
        got += len(s.data)
        sha.update(s.data)
        t.ack += len(s.data)
        t.send(ACK)
    assert sha.hexdigest() == hashlib.sha256(random.Random(5).randbytes(int(octets))).hexdigest()


def upload(where, octets):
    """In bursts of frames to each write, as QEMU has them; a mistake anywhere shows in the sum."""
    c = greeted(where)
    t = Tcp(c, 7002, 40001).open()
    data = random.Random(6).randbytes(int(octets))
    at, acked, edge = 0, 0, 60000
    first = t.seq
    while at < len(data) or acked < len(data):
        burst = []
        keep, c.send = c.send, burst.append
        while at < min(len(data), edge):
            n = min(1460, len(data) - at, edge - at)
            t.send(ACK, data[at : at + n])
            at += n
        c.send = keep
        if burst:
            c.send(*burst)
        s = t.receive()
        acked = s.ack - first % 2**32 if s.ack >= first % 2**32 else s.ack + 2**32 - first % 2**32
        edge = acked + (s.window << 8)
    t.send(FIN | ACK)
    answer = b""
    while not answer.endswith(b"\n"):
        s = t.receive()
        if s.seq == t.ack % 2**32:
            answer += s.data
            t.ack += len(s.data)
        t.send(ACK)
    assert answer.decode().split() == [octets, hashlib.sha256(data).hexdigest()], answer


def inbound(where, port):
    """The host connected before there was a guest: its SYN comes again, to where the guest is by then. Kernels take none to everybody."""
    c = greeted(where).alive()
    t = Tcp(c, 0, int(port), to=GATEWAY)

    def syn(f):
        return f[:6] == MAC and f[12:14] == b"\x08\0" and f[23] == 6 and f[36:38] == struct.pack("!H", t.sport) and f[47] == SYN

    f = c.until(syn)
    s = Segment(f)
    t.to, t.port, t.ack = socket.inet_ntoa(f[26:30]), s.sport, s.seq + 1
    t.send(SYN | ACK)
    t.send(ACK, b"hello from the guest\n")
    s = t.receive()
    assert s.flags & ACK, s
    time.sleep(0.2)


def replaced(where):
    """passt is replaced, twice, while half a question is with it, and before its answer is read."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    c = greeted(where).alive()
    f = arp_request(MAC, GUEST, GATEWAY)
    wire = struct.pack("!I", len(f)) + f
    for cut in (2, 30):
        c.send(f)
        c.s.sendall(wire[:cut])
        print("half", flush=True)
        signal.sigwait([signal.SIGUSR1])
        c.s.sendall(wire[cut:])
        for _ in range(2):
            c.until(is_arp_reply)
        c.alive()
    c.close()


def probed(where):
    Client(where).alive().close()


def quiet(where):
    """A client that stays."""
    client = greeted(where).alive()  # kept, or else Python closes it at once
    print("here", flush=True)
    time.sleep(60)
    client.close()


def descriptor(_, program, *options):
    """passt --fd 3, as QEMU starts it: its end of a socket pair is descriptor 3. Ends with passt's status."""
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        os.dup2(b.fileno(), 3)
        os.set_inheritable(3, True)
        os.execv(program, [program, *options, "--fd", "3"])
    b.close()
    c = greeted(str(a.detach())).alive()
    c.close()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    globals()[name](*rest)
    print("ok", name)
