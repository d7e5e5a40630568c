"""Charts as HTML with SVG inside: no script, no fonts, no network.

Lines stretch with the page while text keeps its size, so that a phone, a wide screen and paper
read alike; sizes are in ``_templates/plot.css``, colors in ``page.css``. Which figures are drawn is
decided by the pages: ``reporting``, ``backtest.report``, ``dashboard.overview``.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources

import numpy as np

from trading.domain.arrays import FloatArray, IntArray

# Where a number stands in a drawing.
Place = Callable[[float], float]

# Units of a drawing that is stretched to its place.
_SIDE = 1000
# A line with more points than a wide screen has pixels keeps the extremes of every bucket.
_MOST_POINTS = 1200
# Up to so many points are dots of their own, each with its value.
_MOST_DOTS = 15
# Up to so many places of a drawing can be pointed at; a pointer meets no narrower one.
_MOST_READINGS = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """One line over the dates of a chart; NaN leaves a gap. ``kind`` is its style's name."""

    kind: str
    values: FloatArray
    is_area: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A sign at one date, with what it says when pointed at."""

    index: int
    value: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Dates ``first`` to ``last`` (indices, both included) shaded as ``kind``."""

    first: int
    last: int
    kind: str


def page_style() -> str:
    """Return the style sheet that every page with charts begins with."""
    page = resources.files("trading") / "_templates" / "page.css"
    return page.read_text("utf-8") + plot_style()


def plot_style() -> str:
    """Return the style of the drawings alone, for a page with a style and colors of its own."""
    return (resources.files("trading") / "_templates" / "plot.css").read_text("utf-8")


def line_chart(
    dates: Sequence[date] | Sequence[str],
    lines: Sequence[Line],
    *,
    title: str,
    unit: str = "",
    is_pinned: bool = False,
    marks: Sequence[Mark] = (),
    bands: Sequence[Band] = (),
    readings: Sequence[str] = (),
    size: str = "",
) -> str:
    """Return one or more lines over dates; the first is drawn last, over the others.

    Parameters
    ----------
    dates : sequence of date or str
        What stands below the drawing, equally far from each other.
    title : str
        What a screen reader says of the drawing.
    unit : str
        What follows the numbers of the axis.
    is_pinned : bool
        Whether the axis ends at 0 above.
    readings : sequence of str
        What each date says when pointed at, at once and in as many lines as it has; none by default.
    size : str
        Name of the style that sets the height.

    Returns
    -------
    str
        HTML; empty when no line has a value.
    """
    from markupsafe import escape

    known = [line.values[np.isfinite(line.values)] for line in lines]
    finite = np.concatenate([*known, [mark.value for mark in marks]])
    if not len(finite):
        return ""
    steps = ticks(float(finite.min()), float(finite.max()), is_pinned=is_pinned)
    x, y = _places(len(dates), steps[0], steps[-1])
    svg = [
        f'<rect class="band {band.kind}" x="{x(band.first - 0.5):.1f}" y="0" height="{_SIDE}" '
        f'width="{x(band.last + 0.5) - x(band.first - 0.5):.1f}"/>'
        for band in bands
    ]
    svg += [_grid(y(step)) for step in steps]
    for line in reversed(lines):
        svg += _drawn(line, x, y)
    html = [
        *_axis(steps, y, unit),
        *_day_labels(dates, x),
        *(_dot(line, i, dates, x, y, unit) for line in reversed(lines) for i in _dotted(line)),
        *(
            f'<i class="mark {mark.kind}" style="left:{x(mark.index) / 10:.2f}%;'
            f'top:{y(mark.value) / 10:.2f}%" title="{escape(mark.text)}"></i>'
            for mark in marks
        ),
        *_pointed_at(readings, x),
    ]
    return _plot(svg, html, title, size)


def histogram(
    counts: IntArray, edges: FloatArray, *, title: str, unit: str = "", size: str = ""
) -> str:
    """Return columns over ``edges`` (one more than ``counts``): losses and gains apart in color."""
    steps = ticks(0.0, float(max(counts.max(), 1)))
    steps = [step for step in steps if step >= 0 and step == int(step)]
    low, high = float(edges[0]), float(edges[-1])

    def x(value: float) -> float:
        return _SIDE * (value - low) / (high - low)

    def y(value: float) -> float:
        return _SIDE * (1.0 - value / steps[-1])

    svg = [_grid(y(step)) for step in steps]
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        kind = "gain" if left >= 0 else "loss" if right <= 0 else "even"
        svg.append(
            f'<rect class="column {kind}" x="{x(left):.1f}" width="{x(right) - x(left):.1f}" '
            f'y="{y(count):.1f}" height="{_SIDE - y(count):.1f}"/>'
        )
    html = _axis(steps, y, "")
    inner = [step for step in ticks(low, high) if low <= step <= high]
    decimals = _decimals(inner)
    html += [
        f'<span class="x" style="left:{x(step) / 10:.2f}%">{step + 0.0:.{decimals}f}{unit}</span>'
        for step in inner
    ]
    return _plot(svg, html, title, size)


def attempts_chart(values: FloatArray, best: FloatArray, *, title: str, size: str = "") -> str:
    """Return one dot an attempt, in their order, and the ``best`` so far as a line; NaN is no dot."""
    finite = np.concatenate([values[np.isfinite(values)], best[np.isfinite(best)]])
    if not len(finite):
        return ""
    steps = ticks(float(finite.min()), float(finite.max()))
    x, y = _places(len(values), steps[0], steps[-1])
    svg = [*map(_grid, map(y, steps)), *_drawn(Line(kind="equity", values=best), x, y)]
    html = _axis(steps, y, "")
    html += [
        f'<i class="dot benchmark" style="left:{x(i) / 10:.2f}%;top:{y(float(values[i])) / 10:.2f}%" '
        f'title="{i + 1}: {float(values[i]):,.4f}"></i>'
        for i in np.flatnonzero(np.isfinite(values)).tolist()
    ]
    last = len(values) - 1
    for index in sorted({0, last // 2, last}):
        place = "first" if index == 0 else "last" if index == last else "inner"
        html.append(
            f'<span class="x {place}" style="left:{x(index) / 10:.2f}%">{index + 1:,}</span>'
        )
    return _plot(svg, html, title, size)


def bands_of(kinds: Sequence[str]) -> list[Band]:
    """Return the runs of equal names over the dates of a chart; "" is not shaded."""
    found: list[Band] = []
    first = 0
    for i in range(1, len(kinds) + 1):
        if i == len(kinds) or kinds[i] != kinds[first]:
            if kinds[first]:
                found.append(Band(first=first, last=i - 1, kind=kinds[first]))
            first = i
    return found


def ticks(low: float, high: float, *, is_pinned: bool = False) -> list[float]:
    """Return three to eight round values that enclose the range; pinned, the last is 0."""
    if is_pinned:
        high = 0.0
    if high - low < 1e-9:
        low, high = (low - 1.0, high) if is_pinned else (low - 1.0, high + 1.0)
    raw = (high - low) / 5.0
    magnitude = 10.0 ** np.floor(np.log10(raw))
    step = next(m * magnitude for m in (1.0, 2.0, 5.0, 10.0) if m * magnitude >= raw)
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [round(index * step, 10) for index in range(first, last + 1)]


def _places(n: int, low: float, high: float) -> tuple[Place, Place]:
    def x(index: float) -> float:
        return min(max(_SIDE * index / max(n - 1, 1), 0.0), float(_SIDE))

    def y(value: float) -> float:
        return _SIDE * (high - value) / (high - low)

    return x, y


def _plot(svg: Sequence[str], html: Sequence[str], title: str, size: str) -> str:
    from markupsafe import escape

    # The margin is as wide as the longest number of the axis.
    numbers = re.findall(r'class="y"[^>]*>([^<]*)', "".join(html))
    longest = max(map(len, numbers), default=0)
    return (
        f'<div class="plot {size}" style="--axis:{longest}"><svg viewBox="0 0 {_SIDE} {_SIDE}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(title)}">{"".join(svg)}</svg>{"".join(html)}</div>'
    )


def _grid(y: float) -> str:
    return f'<line class="grid" x1="0" x2="{_SIDE}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _axis(steps: Sequence[float], y: Place, unit: str) -> list[str]:
    decimals = _decimals(steps)
    return [
        f'<span class="y" style="top:{y(step) / 10:.2f}%">{step + 0.0:,.{decimals}f}{unit}</span>'
        for step in steps
    ]


def _decimals(steps: Sequence[float]) -> int:
    gap = steps[1] - steps[0] if len(steps) > 1 else 1.0
    return max(0, -math.floor(math.log10(gap) + 1e-9))


def _pointed_at(readings: Sequence[str], x: Place) -> list[str]:
    """Return strips over the whole drawing, each with what its last date says."""
    from markupsafe import escape

    step = math.ceil(len(readings) / _MOST_READINGS) or 1
    strips = []
    for first in range(0, len(readings), step):
        last = min(first + step, len(readings)) - 1
        left, right = x(first - 0.5), x(last + 0.5)
        side = "at far" if left + right > _SIDE else "at"
        strips.append(
            f'<i class="{side}" style="left:{left / 10:.2f}%;width:{(right - left) / 10:.2f}%" '
            f'data-says="{escape(readings[last])}"></i>'
        )
    return strips


def _day_labels(dates: Sequence[date] | Sequence[str], x: Place) -> list[str]:
    last = len(dates) - 1
    labels = []
    for index in sorted({0, last // 3, 2 * last // 3, last}):
        place = "first" if index == 0 else "last" if index == last else "inner"
        labels.append(
            f'<span class="x {place}" style="left:{x(index) / 10:.2f}%">{dates[index]}</span>'
        )
    return labels


def _drawn(line: Line, x: Place, y: Place) -> list[str]:
    """Return a line, piece by piece between its gaps, over its area."""
    known = np.flatnonzero(np.isfinite(line.values))
    parts = []
    for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        if not len(run):
            continue
        points = [f"{x(i):.1f},{y(float(line.values[i])):.1f}" for i in _thinned(line.values, run)]
        path = " ".join(points)
        if line.is_area:
            base = min(max(y(0.0), 0.0), float(_SIDE))
            closed = f"{x(run[0]):.1f},{base:.1f} {path} {x(run[-1]):.1f},{base:.1f}"
            parts.append(f'<polygon class="fill {line.kind}" points="{closed}"/>')
        parts.append(f'<polyline class="line {line.kind}" points="{path}"/>')
    return parts


def _thinned(values: FloatArray, run: IntArray) -> list[int]:
    """Return the indices of ``run`` that are drawn: first, last and extremes of each bucket."""
    if len(run) <= _MOST_POINTS:
        return [int(i) for i in run]
    kept = {int(run[0]), int(run[-1])}
    for bucket in np.array_split(run, _MOST_POINTS // 2):
        kept.add(int(bucket[np.argmin(values[bucket])]))
        kept.add(int(bucket[np.argmax(values[bucket])]))
    return sorted(kept)


def _dotted(line: Line) -> IntArray:
    known = np.flatnonzero(np.isfinite(line.values))
    return known if len(known) <= _MOST_DOTS else known[-1:]


def _dot(
    line: Line, i: int, dates: Sequence[date] | Sequence[str], x: Place, y: Place, unit: str
) -> str:
    value = float(line.values[i])
    return (
        f'<i class="dot {line.kind}" style="left:{x(i) / 10:.2f}%;top:{y(value) / 10:.2f}%" '
        f'title="{dates[i]} {value:,.2f}{unit}"></i>'
    )
