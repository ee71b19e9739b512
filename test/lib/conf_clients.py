"""Clients of a control socket that do what none should, and those that talk meanwhile.

conf_clients.py echo PORT                   a server; prints "ready"
conf_clients.py talk ADDRESS PORT           a connection that is used until it is told to stop (a line on standard input); prints
                                            "ready" once it is there, then as JSON: how often it was answered, and the slowest answer, ms
conf_clients.py HOW PATH [SECONDS]          garbage, half: what it says; silent: reads nothing; many: 1,000 connections. Stays for so long
"""
import json
import os
import select
import socket
import sys
import time

HEAD = b"\x01\x00\x00\x00\x01"


def echo(port):
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::", port))
    s.listen(64)
    print("ready", flush=True)
    peers = [s]
    while True:
        for one in select.select(peers, [], [])[0]:
            if one is s:
                peers.append(s.accept()[0])
                continue
            try:
                data = one.recv(65536)
            except OSError:
                data = b""
            if data:
                one.sendall(data)
            else:
                one.close()
                peers.remove(one)


def talk(address, port):
    s = socket.create_connection((address, port), timeout=10)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    count, slowest, told = 0, 0.0, False
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        begin = time.monotonic()
        s.sendall(b"x")
        if s.recv(1) != b"x":
            sys.exit("the connection has ended")
        slowest = max(slowest, time.monotonic() - begin)
        count += 1
        if not told:
            print("ready", flush=True)
            told = True
    print(json.dumps({"count": count, "slowest": slowest * 1000}), flush=True)


def connected(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(path)
    return s


def main(how, *args):
    if how == "echo":
        return echo(int(args[0]))
    if how == "talk":
        return talk(args[0], int(args[1]))
    path, stay = args[0], float(args[1]) if len(args) > 1 else 0
    there = []
    if how == "many":
        for _ in range(1000):
            s = socket.socket(socket.AF_UNIX)
            s.setblocking(False)
            try:
                s.connect(path)
                there.append(s)
            except BlockingIOError:
                time.sleep(0.001)
    else:
        s = connected(path)
        there.append(s)
        if how != "silent":
            s.recv(65536)
        if how == "garbage":
            s.sendall(b"\x09" * 64)
            # The end, and no word about it
            try:
                assert s.recv(1) == b""
            except ConnectionResetError:
                pass
        if how == "half":
            s.sendall(HEAD + b"\x00" * 30)
    print("there", len(there), flush=True)
    time.sleep(stay)
    os._exit(0)


main(*sys.argv[1:])
