"""Names of foreign exchanges and shares at KIS: every family of calls has its own.

Quotations use three letters, trading four, the US daytime market three others, product lists
numbers. The program trades US shares; the other countries are here so that their codes are
recognized.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from trading.domain.instrument import Exchange, Instrument
from trading.errors import SchemaError

UNITED_STATES = "840"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeCodes:
    """What one foreign exchange is called (PROTOCOL 10.1, 10.11, 14).

    ``trade`` stands in orders, balances and listings, ``quote`` in quotations, ``daytime`` in
    quotations of the US daytime market, ``product_type`` in product information and reserved
    orders, ``master`` in the name of the symbol file. ``exchange`` is ``None`` where the
    program does not trade.
    """

    name: str
    trade: str
    quote: str
    product_type: str
    country: str
    currency: str
    master: str
    daytime: str = ""
    exchange: Exchange | None = None


EXCHANGES: tuple[ExchangeCodes, ...] = (
    ExchangeCodes(
        name="나스닥", trade="NASD", quote="NAS", product_type="512", country="840",
        currency="USD", master="nas", daytime="BAQ", exchange=Exchange.NASDAQ,
    ),
    ExchangeCodes(
        name="뉴욕거래소", trade="NYSE", quote="NYS", product_type="513", country="840",
        currency="USD", master="nys", daytime="BAY", exchange=Exchange.NYSE,
    ),
    ExchangeCodes(
        name="아멕스", trade="AMEX", quote="AMS", product_type="529", country="840",
        currency="USD", master="ams", daytime="BAA", exchange=Exchange.AMEX,
    ),
    ExchangeCodes(
        name="홍콩거래소", trade="SEHK", quote="HKS", product_type="501", country="344",
        currency="HKD", master="hks",
    ),
    ExchangeCodes(
        name="상해거래소", trade="SHAA", quote="SHS", product_type="551", country="156",
        currency="CNY", master="shs",
    ),
    ExchangeCodes(
        name="심천거래소", trade="SZAA", quote="SZS", product_type="552", country="156",
        currency="CNY", master="szs",
    ),
    ExchangeCodes(
        name="동경거래소", trade="TKSE", quote="TSE", product_type="515", country="392",
        currency="JPY", master="tse",
    ),
    ExchangeCodes(
        name="하노이거래소", trade="HASE", quote="HNX", product_type="507", country="704",
        currency="VND", master="hnx",
    ),
    ExchangeCodes(
        name="호치민거래소", trade="VNSE", quote="HSX", product_type="508", country="704",
        currency="VND", master="hsx",
    ),
)  # fmt: skip

_US = {row.exchange: row for row in EXCHANGES if row.exchange is not None}
US_EXCHANGES: tuple[Exchange, ...] = tuple(_US)
QUOTE_CODES: Mapping[Exchange, str] = MappingProxyType({k: row.quote for k, row in _US.items()})
TRADE_CODES: Mapping[Exchange, str] = MappingProxyType({k: row.trade for k, row in _US.items()})
MARKET_NAMES: Mapping[Exchange, str] = MappingProxyType({k: row.name for k, row in _US.items()})
PRODUCT_TYPES: Mapping[Exchange, str] = MappingProxyType(
    {k: row.product_type for k, row in _US.items()}
)
_FROM_QUOTE = {row.quote: row.exchange for row in EXCHANGES} | {
    row.daytime: row.exchange for row in EXCHANGES if row.daytime
}
_FROM_TRADE = {row.trade: row.exchange for row in EXCHANGES}
_FROM_PRODUCT_TYPE = {row.product_type: row.exchange for row in EXCHANGES}


def exchange_of_quote(code: str) -> Exchange:
    """Return the US exchange of a three-letter code, daytime codes included.

    Raises ``SchemaError`` for a code that no exchange has, and for those outside the US.
    """
    return _traded(code, _FROM_QUOTE)


def exchange_of_trade(code: str) -> Exchange:
    """Return the US exchange of a four-letter code; else ``SchemaError``."""
    return _traded(code, _FROM_TRADE)


def exchange_of_product_type(code: str) -> Exchange:
    """Return the US exchange of a product type number; else ``SchemaError``."""
    return _traded(code, _FROM_PRODUCT_TYPE)


def find_exchange(code: str) -> Exchange | None:
    """Return the US exchange of a three- or four-letter code; ``None`` when it is none."""
    return _FROM_QUOTE.get(code) or _FROM_TRADE.get(code)


def us_exchange(exchange: Exchange | None, symbol: str) -> Exchange:
    """Return the exchange of ``symbol``; ``SchemaError`` when it is not one of the US."""
    if exchange is None or exchange not in TRADE_CODES:
        raise SchemaError(f"미국 거래소를 알 수 없는 종목: {symbol}")
    return exchange


def stream_key(instrument: Instrument) -> str:
    """Return the name of a share on the WebSocket and in ``rsym`` (``DNASAAPL``)."""
    return f"D{QUOTE_CODES[instrument.exchange]}{instrument.symbol}"


def symbol_of_key(key: str) -> str:
    """Return the symbol in a WebSocket name."""
    return key[4:]


def _traded(code: str, table: Mapping[str, Exchange | None]) -> Exchange:
    if code not in table:
        raise SchemaError(f"알 수 없는 거래소 코드: {code!r}")
    exchange = table[code]
    if exchange is None:
        raise SchemaError(f"미국 거래소가 아닌 코드: {code!r}")
    return exchange
