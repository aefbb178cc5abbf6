"""Figures as text for a terminal, and as the tables of the README."""

import statistics

import rounds

KIB, MIB = 1024, 1024 * 1024
GATE = "gate"


def cpu(results, scenarios):
    for name, rows in results.items():
        scenario = scenarios[name]
        print(f"\n{name}: {scenario.what}")
        print(f"  {'':12} {'CPU / nginx':>11} {'min':>6} {'max':>6} {'us/request':>11} {'requests/s':>11}")
        for proxy, row in rows.items():
            ratio, microseconds, rate = (statistics.median(row[key]) for key in ("ratio", "cpu", "rate"))
            low, high = min(row["ratio"]), max(row["ratio"])
            print(
                f"  {proxy:12} {ratio:11.2f} {low:6.2f} {high:6.2f} {microseconds:11.1f} {rate:11.0f}"
                + (f"   at most {scenario.target:.2f}: {verdict(ratio, scenario.target)}" if proxy == GATE else "")
            )


def verdict(figure, target):
    return "met" if figure <= target else "missed"


def calls(results):
    """`results`: by scenario and proxy, calls per request by name."""
    print("\nsystem calls a request")
    for name, rows in results.items():
        for proxy, row in rows.items():
            most = ", ".join(f"{call} {number:.2f}" for call, number in row.items() if number >= 0.005)
            print(f"  {name:15} {proxy:12} {sum(row.values()):9.2f}   {most}")


def rows(title, results, unit, targets):
    """`results`: by figure and proxy, a number in `unit`; `targets` by figure."""
    print(f"\n{title}")
    for name, figures in results.items():
        for proxy, figure in figures.items():
            target = targets.get(name) if proxy == GATE else None
            comparison = f"   at most {shown(target, unit)}: {verdict(figure, target)}" if target else ""
            print(f"  {name:40} {proxy:12} {shown(figure, unit):>12}{comparison}")


def shown(figure, unit):
    return {
        "instructions": lambda: f"{figure:,.0f}",
        "ms": lambda: f"{figure:.1f} ms",
        "MiB": lambda: f"{figure / MIB:.1f} MiB",
        "KiB": lambda: f"{figure / KIB:.1f} KiB",
    }[unit]()


def markdown(results, scenarios, tables, calls):
    """The README's tables: ratios to nginx first, then absolute figures (`tables`: title, results, unit, targets)."""
    others = [proxy for proxy in ("haproxy", "nginx-large") if any(proxy in row for row in results.values())]
    if results:
        print(f"\n| CPU time of a request / nginx | gate | of the rounds | {' | '.join([*others, 'aim'])} |")
        print("|---|" + "---|" * (len(others) + 3))
    for name, row in results.items():
        ratios = row.get(GATE, {}).get("ratio")
        cells = [scenarios[name].what]
        cells += [f"**{statistics.median(ratios):.2f}**", f"{min(ratios):.2f} to {max(ratios):.2f}"] if ratios else ["", ""]
        cells += [f"{statistics.median(row[other]['ratio']):.2f}" if other in row else "" for other in others]
        print(f"| {' | '.join([*cells, f'{scenarios[name].target:.2f}'])} |")
    listed = [(name, figures, unit, targets.get(name)) for _, found, unit, targets in tables for name, figures in found.items()]
    names = [GATE, rounds.BASELINE, "haproxy"]
    if listed or calls:
        print(f"\n| | {' | '.join([*names, 'aim'])} |\n|---|" + "---|" * 4)
    for name, figures, unit, target in listed:
        cells = [shown(figures[proxy], unit) if proxy in figures else "" for proxy in names]
        print(f"| {' | '.join([name, *cells, shown(target, unit) if target else ''])} |")
    for name, row in calls.items():
        cells = [f"{sum(row[proxy].values()):.1f}" if proxy in row else "" for proxy in names]
        print(f"| {' | '.join([f'system calls: {scenarios[name].what}', *cells, ''])} |")
