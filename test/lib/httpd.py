"""httpd.py DIRECTORY ADDRESS PORT: GET gives files, PUT and POST answer with length and SHA-256 of what came."""
import hashlib
import http.server
import os
import socket
import sys

directory, address, port = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        with open(os.path.join(directory, os.path.basename(self.path)), "rb") as f:
            size = os.fstat(f.fileno()).st_size
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.flush()
            self.connection.sendfile(f)

    def do_PUT(self):
        left, sha = int(self.headers["Content-Length"]), hashlib.sha256()
        if self.headers.get("Expect"):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = left
        while left:
            data = self.rfile.read(min(left, 1 << 18))
            if not data:
                break
            left -= len(data)
            sha.update(data)
        answer = ("%d %s\n" % (size - left, sha.hexdigest())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
    daemon_threads = True
    request_queue_size = 512

    def server_bind(self):
        # The parent looks up a name for the address, which takes its time where there is no resolver.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = address, int(port)


server = Server((address, int(port)), Handler)
print("ready", flush=True)
server.serve_forever()
