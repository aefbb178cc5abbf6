"""The gate of the soak: its files, its process, which changes with an upgrade, its reports to systemd, and its figures."""

import asyncio
import collections
import dataclasses
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.request

import machine

ROOT_URL = "http://soak.example/"
UPSTREAM_IDLE_SECONDS, GRACE_SECONDS = 2, 20
PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Sample:
    """Memory in bytes, CPU in seconds since the start of the process, and the same from /metrics."""

    seconds: float
    rss: int
    descriptors: int
    threads: int
    cpu: float
    metrics: dict


def is_error(name, labels):
    """The origin sends no errors. A client that leaves gives status 499, or 400 and `request_body` within its request body."""
    if name == "http_requests_total":
        return re.search('code="(?!499)[45]', labels) and 'handler="proxy",method="POST",code="400"' not in labels
    return name == "log_lines_dropped_total" or (name == "upstream_errors_total" and 'kind="request_body"' not in labels)


class Gate:
    def __init__(self, directory, binary, origin, certificate):
        self.directory, self.binary, self.origin, self.certificate = pathlib.Path(directory), binary, origin, certificate
        self.port, self.tls_port, self.admin_port = (machine.free_port() for _ in range(3))
        self.log, self.pid, self.former = self.directory / "log", None, []
        self.keys = self.directory / "keys"
        self.run("keys", "generate", "--out", self.keys)
        self.reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.reports.bind(str(self.directory / "notify"))

    def run(self, *command):
        return subprocess.run([self.binary, *command], check=True, capture_output=True, text=True).stdout.strip()

    def token(self, number):
        issue = ["license", "issue", "--key", self.keys / "private.pem", "--sub", ROOT_URL, "--lid", str(number)]
        return self.run(*issue, "--expires-in", "365d", "--token-expires-in", "60d")

    def configure(self, number):
        """Writes the configuration. Each `number` has another harmless value, for a reload."""
        written = self.directory / "gate.toml.new"
        written.write_text(f"""
[server]
listen = ["http://127.0.0.1:{self.port}", "https://127.0.0.1:{self.tls_port}"]
root_url = "{ROOT_URL}"
[server.tls]
cert_file = "{self.certificate.cert}"
key_file = "{self.certificate.key}"
[timeouts]
idle = "{60 + number % 60}s"
[limits]
max_connections = 1000
writes_per_minute = 0
[shutdown]
grace_period = "{GRACE_SECONDS}s"
[upstream]
url = "http://127.0.0.1:{self.origin.port}"
idle_timeout = "{UPSTREAM_IDLE_SECONDS}s"
[license]
keys = "{self.keys}/jwks.json"
[store]
url = "file:{self.directory}/data"
audit_max_bytes = "64KiB"
[admin]
listen = "127.0.0.1:{self.admin_port}"
""")
        written.rename(self.directory / "gate.toml")

    async def start(self):
        self.configure(0)
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.directory / "notify")}
        # The access log is written, and nobody reads it.
        with open(self.log, "wb") as log:
            command = [self.binary, "serve", "--config", self.directory / "gate.toml"]
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment)
        self.pid = self.process.pid
        self.reported, self.turn = asyncio.Queue(), asyncio.Lock()
        self.follower = asyncio.create_task(self.follow())
        await self.report("READY")

    async def follow(self):
        """Reads the reports. Any of them can name a new main process."""
        while True:
            report = (await asyncio.get_running_loop().sock_recv(self.reports, 4096)).decode()
            for line in report.splitlines():
                name, _, value = line.partition("=")
                if name == "MAINPID" and int(value) != self.pid:
                    self.former.append(self.pid)
                    self.pid = int(value)
                self.reported.put_nowait(name)

    async def report(self, wanted, patience=30):
        async with asyncio.timeout(patience):
            while await self.reported.get() != wanted:
                pass

    async def reload(self, number):
        self.configure(number)
        async with self.turn:
            self.reported = asyncio.Queue()
            os.kill(self.pid, signal.SIGHUP)
            await self.report("RELOADING")
            await self.report("READY")

    async def upgrade(self):
        """Returns when the former process has ended, whose open connections may take the whole grace period."""
        async with self.turn:
            self.reported = asyncio.Queue()
            os.kill(self.pid, signal.SIGUSR2)
            await self.report("MAINPID", patience=60)
        async with asyncio.timeout(GRACE_SECONDS + 15):
            while not self.has_ended(self.former[-1]):
                await asyncio.sleep(0.1)

    def has_ended(self, pid):
        if pid == self.process.pid:
            return self.process.poll() is not None
        return not pathlib.Path(f"/proc/{pid}").exists()

    async def ends(self):
        """Returns when the main process has ended."""
        while not self.has_ended(self.pid):
            await asyncio.sleep(0.2)

    def last_lines(self):
        return self.log.read_text(errors="replace").splitlines()[-5:]

    async def stop(self):
        """The seconds from SIGTERM to the end, with nothing in flight."""
        began = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        async with asyncio.timeout(GRACE_SECONDS + 15):
            while not self.has_ended(self.pid):
                await asyncio.sleep(0.01)
        return time.monotonic() - began

    def kill(self):
        for pid in [self.pid, *self.former]:
            if pid is not None and not self.has_ended(pid):
                os.kill(pid, signal.SIGKILL)

    async def sample(self):
        process = pathlib.Path(f"/proc/{self.pid}")
        stat = (process / "stat").read_text().rpartition(")")[2].split()
        return Sample(
            time.monotonic(),
            int((process / "statm").read_text().split()[1]) * PAGE,
            self.descriptors(),
            int(stat[17]),
            (int(stat[11]) + int(stat[12])) / TICKS,
            await asyncio.to_thread(self.metrics),
        )

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def open_files(self):
        found = collections.Counter(os.readlink(file) for file in pathlib.Path(f"/proc/{self.pid}/fd").iterdir())
        return dict(collections.Counter(re.sub(r"\d+", "N", name) for name in found.elements()))

    def metrics(self):
        """The sum of each family, and under `errors` the series of errors that are not 0."""
        sums, errors = collections.Counter(), {}
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if not line.startswith("#"):
                    series, _, value = line.rpartition(" ")
                    name, _, labels = series.removeprefix("license_gate_").partition("{")
                    sums[name] += float(value)
                    if value != "0" and is_error(name, labels):
                        errors[series] = value
        return {**sums, "errors": errors}

    def events(self):
        """The number of warnings and errors in the log, by event. The gate starts without a license."""
        found = collections.Counter()
        for line in self.log.read_text(errors="replace").splitlines():
            if re.search(r"\blevel=(WARN|ERROR)\b", line) and "event=license.none" not in line:
                found[re.sub(r"^time=\S+ |\b(request_id|duration_ms|failures)=\S+ ?", "", line)] += 1
        return found
