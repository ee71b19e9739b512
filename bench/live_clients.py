"""Clients of the API (--api) that other people's packets must not notice, for bench/live.ts. Each says `ready` once it is at it, and goes on until it is ended.

  live_clients.py hostile SOCKET            1,000 connections, 48 that ask for much and never read, 200 requests a second that make no sense
  live_clients.py rules SOCKET RATE SECONDS BATCH
                                            BATCH rules come and those before them go, RATE changes a second, a rule that comes and one that
                                            goes being two; then `{"changes": n, "refused": n, "seconds": s}`. 1: each by a request of its own
"""
import http.client
import json
import socket
import sys
import time

GARBAGE = [b"\0\0\0\0\r\n\r\n", b"GET /v1/flows HTTP/9\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"y" * 9000 + b"\r\n\r\n"]


def connected(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(path)
    return s


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = connected(self.path)


def tried(what):
    """None: it was refused, as is everybody's right."""
    try:
        return what()
    except OSError:
        return None


def hostile(path):
    def deaf(i):
        s = connected(path)
        s.sendall(b"GET /v1/%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"events" if i % 2 else b"flows") * 16)
        return s

    def half(_):
        s = connected(path)
        s.sendall(b"GET /v1/st")
        return s

    def nonsense(n):
        s = connected(path)
        s.sendall(GARBAGE[n % len(GARBAGE)])
        s.close()

    kept = [tried(lambda i=i: deaf(i)) for i in range(48)]
    kept += [tried(lambda i=i: half(i)) for i in range(1000)]
    print("ready", flush=True)
    n = 0
    while True:
        tried(lambda: nonsense(n))
        n += 1
        time.sleep(0.005)


def rules(path, rate, seconds, batch):
    api = Unix(path)
    counts = {"changes": 0, "refused": 0}

    def asked(method, target, body=None, of=1):
        api.request(method, target, body and json.dumps(body))
        r = api.getresponse()
        r.read()
        counts["changes" if r.status in (200, 201) else "refused"] += of

    def rule(k):
        return {"proto": "tcp", "address": "127.0.0.1", "firstPort": 20000 + k % 200}

    def ids(from_):
        return [f"in-tcp-127.0.0.1-{rule(from_ + i)['firstPort']}" for i in range(batch)]

    def several(at):
        gone = ids(at - batch) if at > 0 else []
        asked("PATCH", "/v1/rules", {"remove": gone, "add": [rule(at + i) for i in range(batch)]}, len(gone) + batch)

    print("ready", flush=True)
    begun = time.monotonic()
    n = 0
    while (at := time.monotonic() - begun) < seconds:
        if n > at * rate:
            time.sleep(0.0005)
            continue
        if batch > 1:
            several(n // 2)
            n += 2 * batch
        elif n % 2 == 0:
            asked("POST", "/v1/rules", rule(n // 2))
            n += 1
        else:
            asked("DELETE", f"/v1/rules/{ids(n // 2)[0]}")
            n += 1
    print(json.dumps({**counts, "seconds": round(time.monotonic() - begun, 2)}), flush=True)


if sys.argv[1] == "hostile":
    hostile(sys.argv[2])
else:
    rules(sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
