#!/usr/bin/python3
"""Stands in for Node under the real launcher: carries out the steps in FAKE_STEPS, writes what happens to FAKE_LOG.

argv: this file, options for Node, engine.cjs, argv0, arguments. A step is [verb, argument…]; see STEPS. Requests come encoded from the test,
so that the launcher is tested against the codec that the engine uses.
"""
import array, errno, fcntl, json, os, resource, select, signal, socket, sys, time

log = os.open(os.environ['FAKE_LOG'], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
ctl = socket.socket(fileno=3)
kept = []
SOCKETS = bytes([0x4b, 0x53, 0, 0])


def note(**what):
    os.write(log, (json.dumps(what) + '\n').encode())


def receive():
    """One message and its descriptors, which are kept in `kept`."""
    data, ancillary, flags, _ = ctl.recvmsg(1 << 17, socket.CMSG_SPACE(4 * 253))
    fds = array.array('i')
    for _, _, payload in ancillary:
        fds.frombytes(payload)
    kept.extend(fds)
    return data, list(fds), bool(flags & socket.MSG_CTRUNC)


def call(request, strict=True):
    ctl.send(bytes.fromhex(request))
    data, fds, _ = receive()
    note(reply=data.hex(), fd=fds[0] if fds else -1, fds=fds, at=time.monotonic())
    if strict and data[4:8] != bytes(4) and data[:4] != SOCKETS:
        sys.stderr.write(data[12:].decode() + '\n')
        sys.exit(1)


def taken():
    """The descriptors kept so far, as sockets."""
    fds = kept[:]
    kept.clear()
    return [socket.socket(fileno=f) for f in fds]


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)


def serve():
    """As the engine: until the launcher closes."""
    while ctl.recv(65536):
        pass
    sys.exit(0)


def detach():
    null = os.open('/dev/null', os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.chdir('/')


def become(number):
    """Give up root as the engine does."""
    os.setgroups([])
    os.setresgid(number, number, number)
    os.setresuid(number, number, number)


def flood(request):
    """Ask on and on without ever reading a reply."""
    try:
        while True:
            ctl.send(bytes.fromhex(request))
    except OSError:
        time.sleep(100)


STEPS = {
    'call': call,
    'try': lambda request: call(request, False),
    'serve': serve,
    'flood': flood,
    'close': lambda: (ctl.close(), os.close(3) if os.path.exists('/proc/self/fd/3') else None),
    'become': become,
    'detach': detach,
    'exit': sys.exit,
    'kill': lambda number: os.kill(os.getpid(), number),
    'print': lambda text: print(text, flush=True),
    'sleep': time.sleep,
    'python': lambda code: exec(code, globals()),
}
signal.signal(signal.SIGINT, signal.SIG_DFL)
args = sys.argv[1:]
options = []
while args and args[0].startswith('--'):
    options.append(args.pop(0))
note(pid=os.getpid(), argv=args, pgid=os.getpgid(0), sid=os.getsid(0), stdin=os.path.realpath('/proc/self/fd/0'),
     fds=sorted(int(f) for f in os.listdir('/proc/self/fd'))[:4], environment=sorted('PATH' if k == 'PATH' else f'{k}={v}' for k, v in os.environ.items()
                                                                                   if not k.startswith(('FAKE_', 'PASST_TEST_')) and k not in ('PWD', 'OLDPWD', 'SHLVL', '_', 'LC_CTYPE')), options=options,
     blocked=[int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])])
for step in json.loads(os.environ['FAKE_STEPS']):
    STEPS[step[0]](*step[1:])
