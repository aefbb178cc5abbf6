"""CPU time per request, in rounds: each scenario with each proxy in turn, so that all have the same ambient load."""

import sys
import time

BASELINE = "nginx"


def measure(scenario, server, seconds, tools):
    """CPU microseconds per request, and requests per second."""
    before, began = server.cpu_seconds(), time.monotonic()
    requests = scenario.load(server, seconds, tools)
    spent, took = server.cpu_seconds() - before, time.monotonic() - began
    return spent / requests * 1e6, requests / took


def compare(scenarios, servers, rounds, seconds, tools):
    """By scenario and proxy: microseconds, requests per second and the ratio to nginx, for each round."""
    results = {name: {} for name in scenarios}
    for number in range(-1, rounds):  # round -1 warms up and is forgotten
        for name, scenario in scenarios.items():
            players = [server for server in servers if scenario.plays(server)]
            turn = number % len(players)
            figures = {}
            for server in players[turn:] + players[:turn]:
                scenario.check(server, tools)
                figures[server.name] = measure(scenario, server, 1 if number < 0 else seconds, tools)
            for server in players if number >= 0 else ():
                cpu, rate = figures[server.name]
                row = results[name].setdefault(server.name, {"cpu": [], "rate": [], "ratio": []})
                row["cpu"].append(cpu)
                row["rate"].append(rate)
                row["ratio"].append(cpu / figures[BASELINE][0])
        print(f"round {number + 1} of {rounds}" if number >= 0 else "warmed up", file=sys.stderr, flush=True)
    return results
