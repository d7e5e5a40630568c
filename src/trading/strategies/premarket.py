"""The state of a market before its open, from what was known by then.

Which names may be bought is ``screener``; what the regime does is decided in ``ensemble``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from pydantic import Field

from trading.domain.arrays import BoolArray, DateArray, FloatArray, IntArray
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT, REGIME_TEXT, percent_text
from trading.errors import MissingDataError
from trading.features.cross_section import SCORE_DECIMALS
from trading.features.indicators import Bars
from trading.features.regimes import market_returns
from trading.sessions import SessionCalendar
from trading.strategies.base import StrictSettings
from trading.strategies.screener import ScreenTrace

if TYPE_CHECKING:
    import pandas as pd

# Rates of exchange have no closing bell: a day's value counts as known when the day is over.
_AROUND_THE_CLOCK = frozenset({"USDKRW"})
# Over a week-end with a holiday on either side a rate is at most so old.
_RATE_AGE = timedelta(days=5)


class PremarketSettings(StrictSettings):
    """What is looked at before the open, and what is warned of; windows in sessions or own bars."""

    watched: Mapping[Market, tuple[str, ...]] = {
        Market.KRX: ("KOSDAQ", "S&P 500", "NASDAQ", "PHLX_SOX", "VIX", "USDKRW"),
        Market.US: ("NASDAQ", "PHLX_SOX", "VIX", "KOSPI", "KOSDAQ", "USDKRW"),
    }
    short_average: int = Field(default=50, ge=2)
    long_average: int = Field(default=200, ge=3)
    extreme: int = Field(default=252, ge=2)
    volatility: int = Field(default=20, ge=2)
    volatility_history: int = Field(default=756, ge=20)
    leaders: int = Field(default=10, ge=0)
    warn_volatility: float = Field(default=0.9, gt=0, le=1)
    warn_breadth: float = Field(default=0.2, ge=0, lt=1)
    warn_fall: float = Field(default=0.02, gt=0)
    warn_rate: float = Field(default=0.01, gt=0)
    warn_vix: float = Field(default=30.0, gt=0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Recorded closes of an index, oldest first; ``market`` is whose bell ends its day.

    ``None`` for a rate that is quoted around the clock.
    """

    name: str
    market: Market | None
    days: DateArray
    close: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """The market as a whole at the last close; ``None`` where the history is too short.

    ``level`` in points, ``None`` when it was not recorded that day. On ``stand_ins`` of the last
    sessions (those of the long average) the return is that of the names, not of the index.
    Changes over 1, 5 and 20 sessions, ``trend`` (distance from the long average), ``drawdown`` and
    ``annual_volatility`` are fractions, ``volatility_place`` the share of the history with a
    volatility not above today's.
    """

    name: str
    level: float | None
    stand_ins: int
    changes: Mapping[str, float | None]
    trend: float | None
    drawdown: float | None
    annual_volatility: float | None
    volatility_place: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breadth:
    """How many of the names that traded in the last session take part.

    Shares are of the names with enough own bars; ``None`` when none has (``idle``: without a screen). ``highs`` and ``lows``
    count closes at the extreme of the window. ``idle`` names are listed and did not trade.
    """

    names: int
    idle: int | None
    advanced: int
    declined: int
    unchanged: int
    above_short: float | None
    above_long: float | None
    highs: int
    lows: int
    with_extremes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The last close of a series that was known before the open.

    ``change`` is over its own last session; ``since_close`` over everything that came since the
    home market's last close (``None`` for a series of the home market). ``None`` where one of the
    closes was not recorded.
    """

    name: str
    day: date
    close: float
    change: float | None
    since_close: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """A name that is traded much: ``value`` in currency units, ``volume_ratio`` 1 is usual."""

    symbol: str
    value: int
    volume_ratio: float | None
    selected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketReport:
    """What is known before the open of ``session``; ``as_of`` is the last session in the data."""

    market: Market
    session: date
    as_of: date
    index: IndexState
    breadth: Breadth
    regime: str
    regime_probability: Mapping[str, float]
    value_leaders: tuple[Leader, ...]
    volume_leaders: tuple[Leader, ...]
    moves: tuple[Move, ...]
    absent: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        body = asdict(self)
        body["market"] = str(self.market)
        body["session"], body["as_of"] = str(self.session), str(self.as_of)
        for move in body["moves"]:
            move["day"] = str(move["day"])
        return body

    def text(self) -> str:
        """Return the report as lines in Korean."""
        return "\n".join(_lines(self))


def analyze(
    bars: Bars,
    session: date,
    settings: PremarketSettings,
    *,
    calendars: Mapping[Market, SessionCalendar],
    regime: str,
    regime_probability: Mapping[str, float],
    traces: Sequence[ScreenTrace] = (),
    series: Sequence[Series] = (),
) -> MarketReport:
    """Return the state of the market of ``bars`` as it was known before ``session`` opened.

    Parameters
    ----------
    bars : Bars
        Rows on or after ``session`` are not looked at.
    calendars : mapping
        Sessions and hours of every market whose series are given, and of this one: a close is
        known when its market's bell came before this market's opening.
    regime, regime_probability : str and mapping
        The regime at the last close and the filtered probability of each state.
    traces : sequence of ScreenTrace
        The screen of the last close: where the leaders come from.
    series : sequence of Series
        Recorded indices and rates; those of ``watched`` that are missing are said to be absent.

    Raises
    ------
    MissingDataError
        If the panel has no row before the session.
    """
    panel = bars.panel
    row = int(np.searchsorted(panel.sessions, np.datetime64(session, "D"))) - 1
    if row < 0:
        raise MissingDataError(f"{session} 전의 일봉이 없음")
    calendar = calendars[panel.market]
    as_of: date = panel.sessions[row].astype(object)
    moves, absent = _moves(session, settings.watched[panel.market], calendar, calendars, series)
    index = _index_state(bars, row, settings, calendar.sessions_per_year)
    breadth = _breadth(bars, row, settings, traces)
    if index.stand_ins:
        absent.insert(
            0,
            f"{index.name or '지수'}: 최근 {settings.long_average}거래일 중 {index.stand_ins}일은 "
            "기록되지 않아 종목 평균 수익률로 대신함",
        )
    if (last := calendar.previous(session)) != as_of:
        absent.insert(0, f"일봉: 직전 거래일 {last}의 기록이 없어 {as_of}까지만 봄")
    return MarketReport(
        market=panel.market,
        session=session,
        as_of=as_of,
        index=index,
        breadth=breadth,
        regime=regime,
        regime_probability={
            name: _rounded(p) for name, p in regime_probability.items() if math.isfinite(p)
        },
        value_leaders=_leaders(traces, "value_rank", settings.leaders),
        volume_leaders=_leaders(traces, "volume_rank", settings.leaders),
        moves=tuple(moves),
        absent=tuple(absent),
        warnings=tuple(_warnings(index, breadth, regime, moves, settings)),
    )


def series_of(frame: "pd.DataFrame", market: Market) -> list[Series]:
    """Return the series of a frame of ``schema.INDEX`` rows of one market, by name."""
    found = []
    for name, rows in frame.sort_values(["name", "session"]).groupby("name", observed=True):
        found.append(
            Series(
                name=str(name),
                market=None if name in _AROUND_THE_CLOCK else market,
                days=rows["session"].to_numpy().astype("datetime64[D]"),
                close=rows["close"].to_numpy(dtype=np.float64),
            )
        )
    return found


# ---- the home market -------------------------------------------------------------------------


def _index_state(
    bars: Bars, row: int, settings: PremarketSettings, sessions_per_year: int
) -> IndexState:
    panel = bars.panel.until(row + 1)
    returns, from_index = market_returns(panel)
    level = panel.benchmark[row]
    finite = np.isfinite(returns)
    known = returns[finite]
    vols = _volatilities(known, settings)
    path = _path(known, settings.long_average)
    high = _path(known, settings.extreme)
    enough = len(vols) >= min(settings.volatility_history, sessions_per_year)
    return IndexState(
        name=panel.benchmark_name,
        level=float(level) if np.isfinite(level) else None,
        stand_ins=int((~from_index[finite])[-settings.long_average :].sum()),
        changes={str(k): _change(known, k) for k in (1, 5, 20)},
        trend=_rounded(path[-1] / path.mean() - 1.0) if path is not None else None,
        drawdown=_rounded(high[-1] / high.max() - 1.0) if high is not None else None,
        annual_volatility=(
            _rounded(vols[-1] * math.sqrt(sessions_per_year)) if len(vols) > 0 else None
        ),
        volatility_place=_rounded((vols <= vols[-1]).mean()) if enough else None,
    )


def _volatilities(returns: FloatArray, settings: PremarketSettings) -> FloatArray:
    """Return the volatility of each session of the history, rounded."""
    window = settings.volatility
    past = returns[-(settings.volatility_history + window - 1) :]
    if len(past) < window:
        return np.empty(0)
    squares = np.lib.stride_tricks.sliding_window_view(past**2, window)
    vols: FloatArray = np.round(np.sqrt(squares.mean(axis=1)), SCORE_DECIMALS)
    return vols


def _path(returns: FloatArray, sessions: int) -> FloatArray | None:
    """Return the last ``sessions`` levels, beginning at 1; ``None`` when there are fewer."""
    if len(returns) < sessions - 1:
        return None
    steps = 1.0 + returns[len(returns) - (sessions - 1) :]
    return np.concatenate([[1.0], np.cumprod(steps)])


def _change(returns: FloatArray, sessions: int) -> float | None:
    path = _path(returns, sessions + 1)
    return None if path is None else _rounded(path[-1] - 1.0)


def _rounded(value: float) -> float:
    return round(float(value), SCORE_DECIMALS)


def _breadth(
    bars: Bars, row: int, settings: PremarketSettings, traces: Sequence[ScreenTrace]
) -> Breadth:
    panel = bars.panel
    counts = _count(
        panel.close[: row + 1],
        bars.valid[: row + 1],
        bars.tradable[row] & bars.valid[row],
        settings.short_average,
        settings.long_average,
        settings.extreme,
    )
    names, up, down, short, above_short, long, above_long, extreme, highs, lows = counts.tolist()
    return Breadth(
        names=names,
        idle=sum(trace.price > 0 for trace in traces) - names if traces else None,
        advanced=up,
        declined=down,
        unchanged=names - up - down,
        above_short=_rounded(above_short / short) if short else None,
        above_long=_rounded(above_long / long) if long else None,
        highs=highs,
        lows=lows,
        with_extremes=extreme,
    )


@njit(cache=True, nogil=True)
def _count(
    close: FloatArray, valid: BoolArray, trades: BoolArray, short: int, long: int, extreme: int
) -> IntArray:
    """Count over the own bars of each name, from the last row back."""
    n, m = close.shape
    out = np.zeros(10, dtype=np.int64)
    for i in range(m):
        if not trades[i]:
            continue
        out[0] += 1
        last = close[n - 1, i]
        seen, total, top, bottom = 0, 0.0, last, last
        for back in range(n):
            t = n - 1 - back
            if not valid[t, i]:
                continue
            price = close[t, i]
            seen += 1
            total += price
            if seen == 2:
                out[1] += last > price
                out[2] += last < price
            if seen == short:
                out[3] += 1
                out[4] += np.round(last * short / total - 1.0, SCORE_DECIMALS) > 0.0
            if seen == long:
                out[5] += 1
                out[6] += np.round(last * long / total - 1.0, SCORE_DECIMALS) > 0.0
            if seen <= extreme:
                top = max(top, price)
                bottom = min(bottom, price)
            if seen == extreme:
                out[7] += 1
                out[8] += last >= top
                out[9] += last <= bottom
            if seen >= max(short, long, extreme):
                break
    return out


def _leaders(traces: Sequence[ScreenTrace], rank: str, count: int) -> tuple[Leader, ...]:
    ranked = [trace for trace in traces if getattr(trace, rank) is not None]
    ranked.sort(key=lambda trace: int(getattr(trace, rank)))
    return tuple(
        Leader(
            symbol=trace.symbol,
            value=trace.value,
            volume_ratio=trace.volume_ratio,
            selected=trace.selected,
        )
        for trace in ranked[:count]
    )


# ---- elsewhere -------------------------------------------------------------------------------


def _moves(
    session: date,
    watched: Sequence[str],
    home: SessionCalendar,
    calendars: Mapping[Market, SessionCalendar],
    series: Sequence[Series],
) -> tuple[list[Move], list[str]]:
    """Return the last known close of each watched series, and what of them was not recorded."""
    by_name = {one.name: one for one in series}
    opening = home.open_close(session)[0]
    closing = home.open_close(home.previous(session))[1]
    moves, absent = [], []
    for name in watched:
        one = by_name.get(name)
        if one is None or (one.market is not None and one.market not in calendars):
            absent.append(f"{name}: 기록 없음")
            continue
        calendar = calendars[one.market] if one.market is not None else None
        last = _last_known(calendar, opening, home)
        k = _at(one, last, exact=calendar is not None)
        if k is None:
            absent.append(f"{name}: {last} 종가가 기록되지 않음")
            continue
        before = calendar.previous(last) if calendar is not None else _day(one, k) - timedelta(1)
        since = None
        if one.market is not home.market:
            base = _last_known(calendar, closing, home)
            since = _step(one, _at(one, base, exact=calendar is not None), k)
        moves.append(
            Move(
                name=name,
                day=_day(one, k),
                close=float(one.close[k]),
                change=_step(one, _at(one, before, exact=calendar is not None), k),
                since_close=since,
            )
        )
    return moves, absent


def _last_known(calendar: SessionCalendar | None, instant: datetime, home: SessionCalendar) -> date:
    """Return the last day whose close was known at ``instant``."""
    if calendar is None:
        return instant.astimezone(home.timezone).date() - timedelta(days=1)
    day = instant.astimezone(calendar.timezone).date()
    if calendar.is_session(day) and calendar.open_close(day)[1] <= instant:
        return day
    return calendar.previous(day)


def _at(series: Series, day: date, *, exact: bool) -> int | None:
    """Return where the close of ``day`` stands; not ``exact``: the last one up to it, if recent."""
    k = int(np.searchsorted(series.days, np.datetime64(day, "D"), side="right")) - 1
    if k < 0 or not np.isfinite(series.close[k]):
        return None
    age = day - _day(series, k)
    return k if age <= (timedelta(0) if exact else _RATE_AGE) else None


def _day(series: Series, k: int) -> date:
    day: date = series.days[k].astype("datetime64[D]").astype(object)
    return day


def _step(series: Series, start: int | None, end: int) -> float | None:
    if start is None or series.close[start] <= 0.0:
        return None
    return _rounded(series.close[end] / series.close[start] - 1.0)


# ---- words -----------------------------------------------------------------------------------


def _warnings(
    index: IndexState,
    breadth: Breadth,
    regime: str,
    moves: Sequence[Move],
    settings: PremarketSettings,
) -> Iterator[str]:
    if regime == "turbulent":
        yield "시장 국면이 불안정합니다."
    fall = index.changes["1"]
    if fall is not None and fall <= -settings.warn_fall:
        yield f"{index.name or '시장'} 지수가 {percent_text(fall)} 내렸습니다."
    place = index.volatility_place
    if place is not None and place >= settings.warn_volatility:
        yield f"변동성이 지난 기록의 {100 * place:.0f} % 자리에 있습니다."
    if breadth.above_long is not None and breadth.above_long <= settings.warn_breadth:
        yield (
            f"{settings.long_average}일 평균 위에 있는 종목이 "
            f"{percent_text(breadth.above_long, signed=False, digits=0)}뿐입니다."
        )
    if breadth.idle is not None and breadth.idle > breadth.names:
        yield f"직전 거래일에 거래가 없던 종목이 {breadth.idle:,}개입니다. 자료를 확인하십시오."
    for move in moves:
        change = move.since_close if move.since_close is not None else move.change
        if move.name == "VIX":
            if move.close >= settings.warn_vix:
                yield f"VIX가 {move.close:.1f}입니다 (기준 {settings.warn_vix:g})."
        elif change is None:
            continue
        elif move.name in _AROUND_THE_CLOCK:
            if abs(change) >= settings.warn_rate:
                yield f"{move.name} 환율이 {percent_text(change)} 움직였습니다."
        elif change <= -settings.warn_fall:
            yield f"{move.name} 지수가 {percent_text(change)} 내렸습니다."


def _lines(report: MarketReport) -> Iterator[str]:
    index, breadth = report.index, report.breadth
    yield f"{MARKET_TEXT[report.market]} 시장 {report.session} 장전 ({report.as_of} 종가 기준)"
    level = f"{index.level:,.2f}" if index.level is not None else "기록 없음"
    changes = " · ".join(
        f"{sessions}일 {percent_text(change)}" for sessions, change in index.changes.items()
    )
    yield f"  지수 {index.name or '(없음)'} {level}: {changes}"
    yield (
        f"  장기 평균 대비 {percent_text(index.trend)}, 1년 고점 대비 {percent_text(index.drawdown)}, "
        f"연 변동성 {percent_text(index.annual_volatility, signed=False, digits=1)} "
        f"(과거의 {percent_text(index.volatility_place, signed=False, digits=0)} 자리)"
    )
    probability = ", ".join(
        f"{REGIME_TEXT.get(name, name)} {percent_text(p, signed=False, digits=0)}"
        for name, p in report.regime_probability.items()
    )
    regime = REGIME_TEXT.get(report.regime, "알 수 없음")
    likeliest = max(report.regime_probability.values(), default=0.0)
    if report.regime_probability.get(report.regime, likeliest) < likeliest:
        # Another one is likelier, but not by as much as a change needs.
        regime += " 유지"
    yield f"  국면 {regime}" + (f" ({probability})" if probability else "")
    yield (
        f"  거래된 {breadth.names:,}종목: 상승 {breadth.advanced:,} · 하락 {breadth.declined:,} · "
        f"보합 {breadth.unchanged:,}; 단기 평균 위 {_share(breadth.above_short)}, "
        f"장기 평균 위 {_share(breadth.above_long)}; 신고가 {breadth.highs:,} · "
        f"신저가 {breadth.lows:,}"
        + (f"; 거래 없음 {breadth.idle:,}" if breadth.idle is not None else "")
    )
    for move in report.moves:
        since = ""
        if move.since_close is not None and move.since_close != move.change:
            since = f", 직전 마감 뒤 {percent_text(move.since_close)}"
        yield f"  {move.name} {move.close:,.2f} ({move.day}): {percent_text(move.change)}{since}"
    for title, leaders in (
        ("거래대금 상위", report.value_leaders),
        ("거래량 급증", report.volume_leaders),
    ):
        if leaders:
            yield f"  {title}: " + ", ".join(_leader(leader) for leader in leaders)
    yield from (f"  주의: {warning}" for warning in report.warnings)
    yield from (f"  기록 없음: {what}" for what in report.absent)


def _share(value: float | None) -> str:
    return percent_text(value, signed=False, digits=0)


def _leader(leader: Leader) -> str:
    ratio = f" {leader.volume_ratio:.1f}배" if leader.volume_ratio is not None else ""
    return f"{leader.symbol}{ratio}{' (선정)' if leader.selected else ''}"
