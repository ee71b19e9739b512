# A service manager's ear: binds the datagram socket that argv[1] names (@: of the abstract name space), prints each message as a line of
# JSON: process id of the sender, text.
import json, os, socket, struct, sys

name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
s.bind('\0' + name[1:] if name.startswith('@') else name)
if not name.startswith('@'):
    os.chmod(name, 0o666)
print('ready', flush=True)
while True:
    data, ancillary, _, _ = s.recvmsg(65536, socket.CMSG_SPACE(12))
    pid, _, _ = struct.unpack('3i', ancillary[0][2])
    print(json.dumps([pid, data.decode()]), flush=True)
