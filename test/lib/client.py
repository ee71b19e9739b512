"""What the tests do inside pasta's namespace: client.py COMMAND ARGS... prints one JSON object.

An error that the test may expect is a result ("error": its name), any other one a traceback and status 1.
"""
import errno
import fcntl
import hashlib
import json
import os
import random
import select
import socket
import struct
import sys
import termios
import threading
import time

from packet import checksum

TIMEOUT = 30


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(address, port, rcvbuf=0, timeout=TIMEOUT):
    s = socket.socket(family(address), socket.SOCK_STREAM)
    if rcvbuf:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    s.settimeout(timeout)
    s.connect((address, int(port)))
    return s


def read_all(s, pause=0.0, chunk=1 << 16):
    parts = []
    while True:
        data = s.recv(chunk)
        if not data:
            return b"".join(parts)
        parts.append(data)
        if pause:
            time.sleep(pause)


def finish(s):
    """Closes once everything, FIN included, is acknowledged: when this process ends, so may the whole network."""
    s.shutdown(socket.SHUT_WR)
    end = time.monotonic() + TIMEOUT
    while struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0] > 0:
        if time.monotonic() > end:
            raise TimeoutError(errno.ETIMEDOUT, "not acknowledged")
        time.sleep(0.005)
    s.close()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def name(e):
    if isinstance(e, socket.timeout):
        return "timeout"
    return errno.errorcode.get(e.errno, str(e))


def tcp_send(address, port, count, pause="0"):
    """Sends, finishes, reads the answer over the half-closed connection."""
    data = random.Random(1).randbytes(int(count))
    s = connect(address, port)
    began = time.monotonic()
    if float(pause):
        for i in range(0, len(data), 4096):
            s.sendall(data[i : i + 4096])
            time.sleep(float(pause))
    else:
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    reply = read_all(s).decode(errors="replace")
    return {"reply": reply, "expect": "%d %s\n" % (len(data), sha(data)), "ms": (time.monotonic() - began) * 1000}


def tcp_get(address, port, count, rcvbuf="0", pause="0", tail="0"):
    """Asks for octets, reads them to FIN, then sends `tail` octets over the half-closed connection."""
    s = connect(address, port, int(rcvbuf))
    s.sendall(b"%d 7\n" % int(count))
    data = read_all(s, float(pause), 16384 if float(pause) else 1 << 16)
    rest = random.Random(2).randbytes(int(tail))
    s.sendall(rest)
    finish(s)
    expect = random.Random(7).randbytes(int(count))
    return {"octets": len(data), "same": data == expect, "tail_sha": sha(rest)}


def tcp_get_gated(address, port, count, gate):
    """As tcp_get(), but no more than half of it, and that slowly, before the file `gate` is there."""
    s = connect(address, port)
    s.sendall(b"%d 7\n" % int(count))
    data = s.recv(1 << 14)
    print("under way", flush=True)
    while not os.path.exists(gate):
        if len(data) < int(count) // 2:
            data += s.recv(1 << 14)
        time.sleep(0.01)
    data += read_all(s)
    finish(s)
    return {"octets": len(data), "same": data == random.Random(7).randbytes(int(count))}


def tcp_after_fin(address, port, count):
    s = connect(address, port)
    early = read_all(s)
    data = random.Random(3).randbytes(int(count))
    s.sendall(data)
    finish(s)
    return {"early": len(early), "sha": sha(data)}


def read_to_end(s):
    """What comes, and how it ends."""
    got = b""
    try:
        while data := s.recv(1 << 16):
            got += data
    except OSError as e:
        return got, name(e)
    return got, "eof"


def tcp_read(address, port, send=""):
    """What comes until the end, and how it ends."""
    s = connect(address, port)
    if send:
        s.sendall(send.encode() + b"\n")
    got, end = read_to_end(s)
    return {"data": got.decode(), "end": end}


def tcp_late(address, port):
    """Sends, and goes on sending once the server must have gone; only then reads, from a small buffer."""
    s = connect(address, port, 4096)
    s.sendall(b"a request\n")
    time.sleep(0.7)
    for _ in range(3):
        try:
            s.send(b"more of it\n")
        except OSError:
            break
        time.sleep(0.1)
    got, end = read_to_end(s)
    return {"octets": len(got), "same": got == random.Random(7).randbytes(len(got)), "end": end}


def tcp_oob(address, port):
    """Reads with urgent data in line, as the stream was."""
    s = connect(address, port)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    return {"data": read_all(s).decode()}


def tcp_send_oob(address, port):
    s = connect(address, port)
    s.sendall(b"before-")
    s.send(b"!", socket.MSG_OOB)
    s.sendall(b"-after")
    s.shutdown(socket.SHUT_WR)
    return {"reply": read_all(s).decode(), "expect": "%d %s\n" % (14, sha(b"before-!-after"))}


def tcp_abort(address, port):
    s = connect(address, port)
    hello = s.recv(5)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    time.sleep(0.3)  # the reset has no answer to wait for
    return {"hello": hello.decode()}


def tcp_connect(address, port, timeout="10"):
    began = time.monotonic()
    try:
        connect(address, port, 0, float(timeout)).close()
        error = None
    except OSError as e:
        error = name(e)
    return {"error": error, "ms": (time.monotonic() - began) * 1000}


def tcp_echo(address, port, count):
    """Sends and reads at the same time; a word more comes over the half-closed connection."""
    data = random.Random(4).randbytes(int(count))
    s = connect(address, port)
    sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
    sender.start()
    got = read_all(s)
    sender.join()
    return {"same": got[: len(data)] == data, "word": got[len(data) :].decode()}


def tcp_refused(address, port):
    """The error, whether it comes with the connection or after it, and when."""
    began = time.monotonic()
    try:
        s = connect(address, port)
        error = "eof" if s.recv(1) == b"" else "data"
    except OSError as e:
        error = name(e)
    return {"error": error, "ms": (time.monotonic() - began) * 1000}


def tcp_hold(address, port, how, seconds="1000"):
    """Prints "holding" and keeps the connection for a while: "idle", "half" closed, or "full", with as much sent as goes."""
    s = connect(address, port)
    sent = 0
    if how == "half":
        s.shutdown(socket.SHUT_WR)
    if how == "full":
        s.settimeout(0.3)
        try:
            while True:
                sent += s.send(bytes(1 << 16))
        except (socket.timeout, ConnectionError):
            pass
    print("holding", flush=True)
    time.sleep(float(seconds))
    return {"sent": sent}


def tcp_parallel(address, port, count):
    """COUNT connections at a time, each with a payload of its own."""
    results = []
    gate = threading.Barrier(int(count))

    def one(i):
        data = random.Random(i).randbytes(100 + 37 * i)
        try:
            gate.wait(TIMEOUT)
            s = connect(address, port)
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            results.append("ok" if read_all(s) == data + b"bye" else "differs")
            s.close()
        except OSError as e:
            results.append(name(e))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(int(count))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return {r: results.count(r) for r in set(results)}


def tcp_idle(address, port, seconds):
    """Says nothing for a while in the middle of a connection."""
    s = connect(address, port)
    s.sendall(b"one")
    first = s.recv(3)
    time.sleep(float(seconds))
    s.sendall(b"two")
    return {"first": first.decode(), "second": s.recv(3).decode()}


def udp_socket(address, sport="0"):
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    s.settimeout(5)
    if int(sport):
        s.bind(("", int(sport)))
    return s


def udp_echo(address, port, *sizes):
    """Each size there and back; up to three tries, UDP may lose. Gives the sizes that failed."""
    s = udp_socket(address)
    s.settimeout(2)
    failed = {}
    for size in map(int, sizes):
        data = random.Random(size).randbytes(size)
        why = "timeout"
        for _ in range(3):
            try:
                s.sendto(data, (address, int(port)))
                got = s.recv(1 << 16)
                why = None if got == data else "differs: %d octets" % len(got)
            except OSError as e:
                why = name(e)
            if why is None:
                break
        if why is not None:
            failed[size] = why
    return {"failed": failed}


def udp_report(address, port, size="10", ttl="0", sport="0"):
    s = udp_socket(address, sport)
    if int(ttl):
        if s.family == socket.AF_INET:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(ttl))
        else:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, int(ttl))
    data = bytes(int(size))
    s.sendto(data, (address, int(port)))
    reply, peer = s.recvfrom(1 << 16)
    return {**json.loads(reply), "local": s.getsockname()[1], "replier": peer[0], "sent_sha": sha(data)}


def udp_sized(address, port, size):
    """A datagram of that size from the other side."""
    s = udp_socket(address)
    s.sendto(size.encode(), (address, int(port)))
    got = s.recv(1 << 17)
    return {"len": len(got), "same": got == bytes(i & 255 for i in range(int(size)))}


def udp_error(address, port, size="10", discover="0"):
    """The error that comes back for a datagram, and the path MTU known afterwards."""
    s = udp_socket(address)
    v6 = s.family == socket.AF_INET6
    if int(discover):
        s.setsockopt(*((socket.IPPROTO_IPV6, 23) if v6 else (socket.IPPROTO_IP, 10)), 2)  # MTU_DISCOVER = DO
    s.connect((address, int(port)))
    began = time.monotonic()
    error = None
    try:
        s.send(bytes(int(size)))
        s.recv(1)
    except OSError as e:
        error = name(e)
    ms = (time.monotonic() - began) * 1000
    mtu = s.getsockopt(*((socket.IPPROTO_IPV6, 24) if v6 else (socket.IPPROTO_IP, 14)))
    return {"error": error, "ms": ms, "mtu": mtu}


def udp_many(address, port, count):
    """COUNT sockets, one exchange each; gives how many had their answer within 10 s."""
    first = udp_socket(address)  # the kernel holds few datagrams for a neighbour that it does not know yet
    first.sendto(b"first", (address, int(port)))
    first.recv(64)
    socks = [udp_socket(address) for _ in range(int(count))]
    for i, s in enumerate(socks):
        s.sendto(b"%d" % i, (address, int(port)))
    ok, end = 0, time.monotonic() + 10
    for i, s in enumerate(socks):
        s.settimeout(max(0.001, end - time.monotonic()))
        try:
            ok += s.recv(64) == b"%d" % i
        except OSError:
            pass
    return {"ok": ok}


def udp_shout(address, port, count):
    """Sends without waiting for anything."""
    s = udp_socket(address)
    for i in range(int(count)):
        s.sendto(b"%d" % i, (address, int(port)))
        time.sleep(0.002)
    return {}


def udp_burst(address, port, count, connected="0"):
    """COUNT datagrams without a pause from a socket that the other side has not heard of; the answers, in what order."""
    first = udp_socket(address)
    first.sendto(b"first", (address, int(port)))
    first.recv(64)
    s = udp_socket(address)
    if int(connected):
        s.connect((address, int(port)))
    for i in range(int(count)):
        s.sendto(b"%d" % i, (address, int(port)))
    got = []
    s.settimeout(2)
    try:
        while len(got) < int(count):
            got.append(int(s.recv(64)))
    except OSError:
        pass
    return {"came": len(got), "different": len(set(got)), "ordered": got == sorted(got)}


def icmp_echo(address, ident, sequence, size, ttl="64"):
    """One echo request by a raw socket: whatever comes back for it, with our own identifier checked."""
    v6 = family(address) == socket.AF_INET6
    s = socket.socket(family(address), socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    if v6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, int(ttl))
    else:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(ttl))
    payload = random.Random(5).randbytes(int(size))
    kind, reply, errors = (128, 129, (1, 2, 3)) if v6 else (8, 0, (3, 11))
    head = struct.pack("!BBHHH", kind, 0, 0, int(ident), int(sequence))
    if not v6:
        head = struct.pack("!BBHHH", kind, 0, checksum(head + payload), int(ident), int(sequence))
    s.sendto(head + payload, (address, 0))
    end = time.monotonic() + 10
    seen = []
    while time.monotonic() < end:
        if not select.select([s], [], [], max(0, end - time.monotonic()))[0]:
            break
        data, peer = s.recvfrom(1 << 16)
        if not v6:
            data = data[(data[0] & 15) * 4 :]
        t, code, _, i, q = struct.unpack("!BBHHH", data[:8])
        if t == reply:
            if (i, q) == (int(ident), int(sequence)):
                good = checksum(data) == 0 if not v6 else True
                return {"type": t, "from": peer[0], "same": data[8:] == payload, "checksum": good}
            seen.append([t, i, q])
        elif t in errors:
            quoted = data[8 + 40 :] if v6 else data[8 + (data[8] & 15) * 4 :]
            if struct.unpack("!BxHHH", quoted[:8])[2:] == (int(ident), int(sequence)):
                return {"type": t, "code": code, "from": peer[0]}
    return {"type": None, "seen": seen}


def dns(server, port, query, transport="udp"):
    """A or AAAA records; the query id and the server's address must match."""
    ident = random.SystemRandom().randrange(65536)
    kind, host = query.split("/")
    qname = b"".join(bytes([len(p)]) + p.encode() for p in host.split(".")) + b"\0"
    message = struct.pack("!6H", ident, 0x0100, 1, 0, 0, 0) + qname + struct.pack("!2H", {"A": 1, "AAAA": 28}[kind], 1)
    if transport == "tcp":
        s = connect(server, port)
        s.sendall(struct.pack("!H", len(message)) + message)
        size = struct.unpack("!H", s.recv(2, socket.MSG_WAITALL))[0]
        reply = s.recv(size, socket.MSG_WAITALL)
        replier = s.getpeername()[0]
    else:
        s = udp_socket(server)
        s.sendto(message, (server, int(port)))
        reply, peer = s.recvfrom(4096)
        replier = peer[0]
    got, flags, _, answers = struct.unpack("!4H", reply[:8])
    found = []
    at = 12 + len(qname) + 4
    for _ in range(answers):
        at += 2 if reply[at] & 0xC0 else len(qname)
        rtype, _, _, size = struct.unpack("!HHIH", reply[at : at + 10])
        data = reply[at + 10 : at + 10 + size]
        at += 10 + size
        if rtype in (1, 28):
            found.append(socket.inet_ntop(socket.AF_INET if rtype == 1 else socket.AF_INET6, data))
    return {"id": got == ident, "rcode": flags & 15, "answers": found, "replier": replier}


def ndp_ra(interface, wait="3"):
    """Sends a router solicitation; the advertisement that comes, taken apart (RFC 4861 4.2, 4.6)."""
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    index = socket.if_nametoindex(interface)
    s.sendto(struct.pack("!BBHI", 133, 0, 0, 0), ("ff02::2", 0, 0, index))
    end = time.monotonic() + float(wait)
    while time.monotonic() < end:
        if not select.select([s], [], [], max(0, end - time.monotonic()))[0]:
            break
        data, ancillary, _, peer = s.recvmsg(2048, 64)
        if data[0] != 134:
            continue
        ra = {
            "hops": struct.unpack("i", ancillary[0][2][:4])[0],
            "from": peer[0].split("%")[0],
            "managed": bool(data[5] & 0x80),
            "lifetime": struct.unpack("!H", data[6:8])[0],
            "options": [],
        }
        at = 16
        while at < len(data):
            kind, units = data[at], data[at + 1]
            body = data[at : at + 8 * units]
            ra["options"].append([kind, units])
            if units == 0:
                break
            if kind == 3:
                ra["prefix"] = [socket.inet_ntop(socket.AF_INET6, body[16:32]), body[2], body[3]]
            elif kind == 1:
                ra["mac"] = body[2:8].hex(":")
            elif kind == 5:
                ra["mtu"] = struct.unpack("!I", body[4:8])[0]
            elif kind == 25:
                ra["rdnss"] = [socket.inet_ntop(socket.AF_INET6, body[i : i + 16]) for i in range(8, len(body), 16)]
            elif kind == 31:
                names, name, i = [], [], 8
                while i < len(body):
                    size = body[i]
                    if size == 0:
                        if name:
                            names.append(".".join(name))
                        name, i = [], i + 1
                    else:
                        name.append(body[i + 1 : i + 1 + size].decode())
                        i += 1 + size
                ra["dnssl"] = names
            at += 8 * units
        ra["whole"] = at == len(data)
        return ra
    return {"from": None}


def arp_who(interface, target, sender=None):
    """The MAC address that answers for an IPv4 address; sender 0.0.0.0 makes it a probe (RFC 5227)."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    s.bind((interface, 0x0806))
    mac = s.getsockname()[4]
    frame = b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
    frame += mac + socket.inet_aton(sender or "198.51.100.2") + bytes(6) + socket.inet_aton(target)
    s.send(frame)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        if not select.select([s], [], [], max(0, end - time.monotonic()))[0]:
            break
        reply = s.recv(2048)
        if reply[20:22] == b"\0\2" and reply[28:32] == socket.inet_aton(target):
            return {"mac": reply[22:28].hex(":"), "to": reply[0:6].hex(":"), "len": len(reply)}
    return {"mac": None}


def main():
    os.environ["PYTHONHASHSEED"] = "0"
    commands = {
        k.replace("_", "-"): f
        for k, f in globals().items()
        if callable(f) and k.startswith(("tcp_", "udp_", "icmp_", "dns", "ndp_", "arp_"))
    }
    try:
        result = commands[sys.argv[1]](*sys.argv[2:])
    except OSError as e:
        result = {"error": name(e)}
    print(json.dumps(result))


main()
