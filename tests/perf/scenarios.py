"""The scenarios for every proxy: a table, and the four kinds of load.

Each kind offers load for a time, an exact number of requests, and a look beforehand at whether the proxy does the work.
"""

import http.client
import re
import ssl
import tempfile
from dataclasses import dataclass, field

import machine

CIPHER = "TLS_AES_256_GCM_SHA384"  # what OpenSSL's clients offer first, wrk too
H2LOAD_CIPHER = "TLS_AES_128_GCM_SHA256"
KIB, MIB = 1024, 1024 * 1024
BROWSER_HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Cookie": "grafana_session=0123456789abcdef0123456789abcdef; grafana_session_expiry=1790000000",
    "Referer": "http://127.0.0.1/d/000000012/overview?orgId=1&refresh=5s",
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "DNT": "1",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
    "X-Grafana-Org-Id": "1",
}


@dataclass
class Tools:
    """The load generators."""

    load: object  # the program of tests/perf/load
    certificate: object


@dataclass
class Scenario:
    """HTTP/1.1 over persistent connections: wrk for a time, h2load for a number of requests."""

    what: str
    target: float
    path: str = "/1k"
    paths: dict = field(default_factory=dict)  # by proxy, where it differs; a proxy given None sits this one out
    headers: dict = field(default_factory=dict)
    tls: bool = False
    upload_bytes: int = 0
    answer_bytes: int = KIB
    connections: int = 64
    counts: tuple = (1000, 5000)  # what counting compares: start-up and connections are in both
    large_buffers: bool = False  # whether nginx with large buffers is a row too

    def path_for(self, proxy):
        return self.paths.get(proxy, self.path)

    def plays(self, server):
        return self.path_for(server.name) is not None and (server.name != "nginx-large" or self.large_buffers)

    def url(self, server):
        return server.url(self.path_for(server.name), self.tls)

    def fields(self):
        return [word for name, value in self.headers.items() for word in ("-H", f"{name}: {value}")]

    def load(self, server, seconds, tools):
        """The number of completed requests."""
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "--timeout", "30s", *self.fields()]
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            if self.upload_bytes:
                script.write(f'wrk.method = "POST"\nwrk.body = string.rep("x", {self.upload_bytes})\n')
                script.flush()
                command += ["-s", script.name]
            output = machine.output(machine.LOAD_CORE, [*command, self.url(server)])
        if fault := re.search(r"(Non-2xx.*|Socket errors.*)", output):
            raise SystemExit(f"{server.name}: {self.url(server)}: {fault.group(1)}")
        return int(re.search(r"(\d+) requests in", output).group(1))

    def count(self, server, number, tools):
        """Sends exactly this number of requests."""
        command = ["h2load", "--h1", f"-c{self.connections}", f"-n{number}", *self.fields()]
        with tempfile.NamedTemporaryFile("wb") as body:
            if self.upload_bytes:
                body.write(b"x" * self.upload_bytes)
                body.flush()
                command += ["-d", body.name]
            output = machine.output(machine.LOAD_CORE, [*command, self.url(server)])
        if completed(server, output) != number:
            raise SystemExit(f"{server.name}: {output}")

    def check(self, server, tools):
        """Checks that the proxy does the work of the scenario, so that nothing else is measured."""
        answer, body = exchange(
            server, tools, self.path_for(server.name), self.tls, "x" * self.upload_bytes or None, self.headers
        )
        if (answer.status, len(body)) != (200, self.answer_bytes):
            raise SystemExit(f"{server.name}: {self.url(server)}: status {answer.status}, {len(body)} bytes")


@dataclass
class H2(Scenario):
    """HTTP/2 over TLS: h2load for both."""

    tls: bool = True
    streams: int = 8
    connections: int = 16

    def h2load(self, server, *how):
        command = ["h2load", f"-c{self.connections}", f"-m{self.streams}", *how, *self.fields(), self.url(server)]
        output = machine.output(machine.LOAD_CORE, command)
        for line in ("Application protocol: h2", "TLS Protocol: TLSv1.3", f"Cipher: {H2LOAD_CIPHER}"):
            if line not in output:
                raise SystemExit(f"{server.name}: not {line}:\n{output}")
        return output

    def load(self, server, seconds, tools):
        return completed(server, self.h2load(server, "-D", seconds))

    def count(self, server, number, tools):
        if completed(server, self.h2load(server, "-n", number)) != number:
            raise SystemExit(f"{server.name}: not all of {number} requests were answered")

    def check(self, server, tools):
        output = self.h2load(server, "-n", self.connections)
        if not (size := re.search(r"\((\d+)\) data$", output, re.MULTILINE)):
            raise SystemExit(f"{server.name}: {output}")
        if int(size.group(1)) != self.connections * self.answer_bytes:
            raise SystemExit(f"{server.name}: {size.group(1)} bytes of data")


@dataclass
class Once(Scenario):
    """A new connection for every request; with TLS, a full handshake each time."""

    connections: int = 16
    counts: tuple = (500, 1500)

    def run(self, server, tools, *how):
        port, tls = (server.tls_port, ["--tls", tools.certificate.cert]) if self.tls else (server.port, [])
        command = [tools.load, "once", f"127.0.0.1:{port}", "--path", self.path, *tls, *how]
        return requests(machine.output(machine.LOAD_CORE, [*command, "--connections", self.connections]))

    def load(self, server, seconds, tools):
        return self.run(server, tools, "--seconds", seconds)

    def count(self, server, number, tools):
        if self.run(server, tools, "--count", number) != number:
            raise SystemExit(f"{server.name}: not all of {number} requests were answered")


@dataclass
class Echo(Once):
    """WebSocket messages and their echoes."""

    path: str = "/ws"
    connections: int = 64
    counts: tuple = (1000, 5000)

    def run(self, server, tools, *how):
        command = [tools.load, "echo", f"127.0.0.1:{server.port}", "--connections", self.connections, *how]
        return requests(machine.output(machine.LOAD_CORE, command))

    def check(self, server, tools):
        self.count(server, self.connections, tools)


def completed(server, output):
    """The completed requests of h2load. Any response other than 2xx is an error."""
    done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    faults = [*done.groups()[2:], *statuses.groups()[1:]]
    if any(int(number) for number in faults):
        raise SystemExit(f"{server.name}:\n{output}{server.output()}")
    return int(statuses.group(1))


def requests(output):
    return int(re.fullmatch(r"(\d+) requests\n", output).group(1))


def exchange(server, tools, path, tls=False, body=None, headers=None):
    if tls:
        context = ssl.create_default_context(cafile=tools.certificate.cert)
        connection = http.client.HTTPSConnection("127.0.0.1", server.tls_port, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST" if body else "GET", path, body, headers or {})
    if tls and (connection.sock.version(), connection.sock.cipher()[0]) != ("TLSv1.3", CIPHER):
        raise SystemExit(f"{server.name}: {connection.sock.version()}, {connection.sock.cipher()}")
    answer = connection.getresponse()
    received = answer.read()
    connection.close()
    return answer, received


def check_forwarding(server, tools):
    """Checks that each proxy sends the forwarding fields that a dashboard needs."""
    for tls, scheme in ((False, "http"), (True, "https")):
        head = exchange(server, tools, "/head", tls)[1].decode().lower()
        port = server.tls_port if tls else server.port
        for line in (f"host: 127.0.0.1:{port}", "x-forwarded-for: 127.0.0.1", f"x-forwarded-proto: {scheme}"):
            if f"\r\n{line}\r\n" not in head:
                raise SystemExit(f"{server.name}: the origin does not see {line}:\n{head}")


SCENARIOS = {
    "get_1k": Scenario("GET 1 KiB, keep-alive, 64 connections", 0.90),
    "get_1k_browser": Scenario("the same with 14 browser headers", 0.90, headers=BROWSER_HEADERS),
    "get_1k_tls": Scenario("GET 1 KiB over TLS, HTTP/1.1", 0.75, tls=True),
    "get_1k_h2": H2("GET 1 KiB over TLS, HTTP/2, 16 connections of 8 streams", 0.75),
    "download_10m": Scenario(
        "10 MiB download, 8 connections",
        0.50,
        path="/10m",
        answer_bytes=10 * MIB,
        connections=8,
        counts=(16, 64),
        large_buffers=True,
    ),
    "upload_1m": Scenario(
        "1 MiB upload, 8 connections",
        0.45,
        path="/upload",
        upload_bytes=MIB,
        answer_bytes=2,
        connections=8,
        counts=(100, 400),
        large_buffers=True,
    ),
    "new_connection": Once("GET 1 KiB, new connection per request", 1.00),
    "handshake": Once("GET 1 KiB, full TLS handshake per request", 0.65, tls=True),
    "check": Scenario(
        "GET /api/licensing/check beside return 200",
        0.90,
        paths={"nginx": "/true", "gate": "/api/licensing/check", "haproxy": None},
        answer_bytes=4,
    ),
    "websocket": Echo("WebSocket echo, 64 connections, 125 bytes", 0.95),
}
