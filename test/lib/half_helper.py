"""A passt-repair(1) that does not do all of its work: half_helper.py N HOW SOCKET carries out N messages; at the next one it `dies`, or is `silent`."""
import array
import socket
import struct
import sys
import time

n, how, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
s = socket.socket(socket.AF_UNIX)
s.connect(path)
for _ in range(n):
    data, control, _, _ = s.recvmsg(1, socket.CMSG_SPACE(253 * 4))
    if not data:
        sys.exit()
    fds = array.array("i")
    for _, _, cdata in control:
        fds.frombytes(cdata[: len(cdata) - len(cdata) % 4])
    for fd in fds:
        t = socket.socket(fileno=fd)
        t.setsockopt(socket.IPPROTO_TCP, 19, struct.unpack("b", data)[0])
        t.close()
    s.send(data)
s.recvmsg(1, socket.CMSG_SPACE(253 * 4))
if how == "silent":
    time.sleep(600)
