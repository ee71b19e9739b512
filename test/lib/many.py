"""Many connections at a time, without a thread for each.

many.py serve PORT ADDRESS...              echoes; prints "ready"
many.py hold ADDRESS PORT COUNT            opens COUNT connections, one octet there and back on each; prints {"open", "ms"};
                                           at a line on standard input another octet on each, then closes all:
                                           {"alive", "closed"}; and once more from the start as long as lines come
many.py rate ADDRESS PORT EACH_SECOND SECONDS
                                           connects, one octet there and back, closes, at that pace;
                                           {"done", "failed", "late": most connections open at a time}
"""
import errno
import json
import resource
import select
import socket
import sys
import time

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(port, *addresses):
    ep, conns = select.epoll(), {}
    listeners = {}
    for address in addresses:
        s = socket.socket(family(address), socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, int(port)))
        s.listen(4096)
        s.setblocking(False)
        listeners[s.fileno()] = s
        ep.register(s, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        for fd, _ in ep.poll():
            if fd in listeners:
                try:
                    while True:
                        c, _ = listeners[fd].accept()
                        c.setblocking(False)
                        conns[c.fileno()] = c
                        ep.register(c, select.EPOLLIN)
                except BlockingIOError:
                    continue
            try:
                data = conns[fd].recv(4096)
                if data:
                    conns[fd].send(data)
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            conns.pop(fd).close()


class Client:
    """Connections each of which sends an octet, waits for it, and is then idle or closed."""

    def __init__(self, address, port, keep):
        self.to, self.keep, self.ep = (address, int(port)), keep, select.epoll()
        self.waiting, self.idle, self.failed, self.done = {}, [], {}, 0

    def fail(self, s, e):
        name = errno.errorcode.get(e, str(e))
        self.failed[name] = self.failed.get(name, 0) + 1
        s.close()

    def open(self):
        s = socket.socket(family(self.to[0]), socket.SOCK_STREAM)
        s.setblocking(False)
        e = s.connect_ex(self.to)
        if e not in (0, errno.EINPROGRESS):
            return self.fail(s, e)
        self.waiting[s.fileno()] = s
        self.ep.register(s, select.EPOLLOUT)

    def again(self, s):
        self.waiting[s.fileno()] = s
        self.ep.register(s, select.EPOLLOUT)

    def poll(self, timeout):
        for fd, what in self.ep.poll(timeout):
            s = self.waiting[fd]
            try:
                if what & select.EPOLLOUT:
                    s.send(b"x")
                    self.ep.modify(s, select.EPOLLIN)
                    continue
                if s.recv(1) != b"x":
                    raise ConnectionResetError(errno.ECONNRESET, "ended")
            except BlockingIOError:
                continue
            except OSError as e:
                self.ep.unregister(s)
                del self.waiting[fd]
                self.fail(s, e.errno)
                continue
            self.ep.unregister(s)
            del self.waiting[fd]
            self.done += 1
            if self.keep:
                self.idle.append(s)
            else:
                s.close()

    def wait_for_all(self, seconds=100):
        end = time.monotonic() + seconds
        while self.waiting and time.monotonic() < end:
            self.poll(0.5)
        if self.waiting:
            self.failed["timeout"] = self.failed.get("timeout", 0) + len(self.waiting)


def hold(address, port, count):
    while True:
        c, began = Client(address, port, True), time.monotonic()
        left = int(count)
        while left and not c.failed:
            while left and len(c.waiting) < 100:  # below the backlog of a listener
                c.open()
                left -= 1
            c.poll(1)
        c.wait_for_all()
        ms = round((time.monotonic() - began) * 1000)
        print(json.dumps({"open": len(c.idle), "failed": c.failed, "ms": ms}), flush=True)
        if not sys.stdin.readline():
            return
        before, c.idle = c.idle, []
        for s in before:
            c.again(s)
        c.wait_for_all()
        for s in c.idle:
            s.close()
        print(json.dumps({"alive": len(c.idle), "failed": c.failed}), flush=True)
        if not sys.stdin.readline():
            return


def rate(address, port, each_second, seconds):
    c, began, opened, most = Client(address, port, False), time.monotonic(), 0, 0
    total = int(each_second) * int(seconds)
    while opened < total:
        due = min(total, int((time.monotonic() - began) * int(each_second)))
        # Never more at a time than a backlog holds: a slow moment is not made up for at once.
        while opened < due and len(c.waiting) < 100:
            c.open()
            opened += 1
        most = max(most, len(c.waiting))
        c.poll(0.002)
    c.wait_for_all()
    took = time.monotonic() - began
    print(json.dumps({"done": c.done, "failed": c.failed, "most": most, "seconds": round(took, 2)}), flush=True)


{"serve": serve, "hold": hold, "rate": rate}[sys.argv[1]](*sys.argv[2:])
