# A system logger: binds the datagram socket that argv[1] names, prints each message as a JSON string; with argv[2] = deaf it
# reads none.
import json, os, signal, socket, sys

s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
print('ready', flush=True)
if 'deaf' in sys.argv:
    signal.pause()
while True:
    print(json.dumps(s.recv(65536).decode()), flush=True)
