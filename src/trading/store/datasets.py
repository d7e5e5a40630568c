"""Recorded market data as bar sources: the embedded package data, and a folder of Parquet files.

Bars that KIS serves come through ``broker``. Nothing here fills, smooths or invents a row.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import PriceBasis
from trading.errors import MissingDataError, UsageError
from trading.log import get_logger
from trading.store import schema
from trading.store.adjust import infer_actions
from trading.store.universe import UniverseSettings, shipped_universe

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = get_logger(__name__)

_EMBEDDED_SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


class EmbeddedSource:
    """Five US stocks, 2000-03-01 to 2013-03-01, as traded, from ``bokeh_sampledata``.

    Adjusted closes come along, and corporate actions are inferred from them. The benchmark is
    the S&P 500 price index that ``arch`` ships.
    """

    name = "embedded"
    basis = PriceBasis.RAW

    def __init__(self, universe: UniverseSettings | None = None) -> None:
        self._universe = universe or shipped_universe()

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return the five stocks; ``listed`` is the first recorded session of each."""
        if market is not Market.US:
            return []
        return _instruments(self._bars, self._universe)

    def daily(self, market: Market, symbols: Sequence[str] | None, first: date, last: date) -> Any:
        """Return the recorded bars in the range, by symbol and session."""
        if market is not Market.US:
            return schema.empty(schema.DAILY_BARS)
        return _between(self._bars, first, last, symbols)

    def minute(self, market: Market, session: date, symbols: Sequence[str]) -> Any:
        """Return an empty frame: no intraday bars are embedded."""
        return schema.empty(schema.MINUTE_BARS)

    def minute_sessions(self, market: Market) -> list[date]:
        """Return no session: no intraday bars are embedded."""
        return []

    def index(self, market: Market, first: date, last: date) -> Any:
        """Return the close of the S&P 500 price index."""
        if market is not Market.US:
            return schema.empty(schema.INDEX)
        return _between(self._index, first, last)

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return the splits and dividends inferred from raw and adjusted closes."""
        if market is not Market.US:
            return []
        return [action for action in self._actions if first <= action.ex_date <= last]

    def sessions(self, market: Market) -> list[date]:
        """Return every recorded session, oldest first."""
        if market is not Market.US:
            return []
        return _days(self._bars["session"])

    @cached_property
    def _bars(self) -> "pd.DataFrame":
        import bokeh_sampledata.stocks as package
        import pandas as pd

        minor = Market.US.currency.minor_per_unit
        frames = []
        for symbol in _EMBEDDED_SYMBOLS:
            rows = pd.DataFrame(getattr(package, symbol))
            # Prices carry at most four decimals, so minor units hold them exactly.
            prices = {name: _minor(rows[name], minor) for name in ("open", "high", "low", "close")}
            frames.append(
                pd.DataFrame(
                    {
                        "session": pd.to_datetime(rows["date"]),
                        "symbol": symbol,
                        "exchange": self._universe.exchange(symbol).value,
                        **prices,
                        "volume": rows["volume"],
                        "adj_close": rows["adj_close"],
                    }
                )
            )
        frame = pd.concat(frames, ignore_index=True)
        return _finished(frame, basis=PriceBasis.RAW.value, source="bokeh_sampledata")

    @cached_property
    def _index(self) -> "pd.DataFrame":
        import pandas as pd
        from arch.data import sp500

        rows = sp500.load()
        frame = pd.DataFrame(
            {
                "session": pd.to_datetime(rows.index).to_numpy(),
                "name": self._universe.benchmark[Market.US],
                "close": rows["Close"].to_numpy(dtype=np.float64),
            }
        )
        return schema.conform(frame, schema.INDEX)

    @cached_property
    def _actions(self) -> list[CorporateAction]:
        return infer_actions(
            self._bars,
            minor_per_unit=Market.US.currency.minor_per_unit,
            source="bokeh_sampledata",
        )


# First session whose symbols may be recorded in the continuation file (MANIFEST).
_KRX_CONTINUED = date(2025, 1, 24)
# A KRX instrument whose last bar is this long before the end of the record has been delisted.
_DELISTED_AFTER_DAYS = 30
_SOURCE_ERROR = 2  # flags bit: high/low inconsistent by more than vendor rounding
_COMPLETE_MINUTES = "full_day_matches_daily"
_KRX_EXCHANGES = {
    "KOSPI": Exchange.KOSPI,
    "KOSDAQ": Exchange.KOSDAQ,
    "KOSDAQ GLOBAL": Exchange.KOSDAQ,
}
_KRX_COLUMNS = [
    "date", "symbol", "open", "high", "low", "close", "volume", "value", "flags", "source",
]  # fmt: skip
_OFFICIAL_COLUMNS = [
    "date", "symbol", "market", "open", "high", "low", "close", "volume", "value", "source",
]  # fmt: skip


class RecordedSource:
    """A folder of recorded KRX and US files (its MANIFEST.md says what each holds).

    KRX daily bars are the vendor's, adjusted for splits and rights. From the first day on which
    a symbol equals every official raw close that is at hand, later adjustments do not touch it:
    its rows are what was traded, ``basis`` "raw", and official rows take their place where they
    exist. All other rows are ``basis`` "adjusted". US daily bars are split-adjusted throughout.
    """

    name = "recorded"
    basis = PriceBasis.ADJUSTED

    def __init__(self, directory: Path, universe: UniverseSettings | None = None) -> None:
        if not directory.is_dir():
            raise UsageError(f"자료 폴더가 없음: {directory} (경로를 확인해 주세요)")
        self.directory = directory
        self._universe = universe or shipped_universe()

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return every instrument with bars; lives are from the first to the last recorded bar.

        KRX sectors are one snapshot of 2025-12.
        """
        return self._krx_instruments if market is Market.KRX else self._us_instruments

    def daily(self, market: Market, symbols: Sequence[str] | None, first: date, last: date) -> Any:
        """Return the recorded bars in the range, by symbol and session, each with its basis."""
        if market is Market.KRX:
            return self._krx_daily(symbols, first, last)
        return _between(self._us_bars, first, last, symbols)

    def minute(self, market: Market, session: date, symbols: Sequence[str]) -> Any:
        """Return the recorded bars with trades of one session (KRX one minute, US five)."""
        file, column, zone = self._minute_file(market)
        table = self._table(
            file,
            [column, "symbol", "open", "high", "low", "close", "volume", "source"],
            [
                (column, ">=", _midnight(session)),
                (column, "<", _midnight(session + timedelta(days=1))),
                ("symbol", "in", list(symbols)),
                ("volume", ">", 0),
            ],
        )
        frame = table.to_pandas()
        exchanges = {item.symbol: item.exchange.value for item in self.instruments(market)}
        frame["exchange"] = frame["symbol"].map(exchanges)
        frame = frame.loc[frame["exchange"].notna()].copy()
        frame["ts"] = frame[column].dt.tz_localize(zone).dt.tz_convert("UTC")
        frame["session"] = _midnight(session)
        if market is Market.US:
            for name in ("open", "high", "low", "close"):
                frame[name] = _minor(frame[name], market.currency.minor_per_unit)
        frame["fetched_at"] = None
        frame = frame.sort_values(["ts", "symbol"], ignore_index=True)
        return schema.conform(frame, schema.MINUTE_BARS)

    def minute_sessions(self, market: Market) -> list[date]:
        """Return every session with recorded intraday bars, oldest first."""
        file, column, _ = self._minute_file(market)
        stamps = self._table(file, [column])[column].to_numpy()
        return [schema.day(day) for day in np.unique(stamps.astype("datetime64[D]"))]

    def index(self, market: Market, first: date, last: date) -> Any:
        """Return the closes of the market's benchmark."""
        wanted = self._universe.benchmark[market]
        # The file names the S&P 500 without the blank.
        name = wanted.replace(" ", "")
        frame = self._table(
            "index_daily.parquet",
            ["date", "symbol", "close"],
            [
                ("symbol", "==", name),
                ("date", ">=", _midnight(first)),
                ("date", "<=", _midnight(last)),
            ],
        ).to_pandas()
        frame = frame.rename(columns={"date": "session", "symbol": "name"})
        frame["name"] = wanted
        return schema.conform(frame.sort_values("session", ignore_index=True), schema.INDEX)

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return the delistings; splits are inside the adjusted prices, dividends not recorded."""
        if market is not Market.KRX:
            return []
        return [action for action in self._delistings if first <= action.ex_date <= last]

    def sessions(self, market: Market) -> list[date]:
        """Return every session with recorded daily bars, oldest first."""
        if market is Market.US:
            return _days(self._us_bars["session"])
        return self._krx_sessions

    @cached_property
    def _krx_sessions(self) -> list[date]:
        import pyarrow.compute as pc

        found: set[date] = set()
        for file in ("krx_daily.parquet", "krx_daily_2025.parquet"):
            if (self.directory / file).is_file():
                found.update(pc.unique(self._table(file, ["date"])["date"]).to_pylist())
        return sorted(found)

    def _krx_daily(self, symbols: Sequence[str] | None, first: date, last: date) -> "pd.DataFrame":
        import pandas as pd

        frame = self._krx_vendor(first, last, symbols)
        # A row with volume but without open, high and low is no bar.
        usable = frame["symbol"].isin(self._krx_exchange.keys()) & (
            frame["open"].notna() | (frame["volume"] == 0)
        )
        if (left_out := int((~usable).sum())) > 0:
            log.warning("쓸 수 없는 봉 제외", market=Market.KRX.value, rows=left_out)
        frame = frame.loc[usable].reset_index(drop=True)
        day = frame["date"].to_numpy().astype("datetime64[D]")
        raw = day >= frame["symbol"].map(self._raw_since).to_numpy().astype("datetime64[D]")

        official = self._official(first, last)
        at = _positions(frame, official)
        replaced = raw & (at >= 0)
        at = at[replaced]
        ints = {}
        for name in ("open", "high", "low", "close", "volume"):
            ints[name] = frame[name].fillna(0).to_numpy(dtype=np.int64, copy=True)
            ints[name][replaced] = official[name].to_numpy(dtype=np.int64)[at]
        volume = ints.pop("volume")
        value = frame["value"].to_numpy(dtype=np.float64, copy=True)
        value[replaced] = official["value"].to_numpy(dtype=np.float64)[at]
        source = frame["source"].to_numpy(dtype=object, copy=True)
        source[replaced] = official["source"].to_numpy(dtype=object)[at]

        traded = volume > 0
        rounding = (frame["flags"].to_numpy() & _SOURCE_ERROR) == 0
        _clamp(ints, traded & rounding & ~replaced)
        for name in ("open", "high", "low"):
            ints[name][~traded] = 0  # a halt: only the carried close is a price
        return _finished(
            pd.DataFrame(
                {
                    "session": day.astype("datetime64[s]"),
                    "symbol": frame["symbol"],
                    "exchange": self._exchange_on(frame["symbol"], day),
                    **ints,
                    "volume": volume,
                    "value": pd.array(value, dtype="Float64").astype("Int64"),
                }
            ),
            basis=np.where(raw, PriceBasis.RAW.value, PriceBasis.ADJUSTED.value),
            source=source,
        )

    def _krx_vendor(
        self, first: date, last: date, symbols: Sequence[str] | None = None
    ) -> "pd.DataFrame":
        import pandas as pd

        filters: list[tuple[str, str, Any]] = [("date", ">=", first), ("date", "<=", last)]
        if symbols is not None:
            filters.append(("symbol", "in", list(symbols)))
        parts = [self._table("krx_daily.parquet", _KRX_COLUMNS, filters)]
        if last >= _KRX_CONTINUED and (self.directory / "krx_daily_2025.parquet").is_file():
            parts.append(self._table("krx_daily_2025.parquet", _KRX_COLUMNS, filters))
        frames = [part.to_pandas(date_as_object=False) for part in parts]
        if len(frames) == 1:
            whole: pd.DataFrame = frames[0]
            return whole
        joined: pd.DataFrame = pd.concat(frames)
        return joined.sort_values(["symbol", "date"], ignore_index=True)

    def _official(self, first: date, last: date) -> "pd.DataFrame":
        whole = self._whole_official
        inside = (whole["date"] >= np.datetime64(first)) & (whole["date"] <= np.datetime64(last))
        return whole.loc[inside]

    @cached_property
    def _whole_official(self) -> "pd.DataFrame":
        frame: pd.DataFrame = self._table(
            "krx_cross_section.parquet",
            _OFFICIAL_COLUMNS,
            [("market", "in", list(_KRX_EXCHANGES))],
        ).to_pandas(date_as_object=False)
        return frame.sort_values("date", kind="stable", ignore_index=True)

    @cached_property
    def _raw_since(self) -> dict[str, np.datetime64]:
        """From which day a symbol's vendor close is the traded one, by every comparison at hand."""
        import pandas as pd

        official = self._whole_official[["date", "symbol", "close"]]
        known = pd.concat([official, self._last_minutes()], ignore_index=True)
        days = sorted({schema.day(day) for day in known["date"].unique()})
        filters = [("date", "in", days)]
        parts = [self._table("krx_daily.parquet", ["date", "symbol", "close"], filters)]
        if (self.directory / "krx_daily_2025.parquet").is_file():
            parts.append(
                self._table("krx_daily_2025.parquet", ["date", "symbol", "close"], filters)
            )
        vendor = pd.concat(
            [part.to_pandas(date_as_object=False) for part in parts], ignore_index=True
        )
        at = _positions(known, vendor)
        known = known.loc[at >= 0].assign(
            equal=vendor["close"].to_numpy()[at[at >= 0]] == known["close"].to_numpy()[at >= 0]
        )
        unequal = known.loc[~known["equal"]].groupby("symbol")["date"].max()
        after = known["symbol"].map(unequal)
        since = known.loc[after.isna() | (known["date"] > after)].groupby("symbol")["date"].min()
        return {str(symbol): np.datetime64(day, "D") for symbol, day in since.items()}

    def _last_minutes(self) -> "pd.DataFrame":
        """Return the close of each complete intraday recording: a second witness of raw prices."""
        import pandas as pd

        if not (self.directory / "krx_minute.parquet").is_file():
            return pd.DataFrame({"date": [], "symbol": [], "close": []})
        frame = self._table(
            "krx_minute.parquet",
            ["ts_kst", "symbol", "close"],
            [("quality", "==", _COMPLETE_MINUTES), ("volume", ">", 0)],
        ).to_pandas()
        frame["date"] = frame["ts_kst"].dt.normalize()
        last = frame.groupby(["symbol", "date"])["ts_kst"].idxmax()
        closes: pd.DataFrame = frame.loc[last, ["date", "symbol", "close"]]
        return closes

    @cached_property
    def _krx_exchange(self) -> dict[str, str]:
        """Return the latest known exchange of each symbol."""
        listed = self._table("krx_symbols.parquet", ["symbol", "market"]).to_pandas()
        official = self._whole_official.drop_duplicates("symbol", keep="last")
        return {
            str(symbol): _KRX_EXCHANGES[market].value
            for frame in (official, listed)
            for symbol, market in zip(frame["symbol"], frame["market"], strict=True)
            if market in _KRX_EXCHANGES
        }

    @cached_property
    def _transfers(self) -> dict[str, tuple[np.datetime64, str]]:
        """Return for each symbol that moved when its new exchange is first seen, and the old one."""
        official = self._whole_official[["date", "symbol", "market"]].copy()
        official["market"] = official["market"].map(_KRX_EXCHANGES)
        moved = official.loc[official["market"] != official["symbol"].map(self._krx_exchange)]
        before = moved.groupby("symbol")[["date", "market"]].max()
        found = {}
        for symbol, row in before.iterrows():
            seen = official.loc[(official["symbol"] == symbol) & (official["date"] > row["date"])]
            since = seen["date"].min() if len(seen) else row["date"] + np.timedelta64(1, "D")
            found[str(symbol)] = (np.datetime64(since, "D"), str(row["market"]))
        return found

    def _exchange_on(self, symbols: "pd.Series[Any]", day: "np.ndarray") -> "np.ndarray":
        exchange = symbols.map(self._krx_exchange).to_numpy(dtype=object)
        for symbol, (since, before) in self._transfers.items():
            exchange[(symbols == symbol).to_numpy() & (day < since)] = before
        return exchange

    @cached_property
    def _krx_instruments(self) -> list[Instrument]:
        listed = self._table(
            "krx_symbols.parquet", ["symbol", "name", "first_date", "last_date", "holdout"]
        ).to_pandas()
        industry: dict[str, str] = {}
        if (self.directory / "krx_sectors.parquet").is_file():
            sectors = self._table("krx_sectors.parquet", ["symbol", "krx_industry_finda"])
            industry = (
                sectors.to_pandas().dropna().set_index("symbol")["krx_industry_finda"].to_dict()
            )
        ends = listed["last_date"].dropna().max() - timedelta(days=_DELISTED_AFTER_DAYS)
        return [
            Instrument(
                symbol=row.symbol,
                exchange=Exchange(self._krx_exchange[row.symbol]),
                name=row.name if isinstance(row.name, str) else "",
                sector=industry.get(row.symbol),
                listed=row.first_date,
                delisted=row.last_date if row.last_date < ends else None,
            )
            for row in listed.loc[listed["first_date"].notna()].itertuples(index=False)
            if row.symbol in self._krx_exchange
        ]

    @cached_property
    def _delistings(self) -> list[CorporateAction]:
        gone = {item.symbol: item.delisted for item in self._krx_instruments if item.delisted}
        closes = self._table(
            "krx_daily.parquet",
            ["date", "symbol", "close"],
            [("symbol", "in", list(gone)), ("date", "in", sorted(set(gone.values())))],
        ).to_pylist()
        last = {(row["symbol"], row["date"]): row["close"] for row in closes}
        sessions = np.array(self._krx_sessions, dtype="datetime64[D]")
        actions = []
        for symbol, day in sorted(gone.items()):
            after = int(np.searchsorted(sessions, np.datetime64(day, "D"), side="right"))
            actions.append(
                CorporateAction(
                    symbol=symbol,
                    ex_date=self._krx_sessions[after],
                    kind=ActionKind.DELISTING,
                    amount=int(last[symbol, day]),
                    source="krx_symbols",
                    inferred=True,
                )
            )
        return actions

    @cached_property
    def _us_bars(self) -> "pd.DataFrame":
        import pandas as pd

        rows = self._table(
            "us_daily.parquet",
            ["date", "symbol", "open", "high", "low", "close", "volume", "source"],
            [("symbol", "in", list(self._universe.instruments))],
        ).to_pandas(date_as_object=False)
        minor = Market.US.currency.minor_per_unit
        prices = {name: _minor(rows[name], minor) for name in ("open", "high", "low", "close")}
        volume = rows["volume"].to_numpy(dtype=np.int64)
        traded = volume > 0
        _clamp(prices, traded)
        for name in ("open", "high", "low"):
            prices[name][~traded] = 0
        facts = {symbol: fact.exchange.value for symbol, fact in self._universe.instruments.items()}
        frame = pd.DataFrame(
            {
                "session": rows["date"],
                "symbol": rows["symbol"],
                "exchange": rows["symbol"].map(facts),
                **prices,
                "volume": volume,
            }
        )
        return _finished(frame, basis=PriceBasis.ADJUSTED.value, source=rows["source"])

    @cached_property
    def _us_instruments(self) -> list[Instrument]:
        return _instruments(self._us_bars, self._universe)

    def _minute_file(self, market: Market) -> tuple[str, str, ZoneInfo]:
        zone = ZoneInfo(market.timezone_name)
        if market is Market.KRX:
            return "krx_minute.parquet", "ts_kst", zone
        return "us_minute.parquet", "ts_et", zone

    def _table(
        self,
        file: str,
        columns: list[str],
        filters: list[tuple[str, str, Any]] | None = None,
    ) -> "pa.Table":
        import pyarrow.parquet as pq

        path = self.directory / file
        if not path.is_file():
            raise MissingDataError(f"기록 파일이 없음: {path}")
        # An empty list of values has no type, which Arrow refuses; no row can match it.
        if any(operator == "in" and not values for _, operator, values in filters or []):
            return pq.read_schema(path).empty_table().select(columns)
        return pq.read_table(path, columns=columns, filters=filters)


def _instruments(bars: "pd.DataFrame", universe: UniverseSettings) -> list[Instrument]:
    """Return the instruments of the bars by symbol, with the facts of the configuration."""
    first = {str(symbol): day for symbol, day in bars.groupby("symbol")["session"].min().items()}
    return [
        Instrument(
            symbol=symbol,
            exchange=universe.exchange(symbol),
            name=universe.instruments[symbol].name,
            sector=universe.instruments[symbol].sector,
            listed=schema.day(first[symbol]),
        )
        for symbol in sorted(first)
    ]


def _finished(frame: "pd.DataFrame", *, basis: Any, source: Any) -> "pd.DataFrame":
    """Return the frame as ``DAILY_BARS``; recorded files were not fetched by us, at no instant."""
    for name in ("value", "adj_close", "fetched_at"):
        if name not in frame:
            frame[name] = None
    frame["basis"] = basis
    frame["source"] = source
    return schema.conform(frame, schema.DAILY_BARS)


def _between(
    frame: "pd.DataFrame", first: date, last: date, symbols: Sequence[str] | None = None
) -> "pd.DataFrame":
    chosen = (frame["session"] >= np.datetime64(first)) & (frame["session"] <= np.datetime64(last))
    if symbols is not None:
        chosen &= frame["symbol"].isin(list(symbols))
    return frame.loc[chosen].reset_index(drop=True)


def _positions(rows: "pd.DataFrame", table: "pd.DataFrame") -> "np.ndarray":
    """Return for each ``(symbol, date)`` of ``rows`` its position in ``table``, or -1."""
    import pandas as pd

    names = pd.Index(table["symbol"].unique())

    def keys(frame: pd.DataFrame) -> np.ndarray:
        code = names.get_indexer(pd.Index(frame["symbol"])).astype(np.int64)
        day = frame["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
        return np.where(code < 0, -1, code * 1_000_000 + day)

    known, wanted = keys(table), keys(rows)
    if len(known) == 0:
        return np.full(len(wanted), -1)
    order = np.argsort(known, kind="stable")
    at = np.minimum(np.searchsorted(known[order], wanted), len(known) - 1)
    return np.where(known[order][at] == wanted, order[at], -1)


def _clamp(prices: dict[str, "np.ndarray"], rows: "np.ndarray") -> None:
    """Widen high and low to the open and close that a vendor's rounding put outside (MANIFEST)."""
    high = np.maximum.reduce(list(prices.values()))
    low = np.minimum.reduce(list(prices.values()))
    changed = rows & ((high != prices["high"]) | (low != prices["low"]))
    if (count := int(changed.sum())) > 0:
        log.info("공급자 반올림으로 어긋난 고가·저가를 맞춤", rows=count)
    prices["high"][rows] = high[rows]
    prices["low"][rows] = low[rows]


def _minor(prices: Any, minor_per_unit: int) -> "np.ndarray":
    return np.rint(np.asarray(prices, dtype=np.float64) * minor_per_unit).astype(np.int64)


def _days(sessions: "pd.Series[Any]") -> list[date]:
    return [schema.day(day) for day in np.unique(sessions.to_numpy().astype("datetime64[D]"))]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - the files' local wall time
