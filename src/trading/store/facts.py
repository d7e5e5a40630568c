"""What was known of instruments besides their bars, as grids beside a panel (``domain.Facts``).

Figures of many sources under few names, each from the day on which it was public. What is made
of them is in ``features.factors``.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.arrays import DateArray, FloatArray, IntArray
from trading.domain.instrument import Instrument, Market
from trading.domain.market import Facts, PriceBasis
from trading.store import schema
from trading.store.fundamentals import known
from trading.store.universe import SEEN_WITHIN

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from trading.ports import BulkSource
    from trading.store.lake import Lake

# Ratios of a price and a figure per share, as yields: a loss has a yield, but no multiple.
_YIELDS = ("book_yield", "earnings_yield", "dividend_yield")
_OF_RATIO = {"pbr": "book_yield", "per": "earnings_yield", "div_yield": "dividend_yield"}
_PER_SHARE = {"bps": "book_yield", "eps": "earnings_yield", "dps": "dividend_yield"}
# Each source has its own name for the same figure of a statement.
_STATEMENT = {
    "total_assets": "total_assets",
    "assets": "total_assets",
    "total_liabilities": "total_liabilities",
    "liabilities": "total_liabilities",
    "operating_cash_flow": "operating_cash_flow",
    "cf_operating": "operating_cash_flow",
    "gross_profit": "gross_profit",
    "sales_growth": "sales_growth",
    "ebitda_growth": "ebitda_growth",
}
_STATEMENTS = tuple(dict.fromkeys(_STATEMENT.values()))
_WANTED = (*_OF_RATIO, *_PER_SHARE, *_STATEMENT)
_COLUMNS = ["symbol", "metric", "period", "published", "value", "rule"]

# Daily bars of one session, of the named symbols.
_BarsOf = Callable[[date, Sequence[str]], "pd.DataFrame"]


def facts_of(
    lake: "Lake",
    market: Market,
    sessions: Sequence[date] | DateArray,
    symbols: Sequence[str],
    *,
    scheme: str | None = None,
) -> Facts:
    """Return what the lake knew of the symbols at the close of each session.

    Parameters
    ----------
    sessions : sequence of date
        The panel's rows, ascending.
    symbols : sequence of str
        The panel's columns.
    scheme : str, optional
        Classification of the kind ``sectors``, whose last snapshot by then counts, and the first
        one later where there was none. By default the sector that the instrument carries today.

    Returns
    -------
    Facts
        ``fundamentals`` holds the yields ``book_yield``, ``earnings_yield`` and
        ``dividend_yield`` at the price of the day ``ratios_as_of``, and ``total_assets``,
        ``total_liabilities``, ``operating_cash_flow``, ``gross_profit`` (currency units),
        ``sales_growth`` and ``ebitda_growth`` (as the source defines them) of the period that
        ended on ``statements_as_of``, and ``market_value`` as last listed on
        ``market_value_as_of`` (currency units); days are counted from 1970. A figure that the newest
        publication leaves out is NaN, not that of the one before. Metrics that nobody published
        are absent.
    """
    days = np.asarray(sessions, dtype="datetime64[D]")
    if not len(days):
        return Facts.none(0, len(symbols))
    rows = lake.table(
        market, "fundamentals", columns=_COLUMNS, symbols=symbols, last=days[-1].item()
    )
    return _facts(
        rows,
        lake.table(
            market,
            "listings",
            columns=["session", "symbol", "market_cap"],
            symbols=symbols,
            first=days[0].item() - SEEN_WITHIN,
            last=days[-1].item(),
        ),
        lake.table(market, "sectors") if scheme is not None else None,
        lake.instruments(market),
        days,
        symbols,
        market,
        scheme,
        lambda day, names: lake.frame(market, "daily", symbols=names, first=day, last=day),
    )


def facts_from(
    source: "BulkSource",
    market: Market,
    sessions: Sequence[date] | DateArray,
    symbols: Sequence[str],
    *,
    scheme: str | None = None,
) -> Facts:
    """Return what a source knew of the symbols at the close of each session; see ``facts_of``."""
    days = np.asarray(sessions, dtype="datetime64[D]")
    if not len(days):
        return Facts.none(0, len(symbols))
    last = days[-1].item()
    return _facts(
        rows_of(source, "fundamentals", market, symbols, date.min, last),
        rows_of(source, "listings", market, symbols, days[0].item() - SEEN_WITHIN, last),
        rows_of(source, "sectors", market, symbols, date.min, last) if scheme is not None else None,
        source.instruments(market),
        days,
        symbols,
        market,
        scheme,
        lambda day, names: source.daily(market, names, day, day),
    )


def rows_of(
    source: "BulkSource",
    kind: str,
    market: Market,
    symbols: Sequence[str],
    first: date,
    last: date,
) -> "pa.Table":
    """Return the rows of a kind that nothing hangs on; none where the source lacks it."""
    if kind not in source.kinds(market):
        return schema.kind_named(kind).arrow().empty_table()
    return source.table(kind, market, symbols, first, last)


def _facts(
    rows: "pa.Table",
    listings: "pa.Table",
    snapshots: "pa.Table | None",
    instruments: Iterable[Instrument],
    days: DateArray,
    symbols: Sequence[str],
    market: Market,
    scheme: str | None,
    bars_of: _BarsOf,
) -> Facts:
    if snapshots is not None and scheme is not None:
        sectors, names, of_the_day = _dated_sectors(snapshots, scheme, days, symbols)
    else:
        sectors, names = _todays_sectors(instruments, days, symbols)
        of_the_day = not names
    return Facts(
        sectors=sectors,
        sector_names=names,
        sectors_of_the_day=of_the_day,
        fundamentals={
            **_fundamentals(rows, days, symbols, market, bars_of),
            **market_values(listings, days, symbols),
        },
    )


def market_values(
    listings: "pa.Table", sessions: DateArray, symbols: Sequence[str]
) -> dict[str, FloatArray]:
    """Return ``market_value`` as last listed by each close, and ``market_value_as_of``.

    Arrays ``(n_sessions, n_symbols)``, NaN before the first listing; the day is counted from
    1970. Nothing where no listing tells a value.
    """
    frame = listings.select(["session", "symbol", "market_cap"]).to_pandas()
    frame = frame.dropna(subset=["market_cap"]).sort_values("session", kind="stable")
    place = {symbol: column for column, symbol in enumerate(symbols)}
    column = frame["symbol"].astype(str).map(place).to_numpy(dtype=np.float64)
    day = frame["session"].to_numpy().astype("datetime64[D]")
    row = np.searchsorted(sessions.astype("datetime64[D]"), day)
    value = frame["market_cap"].to_numpy(dtype=np.float64)
    told = np.isfinite(column) & (value > 0.0) & (row < len(sessions))
    if not told.any():
        return {}
    # Rows are in the order of their days: of two for one session the later one is kept.
    latest = np.full((len(sessions), len(symbols)), -1, dtype=np.int64)
    latest[row[told], column[told].astype(np.int64)] = np.flatnonzero(told)
    np.maximum.accumulate(latest, axis=0, out=latest)
    known = latest >= 0
    return {
        "market_value": np.where(known, value[latest], np.nan),
        "market_value_as_of": np.where(known, day.astype(np.int64)[latest], np.nan),
    }


# ---- fundamentals --------------------------------------------------------------------------


def _fundamentals(
    rows: "pa.Table", days: DateArray, symbols: Sequence[str], market: Market, bars_of: _BarsOf
) -> dict[str, FloatArray]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pc.is_in(rows["metric"].cast(pa.string()), value_set=pa.array(_WANTED))
    frame = rows.select(_COLUMNS).filter(wanted).to_pandas()
    frame["symbol"] = frame["symbol"].astype(str)
    frame["metric"] = frame["metric"].astype(str)
    ratios = pd.concat(
        [_published_yields(frame), _priced_yields(frame, market, bars_of)], ignore_index=True
    )
    statements = frame[frame["metric"].isin(list(_STATEMENT))].copy()
    statements["metric"] = statements["metric"].map(_STATEMENT)
    return {
        **_newest(ratios, _YIELDS, "ratios_as_of", days, symbols),
        **_newest(statements, _STATEMENTS, "statements_as_of", days, symbols),
    }


def _published_yields(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the exchange's own ratios, which are of the session they were published for."""
    found = frame[frame["metric"].isin(list(_OF_RATIO))].copy()
    # The payout comes in percent, the others as multiples.
    payout = found["metric"] == "div_yield"
    found["value"] = np.where(payout, found["value"] / 100.0, 1.0 / found["value"])
    found["metric"] = found["metric"].map(_OF_RATIO)
    found["period"] = found["published"]
    kept: pd.DataFrame = found[np.isfinite(found["value"])]
    return kept


def _priced_yields(frame: "pd.DataFrame", market: Market, bars_of: _BarsOf) -> "pd.DataFrame":
    """Return yields of figures per share that came without a ratio, at their day's close.

    Only prices as traded tell: an adjusted one is of another number of shares.
    """
    given = frame[frame["metric"].isin(list(_OF_RATIO))]
    priced = set(zip(given["symbol"], given["published"], strict=True))
    found = frame[frame["metric"].isin(list(_PER_SHARE))].copy()
    bare = [at not in priced for at in zip(found["symbol"], found["published"], strict=True)]
    found = found[np.array(bare, dtype=np.bool_)].copy()
    unit = market.currency.minor_per_unit
    close: dict[tuple[str, object], float] = {}
    for day, group in found.groupby("published"):
        bars = bars_of(_day(day), sorted(set(group["symbol"])))
        bars = bars[bars["basis"].astype(str) == str(PriceBasis.RAW)]
        for symbol, price in zip(bars["symbol"].astype(str), bars["close"], strict=True):
            close[symbol, day] = float(price) / unit
    at = zip(found["symbol"], found["published"], strict=True)
    found["value"] = found["value"] / np.array([close.get(key, np.nan) for key in at])
    found["metric"] = found["metric"].map(_PER_SHARE)
    found["period"] = found["published"]
    kept: pd.DataFrame = found[np.isfinite(found["value"])]
    return kept


def _newest(
    rows: "pd.DataFrame",
    metrics: Sequence[str],
    as_of: str,
    days: DateArray,
    symbols: Sequence[str],
) -> dict[str, FloatArray]:
    """Return the metrics of the newest period that was public, and its last day as ``as_of``."""
    present = [name for name in metrics if (rows["metric"] == name).any()]
    if not present:
        return {}
    sessions = days.tolist()
    found: dict[str, FloatArray] = {}
    ends: dict[str, IntArray] = {}
    newest = np.full((len(days), len(symbols)), np.iinfo(np.int32).min, dtype=np.int32)
    for name in present:
        # One at a time: of a whole market the grids that are not kept would fill the memory.
        one = known(rows[rows["metric"] == name], [name], sessions, symbols)
        end = one.periods[name]
        number = end.astype("datetime64[D]").astype(np.int64)
        number[np.isnat(end)] = np.iinfo(np.int32).min
        found[name], ends[name] = one.values[name], number.astype(np.int32)
        np.maximum(newest, ends[name], out=newest)
    for name in present:
        found[name][ends[name] != newest] = np.nan
    found[as_of] = np.where(newest > np.iinfo(np.int32).min, newest.astype(np.float64), np.nan)
    return found


def _day(value: object) -> date:
    return np.datetime64(value, "D").astype(object)  # type: ignore[call-overload,no-any-return]


# ---- sectors -------------------------------------------------------------------------------


def _todays_sectors(
    instruments: Iterable[Instrument], days: DateArray, symbols: Sequence[str]
) -> tuple[IntArray, tuple[str, ...]]:
    """Return the sectors that the instruments carry, the same in every row."""
    sector = {item.symbol: item.sector for item in instruments}
    mine = [sector.get(symbol) for symbol in symbols]
    names = tuple(sorted({name for name in mine if name is not None}))
    number = {name: n for n, name in enumerate(names)}
    row = np.array([-1 if name is None else number[name] for name in mine], dtype=np.int64)
    return np.broadcast_to(row, (len(days), len(symbols))), names


def _dated_sectors(
    rows: "pa.Table", scheme: str, days: DateArray, symbols: Sequence[str]
) -> tuple[IntArray, tuple[str, ...], bool]:
    """Return the sectors of the last snapshot by each day, and whether no later one was used."""
    place = {symbol: column for column, symbol in enumerate(symbols)}
    snapshots = sorted(
        (row["as_of"], row["symbol"], row["sector"])
        for row in rows.select(["symbol", "scheme", "as_of", "sector"]).to_pylist()
        if row["scheme"] == scheme and row["symbol"] in place
    )
    names = tuple(sorted({sector for _, _, sector in snapshots}))
    number = {name: n for n, name in enumerate(names)}
    first = np.full(len(symbols), -1, dtype=np.int64)
    changes: list[tuple[int, int, int]] = []
    of_the_day = True
    for as_of, symbol, sector in snapshots:
        column, code = place[symbol], number[sector]
        row = int(np.searchsorted(days, np.datetime64(as_of, "D")))
        if first[column] == -1:
            first[column] = code
            of_the_day = of_the_day and row == 0
        elif row < len(days):
            changes.append((row, column, code))
        if row == 0:
            first[column] = code
    if not changes:
        return np.broadcast_to(first, (len(days), len(symbols))), names, of_the_day
    grid = np.tile(first, (len(days), 1))
    for row, column, code in changes:
        grid[row:, column] = code
    return grid, names, of_the_day
