"""The curve of an account inside a mail: a PNG, because mail programs draw no SVG.

The picture holds numbers and dates only; its Korean words stand beside it, where a machine
without Korean fonts cannot spoil them.
"""

import io
import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from trading.domain.wording import percent_text
from trading.log import get_logger

log = get_logger(__name__)

# Pairs of ISO date or instant and value.
Curve = Sequence[Sequence[Any]] | None
_Points = Sequence[tuple[str, float]]
# As ``_templates/page.css`` has them on white.
_EQUITY, _BENCHMARK, _SOFT, _RULE = "#2456d6", "#8a919e", "#5d6470", "#e3e6eb"
_INCHES, _DPI = (6.4, 2.2), 150
# Fonts are opened anew for every thread that draws, and stay open: one thread draws everything.
_pen = ThreadPoolExecutor(max_workers=1, thread_name_prefix="picture")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG inside a message, shown where the HTML names ``cid``; ``alt`` says it in words."""

    cid: str
    png: bytes
    alt: str


def curve_picture(curve: Curve, benchmark: Curve, *, cid: str) -> Picture | None:
    """Return the drawing of both curves with their first points at 100; ``None`` without two points.

    A drawing that fails is told in the log and left out: the message matters more.
    """
    try:
        points = _measurable(curve)
        if not points:
            return None
        png = _pen.submit(_drawn, points, _measurable(benchmark)).result()
        return Picture(cid=cid, png=png, alt=curve_text(curve, benchmark))
    except Exception as error:
        log.warning("알림의 그림을 그리지 못함", reason=str(error))
        return None


def curve_text(curve: Curve, benchmark: Curve) -> str:
    """Return what the drawing shows in one Korean line; "" without two points."""
    points, others = _measurable(curve), _measurable(benchmark)
    if not points:
        return ""
    values = [value / points[0][1] - 1.0 for _, value in points]
    text = (
        f"계좌 {percent_text(values[-1])} (가장 낮을 때 {percent_text(min(values))}, "
        f"가장 높을 때 {percent_text(max(values))})"
    )
    if others:
        text += f", 기준 지표 {percent_text(others[-1][1] / others[0][1] - 1.0)}"
    return text


def _measurable(curve: Curve) -> list[tuple[str, float]]:
    """Return the points with a value, from the first that others can be measured by.

    None where that are fewer than two: an account may have begun empty.
    """
    points = [(str(at), float(value)) for at, value in curve or () if value is not None]
    known = [(at, value) for at, value in points if math.isfinite(value)]
    rest = list(itertools.dropwhile(lambda point: point[1] <= 0.0, known))
    return rest if len(rest) >= 2 else []


def _drawn(curve: _Points, benchmark: _Points) -> bytes:
    # The figure's own methods: pyplot keeps every figure for ever and is not made for threads.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    is_intraday = "T" in curve[0][0]
    for points, color, width in ((benchmark, _BENCHMARK, 1.2), (curve, _EQUITY, 1.8)):
        instants = [datetime.fromisoformat(at) for at, _ in points]
        values = [100.0 * value / points[0][1] for _, value in points]
        axes.plot(instants, values, color=color, lw=width)  # type: ignore[arg-type]
    zone = ZoneInfo("Asia/Seoul") if is_intraday else None
    locator = AutoDateLocator(minticks=3, maxticks=7, tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    # Months as numbers: the names would be English.
    labels = ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator,
        tz=zone,
        formats=["%Y", "%Y-%m", "%m-%d", "%H:%M", "%H:%M", "%H:%M"],
        zero_formats=["", "%Y", "%Y-%m", "%m-%d", "%H:%M", "%H:%M"],
        offset_formats=["", "", "", "", "", ""],
    )
    axes.xaxis.set_major_formatter(labels)
    axes.tick_params(colors=_SOFT, labelsize=8, length=0)
    axes.grid(axis="y", color=_RULE, lw=0.8)
    axes.margins(x=0)
    for side in axes.spines.values():
        side.set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
