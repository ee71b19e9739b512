"""Ends of a connection that close one after the other, each when it is told to.

half_open.py serve PORT STOP           a server: closes its end of each connection once the file STOP is there; prints "ready"
half_open.py connect ADDRESS PORT      says one thing, prints "open"; after a line on standard input it says that this was all, prints "half",
                                       and ends when the other end does
"""
import os
import socket
import sys
import threading
import time


def serve(port, stop):
    def one(c):
        while c.recv(65536):
            pass
        while not os.path.exists(stop):
            time.sleep(0.02)
        c.close()

    s = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    print("ready", flush=True)
    while True:
        threading.Thread(target=one, args=(s.accept()[0],), daemon=True).start()


def connect(address, port):
    s = socket.create_connection((address, port), timeout=60)
    s.sendall(b"x")
    print("open", flush=True)
    sys.stdin.readline()
    s.shutdown(socket.SHUT_WR)
    print("half", flush=True)
    s.recv(1)


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]), sys.argv[3])
else:
    connect(sys.argv[2], int(sys.argv[3]))
