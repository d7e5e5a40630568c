"""A page of results: tiles, charts and tables in one HTML file, in Korean or English.

The model knows nothing of what it shows; ``report`` and ``research.pages`` fill it. The file needs
no network, no script and no font of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from trading.charts import page_style
from trading.domain.instrument import Currency
from trading.domain.wording import money_text

if TYPE_CHECKING:
    from jinja2 import Environment

Language = Literal["ko", "en"]

# What cannot be computed; a reason stands beside it.
UNKNOWN = "—"


class Words:
    """The sentences of a page in one language, and how it writes numbers."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._texts = _texts()

    def __call__(self, key: str, **values: Any) -> str:
        """Return the sentence ``key`` with its values put in; ``KeyError`` when there is none."""
        text = self._texts[key][self.language]
        return text.format(**values) if values else text

    def has(self, key: str) -> bool:
        """Whether there is a sentence of that name."""
        return key in self._texts

    def code(self, family: str, code: str) -> str:
        """Return the words for a code, or the code itself where it has none."""
        key = f"{family}.{code}"
        return self(key) if self.has(key) else code.replace("_", " ")

    def percent(self, fraction: float | None, *, signed: bool = True, digits: int = 2) -> str:
        """Return a fraction as ``+0.80 %``."""
        if fraction is None or not math.isfinite(fraction):
            return UNKNOWN
        rounded = round(100 * fraction, digits) + 0.0
        # The sign of percent never begins a line.
        return f"{rounded:{'+' if signed and rounded else ''},.{digits}f}\u00a0%"

    def points(self, fraction: float | None) -> str:
        """Return a difference of two percentages as ``+0.80 %p``."""
        text = self.percent(fraction)
        return text if text == UNKNOWN else f"{text}p"

    def number(self, value: float | None, digits: int = 2) -> str:
        """Return a plain number."""
        if value is None or not math.isfinite(value):
            return UNKNOWN
        return f"{value + 0.0:,.{digits}f}"

    def money(self, minor: float | None, currency: Currency, *, signed: bool = False) -> str:
        """Return an amount of minor units, to the cent."""
        if minor is None or not math.isfinite(minor):
            return UNKNOWN
        sign = "+" if signed and minor > 0 else "-" if minor < 0 else ""
        if currency is Currency.KRW and self.language == "en":
            return f"{sign}₩{abs(minor):,.0f}"
        if currency is Currency.USD:
            # A page of sums needs no fractions of a cent.
            return f"{sign}${abs(minor) / currency.minor_per_unit:,.2f}"
        return sign + money_text(abs(minor), currency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table: what it says, a smaller line under it, and how it looks.

    ``tone`` is ``up``, ``down``, ``good``, ``bad`` or "". ``heat`` in [-1, 1] colors the ground:
    losses below 0, gains above; ``None`` leaves it.
    """

    text: str
    small: str = ""
    tone: str = ""
    heat: float | None = None
    is_text: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table; ``groups`` are headings before rows, by row, ``kind`` is its style's name."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    groups: Mapping[int, str]
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """A part that is opened by hand."""

    title: str
    html: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One card. Everything but the title may be missing; ``note`` says what is not there, and why.

    ``legend`` holds (style, words) of lines. A narrow one shares its row with the next narrow one.
    """

    title: str
    lead: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    charts: tuple[tuple[str, str], ...] = ()
    grid: Grid | None = None
    notes: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()
    is_narrow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure on top."""

    name: str
    value: str
    small: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The first thing that is read: what came out, and how sure that is.

    ``kind`` is ``better``, ``worse``, ``same`` or ``unknown``.
    """

    kind: str
    head: str
    sentences: tuple[str, ...]
    chart: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole page."""

    title: str
    meta: str
    answer: Answer | None
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    footer: tuple[str, ...] = ()


def text_cell(text: str, small: str = "") -> Cell:
    """Return a cell of words, which stand to the left."""
    return Cell(text=text, small=small, is_text=True)


def toned(text: str, value: float | None, small: str = "") -> Cell:
    """Return a cell of a number whose sign matters."""
    return Cell(text=text, small=small, tone=tone(value))


def tone(value: float | None) -> str:
    """Return the style of a gain or a loss."""
    if value is None or not math.isfinite(value) or value == 0:
        return ""
    return "up" if value > 0 else "down"


def interval_chart(
    value: float, low: float, high: float, *, title: str, ends: tuple[str, str]
) -> str:
    """Return a dot between its bounds on a line through 0; ``ends`` name both sides of it."""
    from markupsafe import escape

    reach = 1.15 * max(abs(value), abs(low), abs(high), 1e-12)

    def x(number: float) -> float:
        return 50.0 + 50.0 * number / reach

    return (
        f'<div class="span" role="img" aria-label="{escape(title)}"><b></b>'
        f'<u style="left:{x(low):.2f}%;width:{x(high) - x(low):.2f}%"></u>'
        f'<i style="left:{x(value):.2f}%"></i></div>'
        f'<div class="ends"><span>← {escape(ends[0])}</span><span>0</span>'
        f"<span>{escape(ends[1])} →</span></div>"
    )


def render(page: Page, words: Words) -> str:
    """Return the page as one HTML text."""
    return (
        _templates()
        .get_template("tearsheet.html.j2")
        .render(
            page=page, rows=_in_rows(page.sections), language=words.language, style=page_style()
        )
    )


def grid_html(grid: Grid) -> str:
    """Return a table as HTML, where it stands among charts or is folded away."""
    return _templates().get_template("tearsheet_table.html.j2").render(grid=grid)


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("trading", "_templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _in_rows(sections: Sequence[Section]) -> list[list[Section]]:
    """Return the sections in rows: two narrow ones that follow each other share one."""
    rows: list[list[Section]] = []
    for section in sections:
        if rows and len(rows[-1]) == 1 and rows[-1][0].is_narrow and section.is_narrow:
            rows[-1].append(section)
        else:
            rows.append([section])
    return rows


@cache
def _texts() -> Mapping[str, Mapping[str, str]]:
    import yaml

    source = resources.files("trading") / "_templates" / "tearsheet.yaml"
    found: Mapping[str, Mapping[str, str]] = yaml.safe_load(source.read_text("utf-8"))
    return found
