"""Markets, exchanges, currencies and the instruments traded on them."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class Market(StrEnum):
    """A market has one currency, one calendar and one set of dated rules."""

    KRX = "krx"
    US = "us"

    @property
    def currency(self) -> "Currency":
        """The currency in which this market's portfolio is kept."""
        return Currency.KRW if self is Market.KRX else Currency.USD

    @property
    def calendar_name(self) -> str:
        """The ISO 10383 name of the market's session calendar."""
        return "XKRX" if self is Market.KRX else "XNYS"

    @property
    def timezone_name(self) -> str:
        """The IANA name of the market's local time."""
        return "Asia/Seoul" if self is Market.KRX else "America/New_York"


class Currency(StrEnum):
    """Money is an integer number of minor units of one of these."""

    KRW = "KRW"
    USD = "USD"

    @property
    def minor_per_unit(self) -> int:
        """Minor units in one unit: 1 for won, 10,000 for dollars."""
        return 1 if self is Currency.KRW else 10_000


class Exchange(StrEnum):
    """The listing venue of an instrument."""

    KOSPI = "KOSPI"
    KOSDAQ = "KOSDAQ"
    NASDAQ = "NASDAQ"
    NYSE = "NYSE"
    AMEX = "AMEX"

    @property
    def market(self) -> Market:
        """The market this exchange belongs to."""
        return Market.KRX if self in (Exchange.KOSPI, Exchange.KOSDAQ) else Market.US


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One listed share. ``sector`` is ``None`` when no source names it."""

    symbol: str
    exchange: Exchange
    name: str = ""
    sector: str | None = None
    listed: date | None = None
    delisted: date | None = None

    @property
    def market(self) -> Market:
        """The market of the listing exchange."""
        return self.exchange.market
