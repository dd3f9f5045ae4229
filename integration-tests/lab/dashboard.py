"""Draws the dashboard for Grafana as an SVG, for light and dark pages: each panel of its file where it is there, with
the values that a Prometheus gives for its queries. Of Grafana's panels it knows the kinds that our dashboard has."""

import json
import math
import re
import time
from dataclasses import dataclass
from xml.sax.saxutils import escape

from lab.prerequisites import PROJECT

FILE = PROJECT / "doc/monitoring/dashboard.json"
PICTURE = FILE.with_suffix(".svg")

MARGIN, COLUMN, ROW, GAP, HEAD, EDGE = 16, 40, 26, 8, 64, 22
CHARACTER = 6.3  # the width of one, on average, at 11 px
LINES = 6

STYLE = """
  text { font: 11px system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 17px; font-weight: 600 } .name { font-size: 12px; font-weight: 600 } .big { font-size: 20px }
  .end { text-anchor: end } .middle { text-anchor: middle } .small { fill: #59636e }
  .page { fill: #f6f8fa } .card { fill: #ffffff; stroke: #d1d9e0 } .grid { stroke: #d1d9e0 }
  .line { fill: none; stroke-width: 1.5 }
  .f0, .green { fill: #2da44e } .f1, .yellow { fill: #d4a72c } .f2, .blue { fill: #2f81f7 } .f3 { fill: #bc4c00 }
  .f4, .red { fill: #d1242f } .f5 { fill: #8250df }
  .s0 { stroke: #2da44e } .s1 { stroke: #d4a72c } .s2 { stroke: #2f81f7 } .s3 { stroke: #bc4c00 }
  .s4 { stroke: #d1242f } .s5 { stroke: #8250df }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 }
    .page { fill: #010409 } .card { fill: #0d1117; stroke: #3d444d } .grid { stroke: #3d444d }
    .f1, .yellow { fill: #e3b341 } .f3 { fill: #db6d28 } .f4, .red { fill: #f85149 } .f5 { fill: #a371f7 }
    .s1 { stroke: #e3b341 } .s3 { stroke: #db6d28 } .s4 { stroke: #f85149 } .s5 { stroke: #a371f7 }
  }
"""


@dataclass
class Series:
    """One series of a panel: its name in the legend, and its points (time, value)."""

    name: str
    points: list


@dataclass
class Span:
    """The time that is shown, in seconds since 1970, and the distance of two points."""

    start: float
    end: float
    step: float


def queries(dashboard, rate_interval):
    """Each panel with its queries, for all proxies: (panel, expression, legend)."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$proxy", ".*").replace("$__rate_interval", rate_interval)
            yield panel, expression, target["legendFormat"]


def draw(ask_range, span, rate_interval, caption):
    """The picture. `ask_range` gives the series that Prometheus has for an expression in the span."""
    dashboard = json.loads(FILE.read_text())
    series = {panel["id"]: [] for panel in dashboard["panels"]}
    for panel, expression, legend in queries(dashboard, rate_interval):
        for found in ask_range(expression):
            name = re.sub(r"{{(\w+)}}", lambda label, of=found: of["metric"].get(label[1], ""), legend)
            points = [(float(moment), float(value)) for moment, value in found["values"]]
            series[panel["id"]].append(Series(name, points))
    width = 2 * MARGIN + 24 * COLUMN
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    height = HEAD + rows * ROW + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="t d">',
        f'<title id="t">{escape(dashboard["title"])}</title>\n<desc id="d">{escape(caption)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}" rx="12"/>',
        _text(MARGIN + 4, 28, dashboard["title"], "title"),
        _text(MARGIN + 4, 48, caption, "small"),
    ]
    for panel in dashboard["panels"]:
        parts += _Panel(panel, series[panel["id"]], span).shapes()
    return "\n".join([*parts, "</svg>", ""])


def _text(x, y, text, classes=""):
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


class _Panel:
    def __init__(self, panel, series, span):
        place = panel["gridPos"]
        self.panel, self.series, self.span = panel, series, span
        self.x, self.y = MARGIN + place["x"] * COLUMN + GAP / 2, HEAD + place["y"] * ROW + GAP / 2
        self.width, self.height = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
        self.unit = panel["fieldConfig"]["defaults"].get("unit", "short")

    def shapes(self):
        yield (f'<rect class="card" x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="4"/>')
        yield _text(self.x + 10, self.y + 19, self.panel["title"], "name")
        if not self.series:
            yield _text(self.x + self.width / 2, self.y + self.height / 2 + 4, "No data", "small middle")
            return
        kinds = {"timeseries": self._lines, "state-timeline": self._states, "bargauge": self._bars, "stat": self._words}
        yield from kinds[self.panel["type"]]()

    # Where things are

    def _x(self, moment, left):
        share = (moment - self.span.start) / (self.span.end - self.span.start)
        return left + share * (self.x + self.width - EDGE - left)

    def _moments(self, left, y):
        """The time axis: minutes and seconds since the begin."""
        step = next(step for step in (10, 15, 30, 60, 300, 3600) if (self.span.end - self.span.start) / step <= 5)
        for second in range(0, int(self.span.end - self.span.start) + 1, step):
            x = self._x(self.span.start + second, left)
            yield _text(x, y, f"{second // 60}:{second % 60:02}", "small middle")

    # The kinds of panels

    def _lines(self):
        legend = list(self._legend())
        left, top = self.x + 62, self.y + 34
        bottom = self.y + self.height - 24 - 15 * len({y for y, _ in legend})
        largest = _round_up(max(value for one in self.series for _, value in one.points))
        for part in range(5):
            y = bottom - (bottom - top) * part / 4
            yield f'<line class="grid" x1="{left}" x2="{self.x + self.width - EDGE}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield _text(left - 6, y + 4, _amount(largest * part / 4, self.unit), "small end")
        yield from self._moments(left, bottom + 16)
        for number, one in enumerate(self.series):
            path, before = "", None
            for moment, value in one.points:
                # Where the series is absent, there is no line.
                command = "M" if before is None or moment - before > 1.5 * self.span.step else "L"
                path += f"{command}{self._x(moment, left):.1f} {bottom - (bottom - top) * value / largest:.1f}"
                before = moment
            yield f'<path class="line s{number % LINES}" d="{path}"/>'
        for _, shapes in legend:
            yield shapes

    def _legend(self):
        """The names below the lines, from the last row upwards: (y, shapes)."""
        x, y = self.x + 12, self.y + self.height - 8
        for number, one in enumerate(self.series):
            width = 26 + CHARACTER * len(one.name)
            if x + width > self.x + self.width and x > self.x + 12:
                x, y = self.x + 12, y - 15
            yield y, (f'<rect class="f{number % LINES}" x="{x}" y="{y - 5}" width="12" height="3"/>'
                      + _text(x + 16, y, one.name, "small"))
            x += width

    def _states(self):
        left = self.x + 18 + CHARACTER * max(len(one.name) for one in self.series)
        top, bottom = self.y + 30, self.y + self.height - 22
        high = min(34, (bottom - top) / len(self.series))
        for number, one in enumerate(self.series):
            y = top + number * high
            yield _text(left - 6, y + high / 2 + 4, one.name, "small end")
            for start, end, value in _stretches(one.points, self.span.step):
                x, to = self._x(start, left), self._x(min(end, self.span.end), left)
                colour, said = self._state(one.name, value)
                yield (f'<rect class="{colour}" x="{x:.1f}" y="{y + 3:.1f}" width="{to - x:.1f}" '
                       f'height="{high - 6:.1f}" fill-opacity=".7"/>')
                if CHARACTER * len(said) + 8 < to - x:
                    yield _text((x + to) / 2, y + high / 2 + 4, said, "middle")
        yield from self._moments(left, bottom + 12)

    def _state(self, name, value):
        """The colour of a state and what it is called, if the value says it."""
        for mapping in self.panel["fieldConfig"]["defaults"].get("mappings", []):
            option = mapping["options"].get(f"{value:g}")
            if option:
                return option["color"], option["text"]
        for override in self.panel["fieldConfig"]["overrides"]:
            if re.fullmatch(override["matcher"]["options"], name):
                return override["properties"][0]["value"]["fixedColor"], ""
        return "f0", ""

    def _bars(self):
        last = {one.name: one.points[-1][1] for one in self.series}
        names = sorted(last, key=lambda name: float(name.removesuffix(" s").replace("+Inf", "inf")))
        top, bottom = self.y + 46, self.y + self.height - 24
        largest = max(*last.values(), 1)
        wide = (self.width - 24) / len(names)
        for number, name in enumerate(names):
            x, high = self.x + 12 + number * wide, (bottom - top) * last[name] / largest
            yield (f'<rect class="f0" x="{x + 2:.1f}" y="{bottom - high:.1f}" width="{wide - 4:.1f}" height="{high:.1f}" '
                   'fill-opacity=".7"/>')
            yield _text(x + wide / 2, bottom - high - 5, _amount(last[name], self.unit), "middle")
            yield _text(x + wide / 2, bottom + 14, name.removesuffix(" s"), "small middle")

    def _words(self):
        y = self.y + self.height / 2 - 14 * (len(self.series) - 1)
        for number, one in enumerate(self.series):
            moment, value = one.points[-1]
            words = [one.name]
            if self.panel["options"]["textMode"] == "value_and_name":
                if moment < self.span.end - 1.5 * self.span.step:
                    words = [f"{one.name}, until {time.strftime('%H:%M:%S', time.localtime(moment))}"]
                words.append(_amount(value, self.unit, self.span.end))
            for line, word in enumerate(words):
                yield _text(self.x + self.width / 2, y + 28 * number + 22 * line, word, "middle big" if line else "middle")


def _stretches(points, step):
    """Where a value stays the same without a gap: (start, end, value)."""
    found = []
    for moment, value in points:
        if found and found[-1][2] == value and moment - found[-1][1] < step / 2:
            found[-1][1] = moment + step
        else:
            found.append([moment, moment + step, value])
    return found


def _round_up(value):
    """The end of an axis: 1, 2, 4 or 8 and zeros, which four lines divide well; 4 at least."""
    if value <= 4:
        return 4
    unit = 10 ** math.floor(math.log10(value))
    return next(unit * factor for factor in (1, 2, 4, 8, 10) if value <= unit * factor)


def _amount(value, unit, now=0.0):
    """A value with its unit, as Grafana has it."""
    if unit == "dateTimeFromNow":
        return f"{now - value / 1000:.0f} seconds ago"
    words = {"Bps": "B/s", "cps": "c/s"}.get(unit, "")
    prefix = ""
    if unit == "Bps" and value >= 1000:
        value, prefix = value / 1000, "k"
    return f"{round(value, 2):,g} {prefix}{words}".strip()
