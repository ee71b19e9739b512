"""deaf.py ADDRESS PORT SECONDS: a guest that hears no SYN at first, as one that still boots.

A socket filter on the listener drops everything for SECONDS after the first SYN; a packet socket sees what came
meanwhile. Then serves one connection (echo until FIN) and prints {"syns": [sequence numbers], "came": octets}.
"""
import ctypes
import json
import socket
import struct
import sys
import threading
import time

address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
v6 = ":" in address
ATTACH, DETACH, SYN, ACK = 26, 27, 2, 16

listener = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((address, port))
drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K: take 0 octets
listener.setsockopt(socket.SOL_SOCKET, ATTACH, struct.pack("HL", 1, ctypes.addressof(drop)))
listener.listen(16)
link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD if v6 else 0x0800))
syns, first = [], threading.Event()


def watch():
    while True:
        ip = link.recv(1 << 16)
        proto, tcp = (ip[6], ip[40:]) if v6 else (ip[9], ip[(ip[0] & 15) * 4 :])
        if proto == 6 and struct.unpack("!H", tcp[2:4])[0] == port and tcp[13] & (SYN | ACK) == SYN:
            syns.append(struct.unpack("!I", tcp[4:8])[0])
            first.set()


threading.Thread(target=watch, daemon=True).start()
print("ready", flush=True)
if not first.wait(20):
    raise TimeoutError("no SYN came")
time.sleep(seconds)
listener.setsockopt(socket.SOL_SOCKET, DETACH, 0)
conn, peer = listener.accept()
came = 0
while data := conn.recv(1 << 16):
    came += len(data)
    conn.sendall(data)
conn.sendall(b"bye")
conn.shutdown(socket.SHUT_WR)
time.sleep(0.3)
print(json.dumps({"syns": syns, "came": came}), flush=True)
