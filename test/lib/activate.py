# As a service manager starts a program (sd_listen_fds(3)): activate.py USER SOCKET... -- COMMAND. The sockets are made by whoever calls it, the
# command is USER's. SOCKET: NAME=KIND@ADDRESS/PORT, KIND: tcp, udp, bound (TCP, does not listen), file, or NAME=unix@PATH. With VIA=number in
# the environment nothing is said of them in the command's, with VIA=other LISTEN_PID is another process'.
import os, socket, sys

end = sys.argv.index('--')
user, wanted, command = int(sys.argv[1]), sys.argv[2:end], sys.argv[end + 1:]
names = []
held = []
for number, text in enumerate(wanted, 3):
    name, _, rest = text.partition('=')
    kind, _, where = rest.partition('@')
    if kind == 'file':
        fd = os.open('/dev/null', os.O_RDWR)
    else:
        if kind == 'unix':
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.bind(where)
        else:
            address, _, port = where.rpartition('/')
            family = socket.AF_INET6 if ':' in address else socket.AF_INET
            s = socket.socket(family, socket.SOCK_DGRAM if kind == 'udp' else socket.SOCK_STREAM)
            if kind != 'udp':
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.bind((address, int(port)))
        if kind in ('tcp', 'unix'):
            s.listen(16)
        fd = s.detach()
    # Out of the way of the numbers that they are to have
    held.append(os.dup2(fd, 100 + number, inheritable=False))
    os.close(fd)
    names.append(name)
for number, fd in enumerate(held, 3):
    os.dup2(fd, number, inheritable=True)
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
via = os.environ.pop('VIA', '')
if via != 'number':
    os.environ['LISTEN_PID'] = str(os.getpid() + (1 if via == 'other' else 0))
    os.environ['LISTEN_FDS'] = str(len(names))
    os.environ['LISTEN_FDNAMES'] = ':'.join(names)
os.execvp(command[0], command)
