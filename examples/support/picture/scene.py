"""Six minutes of two gates of one job, in which everything happens that the Grafana dashboard is about.

The gates, the issuer and Prometheus are real. The dashboard behind the gates is `Upstream`, which is as slow and as faulty as
dashboards are.
"""

import base64
import collections
import contextlib
import http.client
import http.server
import json
import math
import multiprocessing
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from picture.browser import started

DURATION = 360
ROOT_URL = "http://dashboard.example/"
GATES = ["gate-1", "gate-2"]
CLIENTS = 12
MAX_CONNECTIONS = 40


@contextlib.contextmanager
def played(programs, directory, scrape_seconds):
    """The URL of Prometheus, and the times at which the scene began and ended."""
    with contextlib.ExitStack() as stack:
        scene = Scene(programs, directory, stack)
        url = scene.prometheus(scrape_seconds)
        begin = time.time()
        scene.play(begin)
        # The last scrape.
        time.sleep(2 * scrape_seconds)
        yield url, begin, begin + DURATION


class Scene:
    def __init__(self, programs, directory, stack):
        self.programs, self.directory, self.stack = programs, directory, stack
        self.over = threading.Event()
        self.ports = collections.defaultdict(free_port)
        self.gate_program("keys", "generate", "--out", directory / "keys")
        certificate = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "60"]
        certificate += ["-subj", "/CN=dashboard.example", "-keyout", directory / "tls.key", "-out", directory / "tls.pem"]
        subprocess.run(certificate, check=True, stderr=subprocess.DEVNULL)
        self.gates = {}
        self.start_upstream()
        stack.callback(self.stop_upstream)
        self.start_issuer()
        stack.callback(self.stop_issuer)
        for name in GATES:
            self.start_gate(name)
            stack.callback(self.stop_gate, name)
        stack.callback(self.over.set)

    def play(self, begin):
        """Each step at its second."""
        for number in range(CLIENTS):
            self.in_thread(self.client, number, begin)
        for name in GATES:
            self.in_thread(self.administrator, name)
            self.install(name, "14d")
        for name in [*GATES, *GATES]:
            self.in_thread(self.websocket, name, begin)
        steps = [
            (25, lambda: self.renew(*GATES)),
            (50, lambda: self.call("gate-2", "DELETE", "token", {"instance": ROOT_URL})),
            (75, lambda: self.install("gate-2", "14d")),
            (95, self.stop_issuer),
            (100, lambda: self.renew("gate-1")),
            (115, self.start_issuer),
            (120, lambda: self.renew("gate-1")),
            (125, lambda: self.reload("gate-2", '"many"')),
            (135, lambda: self.reload("gate-2", MAX_CONNECTIONS)),
            (140, lambda: self.call("gate-1", "POST", "token", {"token": "no token"})),
            (160, self.stop_upstream),
            (185, self.start_upstream),
            (200, lambda: self.crowd("gate-1", 2 * MAX_CONNECTIONS, 15)),
            (255, lambda: self.restart("gate-2", "/dev/full")),
            (280, lambda: self.install("gate-2", "25s")),
            (DURATION, lambda: None),
        ]
        for second, step in steps:
            time.sleep(max(0, begin + second - time.time()))
            step()

    # Programs.

    def gate_program(self, *arguments):
        command = [self.programs / "license-gate", *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def start_upstream(self):
        self.upstream = multiprocessing.get_context("fork").Process(target=Upstream.serve, args=[self.ports["upstream"]], daemon=True)
        self.upstream.start()
        self.wait_for(self.ports["upstream"])

    def stop_upstream(self):
        self.upstream.kill()
        self.upstream.join()

    def start_issuer(self):
        command = [self.programs / "examples/issuer", self.directory / "keys/private.pem", f"127.0.0.1:{self.ports['issuer']}"]
        self.issuer = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.wait_for(self.ports["issuer"])

    def stop_issuer(self):
        self.issuer.terminate()
        self.issuer.wait()

    def start_gate(self, name, access_log="/dev/null"):
        place = self.directory / name
        place.mkdir(exist_ok=True)
        (place / "gate.toml").write_text(self.configuration(name))
        command = [self.programs / "license-gate", "serve", "--config", place / "gate.toml"]
        with open(access_log, "w") as out, (self.directory / f"{name}.log").open("a") as log:
            self.gates[name] = subprocess.Popen(command, cwd=place, stdout=out, stderr=log)
        self.wait_for(self.ports[name])

    def stop_gate(self, name):
        self.gates[name].terminate()
        self.gates[name].wait()

    def restart(self, name, access_log):
        self.stop_gate(name)
        self.start_gate(name, access_log)

    def reload(self, name, connections):
        (self.directory / name / "gate.toml").write_text(self.configuration(name, connections))
        self.gates[name].send_signal(signal.SIGHUP)

    def configuration(self, name, connections=MAX_CONNECTIONS):
        return f"""
[server]
listen = ["http://127.0.0.1:{self.ports[name]}", "https://127.0.0.1:{self.ports[name + " TLS"]}"]
root_url = "{ROOT_URL}"
[server.tls]
cert_file = "{self.directory}/tls.pem"
key_file = "{self.directory}/tls.key"
[limits]
max_connections = {connections}
[upstream]
url = "http://127.0.0.1:{self.ports["upstream"]}"
response_header_timeout = "2s"
[license]
keys = "{self.directory}/keys/jwks.json"
[renewal]
url = "http://127.0.0.1:{self.ports["issuer"]}/renew"
[[gate.rules]]
name = "reports"
paths = ["/api/reports/**"]
require = "license"
grace = "20s"
[[gate.rules]]
name = "exports"
paths = ["/api/exports/**"]
require = "product:exports"
dry_run = true
[admin]
listen = "127.0.0.1:{self.ports[name + " admin"]}"
"""

    def prometheus(self, scrape_seconds):
        targets = [{"targets": [f"127.0.0.1:{self.ports[name + ' admin']}"], "labels": {"instance": name}} for name in GATES]
        configuration = {
            "global": {"scrape_interval": f"{scrape_seconds}s"},
            "scrape_configs": [{"job_name": "license-gate", "static_configs": targets}],
        }
        # JSON is YAML.
        file = self.directory / "prometheus.yml"
        file.write_text(json.dumps(configuration))
        port = self.ports["prometheus"]
        command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={self.directory}/prometheus"]
        self.stack.enter_context(started([*command, f"--web.listen-address=127.0.0.1:{port}"]))
        self.wait_for(port)
        return f"http://127.0.0.1:{port}"

    def wait_for(self, port):
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.1)
        sys.exit(f"nothing listens on port {port}")

    # The licensing API.

    def install(self, name, lifetime):
        of = ["--sub", ROOT_URL, "--lid", "1001", "--company", "Example Ltd", "--users", "25", "--product", "reports"]
        ends = ["--expires-in", "200d" if lifetime == "14d" else lifetime, "--token-expires-in", lifetime]
        token = self.gate_program("license", "issue", "--key", self.directory / "keys/private.pem", *of, *ends)
        self.call(name, "POST", "token", {"token": token})

    def renew(self, *names):
        for name in names:
            self.call(name, "POST", "token/renew", {})

    def call(self, name, method, path, body, user="admin"):
        url = f"http://127.0.0.1:{self.ports[name]}/api/licensing/{path}"
        headers = {"Content-Type": "application/json", "Authorization": basic(user)}
        data = None if body is None else json.dumps(body).encode()
        with contextlib.suppress(OSError, http.client.HTTPException):
            urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=10).read()

    # Clients.

    def in_thread(self, work, *arguments):
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def client(self, number, begin):
        """Requests over a connection that stays open. Every few minutes there are twice as many."""
        chance = random.Random(number)
        connection = None
        while not self.over.is_set():
            pace = 3 - 2 * math.sin((time.time() - begin) / 40) + (number % 3)
            self.over.wait(chance.expovariate(1) * pace / 10)
            port = self.ports[chance.choices(GATES, [3, 2])[0]]
            if connection is None or connection.port != port:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            method, path = chance.choices(*zip(*REQUESTS.items()))[0]
            try:
                if path in ABORTED:
                    self.abort(port, method, path)
                    continue
                connection.request(method, path, body=b"x" * 2000 if method == "POST" else None, headers={"Authorization": basic("admin")})
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection = None

    def abort(self, port, method, path):
        """Half a request, or one for a response that the client does not wait for."""
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            length = "Content-Length: 5000\r\n" if method == "POST" else ""
            client.sendall(f"{method} {path} HTTP/1.1\r\nHost: dashboard.example\r\n{length}\r\n".encode())
            self.over.wait(0.3)

    def administrator(self, name):
        """Looks at the license, like a script that watches it. Some callers may not."""
        chance = random.Random(name)
        while not self.over.wait(chance.uniform(1, 3)):
            self.call(name, "GET", "check", None, user=chance.choices(["admin", "viewer", "nobody"], [6, 1, 1])[0])

    def websocket(self, name, begin):
        """Open for a while, then again."""
        chance = random.Random(name + str(id(threading.current_thread())))
        head = "GET /api/live/ws HTTP/1.1\r\nHost: dashboard.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        while not self.over.wait(chance.uniform(1, 20)):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[name]), 5) as client:
                client.sendall(head.encode())
                client.settimeout(chance.uniform(40, 90))
                while client.recv(1000) and not self.over.is_set():
                    pass

    def crowd(self, name, number, seconds):
        """More connections than the gate accepts."""

        def come():
            with contextlib.ExitStack() as open_ones:
                for _ in range(number):
                    with contextlib.suppress(OSError):
                        open_ones.enter_context(socket.create_connection(("127.0.0.1", self.ports[name]), 5))
                    self.over.wait(seconds / number / 2)
                self.over.wait(seconds / 2)

        self.in_thread(come)


REQUESTS = {
    ("GET", "/"): 30,
    ("GET", "/api/search"): 30,
    ("POST", "/api/ds/query"): 30,
    ("GET", "/public/app.js"): 20,
    ("GET", "/api/none"): 3,
    ("GET", "/api/faulty"): 1,
    ("GET", "/api/cut"): 0.4,
    ("GET", "/api/hanging"): 0.2,
    ("GET", "/api/slow"): 0.6,
    ("POST", "/api/upload"): 0.4,
    ("GET", "/api/reports/1"): 5,
    ("GET", "/api/exports/1"): 2,
    ("GET", "/a%00"): 1,
    ("GET", "/api/licensing/%2e"): 0.5,
}
ABORTED = {"/api/slow", "/api/upload"}


class Upstream(http.server.BaseHTTPRequestHandler):
    """A dashboard: with a user API, mostly fast, sometimes not well."""

    protocol_version = "HTTP/1.1"

    @classmethod
    def serve(cls, port):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), cls)
        # The gate leaves when a response takes too long.
        server.handle_error = lambda *_: None
        server.serve_forever()

    def do_GET(self):
        user = self.user()
        match self.path:
            case "/api/user":
                self.json(200 if user else 401, {"id": 1, "login": user, "isGrafanaAdmin": user == "admin", "isDisabled": False})
            case "/api/access-control/user/permissions":
                self.json(200 if user else 401, {})
            case "/api/live/ws":
                self.tunnel()
            case "/api/hanging":
                time.sleep(5)
            case "/api/cut":
                self.answer(200, b"half", length=8)
                self.close_connection = True
            case "/api/slow":
                self.work(1)
                self.json(200, {})
            case "/api/none":
                self.json(404, {})
            case "/api/faulty":
                self.json(500, {})
            case _:
                self.work(0.1 if self.path.startswith("/api/reports") else 0.012)
                self.answer(200, b"x" * 20_000)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.work(0.06)
        self.json(200, {})

    def user(self):
        given = self.headers.get("Authorization", "")
        return next((name for name in ["admin", "viewer"] if given == basic(name)), None)

    def work(self, median):
        time.sleep(random.lognormvariate(math.log(median), 0.7))

    def json(self, status, body):
        self.answer(status, json.dumps(body).encode(), "application/json")

    def answer(self, status, body, kind="text/plain", length=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def tunnel(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        # Of the key that `websocket` sends (RFC 6455 section 1.3).
        self.send_header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.end_headers()
        self.wfile.flush()
        while self.connection.recv(1000):
            pass
        self.close_connection = True

    def log_message(self, *_):
        pass


def basic(user):
    return "Basic " + base64.b64encode(f"{user}:{user}".encode()).decode()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
