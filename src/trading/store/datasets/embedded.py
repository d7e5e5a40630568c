"""The history that comes with the program: five US stocks and two US indices."""

import importlib.util
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.actions import CorporateAction
from trading.domain.instrument import Instrument, Market
from trading.domain.market import PriceBasis
from trading.errors import MissingDataError
from trading.store import schema
from trading.store.adjust import infer_actions
from trading.store.datasets.base import (
    Reader,
    TableSource,
    chosen,
    days_of,
    lives,
    minor,
    same_word,
)

if TYPE_CHECKING:
    import pyarrow as pa

_SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
_STOCKS = "bokeh_sampledata"
_INDICES = "arch"


class EmbeddedSource(TableSource):
    """Five US stocks, 2000-03-01 to 2013-03-01, as traded, from ``bokeh_sampledata``.

    Adjusted closes come along, and corporate actions are inferred from them. The S&P 500 price
    index (the benchmark) and the NASDAQ Composite are those that ``arch`` ships.
    """

    name = "embedded"
    basis = PriceBasis.RAW

    def readers(self, market: Market) -> Mapping[str, Reader]:
        """Return the readers of what is embedded: nothing Korean, nothing intraday."""
        if market is not Market.US:
            return {}
        return {
            "instruments": self.instrument_reader(market, _STOCKS),
            "actions": self.action_reader(market),
            "index": lambda names, first, last: chosen(
                self._index, schema.INDEX, names, first, last
            ),
            "daily": lambda symbols, first, last: chosen(
                self._bars, schema.DAILY_BARS, symbols, first, last
            ),
        }

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return the five stocks; ``listed`` is the first recorded session of each."""
        return lives(self._bars, self.universe) if market is Market.US else []

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return the splits and dividends inferred from raw and adjusted closes."""
        if market is not Market.US:
            return []
        return [action for action in self._actions if first <= action.ex_date <= last]

    def sessions(self, market: Market) -> list[date]:
        """Return every recorded session, oldest first."""
        return days_of(self._bars["session"].to_numpy()) if market is Market.US else []

    def minute_sessions(self, market: Market) -> list[date]:
        """Return no session: no intraday bars are embedded."""
        return []

    @cached_property
    def _bars(self) -> "pa.Table":
        import bokeh_sampledata.stocks as package
        import pyarrow as pa

        parts = []
        for symbol in _SYMBOLS:
            rows = getattr(package, symbol)
            count = len(rows["date"])
            # Prices carry at most four decimals, so minor units hold them exactly.
            prices = {
                name: minor(rows[name], Market.US.currency.minor_per_unit)
                for name in ("open", "high", "low", "close")
            }
            parts.append(
                pa.table(
                    {
                        "session": pa.array(np.array(rows["date"], dtype="datetime64[D]")),
                        "symbol": same_word(symbol, count),
                        "exchange": same_word(self.universe.exchange(symbol).value, count),
                        **prices,
                        "volume": pa.array(rows["volume"], pa.int64()),
                        "adj_close": pa.array(rows["adj_close"], pa.float64()),
                        "basis": same_word(PriceBasis.RAW.value, count),
                        "source": same_word(_STOCKS, count),
                    }
                )
            )
        return schema.conform(pa.concat_tables(parts), schema.DAILY_BARS)

    @cached_property
    def _index(self) -> "pa.Table":
        import pandas as pd
        import pyarrow as pa

        parts = []
        for name, folder in (("NASDAQ", "nasdaq"), (self.universe.benchmark[Market.US], "sp500")):
            rows = pd.read_csv(_arch_data() / folder / f"{folder}.csv.gz", parse_dates=["Date"])
            parts.append(
                pa.table(
                    {
                        "session": pa.array(rows["Date"].to_numpy().astype("datetime64[D]")),
                        "name": same_word(name, len(rows)),
                        **{
                            column: rows[column.capitalize()].to_numpy(dtype=np.float64)
                            for column in ("open", "high", "low", "close")
                        },
                        "volume": rows["Volume"].to_numpy(dtype=np.int64),
                        "source": same_word(_INDICES, len(rows)),
                    }
                )
            )
        return schema.conform(pa.concat_tables(parts), schema.INDEX)

    @cached_property
    def _actions(self) -> list[CorporateAction]:
        return infer_actions(
            schema.to_frame(self._bars, schema.DAILY_BARS),
            minor_per_unit=Market.US.currency.minor_per_unit,
            source=_STOCKS,
        )


def _arch_data() -> Path:
    # Its own loader imports the whole package, matplotlib and scipy.stats with it: two seconds.
    found = importlib.util.find_spec(_INDICES)
    if found is None or not found.submodule_search_locations:
        raise MissingDataError(f"지수의 기록이 든 패키지가 없음: {_INDICES}")
    return Path(found.submodule_search_locations[0]) / "data"
