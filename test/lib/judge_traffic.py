"""Every kind of TCP connection between two kernels: judge_traffic.py serve ADDRESS | talk ADDRESS [KIND...]"""
import os
import socket
import struct
import sys
import threading
import time

PORT = 7100
BULK = 1_000_000


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def exactly(s, n):
    got = b""
    while len(got) < n:
        part = s.recv(min(65536, n - len(got)))
        if not part:
            break
        got += part
    return got


def drain(s):
    n = 0
    while part := s.recv(65536):
        n += len(part)
    return n


def answer(s):
    """One connection: its first 8 octets say what it is about."""
    kind = exactly(s, 8).decode().strip()
    if kind == "down":
        s.sendall(os.urandom(BULK))
    elif kind == "both":
        t = threading.Thread(target=drain, args=(s,))
        t.start()
        s.sendall(os.urandom(BULK))
        s.shutdown(socket.SHUT_WR)
        t.join()
    elif kind == "zero":
        time.sleep(2.5)  # the window closes, and is probed
        s.sendall(b"%d\n" % drain(s))
    elif kind == "half":
        n = drain(s)
        s.sendall(b"%d\n" % n)
    elif kind == "reset":
        exactly(s, 4)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif kind == "urgent":
        drain(s)
    elif kind == "unread":
        time.sleep(0.3)  # closed with data in it: a reset
    elif kind == "alive":
        exactly(s, 1)
    elif kind == "chat":
        while part := s.recv(4096):
            s.sendall(part)
    else:
        drain(s)
    s.close()


def serve(address):
    l = socket.socket(family(address), socket.SOCK_STREAM)
    l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 40000)
    l.bind((address, PORT))
    l.listen(64)
    print("ready", flush=True)
    while True:
        s, _ = l.accept()
        threading.Thread(target=answer, args=(s,), daemon=True).start()


def talk(address, kind):
    s = socket.socket(family(address), socket.SOCK_STREAM)
    if kind == "refused":
        try:
            s.connect((address, PORT + 1))
        except ConnectionRefusedError:
            pass
        return
    s.connect((address, PORT))
    s.sendall(kind.ljust(8).encode())
    if kind in ("up", "zero", "unread"):
        try:
            s.sendall(os.urandom(BULK if kind == "up" else 400_000))
            s.shutdown(socket.SHUT_WR)
            drain(s)
        except (ConnectionResetError, BrokenPipeError):
            pass
    elif kind == "both":
        t = threading.Thread(target=lambda: (s.sendall(os.urandom(BULK)), s.shutdown(socket.SHUT_WR)))
        t.start()
        drain(s)
        t.join()
    elif kind == "half":
        s.sendall(b"x" * 5000)
        s.shutdown(socket.SHUT_WR)
        drain(s)
    elif kind == "reset":
        s.sendall(b"four")
        try:
            drain(s)
        except ConnectionResetError:
            pass
    elif kind == "urgent":
        s.send(b"a" * 10)
        s.send(b"!", socket.MSG_OOB)
        s.send(b"b" * 10)
    elif kind == "alive":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        time.sleep(3.5)
        s.sendall(b"x")
        drain(s)
    elif kind == "chat":
        for i in range(50):
            s.sendall(b"c" * (1 + 37 * i))
            exactly(s, 1 + 37 * i)
            time.sleep(0.002)
        s.shutdown(socket.SHUT_WR)
        drain(s)
    elif kind == "down":
        drain(s)
    s.close()


KINDS = ["up", "down", "both", "zero", "half", "reset", "refused", "urgent", "unread", "alive", "chat"]


def main():
    role, address, *kinds = sys.argv[1:]
    if role == "serve":
        serve(address)
    all_ = [threading.Thread(target=talk, args=(address, k)) for k in kinds or KINDS]
    for t in all_:
        t.start()
    for t in all_:
        t.join()
    print("done", flush=True)


main()
