"""passt's side of passt-repair(1), scripted: repair_server.py PATH STEP... Prints "ready", then a line of JSON a step.

PATH is bound and listened at, unless a step says otherwise: "bind" and "listen" first, with "sleep MS" between them.

  COMMAND/N[/KIND]    the octet (on, off, nowp, or a number) with N descriptors: tcp, or KIND
  pipeline            on and off with two descriptors each, sent before the first answer is read
  status              of the client: CapEff, NoNewPrivs, Seccomp, its descriptors
  silent              until the client has gone, or for a minute
  eof, reset          hang up; reset: with something unread
"""
import array
import json
import os
import socket
import struct
import sys
import time

path, *steps = sys.argv[1:]
COMMANDS = {"on": 1, "off": 0, "nowp": -1}
TCP_REPAIR = 19
KINDS = {
    "tcp": lambda: socket.socket(),
    "tcp6": lambda: socket.socket(socket.AF_INET6),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
}
pool = {kind: [] for kind in KINDS}


def descriptors(n, kind):
    """The same ones each time; "mixed": the last of them is no TCP socket."""
    if kind == "mixed":
        return descriptors(n - 1, "tcp") + descriptors(1, "udp")
    while len(pool[kind]) < n:
        pool[kind].append(KINDS[kind]())
    return pool[kind][:n]


def say(**what):
    print(json.dumps(what), flush=True)


def send(conn, command, socks):
    fds = array.array("i", [s.fileno() for s in socks])
    conn.sendmsg([struct.pack("b", command)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if socks else [])


def answer(conn):
    """What comes within 20 s, as numbers; more than one octet is a fault."""
    conn.settimeout(20)
    try:
        got = conn.recv(16)
    except ConnectionResetError:
        return []
    return list(struct.unpack(f"{len(got)}b", got))


def repaired(socks):
    """How many are in repair mode."""
    return sum(s.getsockopt(socket.IPPROTO_TCP, TCP_REPAIR) == 1 for s in socks if s.type == socket.SOCK_STREAM)


def status(conn):
    pid = struct.unpack("3i", conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    fields = dict(l.rstrip("\n").split(":\t", 1) for l in open(f"/proc/{pid}/status") if ":\t" in l)
    fds = sorted(int(n) for n in os.listdir(f"/proc/{pid}/fd"))
    return {**{k: fields[k] for k in ("CapEff", "CapPrm", "CapInh", "CapBnd", "NoNewPrivs", "Seccomp")}, "fds": len(fds)}


listener = socket.socket(socket.AF_UNIX)
if "bind" not in steps:
    steps = ["bind", "listen", *steps]
while steps and steps[0] in ("bind", "listen") or steps[:1] and steps[0].startswith("sleep"):
    step = steps.pop(0)
    if step == "bind":
        os.chdir(os.path.dirname(path))  # a longer path than an address has room for
        listener.bind(os.path.basename(path))
        print("bound", flush=True)
    elif step == "listen":
        listener.listen(0)
    else:
        time.sleep(int(step.split()[1]) / 1000)
print("ready", flush=True)
if not steps:
    sys.exit()
conn, _ = listener.accept()
for step in steps:
    if step == "status":
        say(**status(conn))
    elif step == "pipeline":
        socks = descriptors(2, "tcp")
        send(conn, 1, socks)
        send(conn, 0, socks)
        conn.settimeout(20)
        say(answers=list(conn.recv(1) + conn.recv(1)), repaired=repaired(socks))
    elif step == "silent":
        say(silent=answer(conn))
    elif step == "reset":
        # What is unread when a UNIX socket is closed resets the other end (unix(7))
        send(conn, 1, descriptors(1, "tcp"))
        time.sleep(0.2)
        conn.close()
    elif step == "eof":
        conn.close()
    else:
        command, n, *kind = step.split("/")
        socks = descriptors(int(n), *(kind or ["tcp"]))
        send(conn, COMMANDS[command] if command in COMMANDS else int(command), socks)
        say(step=step, answer=answer(conn), repaired=repaired(socks))
