"""A dashboard that uses only the standard library, over HTTP/1.1. Prints its port, then one line for each request.

POST /count answers what arrived: bytes, SHA-256, framing of the body. /git/ is `git http-backend` over the directory
that is the first argument.
"""

import hashlib
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

REPOSITORIES = os.path.abspath(sys.argv[1])
PIECE = 64 * 1024


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path.startswith("/git/"):
            self.git()
        else:
            self.answer(200, {"Content-Type": "text/plain"}, b"a dashboard\n")

    def do_POST(self):
        if self.path.startswith("/git/"):
            return self.git()
        digest, size = hashlib.sha256(), 0
        for piece in self.body():
            digest.update(piece)
            size += len(piece)
        counted = {"bytes": size, "sha256": digest.hexdigest(), "framing": self.framing()}
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(counted).encode())

    def framing(self):
        return "chunked" if self.headers.get("Transfer-Encoding") == "chunked" else "length"

    def body(self):
        """The pieces of the request body."""
        if self.framing() == "length":
            yield from self.take(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield from self.take(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def take(self, size):
        while size:
            piece = self.rfile.read(min(size, PIECE))
            if not piece:
                raise ConnectionError("the body ends early")
            size -= len(piece)
            yield piece

    def git(self):
        """Runs CGI (RFC 3875). The body comes from a pipe that is closed after it."""
        url = urlsplit(self.path)
        environment = os.environ | {
            "GIT_PROJECT_ROOT": REPOSITORIES,
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": url.path.removeprefix("/git"),
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": "someone",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        program = ["git", "http-backend"]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as cgi:
            size = 0
            for piece in self.body():
                size += len(piece)
                cgi.stdin.write(piece)
            cgi.stdin.close()
            print(f"git: {self.command} {url.path} {self.framing()} {size}", flush=True)
            status, fields = 200, {}
            while line := cgi.stdout.readline().strip().decode():
                name, value = line.split(": ", 1)
                if name == "Status":
                    status = int(value.split()[0])
                else:
                    fields[name] = value
            self.answer(status, fields, cgi.stdout.read())

    def answer(self, status, fields, body):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        print(f"{self.request_version}: {format % args}", flush=True)


class Server(ThreadingHTTPServer):
    # There may be a hundred connections at once.
    request_queue_size = 1024


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(f"port {server.server_port}", flush=True)
    server.serve_forever()
