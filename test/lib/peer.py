"""Servers that the tests talk to: peer.py ADDRESS...

TCP and UDP on fixed ports of each address. Prints "ready", then one JSON object a line for what it saw.
"""
import functools
import hashlib
import json
import random
import socket
import struct
import sys
import threading
import time

print_lock = threading.Lock()


def log(**what):
    with print_lock:
        print(json.dumps(what), flush=True)


def digest_until_eof(conn, pause=0.0, chunk=1 << 16):
    """Reads to the end; (octets, SHA-256)."""
    count, sha = 0, hashlib.sha256()
    while True:
        data = conn.recv(chunk)
        if not data:
            return count, sha.hexdigest()
        count += len(data)
        sha.update(data)
        if pause:
            time.sleep(pause)


def line(conn):
    got = b""
    while not got.endswith(b"\n"):
        data = conn.recv(1)
        if not data:
            break
        got += data
    return got.decode().strip()


def reset(conn):
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def echo(conn):
    """Until the other side has finished; then one word more, over the half-closed connection."""
    while True:
        data = conn.recv(1 << 16)
        if not data:
            break
        conn.sendall(data)
    conn.sendall(b"bye")


def sink(conn):
    conn.sendall("%d %s\n".__mod__(digest_until_eof(conn)).encode())


@functools.lru_cache(2)
def noise(count, seed):
    """Made once for all who ask: 30 MB take a second of a busy machine."""
    return random.Random(seed).randbytes(count)


def source(conn):
    """Answers "COUNT SEED" with that many octets and FIN, then reads on."""
    count, seed = map(int, line(conn).split())
    conn.sendall(noise(count, seed))
    conn.shutdown(socket.SHUT_WR)
    octets, sha = digest_until_eof(conn)
    log(port=7003, after_fin=octets, sha=sha)


def reset_after_first(conn):
    conn.recv(1)
    reset(conn)


def answer_and_reset(conn):
    """As to an upload that is not wanted: the answer, then close() with the request unread, which resets."""
    conn.sendall(noise(30_000, 7))
    time.sleep(0.3)  # all of it has arrived
    conn.recv(1)
    log(port=7015)


def how_it_ends(conn):
    conn.sendall(b"hello")
    try:
        while conn.recv(1 << 16):
            pass
        log(port=7005, end="eof")
    except ConnectionResetError:
        log(port=7005, end="reset")


def speak_first(conn):
    conn.sendall(b"ok\n")


def slow_sink(conn):
    conn.sendall("%d %s\n".__mod__(digest_until_eof(conn, 0.004, 16384)).encode())


def stalled_sink(conn):
    time.sleep(2.5)
    sink(conn)


def late_banner(conn):
    time.sleep(1.0)
    conn.sendall(b"220 ready\r\n")
    conn.sendall(line(conn).upper().encode() + b"\n")


def urgent(conn):
    conn.sendall(b"before-")
    conn.send(b"!", socket.MSG_OOB)
    conn.sendall(b"-after")
    conn.shutdown(socket.SHUT_WR)
    digest_until_eof(conn)


def fin_first(conn):
    conn.shutdown(socket.SHUT_WR)
    octets, sha = digest_until_eof(conn)
    log(port=7011, octets=octets, sha=sha)


def who(conn):
    peer = conn.getpeername()
    conn.sendall(json.dumps({"from": peer[0], "port": peer[1], "to": conn.getsockname()[0]}).encode() + b"\n")


def never_read(conn):
    time.sleep(1000)


def quiet_after_eof(conn):
    """Neither closes nor says anything once the other side has finished."""
    digest_until_eof(conn)
    time.sleep(1000)


TCP = {
    7001: (echo, 0),
    7002: (sink, 0),
    7003: (source, 0),
    7004: (reset_after_first, 0),
    7005: (how_it_ends, 0),
    7006: (speak_first, 0),
    7007: (slow_sink, 16384),
    7008: (stalled_sink, 16384),
    7009: (late_banner, 0),
    7010: (urgent, 0),
    7011: (fin_first, 0),
    7012: (who, 0),
    7013: (never_read, 0),
    7014: (quiet_after_eof, 0),
    7015: (answer_and_reset, 0),
}


def serve_one(conn, handler, port):
    try:
        conn.settimeout(60)
        handler(conn)
    except OSError as e:
        log(port=port, error=e.__class__.__name__)
    finally:
        conn.close()


def serve_tcp(listener, port, handler):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=serve_one, args=(conn, handler, port), daemon=True).start()


def udp_echo(sock, data, ancillary, peer):
    sock.sendto(data, peer)


def udp_report(sock, data, ancillary, peer):
    ttl = None
    for level, kind, value in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
            ttl = struct.unpack("i", value[:4])[0]
    what = {"len": len(data), "sha": hashlib.sha256(data).hexdigest(), "ttl": ttl, "from": peer[0], "port": peer[1]}
    sock.sendto(json.dumps(what).encode(), peer)


def udp_sized(sock, data, ancillary, peer):
    sock.sendto(bytes(i & 255 for i in range(int(data))), peer)


def udp_count(sock, data, ancillary, peer):
    """No answer: only says what came."""
    log(udp=7004, len=len(data), port=peer[1])


UDP = {7001: udp_echo, 7002: udp_report, 7003: udp_sized, 7004: udp_count}


def serve_udp(sock, handler):
    while True:
        data, ancillary, _, peer = sock.recvmsg(1 << 16, 256)
        try:
            handler(sock, data, ancillary, peer)
        except (OSError, ValueError) as e:
            log(udp=sock.getsockname()[1], error=str(e))


def main(addresses):
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for port, (handler, buffer) in TCP.items():
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if buffer:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            listener.bind((address, port))
            listener.listen(512)
            threading.Thread(target=serve_tcp, args=(listener, port, handler), daemon=True).start()
        for port, handler in UDP.items():
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            if family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            sock.bind((address, port))
            threading.Thread(target=serve_udp, args=(sock, handler), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


main(sys.argv[1:])
