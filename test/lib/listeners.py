"""listeners.py N: ms of a processor that N dual-stack sockets take to be bound, half of TCP that listen, half of UDP, watched by
epoll. What the kernel asks of anybody."""
import resource, select, socket, sys

kept, watch, count = [], select.epoll(), int(sys.argv[1])
began = resource.getrusage(resource.RUSAGE_SELF)
for i in range(count):
    kind = (socket.SOCK_STREAM, socket.SOCK_DGRAM)[i % 2]
    s = socket.socket(socket.AF_INET6, kind)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", 1024 + i // 2))
    if kind == socket.SOCK_STREAM:
        s.listen(128)
    watch.register(s.fileno(), select.EPOLLIN)
    kept.append(s)
ended = resource.getrusage(resource.RUSAGE_SELF)
print(round(1000 * (ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime)))
