"""A service for tests: Python's own HTTP server, with an idle exit. It runs inside the host.

Every reply names its request and the version of the service. Its socket is systemd's, or port 8080."""

import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = open("/srv/version").read().strip()
# The exit, in seconds after the last connection has ended; never by default.
IDLE = float(sys.argv[1]) if len(sys.argv) > 1 else None
BLOCK = bytes(range(256)) * 4096


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, what, *rest = self.path.split("/")
        if what == "download":
            return self.download(int(rest[0]))
        if what == "websocket":
            return self.echo()
        self.reply()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply()

    def reply(self):
        body = f"v{VERSION} {self.command} {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def download(self, blocks):
        self.send_response(200)
        self.send_header("Content-Length", str(blocks * len(BLOCK)))
        self.end_headers()
        for _ in range(blocks):
            self.wfile.write(BLOCK)

    def echo(self):
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := self.rfile.read1(65536):
            self.wfile.write(data)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 4096
    waited = 0

    def process_request(self, request, client):
        self.waited = 0
        super().process_request(request, client)

    def service_actions(self):
        """Is called after each connection, and twenty times a second."""
        if IDLE is None or threading.active_count() > 1:
            self.waited = 0
        elif self.waited > IDLE:
            sys.exit()
        else:
            self.waited += 0.05


if os.environ.get("LISTEN_FDS"):
    server = Server(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=3)
else:
    server = Server(("127.0.0.1", 8080), Handler)
server.daemon_threads = True
server.serve_forever(poll_interval=0.05)
