"""Bars from KIS as frames, and as a source of the lake.

KIS gives raw daily bars with the adjusted close beside them; corporate actions are inferred from
the pair by the store. Minute bars of past sessions go back about a year, on real accounts.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from trading.domain.actions import CorporateAction
from trading.domain.instrument import Instrument, Market
from trading.domain.market import PriceBasis
from trading.errors import MissingDataError
from trading.log import get_logger
from trading.wire import values
from trading.wire.domestic_index import INDEX_CODES
from trading.wire.domestic_index import IndexBar as DomesticIndexBar
from trading.wire.endpoints import KRX_PAST_MINUTE, US_MINUTE
from trading.wire.overseas_bars import IndexBar as OverseasIndexBar
from trading.wire.records import DailyRow, MinuteRow

if TYPE_CHECKING:
    import pandas as pd

    from trading.broker.client import KisClient

log = get_logger(__name__)

SOURCE = "kis"
_LOOK_BACK = timedelta(days=5 * 366)
_PAST_MINUTES = {Market.KRX: KRX_PAST_MINUTE, Market.US: US_MINUTE}
# The indices that ``universe.yaml`` calls the benchmarks, by KIS's codes.
_BENCHMARKS = {Market.KRX: "KOSPI", Market.US: "S&P 500"}
_BENCHMARK_CODES = {Market.KRX: INDEX_CODES["KOSPI"], Market.US: "SPX"}


class KisBarSource:
    """Daily and minute bars of one market through a KIS client; see ``ports.BarSource``."""

    name = SOURCE
    basis = PriceBasis.RAW

    def __init__(self, client: "KisClient") -> None:
        self._client = client

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return the client's instruments."""
        return list(self._client.instruments.values()) if market is self._client.market else []

    def daily(self, market: Market, symbols: Sequence[str] | None, first: date, last: date) -> Any:
        """Return daily bars; a symbol that KIS does not know is left out with a warning."""
        if market is not self._client.market:
            return _daily_table([])
        frames = []
        for symbol in self._client.instruments if symbols is None else symbols:
            if symbol not in self._client.instruments:
                raise MissingDataError(f"알 수 없는 종목: {symbol}")
            frame = self._client.daily_bars(symbol, first, last)
            if frame.empty:
                log.warning("일봉 없음", symbol=symbol)
            else:
                frames.append(frame)
        if not frames:
            return _daily_table([])
        import pandas as pd

        return pd.concat(frames, ignore_index=True)

    def sessions(self, market: Market) -> list[date]:
        """Return the sessions of the past five years, as the first instrument's bars tell them.

        KIS has no list of recorded days; the running session is the last one.
        """
        if market is not self._client.market:
            return []
        today = values.local_date(self._client.clock.now(), market)
        symbol = next(iter(self._client.instruments))
        frame = self._client.daily_bars(symbol, today - _LOOK_BACK, today)
        return list(frame["session"].dt.date)

    def minute(self, market: Market, session: date, symbols: Sequence[str]) -> Any:
        """Return a session's minute bars; empty where the account has only the running one's."""
        client = self._client
        frames = []
        if market is client.market:
            now = client.clock.now()
            today = values.local_date(now, market)
            for symbol in symbols:
                if session == today:
                    frames.append(client.minute_bars(symbol))
                elif _PAST_MINUTES[market].is_offered(client.profile):
                    rows = client.data.past_minutes(symbol, session)
                    frames.append(minute_frame(client.instruments[symbol], rows, now))
        frames = [frame for frame in frames if not frame.empty]
        if not frames:
            return _minute_table([])
        import pandas as pd

        return pd.concat(frames).sort_values(["ts", "symbol"], ignore_index=True)

    def index(self, market: Market, first: date, last: date) -> Any:
        """Return the closes of the market's benchmark."""
        import pandas as pd

        rows: Sequence[DomesticIndexBar] | Sequence[OverseasIndexBar] = ()
        if market is self._client.market:
            rows = self._client.data.index_daily(_BENCHMARK_CODES[market], first, last)
        return pd.DataFrame(
            {
                "session": pd.Series([row.session for row in rows], dtype="datetime64[ns]"),
                "name": pd.Series([_BENCHMARKS[market]] * len(rows), dtype="str"),
                "close": pd.Series([float(row.close) for row in rows], dtype="float64"),
            }
        )

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return nothing: the store infers actions from raw and adjusted closes."""
        return []


def daily_frame(
    instrument: Instrument,
    raw: Sequence[DailyRow],
    adjusted: Sequence[DailyRow],
    fetched_at: datetime,
) -> "pd.DataFrame":
    """Return rows of ``DAILY_BARS``; the adjusted close is in currency units, not minor."""
    per_unit = instrument.market.currency.minor_per_unit
    closes = {row.session: row.close / per_unit for row in adjusted}
    return _daily_table(
        [
            {
                "session": row.session,
                "symbol": instrument.symbol,
                "exchange": str(instrument.exchange),
                "open": row.open,
                "high": row.high,
                "low": row.low,
                "close": row.close,
                "volume": row.volume,
                "value": row.value,
                "adj_close": closes.get(row.session),
                "basis": str(PriceBasis.RAW),
                "source": SOURCE,
                "fetched_at": fetched_at,
            }
            for row in raw
        ]
    )


def minute_frame(
    instrument: Instrument, rows: Sequence[MinuteRow], fetched_at: datetime
) -> "pd.DataFrame":
    """Return rows of ``MINUTE_BARS``."""
    return _minute_table(
        [
            {
                "ts": row.start,
                "session": values.local_date(row.start, instrument.market),
                "symbol": instrument.symbol,
                "exchange": str(instrument.exchange),
                "open": row.open,
                "high": row.high,
                "low": row.low,
                "close": row.close,
                "volume": row.volume,
                "source": SOURCE,
                "fetched_at": fetched_at,
            }
            for row in rows
        ]
    )


_PRICES = dict.fromkeys(("open", "high", "low", "close", "volume"), "int64")
_DAILY_TYPES = {
    "session": "datetime64[ns]",
    "symbol": "str",
    "exchange": "str",
    **_PRICES,
    "value": "Int64",
    "adj_close": "float64",
    "basis": "str",
    "source": "str",
    "fetched_at": "datetime64[ns, UTC]",
}
_MINUTE_TYPES = {
    "ts": "datetime64[ns, UTC]",
    "session": "datetime64[ns]",
    "symbol": "str",
    "exchange": "str",
    **_PRICES,
    "source": "str",
    "fetched_at": "datetime64[ns, UTC]",
}


def _daily_table(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(rows, columns=list(_DAILY_TYPES)).astype(_DAILY_TYPES)


def _minute_table(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(rows, columns=list(_MINUTE_TYPES)).astype(_MINUTE_TYPES)
