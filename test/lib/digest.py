"""digest.py tcp|udp ADDRESS PORT SIZE: sends random octets and prints, as JSON, what comes back: `answer`, the line that
/answer of the test image writes, without its digest, `same`, whether that digest is right; or `error`."""
import errno
import hashlib
import json
import os
import socket
import sys
import threading

kind, address, port, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
sock = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
sock.settimeout(20)
data = os.urandom(size)


def send():
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the reader sees it too


try:
    sock.connect((address, port))
    got = b""
    if kind == "tcp":
        threading.Thread(target=send, daemon=True).start()
        while part := sock.recv(65536):
            got += part
    else:
        # Datagrams may get lost, on a busy machine for instance.
        sock.settimeout(4)
        for attempt in range(4):
            sock.send(data)
            try:
                got = sock.recv(65536)
                break
            except TimeoutError:
                if attempt == 3:
                    raise
    *answer, digest = got.decode().split() or [""]
    print(json.dumps({"answer": " ".join(answer), "same": digest == hashlib.sha256(data).hexdigest()}))
except OSError as e:
    print(json.dumps({"error": errno.errorcode.get(e.errno, str(e))}))
