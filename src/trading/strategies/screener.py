"""The daily screen: which names may be bought, and why the others may not.

Filters first, then the most traded names and those whose volume surges, then the best of these
by factor score, with at most so many of a sector. Which symbols exist at all, and how the
exchange designates them, is ``store.universe``; the scores are ``features.factors``.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numba import njit
from pydantic import Field

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.instrument import Currency, Exchange, Market
from trading.domain.market import RawPanel
from trading.features import statistics
from trading.features.cross_section import SCORE_DECIMALS
from trading.features.factors import FACTORS, FactorScores
from trading.features.indicators import Bars
from trading.measures import known
from trading.strategies.base import StrictSettings


class Standing(IntEnum):
    """What the exchange says of a name, in the order of gravity; of several the gravest counts."""

    UNKNOWN = -1
    NORMAL = 0
    CAUTION = 1
    ALERT = 2
    WARNING = 3
    DANGER = 4
    ADMINISTRATIVE = 5
    LIQUIDATION = 6

    @property
    def text(self) -> str:
        """What the user reads."""
        return _STANDINGS[self]


_STANDINGS = {
    Standing.UNKNOWN: "기록 없음",
    Standing.NORMAL: "정상",
    Standing.CAUTION: "투자주의",
    Standing.ALERT: "투자주의환기종목",
    Standing.WARNING: "투자경고",
    Standing.DANGER: "투자위험",
    Standing.ADMINISTRATIVE: "관리종목",
    Standing.LIQUIDATION: "정리매매",
}


class ScreenSettings(StrictSettings):
    """The daily screen of one market; prices and values in units of its currency.

    0 switches ``leaders``, ``surges``, ``top`` and ``sector_cap`` off.
    """

    min_price: float = Field(ge=0)
    min_bars: int = Field(ge=1)
    value_sessions: int = Field(default=20, ge=1)
    min_value: float = Field(ge=0)
    halt_sessions: int = Field(default=5, ge=1)
    gravest: Literal[
        "normal", "caution", "alert", "warning", "danger", "administrative", "liquidation"
    ] = "caution"
    leaders: int = Field(ge=0)
    surges: int = Field(ge=0)
    surge_bars: int = Field(default=20, ge=2)
    min_surge: float = Field(default=2.0, ge=0)
    top: int = Field(ge=0)
    buffer: float = Field(default=0.25, ge=0)
    sector_cap: int = Field(ge=0)
    min_names: int = Field(default=5, ge=2)

    def kept_to(self, count: int) -> int:
        """Return the last rank at which a name that was selected stays among ``count``."""
        # The tiny addend: 40 × 1.15 is 45.99… in binary.
        return int(count * (1.0 + self.buffer) + 1e-9)


DEFAULT_SCREENS: Mapping[Market, ScreenSettings] = {
    Market.US: ScreenSettings(
        min_price=5.0, min_bars=60, min_value=1e6, leaders=0, surges=0, top=0, sector_cap=0
    ),
    Market.KRX: ScreenSettings(
        min_price=1000.0, min_bars=60, min_value=1e9, leaders=200, surges=50, top=40, sector_cap=8
    ),
}


class ScreenReason(IntEnum):
    """Why a name is in or out; the first rule that it fails, in the order of ``_ORDER``."""

    SELECTED = 0
    NOT_TRADABLE = 1
    TOO_YOUNG = 2
    PRICE_TOO_LOW = 3
    VALUE_TOO_LOW = 4
    NOT_A_LEADER = 5
    NO_SCORE = 6
    BELOW_TOP = 7
    OTHER_EXCHANGE = 8
    HALTED = 9
    RECENTLY_HALTED = 10
    DESIGNATED = 11
    SECTOR_FULL = 12

    @property
    def text(self) -> str:
        """What the user reads."""
        return _TEXTS[self]


_TEXTS = {
    ScreenReason.SELECTED: "선정",
    ScreenReason.OTHER_EXCHANGE: "매매하지 않는 거래소",
    ScreenReason.NOT_TRADABLE: "거래 불가",
    ScreenReason.HALTED: "거래 정지",
    ScreenReason.RECENTLY_HALTED: "최근 거래 정지",
    ScreenReason.DESIGNATED: "시장 조치 종목",
    ScreenReason.TOO_YOUNG: "상장 기간 부족",
    ScreenReason.PRICE_TOO_LOW: "최소 주가 미달",
    ScreenReason.VALUE_TOO_LOW: "평균 거래대금 미달",
    ScreenReason.NOT_A_LEADER: "거래대금·거래량 순위 밖",
    ScreenReason.NO_SCORE: "팩터 점수 없음",
    ScreenReason.SECTOR_FULL: "업종 한도 참",
    ScreenReason.BELOW_TOP: "팩터 점수 순위 밖",
}

_SELECTED = int(ScreenReason.SELECTED)
_OTHER_EXCHANGE = int(ScreenReason.OTHER_EXCHANGE)
_NOT_TRADABLE = int(ScreenReason.NOT_TRADABLE)
_HALTED = int(ScreenReason.HALTED)
_RECENTLY_HALTED = int(ScreenReason.RECENTLY_HALTED)
_DESIGNATED = int(ScreenReason.DESIGNATED)
_TOO_YOUNG = int(ScreenReason.TOO_YOUNG)
_PRICE_TOO_LOW = int(ScreenReason.PRICE_TOO_LOW)
_VALUE_TOO_LOW = int(ScreenReason.VALUE_TOO_LOW)
_NOT_A_LEADER = int(ScreenReason.NOT_A_LEADER)
_NO_SCORE = int(ScreenReason.NO_SCORE)
_SECTOR_FULL = int(ScreenReason.SECTOR_FULL)
_BELOW_TOP = int(ScreenReason.BELOW_TOP)

# Those that passed every filter compete for a rank.
_COMPETING = (_SELECTED, _NOT_A_LEADER, _NO_SCORE, _SECTOR_FULL, _BELOW_TOP)
_SCORED = (_SELECTED, _SECTOR_FULL, _BELOW_TOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenTrace:
    """Why one name is in or out of one session's screen, with what was measured.

    ``value`` is the mean traded value in currency units, ``price`` minor units as traded, ``age``
    own bars, ``volume_ratio`` the last bar's volume over its usual one. Ranks count from 1 among
    the names that passed the filters (``score_rank``: among the leaders with a score); ``None``
    where a name has no rank or a figure was not recorded. ``was_selected`` is the session before.
    """

    symbol: str
    selected: bool
    was_selected: bool
    reason: str
    text: str
    price: int
    age: int
    value: int
    value_rank: int | None
    volume_ratio: float | None
    volume_rank: int | None
    scores: Mapping[str, float | None]
    composite: float | None
    score_rank: int | None
    sector: str | None
    standing: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Screen:
    """The screen of every session of a panel, with what it was measured on.

    Arrays have shape ``(n_sessions, n_instruments)``: ``reason`` holds ``ScreenReason`` values,
    ``value`` the mean traded value in currency units, ``volume_ratio`` NaN where a name has no
    usual volume, ``standing`` ``Standing`` values (``None``: nothing recorded).
    """

    symbols: tuple[str, ...]
    settings: ScreenSettings
    currency: Currency
    reason: IntArray
    price: IntArray
    age: IntArray
    value: IntArray
    volume_ratio: FloatArray
    halted: BoolArray
    factors: FactorScores
    standing: IntArray | None
    sectors: IntArray
    sector_names: tuple[str, ...]
    sectors_of_the_day: bool

    @property
    def selected(self) -> BoolArray:
        """Names that may be bought, per session."""
        chosen: BoolArray = self.reason == _SELECTED
        return chosen

    def trace(self, row: int = -1) -> list[ScreenTrace]:
        """Return for each symbol why it is in or out at ``row``, in the order of the columns."""
        return list(_traces(self, range(len(self.reason))[row]))

    def notes(self, row: int = -1) -> list[str]:
        """Return what the screen of ``row`` could not look at, as a user reads it."""
        return list(_notes(self, range(len(self.reason))[row]))


def screen(
    bars: Bars,
    raw: RawPanel,
    settings: ScreenSettings,
    *,
    factors: FactorScores,
    exchanges: Collection[Exchange] = tuple(Exchange),
    standing: IntArray | None = None,
) -> Screen:
    """Return the screen of every session of ``bars``; ``raw`` may go on for longer.

    Every session by itself: filters (one of ``exchanges``, traded and not halted for
    ``halt_sessions``, no graver ``standing`` than allowed, listing age in own bars, price as
    traded, mean traded value); of what is left the ``leaders`` largest by traded value and the
    ``surges`` largest by volume over its usual one; of these the ``top`` by composite score.
    Those selected the session before come first, while they rank within ``(1 + buffer)`` times
    ``leaders`` and ``top``; the best of the others follow, never more than ``sector_cap`` of a
    known sector. With fewer than ``min_names`` names with a score all leaders are selected.

    Parameters
    ----------
    factors : FactorScores
        ``composite`` ranks; NaN has no score.
    standing : ndarray of shape (n_sessions, n_instruments), optional
        ``Standing`` values as known at each session's close; ``UNKNOWN`` passes.

    Notes
    -----
    What was selected the session before matters, so a row depends on all rows back to the first
    of the panel, and on none after it. Equal values keep the order of the columns.

    A wider rank to stay than to enter is the buy/hold spread of [1]_, who find it the cheapest
    way to save turnover. A name leaves by its own rank only, never because another came.

    References
    ----------
    .. [1] Novy-Marx, R. and Velikov, M. (2016). "A Taxonomy of Anomalies and Their Trading
       Costs." Review of Financial Studies, 29(1), 104-147.
    """
    n, m = bars.shape
    unit = raw.market.currency.minor_per_unit
    elsewhere = np.array([exchange not in exchanges for exchange in raw.exchanges], dtype=np.bool_)
    allowed = Standing[settings.gravest.upper()]
    designated = standing > allowed if standing is not None else np.zeros((n, m), dtype=np.bool_)
    price = np.ascontiguousarray(raw.close[:n])
    reason, value, halted = _filter(
        price,
        np.ascontiguousarray(raw.volume[:n]),
        bars.tradable,
        np.ascontiguousarray(raw.tradable[:n]),
        bars.age,
        elsewhere,
        designated,
        unit,
        settings.halt_sessions,
        settings.min_bars,
        settings.min_price * unit,
        settings.value_sessions,
        settings.min_value,
    )
    ratio = np.round(statistics.volume_ratio(bars, settings.surge_bars), SCORE_DECIMALS)
    facts = bars.facts
    if settings.leaders > 0 or settings.top > 0:
        _select(
            reason,
            value,
            ratio,
            np.round(factors.composite, SCORE_DECIMALS),
            np.ascontiguousarray(facts.sectors),
            len(facts.sector_names),
            settings.leaders,
            settings.kept_to(settings.leaders),
            settings.surges,
            settings.min_surge,
            settings.top,
            settings.kept_to(settings.top),
            settings.sector_cap,
            settings.min_names,
        )
    return Screen(
        symbols=raw.symbols,
        settings=settings,
        currency=raw.market.currency,
        reason=reason,
        price=price,
        age=bars.age,
        value=value,
        volume_ratio=ratio,
        halted=halted,
        factors=factors,
        standing=standing,
        sectors=facts.sectors,
        sector_names=facts.sector_names,
        sectors_of_the_day=facts.sectors_of_the_day,
    )


@njit(cache=True, nogil=True)
def _filter(
    close: IntArray,
    volume: IntArray,
    traded: BoolArray,
    legal: BoolArray,
    age: IntArray,
    elsewhere: BoolArray,
    designated: BoolArray,
    unit: int,
    halt_sessions: int,
    min_bars: int,
    min_price: float,
    value_sessions: int,
    min_value: float,
) -> tuple[IntArray, IntArray, BoolArray]:
    """Return the first filter that each name fails, its mean traded value, and its halts.

    Whole currency units keep the running sum of decades far below 2**63; a session without a
    bar counts as 0.
    """
    n, m = close.shape
    reason = np.empty((n, m), dtype=np.int64)
    value = np.empty((n, m), dtype=np.int64)
    halted = np.zeros((n, m), dtype=np.bool_)
    total = np.zeros(m, dtype=np.int64)
    last_halt = np.full(m, -halt_sessions, dtype=np.int64)
    for t in range(n):
        listed = 0
        alive = 0
        for i in range(m):
            listed += close[t, i] > 0
            alive += close[t, i] > 0 and traded[t, i]
        # A session that most of the market lacks is a hole in the record, and no halt.
        is_hole = 2 * alive < listed
        for i in range(m):
            total[i] += close[t, i] * volume[t, i] // unit
            if t >= value_sessions:
                total[i] -= close[t - value_sessions, i] * volume[t - value_sessions, i] // unit
            value[t, i] = total[i] // value_sessions
            if close[t, i] > 0 and not traded[t, i] and not is_hole:
                halted[t, i] = True
                last_halt[i] = t
            if elsewhere[i]:
                reason[t, i] = _OTHER_EXCHANGE
            elif halted[t, i]:
                reason[t, i] = _HALTED
            elif not traded[t, i] or not legal[t, i]:
                reason[t, i] = _NOT_TRADABLE
            elif t - last_halt[i] < halt_sessions:
                reason[t, i] = _RECENTLY_HALTED
            elif designated[t, i]:
                reason[t, i] = _DESIGNATED
            elif age[t, i] + 1 < min_bars:
                reason[t, i] = _TOO_YOUNG
            elif close[t, i] < min_price:
                reason[t, i] = _PRICE_TOO_LOW
            elif value[t, i] < min_value:
                reason[t, i] = _VALUE_TOO_LOW
            else:
                reason[t, i] = _SELECTED
    return reason, value, halted


@njit(cache=True, nogil=True)
def _select(
    reason: IntArray,
    value: IntArray,
    ratio: FloatArray,
    score: FloatArray,
    sectors: IntArray,
    n_sectors: int,
    leaders: int,
    leaders_kept: int,
    surges: int,
    min_surge: float,
    top: int,
    top_kept: int,
    sector_cap: int,
    min_names: int,
) -> None:
    """Take out of ``reason`` who is no leader, has no score, or is not among the best by it."""
    n, m = reason.shape
    held = np.zeros(m, dtype=np.bool_)
    taken = np.zeros(max(n_sectors, 1), dtype=np.int64)
    for t in range(n):
        names = np.flatnonzero(reason[t] == _SELECTED)
        if 0 < leaders < len(names):
            for i in names:
                reason[t, i] = _NOT_A_LEADER
            # Merge sort is stable: equal values keep the order of the columns.
            largest = names[np.argsort(-value[t][names], kind="mergesort")]
            for rank, i in enumerate(largest[:leaders_kept]):
                if rank < leaders or held[i]:
                    reason[t, i] = _SELECTED
            # NaN fails the comparison.
            surging = names[ratio[t][names] >= min_surge]
            for k in np.argsort(-ratio[t][surging], kind="mergesort")[:surges]:
                reason[t, surging[k]] = _SELECTED
            names = np.flatnonzero(reason[t] == _SELECTED)
        known = np.isfinite(score[t][names])
        if top > 0 and known.sum() >= min_names:
            for i in names[~known]:
                reason[t, i] = _NO_SCORE
            names = names[known]
            best = names[np.argsort(-score[t][names], kind="mergesort")]
            for i in best:
                reason[t, i] = _BELOW_TOP
            taken[:] = 0
            room = top
            for incumbents in (True, False):
                for i in best[:top_kept] if incumbents else best:
                    if room == 0:
                        break
                    if reason[t, i] == _SELECTED or (incumbents and not held[i]):
                        continue
                    s = sectors[t, i]
                    if sector_cap > 0 and s >= 0:
                        if taken[s] == sector_cap:
                            reason[t, i] = _SECTOR_FULL
                            continue
                        taken[s] += 1
                    reason[t, i] = _SELECTED
                    room -= 1
        held[:] = reason[t] == _SELECTED


# ---- the trace -------------------------------------------------------------------------------


def _traces(found: Screen, row: int) -> Iterator[ScreenTrace]:
    reason = found.reason[row]
    competing = np.isin(reason, _COMPETING)
    ratio = found.volume_ratio[row]
    composite = np.round(found.factors.composite[row], SCORE_DECIMALS)
    value_rank = _ranks(found.value[row], competing)
    volume_rank = _ranks(ratio, competing & np.isfinite(ratio))
    score_rank = _ranks(composite, np.isin(reason, _SCORED) & np.isfinite(composite))
    factors = {name: getattr(found.factors, name)[row] for name in FACTORS}
    for i, symbol in enumerate(found.symbols):
        sector = int(found.sectors[row, i])
        standing = Standing.UNKNOWN
        if found.standing is not None:
            standing = Standing(int(found.standing[row, i]))
        ranks = [int(rank[i]) or None for rank in (value_rank, volume_rank, score_rank)]
        yield ScreenTrace(
            symbol=symbol,
            selected=bool(reason[i] == _SELECTED),
            was_selected=bool(row > 0 and found.reason[row - 1, i] == _SELECTED),
            reason=ScreenReason(int(reason[i])).name,
            text=_sentence(found, row, i, standing, *ranks),
            price=int(found.price[row, i]),
            age=int(found.age[row, i]) + 1,
            value=int(found.value[row, i]),
            value_rank=ranks[0],
            volume_ratio=known(ratio[i]),
            volume_rank=ranks[1],
            scores={name: known(score[i]) for name, score in factors.items()},
            composite=known(composite[i]),
            score_rank=ranks[2],
            sector=found.sector_names[sector] if sector >= 0 else None,
            standing=standing.text,
        )


def _ranks(values: "FloatArray | IntArray", taking_part: BoolArray) -> IntArray:
    """Return places from 1, the largest first, as ``_select`` orders them; 0 takes no part."""
    names = np.flatnonzero(taking_part)
    out = np.zeros(len(values), dtype=np.int64)
    out[names[np.argsort(-values[names], kind="stable")]] = np.arange(1, len(names) + 1)
    return out


def _sentence(
    found: Screen,
    row: int,
    i: int,
    standing: Standing,
    value_rank: int | None,
    volume_rank: int | None,
    score_rank: int | None,
) -> str:
    """Return the reason with the numbers that decided."""
    used, reason = found.settings, ScreenReason(int(found.reason[row, i]))
    unit = found.currency.minor_per_unit
    match reason:
        case ScreenReason.SELECTED:
            return _selected(found, row, i, score_rank)
        case ScreenReason.NOT_TRADABLE:
            if found.price[row, i] == 0:
                return "거래 불가: 상장 전이거나 상장 폐지"
            return "거래 불가: 그날의 기록이 없거나 가격이 호가 단위에 맞지 않음"
        case ScreenReason.HALTED:
            return "거래 정지: 마지막 거래일에 거래 없음"
        case ScreenReason.RECENTLY_HALTED:
            ago = row - int(np.flatnonzero(found.halted[: row + 1, i])[-1])
            return f"최근 거래 정지: {ago}거래일 전 (제외 기간 {used.halt_sessions}거래일)"
        case ScreenReason.DESIGNATED:
            return f"시장 조치 종목: {standing.text}"
        case ScreenReason.TOO_YOUNG:
            return f"상장 기간 {found.age[row, i] + 1}봉 < 하한 {used.min_bars}봉"
        case ScreenReason.PRICE_TOO_LOW:
            price, least = found.price[row, i] / unit, used.min_price
            return f"주가 {_amount(price, found.currency)} < 하한 {_amount(least, found.currency)}"
        case ScreenReason.VALUE_TOO_LOW:
            value, least = int(found.value[row, i]), used.min_value
            return (
                f"평균 거래대금 {_value(value, found.currency)} < "
                f"하한 {_value(least, found.currency)}"
            )
        case ScreenReason.NOT_A_LEADER:
            ratio = found.volume_ratio[row, i]
            surge = f"{ratio:.2f}배" if np.isfinite(ratio) else "기록 없음"
            place = f" ({volume_rank}위)" if volume_rank is not None else ""
            text = f"거래대금 {value_rank}위 > {used.leaders}위"
            if used.surges == 0:
                return text
            return f"{text}, 거래량 {surge}{place}: {used.min_surge:g}배 이상 {used.surges}위 밖"
        case ScreenReason.NO_SCORE:
            return "팩터 점수 없음: 네 팩터 모두 자료 없음"
        case ScreenReason.SECTOR_FULL:
            sector = found.sector_names[int(found.sectors[row, i])]
            return f"업종 한도 참: {sector} {used.sector_cap}종목 (팩터 점수 {score_rank}위)"
        case ScreenReason.BELOW_TOP if score_rank is not None and score_rank > used.top:
            return f"팩터 점수 {score_rank}위 > {used.top}위"
        case ScreenReason.BELOW_TOP:
            return f"팩터 점수 {score_rank}위: {used.kept_to(used.top)}위 안의 전날 선정 종목이 자리를 지킴"
        case _:
            return reason.text


def _selected(found: Screen, row: int, i: int, score_rank: int | None) -> str:
    used = found.settings
    if used.top == 0:
        return "선정: 필터를 모두 통과 (점수 선별 끔)"
    known = np.isfinite(found.factors.composite[row])
    scored = int((np.isin(found.reason[row], _SCORED) & known).sum())
    if scored < used.min_names:
        return f"선정: 점수가 있는 종목이 {used.min_names}개 미만이라 통과한 종목을 모두 선정"
    score = found.factors.composite[row, i]
    text = f"팩터 점수 {score:+.2f}, {scored}종목 중 {score_rank}위"
    if row > 0 and found.reason[row - 1, i] == _SELECTED and (score_rank or 0) > used.top:
        return f"선정 유지: {text} (전날 선정, {used.kept_to(used.top)}위까지 유지)"
    return f"선정: {text}"


def _amount(value: float, currency: Currency) -> str:
    return f"{value:,.0f}원" if currency is Currency.KRW else f"${value:,.2f}"


def _value(value: float, currency: Currency) -> str:
    """Return an amount of money in short, never rounded up to the bound that it missed."""
    if currency is Currency.KRW:
        size, word = (1e8, "억 원") if value >= 1e8 else (1e4, "만 원")
    else:
        size, word = (1e6, "백만 달러") if value >= 1e6 else (1.0, "달러")
    return f"{math.floor(value / size * 10.0) / 10.0:,.1f}".removesuffix(".0") + word


def _notes(found: Screen, row: int) -> Iterator[str]:
    used = found.settings
    listed = found.price[row] > 0
    if found.standing is None or not (found.standing[row] > Standing.UNKNOWN)[listed].any():
        yield "관리종목·투자경고·정리매매: 기록이 없어 거르지 못함"
    elif missing := int((found.standing[row] == Standing.UNKNOWN)[listed].sum()):
        yield f"관리종목·투자경고·정리매매: {missing:,}종목은 기록이 없어 거르지 못함"
    if used.top == 0:
        return
    names = np.isin(found.reason[row], _COMPETING)
    absent = [
        word
        for name, word in _FACTORS.items()
        if not np.isfinite(getattr(found.factors, name)[row][names]).any()
    ]
    if absent:
        yield f"{'·'.join(absent)} 팩터: 그날까지 공개된 자료가 없어 나머지 팩터로 나눔"
    if used.sector_cap > 0 and (unknown := int((found.sectors[row][names] < 0).sum())):
        yield f"업종: {unknown:,}종목은 기록이 없어 업종 한도를 적용하지 못함"
    capped = used.sector_cap > 0 and not found.sectors_of_the_day
    if capped or not found.factors.sectors_of_the_day:
        yield "업종: 그날의 것이 아니라 나중의 한 시점 분류"


_FACTORS = {"value": "가치", "quality": "우량", "momentum": "모멘텀", "growth": "성장"}


def screen_body(found: Screen, row: int = -1) -> dict[str, Any]:
    """Return the screen of one session as plain values: counts, changes, notes, all traces."""
    traces = found.trace(row)
    counts = Counter(trace.reason for trace in traces)
    return {
        "currency": str(found.currency),
        "selected": counts[ScreenReason.SELECTED.name],
        "entered": [t.symbol for t in traces if t.selected and not t.was_selected],
        "left": [t.symbol for t in traces if t.was_selected and not t.selected],
        "reasons": {reason.name: counts[reason.name] for reason in _TEXTS if counts[reason.name]},
        "notes": found.notes(row),
        "names": [asdict(trace) for trace in traces],
    }


def screen_text(body: Mapping[str, Any], *, symbols: Collection[str] = ()) -> str:
    """Return a ``screen_body`` as lines in Korean: the selected names, or the ``symbols`` asked."""
    names = {name["symbol"]: name for name in body["names"]}
    asked = [name for name in names.values() if name["symbol"] in symbols]
    shown = asked if symbols else [name for name in names.values() if name["selected"]]
    shown.sort(key=lambda name: (name["score_rank"] is None, name["score_rank"] or 0))
    lines = [f"선정 {body['selected']:,}종목 / 전체 {len(names):,}종목"]
    lines += [f"  {name['symbol']:<8} {name['text']}" for name in shown]
    if body["entered"]:
        lines.append(f"  새로 선정: {', '.join(body['entered'])}")
    lines += [f"  선정에서 빠짐: {symbol} {names[symbol]['text']}" for symbol in body["left"]]
    lines += [
        f"  제외 {ScreenReason[reason].text}: {count:,}종목"
        for reason, count in body["reasons"].items()
        if reason != ScreenReason.SELECTED.name
    ]
    lines += [f"  참고: {note}" for note in body["notes"]]
    return "\n".join(lines)
