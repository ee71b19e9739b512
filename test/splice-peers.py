"""Both peers of many TCP connections at once, for splice-direct.test.ts.

argv[1]: {"spliced": port, "scripts": [[[who, [{"do": ..., "octets": n}, ...]], ...], ...]}: steps, and what one peer does
in it without a pause. Each script is played twice: on a direct connection, and on one to "spliced", behind which our listener is the target. A line on standard input
makes one step, a line on standard output says that it is done: in between the test lets things come to rest. Calls never
block. First line out: our listener's port. Last line: what every call said and every socket showed."""
import json
import select
import socket
import struct
import sys

given = json.loads(sys.argv[1])
scripts = given["scripts"]


def listener():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(256)
    return s


def pattern(who, at, n):
    """Octets of a stream by their position, so that none can be lost or swapped unseen."""
    return bytes(((at + i) * 7 + ((at + i) >> 8) * 13 + who) & 255 for i in range(n))


class Peer:
    def __init__(self, who, sock):
        self.who, self.sock, self.written, self.read = who, sock, 0, 0
        sock.setblocking(False)

    def take(self, octets):
        try:
            got = self.sock.recv(octets)
        except BlockingIOError:
            return "wait"
        except OSError as e:
            return "reset" if e.errno == 104 else str(e)
        if not got:
            return "end"
        if got != pattern(1 - self.who, self.read, len(got)):
            return "WRONG OCTETS"
        self.read += len(got)
        return len(got)

    def run_op(self, op):
        if self.sock is None:
            return "gone"
        what = op["do"]
        if what == "write":
            try:
                n = self.sock.send(pattern(self.who, self.written, op["octets"]))
                self.written += n
                return n
            except OSError as e:
                return str(e)
        if what == "read":
            return self.take(op["octets"])
        if what == "readAll":
            got = []
            while not got or isinstance(got[-1], int):
                got.append(self.take(65536))
            return [sum(n for n in got if isinstance(n, int)), got[-1]]
        try:
            if what == "shutdown":
                self.sock.shutdown(socket.SHUT_WR)
                return "shut"
        except OSError as e:
            return str(e)
        if what == "reset":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        self.sock = None
        return what

    def shows(self):
        """EPOLLIN, OUT, RDHUP, HUP, ERR."""
        if self.sock is None:
            return None
        p = select.poll()
        p.register(self.sock, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
        found = p.poll(0)
        names = ((1, "in"), (4, "out"), (0x2000, "rdhup"), (0x10, "hup"), (8, "err"))
        return " ".join(n for bit, n in names if found and found[0][1] & bit)


def say(text):
    print(text, flush=True)


def turn():
    if not sys.stdin.readline():
        sys.exit(1)


target, straight = listener(), listener()
say(target.getsockname()[1])
turn()
direct, spliced = [], []
for world, port in ((direct, straight.getsockname()[1]), (spliced, given["spliced"])):
    for i in range(len(scripts)):
        c = socket.create_connection(("127.0.0.1", port))
        c.sendall(struct.pack("!I", i))
        world.append([Peer(0, c), None])
say("open")
turn()
for world, at in ((direct, straight), (spliced, target)):
    for _ in scripts:
        at.settimeout(10)
        s, _peer = at.accept()
        s.settimeout(10)
        world[struct.unpack("!I", s.recv(4, socket.MSG_WAITALL))[0]][1] = Peer(1, s)

log = [[[] for _ in scripts] for _ in range(2)]
for step in range(max(map(len, scripts))):
    results = [
        [
            [pair[script[step][0]].run_op(op) for op in script[step][1]] if step < len(script) else None
            for pair, script in zip(w, scripts)
        ]
        for w in (direct, spliced)
    ]
    say("step")
    turn()
    for w, peers in enumerate((direct, spliced)):
        for i, script in enumerate(scripts):
            if step < len(script):
                log[w][i].append([results[w][i], peers[i][0].shows(), peers[i][1].shows()])
# Each is killed, one after the other
for who in (0, 1):
    for w in (direct, spliced):
        for pair in w:
            if pair[who].sock is not None:
                pair[who].run_op({"do": "close"})
    say("killed")
    turn()
    for w, peers in enumerate((direct, spliced)):
        for i in range(len(scripts)):
            log[w][i].append(["the initiator is killed" if who == 0 else "the end", peers[i][0].shows(), peers[i][1].shows()])
say(json.dumps(log))
turn()
