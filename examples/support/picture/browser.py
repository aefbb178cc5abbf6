"""Programs that a picture needs, and headless Chromium over WebDriver (W3C)."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

SECONDS = 120


class started:
    """A program, ended as a person would end it."""

    def __init__(self, command, **options):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options)

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def awaited(process, found):
    """The first value that `found` returns for a line of the program's output."""
    for line in process.stdout:
        if value := found(line):
            return value
    sys.exit(f"{process.args[0]} ended early")


class Browser:
    """One window. Its times are in UTC, so that a picture does not depend on the machine."""

    def __init__(self, profile):
        self.driver = started(["chromedriver", "--port=0"], env={**os.environ, "TZ": "UTC"})
        self.profile = profile

    def __enter__(self):
        process = self.driver.__enter__()
        port = awaited(process, lambda line: line.split(" on port ")[1].strip(". \n") if "success" in line else None)
        self.url = f"http://127.0.0.1:{port}/session"
        arguments = ["--headless=new", f"--user-data-dir={self.profile}", "--hide-scrollbars", "--lang=en-US"]
        arguments += ["--no-sandbox"] * (os.geteuid() == 0)
        options = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}}
        session = self.call("POST", "", {"capabilities": {"alwaysMatch": options}})
        self.url += f"/{session['sessionId']}"
        return self

    def __exit__(self, *_):
        self.call("DELETE", "")
        self.driver.__exit__()

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request) as response:
            return json.load(response)["value"]

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def resize(self, width, height):
        """The size of the page that is seen, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})

    def scheme(self, name):
        """`light` or `dark`."""
        features = {"features": [{"name": "prefers-color-scheme", "value": name}]}
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": features})

    def run(self, script):
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def until(self, expression):
        for _ in range(SECONDS * 4):
            if self.run(f"return Boolean({expression})"):
                return
            time.sleep(0.25)
        sys.exit(f"never: {expression}")

    def picture(self):
        return base64.b64decode(self.call("GET", "/screenshot"))
