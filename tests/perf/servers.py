"""The compared servers: each with one worker, without an access log, on a plain and a TLS port, in front of one origin."""

import os
import pathlib
import signal
import subprocess
import time

import machine
import wire


class Server:
    """A program with its files and ports. It can be started more than once."""

    running = []

    def __init__(self, name, directory, core=machine.PROXY_CORE):
        self.name, self.core = name, core
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir()
        self.port, self.tls_port = machine.free_port(), machine.free_port()
        self.command, self.process = [], None

    def spawn(self, before=()):
        """Starts it without waiting; `before` is a program that runs it, such as valgrind."""
        with open(self.directory / "log", "wb") as log:
            command = [*before, *self.command]
            self.process = machine.spawn(self.core, command, stdout=log, stderr=log, cwd=self.directory)
        self.running.append(self)

    def start(self, before=(), patience=20):
        """Starts it, and waits for its first response."""
        self.spawn(before)
        deadline = time.monotonic() + patience
        while True:
            try:
                wire.get(self.port).close()
                return self
            except ConnectionError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.failed()
                time.sleep(0.0005)

    def output(self):
        return (self.directory / "log").read_text()

    def failed(self):
        raise SystemExit(f"{self.name} does not start:\n{self.output()}")

    def stop(self, patience=10):
        self.running.remove(self)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @classmethod
    def stop_all(cls):
        for server in reversed(cls.running[:]):
            server.stop()

    def url(self, path, tls=False):
        return f"https://127.0.0.1:{self.tls_port}{path}" if tls else f"http://127.0.0.1:{self.port}{path}"

    def cpu_seconds(self):
        return machine.cpu_seconds(self.process.pid)

    def memory(self):
        return machine.memory(self.process.pid)


class Certificate:
    """A self-signed certificate with a P-256 key, as files."""

    def __init__(self, directory):
        self.cert, self.key = pathlib.Path(directory) / "cert.pem", pathlib.Path(directory) / "key.pem"
        self.both = pathlib.Path(directory) / "both.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-days", "30", "-subj", "/CN=perf", "-keyout", self.key, "-out", self.cert]
        command += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run(command, check=True, capture_output=True)
        self.both.write_text(self.cert.read_text() + self.key.read_text())


def origin(directory, load):
    """Runs on the core of the load, at a lower cost than any proxy in front of it."""
    server = Server("origin", directory, machine.LOAD_CORE)
    server.command = [load, "origin", f"127.0.0.1:{server.port}"]
    return server


def nginx(directory, upstream, certificate, name="nginx", extra="", processes="worker_processes 1;"):
    """`extra`: settings of a variant of nginx."""
    server = Server(name, directory)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {server.directory}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    forward = f"""
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      {extra}"""
    config = server.directory / "nginx.conf"
    config.write_text(f"""
daemon off; {user} {processes} pid {server.directory}/pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; {temporary}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  upstream origin {{ server 127.0.0.1:{upstream.port}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{server.port} backlog=4096;
    listen 127.0.0.1:{server.tls_port} ssl http2 backlog=4096;
    ssl_certificate {certificate.cert}; ssl_certificate_key {certificate.key}; ssl_protocols TLSv1.2 TLSv1.3;
    client_max_body_size 0;
    default_type application/json;
    location = /true {{ return 200 'true'; }}
    location / {{ {forward}
      proxy_set_header Connection '';
    }}
    location = /ws {{ {forward}
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
    }}
  }}
}}
""")
    server.command = ["nginx", "-e", "stderr", "-c", config]
    return server


def nginx_large(directory, upstream, certificate):
    """With buffers for large bodies; the defaults are 64 KiB per response and 16 KiB per request."""
    buffers = "proxy_buffers 8 1m; proxy_buffer_size 64k; proxy_busy_buffers_size 2m; client_body_buffer_size 2m;"
    return nginx(directory, upstream, certificate, "nginx-large", buffers)


def nginx_alone(directory, upstream, certificate):
    """Without a master process, for tools that follow one process."""
    return nginx(directory, upstream, certificate, processes="master_process off;")


def haproxy(directory, upstream, certificate):
    server = Server("haproxy", directory)
    config = server.directory / "haproxy.cfg"
    config.write_text(f"""
global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.2 prefer-client-ciphers
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  timeout tunnel 1h
  http-reuse always
  option forwardfor
listen all
  bind 127.0.0.1:{server.port}
  bind 127.0.0.1:{server.tls_port} ssl crt {certificate.both} alpn h2,http/1.1
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}
  server origin 127.0.0.1:{upstream.port} pool-max-conn 512
""")
    server.command = ["haproxy", "-db", "-f", config]
    return server


def gate(directory, upstream, certificate, binary, rules=""):
    """With a license in its store, as in production."""
    server = Server("gate", directory)
    root_url = "http://gate.example/"
    keys, data = server.directory / "keys", server.directory / "data"
    subprocess.run([binary, "keys", "generate", "--out", keys], check=True, capture_output=True)
    issue = [binary, "license", "issue", "--key", keys / "private.pem", "--sub", root_url, "--lid", "1"]
    issue += ["--expires-in", "30d", "--token-expires-in", "30d"]
    token = subprocess.run(issue, check=True, capture_output=True).stdout.strip()
    data.mkdir(mode=0o700)
    (data / "license.jwt").touch(mode=0o600)
    (data / "license.jwt").write_bytes(token)
    config = server.directory / "gate.toml"
    config.write_text(f"""
[server]
listen = ["http://127.0.0.1:{server.port}", "https://127.0.0.1:{server.tls_port}"]
root_url = "{root_url}"
workers = 1
[server.tls]
cert_file = "{certificate.cert}"
key_file = "{certificate.key}"
[upstream]
url = "http://127.0.0.1:{upstream.port}"
[license]
keys = "{keys}/jwks.json"
[store]
url = "file:{data}"
[auth]
public_check = true
[admin]
listen = ""
[log]
access = false
{rules}
""")
    server.command = [binary, "serve", "--config", config]
    return server
