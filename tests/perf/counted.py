"""Exact counts: instructions and system calls.

Two runs that differ only in the number of requests; their difference, by request, has no start-up and no connection in it.
"""

import pathlib
import re
import signal
import time

import machine

INSTRUCTION_COUNTS = {"get_1k": (1000, 5000), "check": (1000, 5000)}


def instructions(scenario, counts, server, tools):
    """User-space instructions per request. Starts the server under callgrind for each run."""
    totals = []
    for number in counts:
        for old in server.directory.glob("callgrind.*"):
            old.unlink()
        output = f"--callgrind-out-file={server.directory}/callgrind.%p"
        server.start(["valgrind", "--tool=callgrind", output], patience=120)
        try:
            scenario.check(server, tools)
            scenario.count(server, number, tools)
        finally:
            server.stop(patience=60)
        files = [file.read_text(errors="replace") for file in server.directory.glob("callgrind.*")]
        totals.append(sum(int(re.search(r"^totals: (\d+)", text, re.MULTILINE).group(1)) for text in files))
    return (totals[1] - totals[0]) / (counts[1] - counts[0])


def system_calls(scenario, server, tools):
    """System calls per request of a running server, by name, most frequent first."""
    fewer, more = (traced(scenario, server, number, tools) for number in scenario.counts)
    between = scenario.counts[1] - scenario.counts[0]
    calls = {name: (more.get(name, 0) - fewer.get(name, 0)) / between for name in {*fewer, *more}}
    return dict(sorted(calls.items(), key=lambda item: -item[1]))


def traced(scenario, server, number, tools):
    summary = server.directory / "strace"
    processes = machine.tree(server.process.pid)
    attach = [word for process in processes for word in ("-p", process)]
    with open(server.directory / "strace.log", "wb") as log:
        strace = machine.spawn(machine.LOAD_CORE, ["strace", "-f", "-c", "-o", summary, *attach], stdout=log, stderr=log)
    try:
        while not all(is_traced(process) for process in processes):
            if strace.poll() is not None:
                raise SystemExit("strace: " + (server.directory / "strace.log").read_text())
            time.sleep(0.001)
        scenario.count(server, number, tools)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(30)
    # "% time  seconds  usecs/call  calls  [errors]  syscall"
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?([a-z]\w+)$", summary.read_text(), re.MULTILINE)
    return {name: int(calls) for calls, name in rows if name != "total"}


def is_traced(process):
    statuses = pathlib.Path(f"/proc/{process}/task").glob("*/status")
    return all("\nTracerPid:\t0\n" not in status.read_text() for status in statuses)
