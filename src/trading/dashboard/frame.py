"""What every page shares: which account is shown, sentences for what is missing, tables, figures."""

import base64
import contextlib
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from markupsafe import escape

from trading import bootstrap
from trading.charts import Line, line_chart, plot_style
from trading.clock import WallClock
from trading.dashboard import data
from trading.dashboard.data import Account
from trading.dashboard.lock import Lock
from trading.domain.instrument import Currency, Market
from trading.domain.wording import money_text, percent_text
from trading.errors import MissingDataError, TradingError
from trading.log import get_logger
from trading.reporting import Table

if TYPE_CHECKING:
    from trading.bootstrap import Installation

log = get_logger(__name__)

SEOUL: Final = ZoneInfo("Asia/Seoul")
# As on the report's page: a rise is red and a fall blue, as Korean screens have it.
UP, DOWN, LINE = "#c81e1e", "#1d4ed8", "#2456d6"
# What the drawings' style asks for, as on the report's page by day.
PALETTE: Final = f""":root {{
  --card: #ffffff; --ink: #16181d; --soft: #5d6470; --rule: #e3e6eb;
  --equity: {LINE}; --benchmark: #8a919e; --fall: #c2410c;
}}"""
_CHART: Final = {"displayModeBar": False, "scrollZoom": False}
# Dates under a figure; more would touch each other.
_LABELS: Final = 5
# Rows of a table that are shown at once; the others are scrolled to.
_ROWS: Final = 15


@st.cache_resource(show_spinner=False)
def _installed(root: Path) -> "Installation":
    # Read once: changed settings count from the next start on, as everywhere.
    return bootstrap.open_home(root, console=False)


def installation() -> "Installation":
    """Return the home whose root the server was given."""
    return _installed(Path(sys.argv[1]))


@st.cache_resource(show_spinner=False)
def _lock_of(root: Path) -> Lock | None:
    found = _installed(root)
    password = found.secrets.trading_dashboard_password
    if password is None or not password.get_secret_value():
        return None
    settings = found.settings.app.dashboard
    return Lock(
        password,
        attempts=settings.password_attempts,
        pause=timedelta(seconds=settings.lock_seconds),
        clock=WallClock(),
    )


def lock() -> Lock | None:
    """Return the lock of this server; ``None`` where no password was set."""
    return _lock_of(Path(sys.argv[1]))


def chosen() -> Account:
    """Return the account that the reader looks at.

    Raises
    ------
    MissingDataError
        If the home has no account yet.
    """
    account: Account | None = st.session_state.get("account")
    if account is None:
        raise MissingDataError(
            "이 폴더에는 아직 거래한 계좌가 없습니다. 터미널에서 trading demo 를 돌리면 기록된 시장으로 하루를 "
            "거래하고, 그 뒤로 이 화면이 채워집니다."
        )
    return account


def page(title: str, body: Callable[[], None], *, refreshes: bool = False) -> None:
    """Draw a page: its title, then ``body``, again every few seconds where it ``refreshes``.

    What ``body`` cannot read is said in Korean; what nobody expected is logged as well.
    """
    st.title(title)

    def guarded() -> None:
        with said():
            body()

    if refreshes:
        st.fragment(guarded, run_every=installation().settings.app.dashboard.refresh_seconds)()
    else:
        guarded()


@contextlib.contextmanager
def said() -> Iterator[None]:
    """Show what is missing or broken in the block as a sentence; what follows is drawn anyway."""
    try:
        yield
    except MissingDataError as error:
        st.info(plain(str(error)))
    except TradingError as error:
        st.warning(plain(str(error)))
    except Exception as error:  # streamlit would show an English stack
        log.exception("화면을 그리지 못함", reason=str(error))
        st.error(
            plain(
                f"이 부분을 그리지 못했습니다 ({type(error).__name__}). 까닭은 logs/errors.jsonl 에 있습니다. "
                "거래에는 영향이 없습니다."
            )
        )


def plain(text: str) -> str:
    """Return text that Markdown shows as it is: dollars, stars and brackets are no signs."""
    return "".join("\\" + letter if letter in "\\`*_{}[]()#+!$~<>|" else letter for letter in text)


def session_choice(account: Account, *, key: str, closed: bool = False) -> date:
    """Let the reader choose a session, the last one first; only finished ones where ``closed``."""
    told = data.story(installation().home, account)
    days = told.closed if closed else told.begun
    if not days:
        raise MissingDataError(
            "끝난 세션이 아직 없습니다. 세션이 끝나면 보입니다."
            if closed
            else "시작한 세션이 아직 없습니다. trading demo 나 trading run 이 세션을 시작합니다."
        )
    day: date = st.selectbox("세션", days[::-1], key=key)
    return day


def when(instant: datetime, market: Market | None = None) -> str:
    """Return an instant in Seoul's time, and in the market's own where that differs."""
    text = f"{instant.astimezone(SEOUL):%Y-%m-%d %H:%M:%S} KST"
    if market is Market.US:
        there = instant.astimezone(ZoneInfo(market.timezone_name))
        text += f" (미국 동부 {there:%m-%d %H:%M:%S})"
    return text


def signed_money(minor: float, currency: Currency) -> str:
    """Return an amount with its sign, a gain too."""
    return f"{'+' if minor > 0 else ''}{money_text(minor, currency)}"


# --- tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure: its name, its value in words, and how it changed, with the change's sign."""

    name: str
    value: str
    change: str = ""
    sign: float = 0.0


def tiles(*shown: Tile) -> None:
    """Draw figures beside each other."""
    changes = any(one.change for one in shown)
    with st.container(horizontal=True, gap="small"):
        for one in shown:
            st.metric(
                one.name,
                plain(one.value),
                plain(one.change) or None,
                delta_color="red" if one.sign > 0 else "blue" if one.sign < 0 else "off",
                delta_arrow="auto" if one.sign else "off",
                border=True,
                width="content",
                height="stretch" if changes else "content",
            )


def grid(
    frame: pd.DataFrame,
    *,
    formats: Mapping[str, Callable[[Any], str]] | None = None,
    tones: Sequence[str] = (),
    key: str | None = None,
    alarms: Mapping[int, Sequence[str]] | None = None,
) -> None:
    """Draw a table that sorts by value and shows words.

    ``formats`` turn a column's values into words; of the columns in ``tones`` gains are red and
    losses blue; ``alarms`` name, by row, the columns whose cells alarm.
    """
    frame = frame.reset_index(drop=True)
    styled = frame.style.format(dict(formats or {}), na_rep="—")
    if tones:
        styled = styled.map(_toned, subset=list(tones))
    for row, columns in (alarms or {}).items():
        styled = styled.set_properties(
            subset=pd.IndexSlice[row, list(columns)], color="#b91c1c", **{"font-weight": "bold"}
        )
    rows = min(len(frame), _ROWS)
    st.dataframe(
        styled,
        hide_index=True,
        width="stretch",
        height=35 * (rows + 1) + 3,
        key=key,
        placeholder="—",
    )


def report_table(one: Table) -> None:
    """Draw a table of the report, its notes below."""
    st.subheader(plain(one.title))
    if one.rows:
        frame = pd.DataFrame(one.rows, columns=list(one.heads))
        alarms: dict[int, list[str]] = {}
        for row, column in one.bad:
            alarms.setdefault(row, []).append(one.heads[column])
        grid(frame, alarms=alarms)
    for note in one.notes:
        st.caption(plain(note))


def _toned(value: object) -> str:
    if not isinstance(value, int | float) or not value:
        return ""
    return f"color: {UP if value > 0 else DOWN}"


# --- figures --------------------------------------------------------------------------------------


def figure(*, height: int = 320, unit: str = "") -> go.Figure:
    """Return an empty figure in the style of the pages; ``unit`` follows the numbers of its axis."""
    made = go.Figure()
    made.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        font={"family": "Noto Sans KR, Noto Sans CJK KR, Malgun Gothic, sans-serif", "size": 13},
        separators=".,",
        plot_bgcolor="rgba(0,0,0,0)",
        paper_bgcolor="rgba(0,0,0,0)",
        dragmode=False,
    )
    made.update_xaxes(showgrid=False)
    made.update_yaxes(
        gridcolor="#e3e6eb", zerolinecolor="#c4c9d2", ticksuffix=unit, automargin=True
    )
    return made


def by_session(made: go.Figure) -> None:
    """Let the figure's axis be its sessions in order: a day without one leaves no hole."""
    for trace in made.data:
        trace.x = [str(day)[:10] for day in trace.x]
    listed = sorted({day for trace in made.data for day in trace.x})
    step = max(1, math.ceil(len(listed) / _LABELS))
    shown = listed[::step]
    made.update_xaxes(
        type="category",
        categoryorder="array",
        categoryarray=listed,
        tickvals=shown,
        ticktext=[day[2:] for day in shown],
        tickangle=0,
    )


def draw(made: go.Figure, *, key: str) -> None:
    """Draw a figure over the page's width."""
    st.plotly_chart(made, width="stretch", config=_CHART, key=key)


def line(
    made: go.Figure, x: Sequence[Any], y: Sequence[float | None], name: str, **style: Any
) -> None:
    """Add a line to a figure; a lone point is a dot, so that it is seen."""
    known = sum(1 for value in y if value is not None)
    made.add_trace(
        go.Scatter(
            x=list(x),
            y=list(y),
            name=name,
            mode="lines+markers" if known <= 2 else "lines",
            **style,
        )
    )


def drawing(
    places: Sequence[date] | Sequence[str],
    lines: Mapping[str, Line],
    *,
    word: Callable[[float], str],
    title: str,
    unit: str = "",
    is_pinned: bool = False,
    size: str = "",
) -> None:
    """Draw lines by name as the reports have them; ``word`` says a value that is pointed at.

    A figure needs megabytes of script, for which a new browser has seconds: the first page has none.
    """
    readings = [
        "\n".join(
            [
                str(place),
                *(f"{name} {word(float(v))}" for name, v in at.items() if math.isfinite(v)),
            ]
        )
        for i, place in enumerate(places)
        for at in [{name: one.values[i] for name, one in lines.items()}]
    ]
    legend = "".join(
        f'<span><i style="background:var(--{one.kind})"></i>{escape(name)}</span>'
        for name, one in lines.items()
        if len(lines) > 1
    )
    drawn = line_chart(
        places,
        list(lines.values()),
        title=title,
        unit=unit,
        is_pinned=is_pinned,
        readings=readings,
        size=size,
    )
    st.html(f'<div class="legend">{legend}</div>{_pictured(drawn, title)}')


def _pictured(drawn: str, title: str) -> str:
    """Return a drawing whose SVG is a picture: Streamlit lets no SVG through, but pictures."""
    before, svg, after = re.split("(<svg.*</svg>)", drawn)
    style = f"<style>{PALETTE} {plot_style()} * {{ vector-effect: non-scaling-stroke; }}</style>"
    whole = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    whole = whole.replace("</svg>", f"{style}</svg>")
    source = base64.b64encode(whole.encode()).decode()
    return f'{before}<img alt="{escape(title)}" src="data:image/svg+xml;base64,{source}">{after}'


def percent(fraction: float | None) -> str:
    """Return a fraction with its sign as percent."""
    return percent_text(fraction)


def share(fraction: float | None) -> str:
    """Return a fraction without a sign as percent."""
    return percent_text(fraction, signed=False)
