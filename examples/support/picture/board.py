"""The Grafana dashboard over metrics of two real gates.

Prometheus scrapes the gates and evaluates each query, with the variables filled in as Grafana does; `board.js` draws the result
with Grafana's own chart library. Grafana is not involved: positions, titles, legends, units, colours and thresholds are read from
the JSON.
"""

import json
import math
import pathlib
import re
import subprocess
import tempfile
import urllib.parse
import urllib.request

from picture import scene

UPLOT = "uplot@1.6.32"
WIDTH = 1000
# Grafana knows it as a setting of the data source.
SCRAPE_SECONDS = 2


def picture(browser, programs, root):
    board = json.loads((root / "examples/deploy/grafana-dashboard.json").read_text())
    library = installed(root / "target/tools/uplot")
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        with scene.played(programs, directory, SCRAPE_SECONDS) as (prometheus, start, end):
            found = Source(prometheus, start, end).read(board)
        missing = [panel["title"] for panel in found["panels"] if "series" in panel and not panel["series"]]
        if missing:
            print(f"without data: {', '.join(missing)}")
        page = directory / "board.html"
        page.write_text(html(library, found))
        browser.open(page.as_uri())
        browser.resize(WIDTH, 800)
        browser.run(f"draw({WIDTH})")
        browser.resize(WIDTH, browser.run("return document.documentElement.scrollHeight"))
        return browser.picture()


def installed(place):
    """The directory with uPlot, from npm."""
    stamp = place / "version.txt"
    if not stamp.exists() or stamp.read_text() != UPLOT:
        place.mkdir(parents=True, exist_ok=True)
        options = ["--silent", "--no-save", "--no-package-lock", "--no-audit", "--no-fund"]
        subprocess.run(["npm", "install", *options, "--prefix", place, UPLOT], check=True)
        stamp.write_text(UPLOT)
    return place / "node_modules/uplot/dist"


def html(library, found):
    here = pathlib.Path(__file__).parent
    data = json.dumps(found).replace("<", "\\u003c")
    return f"""<!doctype html><meta charset="utf-8"><title>{found["title"]}</title>
<style>{(library / "uPlot.min.css").read_text()}{(here / "board.css").read_text()}</style>
<body><script>{(library / "uPlot.iife.min.js").read_text()}</script>
<script>const board = {data};{(here / "board.js").read_text()}</script>"""


class Source:
    """Prometheus as Grafana uses it, for one range of time."""

    def __init__(self, url, start, end):
        self.url, self.start, self.end = url, start, end
        self.variables = {}

    def read(self, board):
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
                values = self.get(f"label/{label}/values", {"match[]": self.filled(metric, 1)})
                # All values, as a regular expression.
                self.variables[variable["name"]] = "(" + "|".join(map(re.escape, values)) + ")"
        panels = [self.panel(panel) for panel in board["panels"]]
        notes = [note for note in board["annotations"]["list"] if "expr" in note and note["enable"]]
        marks = [self.mark(note) for note in notes]
        return {"title": board["title"], "start": self.start, "end": self.end, "panels": panels, "marks": sum(marks, [])}

    def panel(self, panel):
        if panel["type"] == "row":
            return panel
        # A point for each pixel at most, as in Grafana.
        width = panel["gridPos"]["w"] * WIDTH / 24
        step = max(math.ceil((self.end - self.start) / width), seconds(panel.get("interval", "0s")), SCRAPE_SECONDS)
        found = []
        for target in panel["targets"]:
            for series in self.series(target["expr"], step, instant=target.get("instant", False)):
                labels = series["metric"]
                name = re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], ""), target["legendFormat"])
                points = [(time, number(value)) for time, value in series.get("values") or [series["value"]]]
                found.append({"name": name or json.dumps(labels), "labels": labels, "points": points})
        return {**panel, "step": step, "series": found}

    def mark(self, note):
        """The times at which an annotation begins."""
        step = seconds(note["step"])
        marks = []
        for series in self.series(note["expr"], step, instant=False):
            times = [time for time, _ in series["values"]]
            starts = [time for time, former in zip(times, [0, *times]) if time - former > step]
            marks += [{"time": time, "color": note["iconColor"]} for time in starts]
        return marks

    def series(self, query, step, instant):
        query = self.filled(query, step)
        if instant:
            return self.get("query", {"query": query, "time": self.end})["result"]
        start, end = (math.floor(time / step) * step for time in (self.start, self.end))
        return self.get("query_range", {"query": query, "start": start, "end": end, "step": step})["result"]

    def filled(self, query, step):
        for name, value in self.variables.items():
            # Within quotes.
            query = query.replace(f"${name}", value.replace("\\", "\\\\"))
        query = query.replace("$__rate_interval", f"{max(step + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)}s")
        query = query.replace("$__range", f"{math.ceil(self.end - self.start)}s")
        assert "$" not in query, query
        return query

    def get(self, path, parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url) as response:
            return json.load(response)["data"]


def number(text):
    value = float(text)
    return value if math.isfinite(value) else None


def seconds(text):
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]
