"""Packets by hand, for programs that are started often: scapy, which wire.py has, takes a second to load."""
import socket
import struct

OUR_MAC = bytes.fromhex("9a559a559a55")
ARP_TYPE = bytes.fromhex("0806")
SERVER4 = "198.51.100.3"
FIN, SYN, ACK = 1, 2, 16


def checksum(data):
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(proto, payload, src, dst=SERVER4):
    addresses = map(socket.inet_aton, (src, dst))
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, proto, 0, *addresses)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ethernet(kind, payload, mac):
    return OUR_MAC + mac + struct.pack("!H", kind) + payload


def arp_request(mac, guest, gateway):
    """Who has `gateway`? passt answers that by itself."""
    arp = bytes.fromhex("0001080006040001") + mac + socket.inet_aton(guest) + bytes(6) + socket.inet_aton(gateway)
    return b"\xff" * 6 + mac + ARP_TYPE + arp


def is_arp_reply(frame):
    return frame[12:14] == ARP_TYPE and frame[20:22] == b"\0\2"


def pseudo(src, dst, proto, size):
    return socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!BBH", 0, proto, size)


class Segment:
    def __init__(self, frame):
        ip = frame[14:]
        tcp = ip[(ip[0] & 15) * 4 : struct.unpack("!H", ip[2:4])[0]]
        self.sport, self.dport, self.seq, self.ack, off, self.flags, self.window = struct.unpack("!HHIIBBH", tcp[:16])
        self.options = {}
        at = 20
        while at < (off >> 4) * 4:
            kind = tcp[at]
            if kind == 0:
                break
            if kind == 1:
                at += 1
                continue
            self.options[kind] = tcp[at + 2 : at + tcp[at + 1]]
            at += tcp[at + 1]
        self.data = tcp[(off >> 4) * 4 :]

    def __repr__(self):
        return f"<{self.flags:02x} seq {self.seq} ack {self.ack} win {self.window} len {len(self.data)}>"
