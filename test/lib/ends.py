"""One end of many TCP connections, driven from outside: ends.py CONTROL. Prints "ready".

CONTROL is a UNIX socket that takes one request a connection, JSON [OPERATION, {ARGUMENTS}], and answers with JSON
{"ok": ...} or {"error": "..."}. The operations are the functions of End. A connection is named by its number.
"""
import fcntl
import hashlib
import json
import os
import random
import socket
import struct
import sys
import threading
import time
import traceback

STATES = "? ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING".split()
PATIENCE = 30


class End:
    def __init__(self):
        self.conns, self.listeners, self.jobs = [], {}, {}

    def _keep(self, s):
        s.settimeout(PATIENCE)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.conns.append(s)
        return len(self.conns) - 1

    def listen(self, port, rcvbuf=0):
        s = socket.socket(socket.AF_INET6)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        s.bind(("::", port))
        s.listen(1000)
        s.settimeout(PATIENCE)
        self.listeners[port] = s

    def accept(self, port, n=1):
        return [self._keep(self.listeners[port].accept()[0]) for _ in range(n)]

    def connect(self, to, port, n=1, rcvbuf=0):
        made = []
        for _ in range(n):
            s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
            if rcvbuf:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            s.settimeout(PATIENCE)
            s.connect((to, port))
            made.append(self._keep(s))
        return made

    def ports(self, conns):
        """Own and peer's."""
        return [(self.conns[c].getsockname()[1], self.conns[c].getpeername()[1]) for c in conns]

    def nagle(self, conns):
        for c in conns:
            self.conns[c].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)

    def say(self, conn, text):
        self.conns[conn].sendall(text.encode())

    def hear(self, conn, octets, wait=PATIENCE):
        """So many octets as text; fewer where the stream ends."""
        s, got = self.conns[conn], b""
        s.settimeout(wait)
        while len(got) < octets and (part := s.recv(octets - len(got))):
            got += part
        s.settimeout(PATIENCE)
        return got.decode()

    def say_all(self, conns, text):
        """Each its own."""
        for c in conns:
            self.say(c, f"{text}{c:06}")

    def hear_all(self, conns, length):
        """What each heard, errors in words."""
        out = []
        for c in conns:
            try:
                out.append(self.hear(c, length + 6, 15))
            except OSError as e:
                out.append(e.__class__.__name__)
        return out

    def shut(self, conn):
        self.conns[conn].shutdown(socket.SHUT_WR)

    def close(self, conns):
        for c in conns:
            self.conns[c].close()

    def datagrams(self, to="", port=0, at="", own=0):
        """A UDP socket, connected where `to` is given; its number is a connection's."""
        s = socket.socket(socket.AF_INET6 if ":" in to + at else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(PATIENCE)
        s.bind((at, own))
        if to:
            s.connect((to, port))
        self.conns.append(s)
        return len(self.conns) - 1

    def say_to(self, conn, to, port, text):
        self.conns[conn].sendto(text.encode(), (to, port))

    def hear_from(self, conn):
        """A datagram: [text, address, port]."""
        data, who = self.conns[conn].recvfrom(65535)
        return [data.decode(), *who[:2]]

    def _job(self, name, run):
        box = {}

        def body():
            try:
                box["ok"] = run()
            except OSError as e:
                box["error"] = e.__class__.__name__
            box["end"] = time.monotonic()

        thread = threading.Thread(target=body, daemon=True)
        box["thread"] = thread
        self.jobs[name] = box
        thread.start()

    def pour(self, conn, octets, seed, then="shut", pause=0):
        """Sends in the background; `then`: shut, or stay open."""

        def run():
            s, rng, left, sha = self.conns[conn], random.Random(seed), octets, hashlib.sha256()
            while left > 0:
                part = rng.randbytes(min(left, 1 << 16))
                sha.update(part)
                s.sendall(part)
                left -= len(part)
                if pause:
                    time.sleep(pause)
            if then == "shut":
                s.shutdown(socket.SHUT_WR)
            return {"octets": octets, "sha": sha.hexdigest()}

        self._job(f"pour{conn}", run)

    def drink(self, conn, octets=None, pause=0, size=1 << 16):
        """Receives in the background until the stream ends, or so much."""

        box = {"octets": 0}

        def run():
            s, sha = self.conns[conn], hashlib.sha256()
            while octets is None or box["octets"] < octets:
                part = s.recv(size if octets is None else min(size, octets - box["octets"]))
                if not part:
                    break
                sha.update(part)
                box["octets"] += len(part)
                if pause:
                    time.sleep(pause)
            return {"octets": box["octets"], "sha": sha.hexdigest()}

        self._job(f"drink{conn}", run)
        self.jobs[f"drink{conn}"]["box"] = box

    def drunk(self, conn):
        """Octets so far."""
        return self.jobs[f"drink{conn}"]["box"]["octets"]

    def done(self, job, wait=60):
        """The result of pour0, drink3 ...; what went wrong in words."""
        box = self.jobs[job]
        box["thread"].join(wait)
        if "error" in box:
            return {"error": box["error"]}
        return box.get("ok", {"error": "still at it"})

    def tick(self, conn, ms, octets):
        """An octet each `ms`, in the background; late ones are made up for."""

        def run():
            begin = time.monotonic()
            for i in range(octets):
                time.sleep(max(0.0, begin + i * ms / 1000 - time.monotonic()))
                self.conns[conn].send(b"t")

        self._job(f"tick{conn}", run)

    def gaps(self, conn, octets):
        """Receives so many in the background: the longest time without one, ms."""

        def run():
            left, longest, last = octets, 0.0, None
            while left > 0 and (part := self.conns[conn].recv(left)):
                now = time.monotonic()
                longest = max(longest, now - last if last is not None else 0.0)
                last, left = now, left - len(part)
            return longest * 1000

        self._job(f"gaps{conn}", run)

    def eof(self, conn, wait=PATIENCE):
        """Whether the stream ends now; an error in words."""
        s = self.conns[conn]
        s.settimeout(wait)
        try:
            return s.recv(1) == b""
        except OSError as e:
            return e.__class__.__name__
        finally:
            s.settimeout(PATIENCE)

    def flood(self, conn):
        """As much as can be sent at once; how many octets, in a pattern that `hear` sees."""
        s, n = self.conns[conn], 0
        s.setblocking(False)
        try:
            while True:
                n += s.send(bytes(b"0123456789"[(n + i) % 10] for i in range(10000)))
        except BlockingIOError:
            return n
        finally:
            s.settimeout(PATIENCE)

    def info(self, conn):
        s = self.conns[conn]
        i = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)

        def queue(what):
            return struct.unpack("i", fcntl.ioctl(s, what, b"\0" * 4))[0]

        return {
            "state": STATES[i[0]],
            "retransmits": i[2],
            "options": i[5],
            "inq": queue(0x541B),
            "outq": queue(0x5411),
            "own": s.getsockname()[:2],
            "peer": s.getpeername()[:2],
        }

    def errors(self, conns):
        """SO_ERROR of each."""
        return [self.conns[c].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for c in conns]


def serve(conn, end):
    try:
        with conn, conn.makefile("rw") as f:
            name, args = json.loads(f.readline())
            try:
                answer = {"ok": getattr(end, name)(**args)}
            except Exception as e:
                answer = {"error": f"{name} {args}: {e.__class__.__name__}: {e}", "trace": traceback.format_exc()}
            f.write(json.dumps(answer) + "\n")
    except (BrokenPipeError, ConnectionResetError):
        pass


def main(path):
    control = socket.socket(socket.AF_UNIX)
    control.bind(path)
    os.chmod(path, 0o777)
    control.listen(100)
    end = End()
    print("ready", flush=True)
    while True:
        conn, _ = control.accept()
        threading.Thread(target=serve, args=(conn, end), daemon=True).start()


main(sys.argv[1])
