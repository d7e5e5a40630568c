"""Which instruments exist on a day and in which sector, as it was known on that day.

What is known without a data vendor comes from ``config/universe.yaml``. Screening by price,
liquidity or factors belongs to ``strategies.screener``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.rules import shipped_config_dir
from trading.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from trading.domain.arrays import DateArray, IntArray
    from trading.store.lake import Lake

_FILE = "universe.yaml"
# A halted name keeps its rows, so a board that was not seen for so long is the instrument's own.
SEEN_WITHIN = timedelta(days=31)
# A whole market has more names than this; fewer were picked, and picked afterwards.
_WHOLE_MARKET = 500
# At least this share of the names leaves a market in a year. Of the 2,240 in the official
# cross-sections of KOSPI and KOSDAQ of 2021-2024, 143 were gone by 2025: 1.6 % a year. More leave
# the American exchanges, by takeover. A bound must be below what any year brings.
_LEAVING_A_YEAR = {Market.KRX: 0.005, Market.US: 0.02}
# Fewer that should have left prove nothing.
_TELLING = 3
# So many names do not leave on one day: there a vendor's record ends.
_LEAVING_A_DAY = 5


class InstrumentFact(BaseModel):
    """What is known of an instrument whose data source does not say it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange: Exchange
    name: str
    sector: str | None = None


class UniverseSettings(BaseModel):
    """``config/universe.yaml``: exchanges traded, benchmarks, and facts of single instruments."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchanges: dict[Market, tuple[Exchange, ...]]
    benchmark: dict[Market, str]
    instruments: dict[str, InstrumentFact] = Field(default_factory=dict)

    def exchange(self, symbol: str) -> Exchange:
        """Return the listing exchange; ``ConfigError`` when no fact names it."""
        try:
            return self.instruments[symbol].exchange
        except KeyError:
            raise ConfigError(
                f"{symbol}의 거래소를 알 수 없음: config/{_FILE}의 instruments에 적어 주세요"
            ) from None


@cache
def shipped_universe() -> UniverseSettings:
    """Return the universe file that comes with the program."""
    return read_universe(shipped_config_dir() / _FILE)


def read_universe(path: Path) -> UniverseSettings:
    """Return the settings in ``path``; ``ConfigError`` when they are not valid."""
    try:
        return UniverseSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"설정 파일이 없음: {path}") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"설정 파일 오류: {path}: {error}") from error


# ---- membership ----------------------------------------------------------------------------


def members(lake: "Lake", market: Market, on: date) -> list[Instrument]:
    """Return the instruments that were listed on a day, by symbol, as they were known then.

    Listed on or before it and not gone before it, on the board of that day; names that left
    since are members as long as they were there. Sectors and later endings are left out: they
    were not known.
    """
    seen = [
        lake.table(
            market,
            kind,
            columns=["session", "symbol", "exchange"],
            first=on - SEEN_WITHIN,
            last=on,
        ).to_pylist()
        for kind in ("daily", "listings")
    ]
    boards = {
        row["symbol"]: row["exchange"]
        for row in sorted(chain.from_iterable(seen), key=lambda row: row["session"])
    }
    return [
        replace(
            item,
            exchange=Exchange(boards.get(item.symbol, item.exchange)),
            sector=None,
            delisted=None,
        )
        for item in lake.instruments(market)
        if _is_alive(item, on)
    ]


# ---- sectors -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sectors:
    """The sector of each symbol; ``lookahead`` names those that were not known on the day."""

    of: dict[str, str]
    lookahead: frozenset[str] = frozenset()


def sectors(
    lake: "Lake", market: Market, on: date, *, scheme: str, lookahead: bool = False
) -> Sectors:
    """Return the sectors of a scheme as the last snapshot on or before a day tells them.

    With ``lookahead`` a symbol without such a snapshot gets the first one after the day, and is
    named: a result that uses it looks ahead.
    """
    rows = lake.table(market, "sectors", columns=["symbol", "scheme", "as_of", "sector"])
    found: dict[str, tuple[date, str]] = {}
    for row in sorted(rows.to_pylist(), key=lambda row: row["as_of"]):
        if row["scheme"] != scheme:
            continue
        before = found.get(row["symbol"])
        if row["as_of"] <= on or (lookahead and before is None):
            found[row["symbol"]] = row["as_of"], row["sector"]
    return Sectors(
        of={symbol: sector for symbol, (_, sector) in found.items()},
        lookahead=frozenset(symbol for symbol, (as_of, _) in found.items() if as_of > on),
    )


# ---- designations --------------------------------------------------------------------------


def standings(listings: "pa.Table", sessions: "DateArray", symbols: Sequence[str]) -> "IntArray":
    """Return how the exchange designated each name at the close of each session.

    Parameters
    ----------
    listings : pyarrow.Table
        Rows of ``schema.LISTINGS`` from some weeks before the first session to the last one.

    Returns
    -------
    ndarray of shape (n_sessions, n_instruments)
        ``strategies.screener.Standing`` values. What a listing says holds until the next one of
        the name, for 31 days at most; from then on, and where it says nothing, ``UNKNOWN``.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from trading.strategies.screener import Standing

    days = sessions.astype("datetime64[D]")
    listings = listings.sort_by("session")
    day = listings["session"].to_numpy().astype("datetime64[D]")
    row = np.searchsorted(days, day)
    place = pc.index_in(
        listings["symbol"].cast(pa.string()), value_set=pa.array(list(symbols), pa.string())
    )
    column = pc.fill_null(place, -1).to_numpy()
    warned = pc.index_in(
        listings["warning"].cast(pa.string()),
        value_set=pa.array([standing.text for standing in Standing], pa.string()),
    )
    # The texts stand in the order of the values, which begin at -1.
    standing = pc.fill_null(warned, 0).to_numpy().astype(np.int64) + Standing.UNKNOWN
    administered = pc.if_else(
        listings["is_administrative"], int(Standing.ADMINISTRATIVE), int(Standing.NORMAL)
    )
    standing = np.maximum(standing, pc.fill_null(administered, int(Standing.UNKNOWN)).to_numpy())

    shape = (len(days), len(symbols))
    out = np.full(shape, int(Standing.UNKNOWN), dtype=np.int64)
    used = np.flatnonzero((column >= 0) & (row < len(days)))
    if used.size == 0:
        return out
    told = np.full(shape, -1, dtype=np.int64)
    # A day off counts for the next session; of several listings of a session the last one.
    told[row[used], column[used]] = used
    np.maximum.accumulate(told, axis=0, out=told)
    is_recent = days[:, None] - day[told] <= np.timedelta64(SEEN_WITHIN)
    np.copyto(out, standing[told], where=(told >= 0) & is_recent)
    return out


# ---- survivorship --------------------------------------------------------------------------


class Survival(StrEnum):
    """Whether a record holds the names that did not survive."""

    FREE = "free"
    BIASED = "biased"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivorship:
    """A verdict on a range of a record, with its reason as a user reads it."""

    verdict: Survival
    reason: str

    @property
    def text(self) -> str:
        """The verdict as a sentence."""
        return f"{_SURVIVAL_TEXT[self.verdict]} ({self.reason})"


_SURVIVAL_TEXT = {
    Survival.FREE: "없음",
    Survival.BIASED: "있음, 실제보다 좋게 보일 수 있습니다",
    Survival.UNKNOWN: "알 수 없음",
}


def survivorship(
    market: Market,
    instruments: Iterable[Instrument],
    first: date,
    last: date,
    *,
    are_chosen: bool = False,
) -> Survivorship:
    """Return whether the instruments of a record can stand for their market in a range.

    A market loses names all the time: a year in which (almost) none left a whole market's record
    is a year whose losers are missing. Names whose record ends on one and the same day did not
    leave; the record did.

    Parameters
    ----------
    market : Market
        Whose usual losses count.
    instruments : iterable of Instrument
        Everything the record holds of the market, not only what is traded.
    first, last : date
        The range that is used.
    are_chosen : bool, default=False
        Whether a user named the instruments.
    """
    known = [item for item in instruments if item.listed is not None]
    if are_chosen:
        return Survivorship(verdict=Survival.BIASED, reason="종목을 골라서 쓴 기록")
    if not known:
        return Survivorship(verdict=Survival.UNKNOWN, reason="상장일을 알 수 없는 기록")
    alive = [sum(_is_alive(item, day) for item in known) for day in (first, last)]
    if max(alive) < _WHOLE_MARKET:
        return Survivorship(
            verdict=Survival.BIASED, reason=f"시장 전체가 아닌 {max(alive):,}종목만의 기록"
        )
    ends = Counter(item.delisted for item in known if item.delisted is not None)
    leaving = [day for day, count in ends.items() if count <= _LEAVING_A_DAY]
    poor, expected_in_all = [], 0.0
    for start, end in _years(first, last):
        names = sum(_is_alive(item, start) for item in known)
        expected = names * _LEAVING_A_YEAR[market] * ((end - start).days + 1) / 365
        expected_in_all += expected
        left = sum(ends[day] for day in leaving if start <= day <= end)
        if expected >= _TELLING and left < expected:
            poor.append(start)
    if expected_in_all < _TELLING:
        return Survivorship(
            verdict=Survival.UNKNOWN, reason="기간이 짧아 사라진 종목이 담겼는지 알 수 없음"
        )
    if poor:
        return Survivorship(
            verdict=Survival.BIASED,
            reason=f"사라진 종목이 빠진 기록 ({len(poor)}년, 처음은 {poor[0].year}년)",
        )
    return Survivorship(verdict=Survival.FREE, reason="사라진 종목도 담긴 기록")


def _is_alive(item: Instrument, on: date) -> bool:
    return (item.listed is None or item.listed <= on) and (
        item.delisted is None or on <= item.delisted
    )


def _years(first: date, last: date) -> Iterator[tuple[date, date]]:
    """Yield the range in years that begin with its first day; the last one may be shorter."""
    start = first
    while start <= last:
        end = min(start + timedelta(days=364), last)
        yield start, end
        start = end + timedelta(days=1)
