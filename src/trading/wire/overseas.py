"""US shares over REST: both directions of every request and answer.

The same convention as in ``domestic``, whose acknowledgements are used here too. Exchanges have three letters in quotations and four in
trading. Dates of orders are US dates; order times are Korean.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Quote
from trading.domain.order import Side, VenueOrder
from trading.errors import MissingDataError, SchemaError
from trading.wire import values
from trading.wire.domestic import (
    SIDE_CODES,
    account_fields,
    page_fields,
    parse_account,
    parse_page_request,
    side_of,
)
from trading.wire.records import (
    Balance,
    Book,
    BookLevel,
    BuyingPower,
    ChangeRequest,
    DailyRow,
    Holding,
    ListedOrder,
    MinuteRow,
    OrderKind,
    OrderRequest,
    Page,
    RankRow,
    SettlementRow,
)

QUOTE_CODES = {Exchange.NASDAQ: "NAS", Exchange.NYSE: "NYS", Exchange.AMEX: "AMS"}
TRADE_CODES = {Exchange.NASDAQ: "NASD", Exchange.NYSE: "NYSE", Exchange.AMEX: "AMEX"}
_FROM_QUOTE = {code: exchange for exchange, code in QUOTE_CODES.items()}
_FROM_TRADE = {code: exchange for exchange, code in TRADE_CODES.items()}
_MARKET_NAMES = {Exchange.NASDAQ: "나스닥", Exchange.NYSE: "뉴욕거래소", Exchange.AMEX: "아멕스"}
_SIDE_NAMES = {Side.SELL: "매도", Side.BUY: "매수"}
_CHANGE_CODES = {OrderKind.NEW: "00", OrderKind.REVISE: "01", OrderKind.CANCEL: "02"}
_CHANGE_NAMES = {OrderKind.NEW: "", OrderKind.REVISE: "정정", OrderKind.CANCEL: "취소"}
_US = Market.US
_LEVELS = 10


def exchange_of_quote(code: str) -> Exchange:
    """Return the exchange of a three-letter code; ``SchemaError`` when it is none of ours."""
    if code not in _FROM_QUOTE:
        raise SchemaError(f"알 수 없는 거래소 코드: {code!r}")
    return _FROM_QUOTE[code]


def exchange_of_trade(code: str) -> Exchange:
    """Return the exchange of a four-letter code; ``SchemaError`` when it is none of ours."""
    if code not in _FROM_TRADE:
        raise SchemaError(f"알 수 없는 거래소 코드: {code!r}")
    return _FROM_TRADE[code]


def stream_key(instrument: Instrument) -> str:
    """Return the name of a share on the WebSocket and in ``rsym`` (``DNASAAPL``)."""
    return f"D{QUOTE_CODES[instrument.exchange]}{instrument.symbol}"


def symbol_of_key(key: str) -> str:
    """Return the symbol in a WebSocket name."""
    return key[4:]


# --- quotations ----------------------------------------------------------------------------


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
            **_change(quote.price, quote.previous_close),
            "tvol": str(quote.volume),
            "tamt": _whole_dollars(value),
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
    quote: Quote, instrument: Instrument, *, value: int | None, tick: int
) -> dict[str, Any]:
    """Answer the current price with the day's range."""
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
        uplp="0.0000",
        dnlp="0.0000",
        e_ordyn="매매 불가" if quote.halted else "매매 가능",
        e_hogau=values.from_minor(tick, _US),
        e_icod=instrument.sector or "",
        tvol=str(quote.volume),
        tamt=_whole_dollars(value),
    )
    return {"output": output}


def parse_price(body: Mapping[str, Any], symbol: str, received: datetime) -> Quote:
    """Read ``price`` or ``price-detail``; ranges are 0 where ``price`` has none.

    ``MissingDataError`` when the venue does not know the symbol.
    """
    output = body.get("output") or {}
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
    found = values.rows(body.get("output2"))
    output = found[0] if found else {}
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


def daily_request(instrument: Instrument, last: date, *, adjusted: bool) -> dict[str, str]:
    """Ask for the 100 daily bars up to ``last``."""
    return {
        **symbol_request(instrument),
        "GUBN": "0",
        "BYMD": values.day_text(last),
        "MODP": "1" if adjusted else "0",
    }


def parse_daily_request(params: Mapping[str, Any]) -> tuple[Exchange, str, date | None, bool]:
    """Read exchange, symbol, last day (``None``: today), and whether adjusted."""
    fields = values.upper_keys(params)
    values.required(fields, "GUBN", "BYMD", "MODP")
    if fields["GUBN"] != "0":
        raise SchemaError("일봉만 제공함")
    exchange, symbol = parse_symbol_request(fields)
    last = values.day(fields["BYMD"]) if fields["BYMD"].strip() else None
    return exchange, symbol, last, fields["MODP"] == "1"


def render_daily(bars: Sequence[DailyRow], instrument: Instrument) -> dict[str, Any]:
    """Answer daily bars, given newest first; closing quotes were not recorded and are blank."""
    rows = []
    for number, bar in enumerate(bars):
        older = bars[number + 1].close if number + 1 < len(bars) else None
        rows.append(
            {
                "xymd": values.day_text(bar.session),
                "clos": values.from_minor(bar.close, _US),
                **(
                    {"sign": "", "diff": "", "rate": ""}
                    if older is None
                    else _change(bar.close, older)
                ),
                "open": values.from_minor(bar.open, _US),
                "high": values.from_minor(bar.high, _US),
                "low": values.from_minor(bar.low, _US),
                "tvol": str(bar.volume),
                "tamt": _whole_dollars(bar.value),
                "pbid": "",
                "vbid": "",
                "pask": "",
                "vask": "",
            }
        )
    head = {"rsym": stream_key(instrument), "zdiv": "4", "nrec": str(len(rows))}
    return {"output1": head, "output2": rows}


def parse_daily(body: Mapping[str, Any]) -> tuple[DailyRow, ...]:
    """Read daily bars, newest first; adjusted prices are rounded to a minor unit."""
    return tuple(
        DailyRow(
            session=values.day(row["xymd"]),
            open=values.to_minor_rounded(row.get("open"), _US),
            high=values.to_minor_rounded(row.get("high"), _US),
            low=values.to_minor_rounded(row.get("low"), _US),
            close=values.to_minor_rounded(row.get("clos"), _US),
            volume=values.integer(row.get("tvol")),
            value=_optional(row.get("tamt")),
        )
        for row in values.rows(body.get("output2"))
        if row.get("xymd")
    )


def minute_request(instrument: Instrument, before: datetime | None = None) -> dict[str, str]:
    """Ask for 120 one-minute bars: the newest, or those up to ``before``."""
    key = "".join(values.date_and_time(before, _US)) if before is not None else ""
    return {
        **symbol_request(instrument),
        "NMIN": "1",
        "PINC": "1" if before is not None else "0",
        "NEXT": "1" if before is not None else "",
        "NREC": "120",
        "FILL": "",
        "KEYB": key,
    }


def parse_minute_request(
    params: Mapping[str, Any],
) -> tuple[Exchange, str, int, int, datetime | None]:
    """Read exchange, symbol, minutes per bar, count, and the newest bar wanted."""
    fields = values.upper_keys(params)
    values.required(fields, "NMIN", "NREC", "KEYB")
    exchange, symbol = parse_symbol_request(fields)
    key = fields["KEYB"].strip()
    return (
        exchange,
        symbol,
        values.integer(fields["NMIN"]),
        min(120, values.integer(fields["NREC"])),
        values.instant(key[:8], key[8:14], _US) if key else None,
    )


def render_minute(
    bars: Sequence[MinuteRow],
    instrument: Instrument,
    *,
    opens: datetime,
    closes: datetime,
    has_more: bool,
) -> dict[str, Any]:
    """Answer minute bars, given newest first, of a session that opens and closes then."""
    rows = []
    for bar in bars:
        local_day, local_time = values.date_and_time(bar.start, _US)
        korean_day, korean_time = values.date_and_time(bar.start, Market.KRX)
        rows.append(
            {
                "tymd": local_day,
                "xymd": local_day,
                "xhms": local_time,
                "kymd": korean_day,
                "khms": korean_time,
                "open": values.from_minor(bar.open, _US),
                "high": values.from_minor(bar.high, _US),
                "low": values.from_minor(bar.low, _US),
                "last": values.from_minor(bar.close, _US),
                "evol": str(bar.volume),
                "eamt": "",
            }
        )
    head = {
        "rsym": stream_key(instrument),
        "zdiv": "4",
        "stim": values.date_and_time(opens, _US)[1],
        "etim": values.date_and_time(closes, _US)[1],
        "sktm": values.korean_time(opens),
        "ektm": values.korean_time(closes),
        "next": "1" if has_more else "0",
        "more": "0",
        "nrec": str(len(rows)),
    }
    return {"output1": head, "output2": rows}


def parse_minute(body: Mapping[str, Any]) -> tuple[MinuteRow, ...]:
    """Read minute bars, newest first."""
    return tuple(
        MinuteRow(
            start=values.instant(row["xymd"], row["xhms"], _US),
            open=values.to_minor(row.get("open"), _US),
            high=values.to_minor(row.get("high"), _US),
            low=values.to_minor(row.get("low"), _US),
            close=values.to_minor(row.get("last"), _US),
            volume=values.integer(row.get("evol")),
        )
        for row in values.rows(body.get("output2"))
        if row.get("xymd")
    )


def volume_rank_request(exchange: Exchange) -> dict[str, str]:
    """Ask for the shares of one exchange with the largest volume today."""
    return {
        "KEYB": "",
        "AUTH": "",
        "EXCD": QUOTE_CODES[exchange],
        "NDAY": "0",
        "PRC1": "",
        "PRC2": "",
        "VOL_RANG": "0",
    }


def search_request(exchange: Exchange, *, least_volume: int) -> dict[str, str]:
    """Ask for the shares of one exchange that traded at least ``least_volume`` today."""
    return {
        "AUTH": "",
        "EXCD": QUOTE_CODES[exchange],
        "CO_YN_VOLUME": "1",
        "CO_ST_VOLUME": str(least_volume),
        "CO_EN_VOLUME": "9" * 12,
        "KEYB": "",
    }


def parse_exchange_request(params: Mapping[str, Any]) -> Exchange:
    """Read which exchange a ranking or a search asks for."""
    fields = values.upper_keys(params)
    values.required(fields, "EXCD")
    return exchange_of_quote(fields["EXCD"].strip())


def render_volume_rank(rows: Sequence[RankRow]) -> dict[str, Any]:
    """Answer a volume ranking or a search: the keys of both."""
    count = str(len(rows))
    return {
        "output1": {"zdiv": "4", "stat": "", "crec": count, "trec": count, "nrec": count},
        "output2": [_render_rank(row) for row in rows],
    }


def _render_rank(row: RankRow) -> dict[str, str]:
    exchange = row.exchange or Exchange.NASDAQ
    return {
        **values.blanks("popen phigh plow valx shar eps per pask pbid a_tvol"),
        "rsym": f"D{QUOTE_CODES[exchange]}{row.symbol}",
        "excd": QUOTE_CODES[exchange],
        "symb": row.symbol,
        "name": row.name,
        "last": values.from_minor(row.price, _US),
        **_change(row.price, row.previous_close),
        "tvol": str(row.volume),
        "tamt": _whole_dollars(row.value),
        "avol": _whole_dollars(row.value),
        "rank": str(row.rank),
        "ename": row.name,
        "e_ordyn": "○",
    }


def parse_volume_rank(body: Mapping[str, Any]) -> tuple[RankRow, ...]:
    """Read a volume ranking or a search."""
    ranked = []
    for row in values.rows(body.get("output2")):
        if not row.get("symb"):
            continue
        price = values.to_minor(row.get("last"), _US)
        change = abs(values.to_minor(row.get("diff"), _US))
        down = str(row.get("sign", "")).strip() in ("4", "5")
        ranked.append(
            RankRow(
                rank=values.integer(row.get("rank")),
                symbol=str(row["symb"]).strip(),
                name=str(row.get("ename") or row.get("name") or ""),
                price=price,
                previous_close=price + change if down else price - change,
                volume=values.integer(row.get("tvol")),
                # The turnover is called ``tamt`` in rankings and ``avol`` in searches.
                value=_optional(row.get("tamt") or row.get("avol")),
                exchange=_FROM_QUOTE.get(str(row.get("excd", "")).strip()),
            )
        )
    return tuple(ranked)


def settlement_request(day: date, page: Page) -> dict[str, str]:
    """Ask when trades of ``day`` settle; markets that are closed that day are not listed."""
    return {"TRAD_DT": values.day_text(day), **page_fields(page, 20)}


def parse_settlement_request(params: Mapping[str, Any]) -> tuple[date, Page]:
    """Read the trade day and the page."""
    fields = values.upper_keys(params)
    values.required(fields, "TRAD_DT")
    return values.day(fields["TRAD_DT"]), parse_page_request(params, 20)


def render_settlements(rows: Sequence[SettlementRow]) -> dict[str, Any]:
    """Answer the settlement dates of US markets."""
    return {
        "output": [
            {
                "prdt_type_cd": "512",
                "tr_natn_cd": row.country,
                "tr_natn_name": "미국",
                "natn_eng_abrv_cd": "US",
                "tr_mket_cd": "01",
                "tr_mket_name": row.market_name,
                "acpl_sttl_dt": values.day_text(row.local_settlement),
                "dmst_sttl_dt": values.day_text(row.domestic_settlement),
            }
            for row in rows
        ]
    }


def parse_settlements(body: Mapping[str, Any]) -> tuple[SettlementRow, ...]:
    """Read settlement dates per market; country 840 is the United States."""
    return tuple(
        SettlementRow(
            country=str(row.get("tr_natn_cd", "")),
            market_name=str(row.get("tr_mket_name", "")),
            local_settlement=values.day(row["acpl_sttl_dt"]),
            domestic_settlement=values.day(row["dmst_sttl_dt"]),
        )
        for row in values.rows(body.get("output"))
        if row.get("acpl_sttl_dt")
    )


# --- orders --------------------------------------------------------------------------------


def order_request(order: OrderRequest) -> dict[str, str]:
    """Return the body of an order; the TR id carries the side."""
    return {
        **account_fields(order.account),
        "OVRS_EXCG_CD": TRADE_CODES[_need_exchange(order.exchange, order.symbol)],
        "PDNO": order.symbol,
        "ORD_QTY": str(order.quantity),
        "OVRS_ORD_UNPR": values.from_minor(order.limit, _US),
        "CTAC_TLNO": "",
        "MGCO_APTM_ODNO": "",
        "SLL_TYPE": "00" if order.side is Side.SELL else "",
        "ORD_SVR_DVSN_CD": "0",
        "ORD_DVSN": order.order_kind,
    }


def parse_order_request(params: Mapping[str, Any], side: Side) -> OrderRequest:
    """Read an order."""
    fields = values.upper_keys(params)
    values.required(fields, "OVRS_EXCG_CD", "PDNO", "ORD_QTY", "OVRS_ORD_UNPR", "ORD_DVSN")
    return OrderRequest(
        account=parse_account(fields),
        symbol=fields["PDNO"].strip(),
        side=side,
        quantity=values.integer(fields["ORD_QTY"]),
        limit=values.to_minor(fields["OVRS_ORD_UNPR"], _US),
        exchange=exchange_of_trade(fields["OVRS_EXCG_CD"].strip()),
        order_kind=fields["ORD_DVSN"],
    )


def change_request(change: ChangeRequest) -> dict[str, str]:
    """Return the body that cancels or revises an order; the quantity must be named."""
    return {
        **account_fields(change.account),
        "OVRS_EXCG_CD": TRADE_CODES[_need_exchange(change.exchange, change.symbol)],
        "PDNO": change.symbol,
        "ORGN_ODNO": change.original_order_id,
        "RVSE_CNCL_DVSN_CD": "02" if change.is_cancel else "01",
        "ORD_QTY": str(change.quantity),
        "OVRS_ORD_UNPR": "0" if change.is_cancel else values.from_minor(change.limit, _US),
        "CTAC_TLNO": "",
        "MGCO_APTM_ODNO": "",
        "ORD_SVR_DVSN_CD": "0",
    }


def parse_change_request(params: Mapping[str, Any]) -> ChangeRequest:
    """Read a cancel or a revision."""
    fields = values.upper_keys(params)
    values.required(fields, "OVRS_EXCG_CD", "PDNO", "ORGN_ODNO", "RVSE_CNCL_DVSN_CD", "ORD_QTY")
    return ChangeRequest(
        account=parse_account(fields),
        original_order_id=values.order_number(fields["ORGN_ODNO"]),
        quantity=values.integer(fields["ORD_QTY"]),
        limit=values.to_minor(fields.get("OVRS_ORD_UNPR"), _US),
        is_cancel=fields["RVSE_CNCL_DVSN_CD"] == "02",
        symbol=fields["PDNO"].strip(),
        exchange=exchange_of_trade(fields["OVRS_EXCG_CD"].strip()),
    )


def open_orders_request(account: str, page: Page) -> dict[str, str]:
    """Ask for the unfilled orders of all US exchanges: ``NASD`` means all of them here."""
    return {
        **account_fields(account),
        "OVRS_EXCG_CD": "NASD",
        "SORT_SQN": "DS",
        **page_fields(page, 200),
    }


def parse_open_orders_request(params: Mapping[str, Any]) -> tuple[str, Exchange | None, Page]:
    """Read account, exchange (``None``: all) and page."""
    fields = values.upper_keys(params)
    values.required(fields, "OVRS_EXCG_CD")
    code = fields["OVRS_EXCG_CD"].strip()
    exchange = None if code == "NASD" else exchange_of_trade(code)
    return parse_account(fields), exchange, parse_page_request(params, 200)


def render_open_orders(
    orders: Sequence[VenueOrder], instruments: Mapping[str, Instrument]
) -> dict[str, Any]:
    """Answer unfilled orders."""
    rows = []
    for order in orders:
        row = _render_listed(ListedOrder(order=order), instruments)
        row["rvse_cncl_dvsn_cd"] = "00"
        row["rvse_cncl_dvsn_cd_name"] = ""
        row["natn_cd"] = "840"
        row["natn_kor_name"] = "미국"
        rows.append(row)
    return {"output": rows}


def parse_open_orders(body: Mapping[str, Any]) -> tuple[ListedOrder, ...]:
    """Read unfilled orders."""
    return tuple(_parse_listed(row) for row in values.rows(body.get("output")) if row.get("odno"))


def orders_request(
    account: str, first: date, last: date, page: Page, *, everything_blank: bool
) -> dict[str, str]:
    """Ask for all orders of a range of US days with what was filled.

    ``everything_blank``: the paper server takes no filters, only blanks.
    """
    return {
        **account_fields(account),
        "PDNO": "" if everything_blank else "%",
        "ORD_STRT_DT": values.day_text(first),
        "ORD_END_DT": values.day_text(last),
        "SLL_BUY_DVSN": "00",
        "CCLD_NCCS_DVSN": "00",
        "OVRS_EXCG_CD": "" if everything_blank else "NASD",
        "SORT_SQN": "DS",
        "ORD_DT": "",
        "ORD_GNO_BRNO": "",
        "ODNO": "",
        **page_fields(page, 200),
    }


def parse_orders_request(params: Mapping[str, Any]) -> tuple[str, date, date, str, Page]:
    """Read account, first and last day, ``00|01|02`` (all, filled, open) and page."""
    fields = values.upper_keys(params)
    values.required(fields, "ORD_STRT_DT", "ORD_END_DT", "CTX_AREA_NK200")
    return (
        parse_account(fields),
        values.day(fields["ORD_STRT_DT"]),
        values.day(fields["ORD_END_DT"]),
        fields.get("CCLD_NCCS_DVSN", "00"),
        parse_page_request(params, 200),
    )


def render_orders(
    listed: Sequence[ListedOrder], instruments: Mapping[str, Instrument]
) -> dict[str, Any]:
    """Answer one page of orders."""
    rows = []
    for item in listed:
        row = _render_listed(item, instruments)
        korean_day, korean_time = values.date_and_time(item.order.ts_event, Market.KRX)
        row.update(
            rvse_cncl_dvsn=_CHANGE_CODES[item.kind],
            rvse_cncl_dvsn_name=_CHANGE_NAMES[item.kind],
            tr_natn="840",
            tr_natn_name="미국",
            dmst_ord_dt=korean_day,
            thco_ord_tmd=korean_time,
            mdia_dvsn_name="OpenAPI",
            usa_amk_exts_rqst_yn="N",
            splt_buy_attr_name="",
        )
        rows.append(row)
    return {"output": rows}


def parse_orders(body: Mapping[str, Any]) -> tuple[ListedOrder, ...]:
    """Read orders with their filled amounts; the blank row of an empty listing is dropped."""
    return tuple(_parse_listed(row) for row in values.rows(body.get("output")) if row.get("odno"))


def _render_listed(item: ListedOrder, instruments: Mapping[str, Instrument]) -> dict[str, str]:
    order = item.order
    instrument = instruments.get(order.symbol)
    exchange = instrument.exchange if instrument is not None else Exchange.NASDAQ
    average = order.filled_amount / order.filled_quantity / 10_000 if order.filled_quantity else 0.0
    status = "거부" if order.rejected_quantity else "완료" if not order.open_quantity else "전송"
    return {
        "ord_dt": values.date_and_time(order.ts_event, _US)[0],
        "ord_gno_brno": order.branch,
        "odno": order.venue_order_id,
        "orgn_odno": order.original_order_id,
        "pdno": order.symbol,
        "prdt_name": instrument.name if instrument is not None else "",
        "sll_buy_dvsn_cd": SIDE_CODES[order.side],
        "sll_buy_dvsn_cd_name": _SIDE_NAMES[order.side],
        "rjct_rson": "",
        "rjct_rson_name": item.reason,
        "ord_tmd": values.korean_time(order.ts_event),
        "tr_mket_name": _MARKET_NAMES[exchange],
        "tr_crcy_cd": "USD",
        "ft_ord_qty": str(order.quantity),
        "ft_ccld_qty": str(order.filled_quantity),
        "nccs_qty": str(0 if item.kind is OrderKind.CANCEL else order.open_quantity),
        "ft_ord_unpr3": values.from_minor(order.limit, _US) + "0000",
        "ft_ccld_unpr3": f"{average:.8f}",
        "ft_ccld_amt3": values.from_minor(order.filled_amount, _US) + "0",
        "ovrs_excg_cd": TRADE_CODES[exchange],
        "prcs_stat_name": status,
        "loan_type_cd": "10",
        "loan_dt": "",
    }


def _parse_listed(row: Mapping[str, Any]) -> ListedOrder:
    quantity = values.integer(row.get("ft_ord_qty"))
    filled = values.integer(row.get("ft_ccld_qty"))
    left = values.integer(row.get("nccs_qty"))
    reason = str(row.get("rjct_rson_name") or "").strip()
    gone = max(0, quantity - filled - left)
    refused = bool(reason) or str(row.get("prcs_stat_name", "")).strip() == "거부"
    code = str(row.get("rvse_cncl_dvsn") or row.get("rvse_cncl_dvsn_cd") or "00").strip()
    if row.get("dmst_ord_dt") and row.get("thco_ord_tmd"):
        moment = values.instant(row["dmst_ord_dt"], row["thco_ord_tmd"], Market.KRX)
    else:
        # The date is American and the time Korean: the instant is within a day of that noon.
        noon = values.instant(str(row["ord_dt"]), "120000", _US)
        moment = values.nearest_instant(str(row["ord_tmd"]), noon)
    order = VenueOrder(
        venue_order_id=values.order_number(row["odno"]),
        branch=str(row.get("ord_gno_brno", "")).strip(),
        symbol=str(row["pdno"]).strip(),
        side=side_of(row),
        quantity=quantity,
        limit=values.to_minor(row.get("ft_ord_unpr3"), _US),
        filled_quantity=filled,
        filled_amount=values.to_minor(row.get("ft_ccld_amt3"), _US),
        canceled_quantity=0 if refused else gone,
        rejected_quantity=gone if refused else 0,
        ts_event=moment,
        original_order_id=values.order_number(row.get("orgn_odno", "")),
    )
    kind = {"01": OrderKind.REVISE, "02": OrderKind.CANCEL}.get(code, OrderKind.NEW)
    return ListedOrder(order=order, kind=kind, reason=reason)


# --- account -------------------------------------------------------------------------------


def balance_request(
    account: str, page: Page, exchange: Exchange = Exchange.NASDAQ
) -> dict[str, str]:
    """Ask for the holdings on one exchange; on the real server ``NASD`` means all US ones."""
    return {
        **account_fields(account),
        "OVRS_EXCG_CD": TRADE_CODES[exchange],
        "TR_CRCY_CD": "USD",
        **page_fields(page, 200),
    }


def parse_balance_request(params: Mapping[str, Any]) -> tuple[str, str, Page]:
    """Read account, four-letter (or, for one exchange, three-letter) code, and page."""
    fields = values.upper_keys(params)
    values.required(fields, "OVRS_EXCG_CD", "TR_CRCY_CD")
    return (
        parse_account(fields),
        fields["OVRS_EXCG_CD"].strip(),
        parse_page_request(params, 200),
    )


def render_holdings(
    account: str, holdings: Sequence[Holding], *, every: Sequence[Holding] | None = None
) -> dict[str, Any]:
    """Answer one page of holdings with the sums of all; realised profit is not kept here."""
    whole = holdings if every is None else every
    worth = sum(holding.quantity * holding.price for holding in whole)
    paid = sum(holding.cost for holding in whole)
    return {
        "output1": [_render_holding(account, holding) for holding in holdings],
        "output2": {
            "frcr_pchs_amt1": values.from_minor(paid, _US) + "0",
            "ovrs_rlzt_pfls_amt": "",
            "ovrs_tot_pfls": values.from_minor(worth - paid, _US) + "0",
            "rlzt_erng_rt": "",
            "tot_evlu_pfls_amt": values.from_minor(worth - paid, _US) + "0000",
            "tot_pftrt": values.ratio_text(worth - paid, paid) + "000000",
            "frcr_buy_amt_smtl1": values.from_minor(paid, _US) + "00",
            "ovrs_rlzt_pfls_amt2": "",
            "frcr_buy_amt_smtl2": values.from_minor(paid, _US) + "00",
        },
    }


def _render_holding(account: str, holding: Holding) -> dict[str, str]:
    worth = holding.quantity * holding.price
    average = holding.cost / holding.quantity / 10_000 if holding.quantity else 0.0
    return {
        **{name.lower(): value for name, value in account_fields(account).items()},
        "prdt_type_cd": "512",
        "ovrs_pdno": holding.symbol,
        "ovrs_item_name": holding.name,
        "frcr_evlu_pfls_amt": values.from_minor(worth - holding.cost, _US) + "00",
        "evlu_pfls_rt": values.ratio_text(worth - holding.cost, holding.cost),
        "pchs_avg_pric": f"{average:.4f}",
        "ovrs_cblc_qty": str(holding.quantity),
        "ord_psbl_qty": str(holding.sellable),
        "frcr_pchs_amt1": values.from_minor(holding.cost, _US) + "0",
        "ovrs_stck_evlu_amt": values.from_minor(worth, _US) + "0000",
        "now_pric2": values.from_minor(holding.price, _US) + "00",
        "tr_crcy_cd": "USD",
        "ovrs_excg_cd": TRADE_CODES[_need_exchange(holding.exchange, holding.symbol)],
        "loan_type_cd": "10",
        "loan_dt": "",
        "expd_dt": "",
    }


def parse_holdings(body: Mapping[str, Any]) -> tuple[Holding, ...]:
    """Read holdings; blank rows and sold-out positions are dropped."""
    held = []
    for row in values.rows(body.get("output1")):
        quantity = values.integer(row.get("ovrs_cblc_qty"))
        if not quantity or not row.get("ovrs_pdno"):
            continue
        held.append(
            Holding(
                symbol=str(row["ovrs_pdno"]).strip(),
                quantity=quantity,
                sellable=values.integer(row.get("ord_psbl_qty")),
                cost=values.to_minor_rounded(row.get("frcr_pchs_amt1"), _US),
                price=values.to_minor_rounded(row.get("now_pric2"), _US),
                name=str(row.get("ovrs_item_name", "")),
                exchange=_FROM_TRADE.get(str(row.get("ovrs_excg_cd", "")).strip()),
            )
        )
    return tuple(held)


def present_balance_request(account: str) -> dict[str, str]:
    """Ask for cash in dollars, today's trades included."""
    return {
        **account_fields(account),
        "WCRC_FRCR_DVSN_CD": "02",
        "NATN_CD": "840",
        "TR_MKET_CD": "00",
        "INQR_DVSN_CD": "00",
    }


def parse_present_balance_request(params: Mapping[str, Any]) -> tuple[str, bool]:
    """Read the account, and whether amounts are wanted in foreign currency."""
    fields = values.upper_keys(params)
    values.required(fields, "WCRC_FRCR_DVSN_CD", "NATN_CD", "TR_MKET_CD", "INQR_DVSN_CD")
    return parse_account(fields), fields["WCRC_FRCR_DVSN_CD"] == "02"


_TOTAL_KEYS = (
    "pchs_amt_smtl evlu_amt_smtl evlu_pfls_amt_smtl dncl_amt cma_evlu_amt tot_dncl_amt etc_mgna "
    "wdrw_psbl_tot_amt frcr_evlu_tota evlu_erng_rt1 pchs_amt_smtl_amt evlu_amt_smtl_amt "
    "tot_evlu_pfls_amt tot_asst_amt buy_mgn_amt mgna_tota frcr_use_psbl_amt ustl_sll_amt_smtl "
    "ustl_buy_amt_smtl tot_frcr_cblc_smtl tot_loan_amt"
)


def render_present_balance(
    balance: Balance, *, unsettled_bought: int, unsettled_sold: int
) -> dict[str, Any]:
    """Answer cash and holdings in dollars; what would need an exchange rate is blank.

    ``unsettled_bought`` is what purchases will still take from ``balance.cash``, costs
    included; ``unsettled_sold`` is what sales will still bring, costs deducted.
    """
    dollars = _dollars6
    rows = []
    for holding in balance.holdings:
        exchange = _need_exchange(holding.exchange, holding.symbol)
        worth = holding.quantity * holding.price
        average = holding.cost / holding.quantity / 10_000 if holding.quantity else 0.0
        rows.append(
            {
                "prdt_name": holding.name,
                "cblc_qty13": f"{holding.quantity}.00000000",
                "thdt_buy_ccld_qty1": f"{holding.bought_today}.00000000",
                "thdt_sll_ccld_qty1": f"{holding.sold_today}.00000000",
                "ccld_qty_smtl1": f"{holding.quantity}.00000000",
                "ord_psbl_qty1": f"{holding.sellable}.00000000",
                "frcr_pchs_amt": values.from_minor(holding.cost, _US) + "0",
                "frcr_evlu_amt2": dollars(worth),
                "evlu_pfls_amt2": values.from_minor(worth - holding.cost, _US) + "0",
                "evlu_pfls_rt1": values.ratio_text(worth - holding.cost, holding.cost) + "000000",
                "pdno": holding.symbol,
                "bass_exrt": "",
                "buy_crcy_cd": "USD",
                "ovrs_now_pric1": values.from_minor(holding.price, _US) + "0",
                "avg_unpr3": f"{average:.4f}",
                "tr_mket_name": _MARKET_NAMES[exchange],
                "natn_kor_name": "미국",
                "pchs_rmnd_wcrc_amt": "",
                "thdt_buy_ccld_frcr_amt": "",
                "thdt_sll_ccld_frcr_amt": "",
                "unit_amt": "1",
                "std_pdno": "",
                "prdt_type_cd": "512",
                "scts_dvsn_name": "현금",
                "loan_rmnd": "0",
                "loan_dt": "",
                "loan_expd_dt": "",
                "ovrs_excg_cd": TRADE_CODES[exchange],
                "item_lnkg_excg_cd": QUOTE_CODES[exchange],
            }
        )
    currency = {
        "crcy_cd": "USD",
        "crcy_cd_name": "미국 달러",
        "frcr_buy_amt_smtl": dollars(unsettled_bought),
        "frcr_sll_amt_smtl": dollars(unsettled_sold),
        "frcr_dncl_amt_2": dollars(balance.cash),
        "frst_bltn_exrt": "",
        "frcr_buy_mgn_amt": "",
        "frcr_etc_mgna": "",
        "frcr_drwg_psbl_amt_1": dollars(min(balance.cash, balance.cash_final)),
        "frcr_evlu_amt2": "",
        "acpl_cstd_crcy_yn": "Y",
        "nxdy_frcr_drwg_psbl_amt": dollars(balance.cash_next),
    }
    return {"output1": rows, "output2": [currency], "output3": values.blanks(_TOTAL_KEYS)}


def parse_present_balance(body: Mapping[str, Any]) -> Balance | None:
    """Read dollar cash; ``None`` where the venue sends none (paper fills only ``output3``).

    ``cash_final`` is the deposit with unsettled sales added and purchases deducted.
    """
    for row in values.rows(body.get("output2")):
        if row.get("crcy_cd") == "USD":
            deposit = values.to_minor_rounded(row.get("frcr_dncl_amt_2"), _US)
            sold = values.to_minor_rounded(row.get("frcr_sll_amt_smtl"), _US)
            bought = values.to_minor_rounded(row.get("frcr_buy_amt_smtl"), _US)
            return Balance(
                cash=deposit,
                cash_next=values.to_minor_rounded(row.get("nxdy_frcr_drwg_psbl_amt"), _US),
                cash_final=deposit + sold - bought,
                bought_today=bought,
                sold_today=sold,
            )
    return None


def buying_power_request(account: str, instrument: Instrument, limit: int) -> dict[str, str]:
    """Ask what may be spent on one share at ``limit``."""
    return {
        **account_fields(account),
        "OVRS_EXCG_CD": TRADE_CODES[instrument.exchange],
        "OVRS_ORD_UNPR": values.from_minor(limit, _US),
        "ITEM_CD": instrument.symbol,
    }


def parse_buying_power_request(params: Mapping[str, Any]) -> tuple[str, Exchange, str, int]:
    """Read account, exchange, symbol and price."""
    fields = values.upper_keys(params)
    values.required(fields, "OVRS_EXCG_CD", "OVRS_ORD_UNPR", "ITEM_CD")
    return (
        parse_account(fields),
        exchange_of_trade(fields["OVRS_EXCG_CD"].strip()),
        fields["ITEM_CD"].strip(),
        values.to_minor(fields["OVRS_ORD_UNPR"], _US),
    )


def render_buying_power(power: BuyingPower) -> dict[str, Any]:
    """Answer what may be spent in dollars, to the cent as KIS does, rounded down."""
    amount = values.from_minor(power.amount // 100 * 100, _US)[:-2]
    quantity = str(power.quantity)
    return {
        "output": {
            "tr_crcy_cd": "USD",
            "ord_psbl_frcr_amt": amount,
            "sll_ruse_psbl_amt": "0.00",
            "ovrs_ord_psbl_amt": amount,
            "max_ord_psbl_qty": quantity,
            "echm_af_ord_psbl_amt": "0.00",
            "echm_af_ord_psbl_qty": "0",
            "ord_psbl_qty": quantity,
            "exrt": "",
            "frcr_ord_psbl_amt1": amount,
            "ovrs_max_ord_psbl_qty": quantity,
        }
    }


def parse_buying_power(body: Mapping[str, Any], limit: int) -> BuyingPower:
    """Read what may be spent in dollars, without exchanging won for it."""
    output = body.get("output") or {}
    return BuyingPower(
        amount=values.to_minor_rounded(output.get("ovrs_ord_psbl_amt"), _US),
        quantity=values.integer(output.get("max_ord_psbl_qty")),
        price=limit,
    )


def _change(price: int, base: int) -> dict[str, str]:
    # The difference has no sign of its own here: ``sign`` says its direction.
    rate = values.ratio_text(price - base, base)
    return {
        "sign": values.change_sign(price, base),
        "diff": values.from_minor(abs(price - base), _US),
        "rate": f"+{rate}" if price > base else rate if price < base else f" {rate}",
    }


def _dollars6(minor: int) -> str:
    return values.from_minor(minor, _US) + "00"


def _whole_dollars(minor: int | None) -> str:
    return "" if minor is None else str(minor // 10_000)


def _optional(text: Any) -> int | None:
    return None if text is None or not str(text).strip() else values.to_minor_rounded(text, _US)


def _need_exchange(exchange: Exchange | None, symbol: str) -> Exchange:
    if exchange not in TRADE_CODES:
        raise SchemaError(f"미국 거래소를 알 수 없는 종목: {symbol}")
    return exchange
