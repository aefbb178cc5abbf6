"""The machine: cores, ports, and the time and memory of a process tree."""

import os
import pathlib
import random
import re
import socket
import subprocess
import time

PROXY_CORE, LOAD_CORE = 0, 1
# Below the range of ephemeral ports.
PORTS = range(15000, 32000)


def spawn(core, command, **streams):
    """Starts a program on one core, without a wrapper process that would cost time."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return subprocess.Popen([str(word) for word in command], **streams)
    finally:
        os.sched_setaffinity(0, mine)


def output(core, command):
    """Runs a program on one core. Returns its standard output."""
    process = spawn(core, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, faults = process.communicate(timeout=660)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{output}{faults}")
    return output


def free_port():
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.choice(PORTS)))
            except OSError:
                continue
            return probe.getsockname()[1]


def tree(pid):
    """The process and all its descendants."""
    children = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    below = [int(child) for file in children for child in file.read_text().split()]
    return [pid] + [process for child in below for process in tree(child)]


def cpu_seconds(pid):
    """User and system time of all threads of the tree, including ended ones, in nanoseconds (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime((~process << 3) | 2) for process in tree(pid))


def memory(pid):
    """Resident and proportional set size of the tree, in bytes."""
    figures = {"Rss": 0, "Pss": 0}
    for process in tree(pid):
        rollup = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text()
        for name in figures:
            figures[name] += int(re.search(rf"^{name}:\s+(\d+) kB", rollup, re.MULTILINE).group(1)) * 1024
    return figures


def description():
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text()).group(1)
    return f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}"


def first_line(command):
    run = subprocess.run(command, capture_output=True, text=True)
    return (run.stdout + run.stderr).splitlines()[0].strip()
