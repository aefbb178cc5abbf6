"""Compares two reports of Autobahn cases (`index.json`). Exits with 1 and names the cases if any verdict differs."""

import json
import sys
from collections import Counter


def verdicts(path):
    with open(path) as file:
        (agent,) = json.load(file).values()
    return {case: (found["behavior"], found["behaviorClose"]) for case, found in agent.items()}


def order(case):
    return [int(part) for part in case.split(".")]


def main(direct, through):
    direct, through = verdicts(direct), verdicts(through)
    cases = sorted(direct.keys() | through.keys(), key=order)
    different = [case for case in cases if direct.get(case) != through.get(case)]
    print(f"{'behavior / on close':<32}{'directly':>10}{'through':>10}")
    counts = Counter(direct.values()), Counter(through.values())
    for verdict in sorted(counts[0].keys() | counts[1].keys(), reverse=True):
        print(f"{' / '.join(verdict):<32}{counts[0][verdict]:>10}{counts[1][verdict]:>10}")
    print(f"{len(cases)} cases, {len(cases) - len(different)} equal, {len(different)} different")
    for case in different:
        print(f"  {case}: {direct.get(case)} directly, {through.get(case)} through the gate")
    sys.exit(1 if different or not cases else 0)


main(*sys.argv[1:])
