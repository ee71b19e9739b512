"""What takes things of the host, from inside, and what a program of the host still gets.

quota.py bind COUNT                          COUNT sockets of each protocol, bound to a port of the kernel's choice and kept until
                                             all are there: {"udp", "tcp": how many got one}
quota.py ping COUNT ADDRESS                  the same of ping sockets, an echo request each: {"ping", "answered"}
quota.py udp ADDRESS PORT FIRST LAST         a datagram from each local port, at a pace that no queue drops: {"sent"}
quota.py spread LOCAL COUNT ADDRESS|group    a datagram from one local port to COUNT ports of ADDRESS, or to as many groups: {"sent"}
quota.py syn ADDRESS PORT COUNT              connect() of COUNT sockets at once, and kept for a minute: {"failed"}
quota.py fill ADDRESS PORT COUNT             COUNT connections one after the other, each asks for more than it reads (peer.py, source), and
                                             is kept until all are there: {"open", "refused"}
quota.py grow ADDRESS PORT COUNT OCTETS       COUNT connections that read OCTETS of more as fast as they can, and then nothing for 15 s, while one
                                             beside them reads on, slowly; then the rest: {"reset", "busy": octets of that one}
quota.py echoes ADDRESS COUNT                echo requests of COUNT identifiers, by a raw socket: {"sent"}
"""
import errno
import json
import resource
import select
import socket
import struct
import sys
import time

from packet import checksum

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def bind(count):
    got = {}
    for name, kind in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
        kept = []
        for _ in range(int(count)):
            s = socket.socket(socket.AF_INET, kind)
            try:
                s.bind(("0.0.0.0", 0))
                kept.append(s)
            except OSError as e:
                assert e.errno == errno.EADDRINUSE, e
        got[name] = len(kept)
    return got


def ping(count, address):
    kept = []
    for i in range(int(count)):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        try:
            s.bind(("0.0.0.0", 0))
            kept.append(s)
        except OSError as e:
            assert e.errno == errno.EADDRINUSE, e
    kept[0].settimeout(5)
    kept[0].sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1) + bytes(8), (address, 0))
    return {"ping": len(kept), "answered": kept[0].recv(100)[0] == 0}


def udp(address, port, first, last):
    sent = 0
    for local in range(int(first), int(last) + 1):
        with socket.socket(family(address), socket.SOCK_DGRAM) as s:
            s.bind(("::" if ":" in address else "0.0.0.0", local))
            s.sendto(b"x", (address, int(port)))
            sent += 1
        if sent % 50 == 0:
            time.sleep(0.02)
    return {"sent": sent}


def spread(local, count, address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("0.0.0.0", int(local)))
        for i in range(int(count)):
            to = ("239.1.%d.%d" % (1 + i // 250, i % 250), 9) if address == "group" else (address, 10000 + i)
            s.sendto(b"x", to)
            if i % 50 == 49:
                time.sleep(0.02)
    return {"sent": int(count)}


def syn(address, port, count):
    kept, ep, failed, left = [], select.epoll(), {}, int(count)
    for i in range(int(count)):
        s = socket.socket(family(address), socket.SOCK_STREAM)
        s.setblocking(False)
        e = s.connect_ex((address, int(port)))
        if e not in (0, errno.EINPROGRESS):
            failed[errno.errorcode[e]] = failed.get(errno.errorcode[e], 0) + 1
        kept.append(s)
        if i % 50 == 49:
            time.sleep(0.02)
    print(json.dumps({"failed": failed}), flush=True)
    time.sleep(60)
    return {}


def fill(address, port, count):
    kept, refused = [], 0
    for _ in range(int(count)):
        s = socket.socket(family(address), socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(5)
        try:
            s.connect((address, int(port)))
            s.sendall(b"1000000 7\n")
            kept.append(s)
        except ConnectionRefusedError:
            refused += 1
        time.sleep(0.1)
    return {"open": len(kept), "refused": refused}


def grow(address, port, count, octets):
    def ask(s):
        s.sendall(b"30000000 7\n")

    def read(s, wanted):
        got = 0
        while got < wanted:
            data = s.recv(min(1 << 20, wanted - got))
            assert data, got
            got += len(data)
        return got

    # Room for all of them, before there is none
    kept = [socket.create_connection((address, int(port)), 5) for _ in range(int(count) + 1)]
    busy, went_on, gone = kept.pop(), 0, 0
    for s in kept:
        # Only now: who waits for its turn holds nothing, so cannot be stuck
        ask(s)
        read(s, int(octets))
    ask(busy)
    until = time.monotonic() + 15
    while time.monotonic() < until:
        went_on += read(busy, 50_000)
        time.sleep(0.1)
    for s in kept:
        try:
            while s.recv(1 << 20):
                pass
        except ConnectionResetError:
            gone += 1
    return {"reset": gone, "busy": went_on}


def echoes(address, count):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    for ident in range(1, int(count) + 1):
        head = struct.pack("!BBHHH", 8, 0, 0, ident, 1)
        s.sendto(struct.pack("!BBHHH", 8, 0, checksum(head), ident, 1), (address, 0))
        if ident % 50 == 0:
            time.sleep(0.02)
    return {"sent": int(count)}


print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])), flush=True)
