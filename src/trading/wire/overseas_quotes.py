"""Prices of US shares and foreign indices over REST, in both directions.

Times are those of New York unless a field says that it is Korean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Quote
from trading.errors import MissingDataError, SchemaError
from trading.wire import values
from trading.wire.fields import DAY, DOLLAR, NUMBER, TEXT, TIME, WHOLE, Kind, kis, read, write
from trading.wire.overseas_codes import QUOTE_CODES, exchange_of_quote, stream_key
from trading.wire.records import Book, BookLevel, YearRange

_US = Market.US
_LEVELS = 10
PRICES_PER_CALL = 10


def symbol_request(instrument: Instrument) -> dict[str, str]:
    """Ask for the price, the details or the book of one share."""
    return {"AUTH": "", "EXCD": QUOTE_CODES[instrument.exchange], "SYMB": instrument.symbol}


def parse_symbol_request(params: Mapping[str, Any]) -> tuple[Exchange, str]:
    """Read exchange and symbol."""
    fields = values.upper_keys(params)
    values.required(fields, "EXCD", "SYMB")
    return exchange_of_quote(fields["EXCD"].strip()), fields["SYMB"].strip()


def render_price(quote: Quote, instrument: Instrument, *, value: int | None) -> dict[str, Any]:
    """Answer the current price; ``value`` is the turnover so far in minor units."""
    return {
        "output": {
            "rsym": stream_key(instrument),
            "zdiv": "4",
            "base": values.from_minor(quote.previous_close, _US),
            "pvol": "",
            "last": values.from_minor(quote.price, _US),
            **change_fields(quote.price, quote.previous_close),
            "tvol": str(quote.volume),
            "tamt": whole_dollars(value),
            "ordy": "매도불가" if quote.halted else "매매 가능",
        }
    }


def render_unknown_price() -> dict[str, Any]:
    """Answer for a share that the venue does not know: blanks, not an error."""
    return {"output": values.blanks("rsym zdiv base pvol last sign diff rate tvol tamt ordy")}


_DETAIL_KEYS = (
    "rsym zdiv curr vnit open high low last base pvol pamt uplp dnlp h52p h52d l52p l52d perx "
    "pbrx epsx bpsx shar mcap tomv t_xprc t_xdif t_xrat p_xprc p_xdif p_xrat t_rate p_rate "
    "t_xsgn p_xsng e_ordyn e_hogau e_icod e_parp tvol tamt etyp_nm"
)


def render_price_detail(
    quote: Quote,
    instrument: Instrument,
    *,
    value: int | None,
    tick: int,
    year: YearRange | None = None,
) -> dict[str, Any]:
    """Answer the current price with the range of the day and of the year."""
    output = values.blanks(_DETAIL_KEYS)
    output.update(
        rsym=stream_key(instrument),
        zdiv="4",
        curr="USD",
        vnit="1",
        open=values.from_minor(quote.open, _US),
        high=values.from_minor(quote.high, _US),
        low=values.from_minor(quote.low, _US),
        last=values.from_minor(quote.price, _US),
        base=values.from_minor(quote.previous_close, _US),
        # In won it rises and falls by the same rate, which is not recorded.
        t_xsgn=values.change_sign(quote.price, quote.previous_close),
        uplp="0.0000",
        dnlp="0.0000",
        e_ordyn="매매 불가" if quote.halted else "매매 가능",
        e_hogau=values.from_minor(tick, _US),
        e_icod=instrument.sector or "",
        tvol=str(quote.volume),
        tamt=whole_dollars(value),
    )
    if year is not None:
        output.update(
            h52p=values.from_minor(year.high, _US),
            h52d=values.day_text(year.high_on),
            l52p=values.from_minor(year.low, _US),
            l52d=values.day_text(year.low_on),
        )
    return {"output": output}


def parse_price(body: Mapping[str, Any], symbol: str, received: datetime) -> Quote:
    """Read ``price`` or ``price-detail``; ranges are 0 where ``price`` has none.

    ``MissingDataError`` when the venue does not know the symbol.
    """
    output = values.first_row(body.get("output"))
    price = values.to_minor(output.get("last"), _US)
    base = values.to_minor(output.get("base"), _US)
    if price == 0 and base == 0:
        raise MissingDataError(f"거래소가 모르는 종목: {symbol}")
    return Quote(
        symbol=symbol,
        price=price or base,
        previous_close=base,
        open=values.to_minor(output.get("open"), _US),
        high=values.to_minor(output.get("high"), _US),
        low=values.to_minor(output.get("low"), _US),
        volume=values.integer(output.get("tvol")),
        upper_limit=values.to_minor(output.get("uplp"), _US),
        lower_limit=values.to_minor(output.get("dnlp"), _US),
        ts_event=received,
        halted="불가" in str(output.get("e_ordyn", "")),
    )


def render_book(book: Book, quote: Quote, instrument: Instrument, at: datetime) -> dict[str, Any]:
    """Answer the order book; a level that was not recorded is blank."""
    levels: dict[str, str] = {}
    for number in range(1, _LEVELS + 1):
        bid = book.bids[number - 1] if number <= len(book.bids) else None
        ask = book.asks[number - 1] if number <= len(book.asks) else None
        levels[f"pbid{number}"] = values.from_minor(bid.price, _US) if bid else ""
        levels[f"pask{number}"] = values.from_minor(ask.price, _US) if ask else ""
        levels[f"vbid{number}"] = str(bid.quantity) if bid else ""
        levels[f"vask{number}"] = str(ask.quantity) if ask else ""
        levels[f"dbid{number}"] = ""
        levels[f"dask{number}"] = ""
    day, clock = values.date_and_time(at, _US)
    base = quote.previous_close
    return {
        "output1": {
            "rsym": stream_key(instrument),
            "zdiv": "4",
            "curr": "USD",
            "base": values.from_minor(base, _US),
            "open": values.from_minor(quote.open, _US),
            "high": values.from_minor(quote.high, _US),
            "low": values.from_minor(quote.low, _US),
            "last": values.from_minor(quote.price, _US),
            "dymd": day,
            "dhms": clock,
            "bvol": str(sum(level.quantity for level in book.bids)) if book.bids else "",
            "avol": str(sum(level.quantity for level in book.asks)) if book.asks else "",
            "bdvl": "",
            "advl": "",
            "code": instrument.symbol,
            "ropen": values.ratio_text(quote.open - base, base),
            "rhigh": values.ratio_text(quote.high - base, base),
            "rlow": values.ratio_text(quote.low - base, base),
            "rclose": values.ratio_text(quote.price - base, base),
        },
        "output2": levels,
        "output3": values.blanks("vstm vetm csbp cshi cslo iep iev"),
    }


def parse_book(body: Mapping[str, Any], symbol: str) -> Book:
    """Read the order book; levels without a price are left out."""
    output = values.first_row(body.get("output2"))
    return Book(symbol=symbol, asks=_levels(output, "ask"), bids=_levels(output, "bid"))


def _levels(output: Mapping[str, Any], name: str) -> tuple[BookLevel, ...]:
    levels = (
        BookLevel(
            price=values.to_minor(output.get(f"p{name}{number}"), _US),
            quantity=values.integer(output.get(f"v{name}{number}")),
        )
        for number in range(1, _LEVELS + 1)
    )
    return tuple(level for level in levels if level.price)


# --- figures of the day, in full -------------------------------------------------------------


def _signed(number: Decimal) -> str:
    return f"+{number:f}" if number > 0 else f"{number:f}" if number < 0 else f" {number:f}"


# A change in percent carries its sign; the change itself is written without one.
RATE = Kind("rate", values.decimal, _signed)
# Turnovers come in whole dollars.
WHOLE_DOLLARS = Kind(
    "whole-dollars", lambda text: values.to_minor(text, _US), lambda minor: whole_dollars(minor)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceDetail:
    """Today's and the year's figures of one share; ``market_cap`` in minor units."""

    key: str | None = kis("rsym", TEXT)
    open: int | None = kis("open", DOLLAR)
    high: int | None = kis("high", DOLLAR)
    low: int | None = kis("low", DOLLAR)
    price: int | None = kis("last", DOLLAR)
    previous_close: int | None = kis("base", DOLLAR)
    volume: int | None = kis("tvol", WHOLE)
    value: int | None = kis("tamt", WHOLE_DOLLARS)
    previous_volume: int | None = kis("pvol", WHOLE)
    previous_value: int | None = kis("pamt", WHOLE_DOLLARS)
    upper_limit: int | None = kis("uplp", DOLLAR)
    lower_limit: int | None = kis("dnlp", DOLLAR)
    year_high: int | None = kis("h52p", DOLLAR)
    year_high_on: date | None = kis("h52d", DAY)
    year_low: int | None = kis("l52p", DOLLAR)
    year_low_on: date | None = kis("l52d", DAY)
    price_to_earnings: Decimal | None = kis("perx", NUMBER)
    price_to_book: Decimal | None = kis("pbrx", NUMBER)
    earnings_per_share: Decimal | None = kis("epsx", NUMBER)
    book_per_share: Decimal | None = kis("bpsx", NUMBER)
    shares: int | None = kis("shar", WHOLE)
    market_cap: int | None = kis("tomv", WHOLE_DOLLARS)
    currency: str | None = kis("curr", TEXT)
    lot: int | None = kis("vnit", WHOLE)
    tick: int | None = kis("e_hogau", DOLLAR)
    sector: str | None = kis("e_icod", TEXT)
    tradable: str | None = kis("e_ordyn", TEXT)
    exchange_rate: Decimal | None = kis("t_rate", NUMBER)
    etp_class: str | None = kis("etyp_nm", TEXT)


def parse_price_detail(body: Mapping[str, Any]) -> PriceDetail:
    """Read everything that ``price-detail`` says; all ``None`` for an unknown share."""
    return read(PriceDetail, values.first_row(body.get("output")))


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """One share of a list of prices; ``change`` has its direction in ``change_percent``."""

    symbol: str = kis("symb", TEXT, required=True)
    exchange_code: str | None = kis("excd", TEXT)
    key: str | None = kis("rsym", TEXT)
    name: str | None = kis("knam", TEXT)
    price: int | None = kis("last", DOLLAR)
    direction: str | None = kis("sign", TEXT)
    change: int | None = kis("diff", DOLLAR)
    change_percent: Decimal | None = kis("rate", RATE)
    previous_close: int | None = kis("base", DOLLAR)
    open: int | None = kis("open", DOLLAR)
    high: int | None = kis("high", DOLLAR)
    low: int | None = kis("low", DOLLAR)
    bid: int | None = kis("pbid", DOLLAR)
    ask: int | None = kis("pask", DOLLAR)
    bid_quantity: int | None = kis("vbid", WHOLE)
    ask_quantity: int | None = kis("vask", WHOLE)
    last_volume: int | None = kis("evol", WHOLE)
    volume: int | None = kis("tvol", WHOLE)
    value: int | None = kis("tamt", WHOLE_DOLLARS)
    previous_volume: int | None = kis("pvol", WHOLE)
    time: str | None = kis("xhms", TIME)
    korean_time: str | None = kis("khms", TIME)
    status: str | None = kis("stat2", TEXT)


def prices_request(instruments: Sequence[Instrument]) -> dict[str, str]:
    """Ask for the prices of up to ten shares."""
    if not 0 < len(instruments) <= PRICES_PER_CALL:
        raise SchemaError(f"한 번에 1~{PRICES_PER_CALL}종목: {len(instruments)}종목")
    request = {"AUTH": "", "NREC": str(len(instruments))}
    for number, instrument in enumerate(instruments, start=1):
        request[f"EXCD_{number:02d}"] = QUOTE_CODES[instrument.exchange]
        request[f"SYMB_{number:02d}"] = instrument.symbol
    return request


def parse_prices_request(params: Mapping[str, Any]) -> list[tuple[Exchange, str]]:
    """Read which shares are asked for."""
    fields = values.upper_keys(params)
    values.required(fields, "NREC")
    count = min(PRICES_PER_CALL, values.integer(fields["NREC"]))
    wanted = []
    for number in range(1, count + 1):
        values.required(fields, f"EXCD_{number:02d}", f"SYMB_{number:02d}")
        code = fields[f"EXCD_{number:02d}"].strip()
        wanted.append((exchange_of_quote(code), fields[f"SYMB_{number:02d}"].strip()))
    return wanted


def price_row(quote: Quote, instrument: Instrument, *, value: int | None) -> PriceRow:
    """Return ``quote`` as a row; what was not recorded is ``None``."""
    change = quote.price - quote.previous_close
    return PriceRow(
        symbol=quote.symbol,
        exchange_code=QUOTE_CODES[instrument.exchange],
        key=stream_key(instrument),
        name=instrument.name or None,
        price=quote.price,
        direction=values.change_sign(quote.price, quote.previous_close),
        change=abs(change),
        change_percent=Decimal(values.ratio_text(change, quote.previous_close)),
        previous_close=quote.previous_close,
        open=quote.open,
        high=quote.high,
        low=quote.low,
        volume=quote.volume,
        value=value,
    )


_PRICE_ROW_BLANKS = (
    "exnm nnam stat1 zdiv bvol avol powx curr pamt popen phigh plow shar mcap tomv h52p l52p h52d "
    "l52d hanp lanp hand land bnit t_xprc"
)


def render_prices(rows: Sequence[PriceRow]) -> dict[str, Any]:
    """Answer a list of prices; what was not recorded is blank."""
    blanks = values.blanks(_PRICE_ROW_BLANKS)
    return {
        "output": {"nrec": str(len(rows))},
        "output2": [{**blanks, **write(row)} for row in rows],
    }


def parse_prices(body: Mapping[str, Any]) -> tuple[PriceRow, ...]:
    """Read a list of prices; shares that the venue does not know are left out."""
    return tuple(read(PriceRow, row) for row in values.rows(body.get("output2")) if row.get("symb"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRow:
    """One execution; ``change`` has its direction in ``change_percent``."""

    korean_time: str = kis("khms", TIME, required=True)
    price: int = kis("last", DOLLAR, required=True)
    direction: str | None = kis("sign", TEXT)
    change: int | None = kis("diff", DOLLAR)
    change_percent: Decimal | None = kis("rate", RATE)
    volume: int | None = kis("evol", WHOLE)
    cumulative_volume: int | None = kis("tvol", WHOLE)
    bid: int | None = kis("pbid", DOLLAR)
    ask: int | None = kis("pask", DOLLAR)
    strength: Decimal | None = kis("vpow", NUMBER)


def trades_request(instrument: Instrument, *, today: bool = True) -> dict[str, str]:
    """Ask for the last executions of today, or of the session before."""
    return {**symbol_request(instrument), "KEYB": "", "TDAY": "1" if today else "0"}


def render_trades(rows: Sequence[TradeRow], instrument: Instrument) -> dict[str, Any]:
    """Answer executions, newest first, where KIS puts them whatever its document says."""
    return {
        "output1": [{**write(row), "mtyp": ""} for row in rows],
        "output2": {"rsym": stream_key(instrument), "zdiv": "4", "nrec": str(len(rows))},
    }


def parse_trades(body: Mapping[str, Any]) -> tuple[TradeRow, ...]:
    """Read executions, newest first; KIS answers them under either name."""
    return tuple(
        read(TradeRow, row)
        for name in ("output1", "output2")
        for row in values.rows(body.get(name))
        if row.get("khms")
    )


def change_fields(price: int, base: int) -> dict[str, str]:
    """Return sign, difference and rate of change; the sign alone says the direction."""
    rate = values.ratio_text(price - base, base)
    return {
        "sign": values.change_sign(price, base),
        "diff": values.from_minor(abs(price - base), _US),
        "rate": f"+{rate}" if price > base else rate if price < base else f" {rate}",
    }


def whole_dollars(minor: int | None) -> str:
    """Write a turnover as KIS does, in whole dollars; blank when it is not known."""
    return "" if minor is None else str(minor // 10_000)


def optional_minor(text: Any) -> int | None:
    """Return a turnover in minor units, ``None`` where the venue left it blank."""
    return None if text is None or not str(text).strip() else values.to_minor_rounded(text, _US)
