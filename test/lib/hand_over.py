"""A process that is to take another one's place, scripted: what it asks, and where it stops (src/codecs/control/hand-over.ts).

hand_over.py script TIMES PATH STEP...     asks, prints what is answered, a JSON line each: {"ANSWER": ..., "fds": descriptors}; then ends.
                                           A STEP is a question, "flows:48" one with a place to begin at, or
                                           hang      waits for the other's end, prints "hung up"
                                           garbage   sends what is no question
                                           flood     sends questions without reading answers, until that fails
                                           stay      prints "here", then waits for SIGUSR1
                                           With TIMES above 1 all that so often, quietly, each on a connection of its own.
hand_over.py relay PATH TO [ASK [KILL]]    listens at PATH, connects whoever comes to who serves at TO. At the question ASK prints "at ASK"
                                           and waits for SIGUSR1; with KILL it then ends.
"""
import json
import os
import random
import signal
import socket
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])


def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(30)
    s.connect(path)
    return s


def question(step):
    name, _, at = step.partition(":")
    q = {"ask": name}
    if name == "begin":
        q |= {"version": 1, "mode": at or "pasta"}
    if name in ("listeners", "flows", "rest"):
        q["from"] = int(at or 0)
    if name == "done":
        q |= {"taken": 0, "lost": 0}
    return json.dumps(q).encode()


def receive(s):
    """An answer, and its descriptors; they are closed."""
    data, fds, _, _ = socket.recv_fds(s, 131072, 192)
    for fd in fds:
        os.close(fd)
    return data, len(fds)


def run(path, steps, say):
    with connect(path) as s:
        for step in steps:
            if step == "hang":
                while receive(s)[0]:
                    pass
                say("hung up")
            elif step == "garbage":
                s.send(random.randbytes(random.randrange(1, 4096)))
            elif step == "flood":
                try:
                    while True:
                        s.send(question("begin"))
                except OSError as e:
                    say(e.__class__.__name__)
            elif step == "stay":
                say("here")
                signal.sigwait([signal.SIGUSR1])
            else:
                s.send(question(step))
                data, fds = receive(s)
                if not data:
                    return say("refused")
                say(json.dumps({**json.loads(data), "fds": fds}))


def script(times, path, *steps):
    quiet = int(times) > 1
    for _ in range(int(times)):
        try:
            run(path, steps, (lambda _: None) if quiet else (lambda text: print(text, flush=True)))
        except (BrokenPipeError, ConnectionResetError):
            if not quiet:
                print("hung up", flush=True)
    print("end", flush=True)


def relay(path, to, ask=None, kill=None):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(1)
    print("ready", flush=True)
    newer, _ = listener.accept()
    older = connect(to)
    while asked := newer.recv(4096):
        if json.loads(asked)["ask"] == ask:
            print("at", ask, flush=True)
            signal.sigwait([signal.SIGUSR1])
            if kill:
                return
        older.send(asked)
        data, fds, _, _ = socket.recv_fds(older, 131072, 192)
        if not data:
            return
        socket.send_fds(newer, [data], fds)
        for fd in fds:
            os.close(fd)


if __name__ == "__main__":
    {"script": script, "relay": relay}[sys.argv[1]](*sys.argv[2:])
