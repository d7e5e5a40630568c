"""Orders of US shares over REST, in both directions.

Dates of orders are US dates; order times are Korean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.order import OrderType, Side, VenueOrder
from trading.errors import SchemaError
from trading.wire import values
from trading.wire.accounts import (
    SIDE,
    SIDE_CODES,
    SIDE_NAMES,
    account_fields,
    page_fields,
    parse_account,
    parse_page_request,
    side_of,
)
from trading.wire.fields import DAY, FLAG, TEXT, TIME, WHOLE, Kind, kis, read, write
from trading.wire.order_codes import OVERSEAS, OVERSEAS_TYPES
from trading.wire.overseas_codes import (
    MARKET_NAMES,
    PRODUCT_TYPES,
    TRADE_CODES,
    exchange_of_trade,
    us_exchange,
)
from trading.wire.records import ChangeRequest, ListedOrder, OrderKind, OrderRequest, Page

_US = Market.US
# Worked by KIS over the day: these cannot be revised. Until the close, not between two times.
SCHEDULED = frozenset({OrderType.TWAP, OrderType.VWAP})
_UNTIL_CLOSE = {"START_TIME": "", "END_TIME": "", "ALGO_ORD_TMD_DVSN_CD": "02"}
_ALL_PRODUCTS = "00"
_CHANGE_CODES = {OrderKind.NEW: "00", OrderKind.REVISE: "01", OrderKind.CANCEL: "02"}
_CHANGE_NAMES = {OrderKind.NEW: "", OrderKind.REVISE: "정정", OrderKind.CANCEL: "취소"}


def order_request(order: OrderRequest) -> dict[str, str]:
    """Return the body of an order; the TR id carries the side."""
    return {
        **account_fields(order.account),
        "OVRS_EXCG_CD": TRADE_CODES[us_exchange(order.exchange, order.symbol)],
        "PDNO": order.symbol,
        "ORD_QTY": str(order.quantity),
        "OVRS_ORD_UNPR": price_text(order.limit),
        "CTAC_TLNO": "",
        "MGCO_APTM_ODNO": "",
        "SLL_TYPE": "00" if order.side is Side.SELL else "",
        "ORD_SVR_DVSN_CD": "0",
        "ORD_DVSN": order_type_code(order.order_type),
        **(_UNTIL_CLOSE if order.order_type in SCHEDULED else {}),
    }


def price_text(limit: int) -> str:
    """Write the price of an order; one that names none sends a bare zero."""
    return values.from_minor(limit, _US) if limit else "0"


def order_type_code(order_type: OrderType) -> str:
    """Return the US code of an order type; ``SchemaError`` for those of Korea."""
    if order_type not in OVERSEAS:
        raise SchemaError(f"미국 시장에 없는 주문 유형: {order_type}")
    return OVERSEAS[order_type]


def order_type_of(code: str) -> OrderType:
    """Return the order type of a US code; ``SchemaError`` when there is none."""
    if code.strip() not in OVERSEAS_TYPES:
        raise SchemaError(f"미국 시장에 없는 주문 구분: {code!r}")
    return OVERSEAS_TYPES[code.strip()]


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
        order_type=order_type_of(fields["ORD_DVSN"]),
    )


def change_request(change: ChangeRequest) -> dict[str, str]:
    """Return the body that cancels or revises an order; the quantity must be named."""
    return {
        **account_fields(change.account),
        "OVRS_EXCG_CD": TRADE_CODES[us_exchange(change.exchange, change.symbol)],
        "PDNO": change.symbol,
        "ORGN_ODNO": change.original_order_id,
        "RVSE_CNCL_DVSN_CD": "02" if change.is_cancel else "01",
        "ORD_QTY": str(change.quantity),
        "OVRS_ORD_UNPR": price_text(0 if change.is_cancel else change.limit),
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
    """Read account, exchange (``None``: all, also for a blank one) and page."""
    fields = values.upper_keys(params)
    values.required(fields, "OVRS_EXCG_CD")
    code = fields["OVRS_EXCG_CD"].strip()
    exchange = None if code in ("", "NASD") else exchange_of_trade(code)
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
    rows = values.rows(body.get("output"))
    return tuple(_parse_listed(row) for row in rows if not values.is_blank(row, "odno"))


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
        )
        rows.append(row)
    return {"output": rows}


def parse_orders(body: Mapping[str, Any]) -> tuple[ListedOrder, ...]:
    """Read orders with their filled amounts; the blank row of an empty listing is dropped."""
    rows = values.rows(body.get("output"))
    return tuple(_parse_listed(row) for row in rows if not values.is_blank(row, "odno"))


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
        "sll_buy_dvsn_cd_name": SIDE_NAMES[order.side],
        "rjct_rson": "",
        "rjct_rson_name": item.reason,
        "ord_tmd": values.korean_time(order.ts_event),
        "tr_mket_name": MARKET_NAMES[exchange],
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
        "usa_amk_exts_rqst_yn": "N",
        "splt_buy_attr_name": "",
    }


def _parse_listed(row: Mapping[str, Any]) -> ListedOrder:
    # A field that was renamed must not read as "nothing filled".
    values.required(row, "odno", "pdno", "ft_ord_qty", "ft_ccld_qty", "ft_ccld_amt3", "nccs_qty")
    quantity = values.integer(row.get("ft_ord_qty"))
    filled = values.integer(row.get("ft_ccld_qty"))
    left = values.integer(row.get("nccs_qty"))
    reason = str(row.get("rjct_rson_name") or "").strip()
    gone = max(0, quantity - filled - left)
    refused = bool(reason) or str(row.get("prcs_stat_name", "")).strip() == "거부"
    code = str(row.get("rvse_cncl_dvsn") or row.get("rvse_cncl_dvsn_cd") or "00").strip()
    if row.get("dmst_ord_dt") and row.get("thco_ord_tmd"):
        moment = values.instant(str(row["dmst_ord_dt"]), str(row["thco_ord_tmd"]), Market.KRX)
    else:
        # The date is American and the time Korean: the instant is within a day of that noon.
        noon = values.instant(str(row.get("ord_dt")), "120000", _US)
        moment = values.nearest_instant(str(row.get("ord_tmd")), noon)
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


# --- reserved orders -----------------------------------------------------------------------------


def reserve_request(order: OrderRequest) -> dict[str, str]:
    """Return the body that reserves an order for the next session; the TR id carries the side."""
    exchange = us_exchange(order.exchange, order.symbol)
    return {
        **account_fields(order.account),
        "SLL_BUY_DVSN_CD": SIDE_CODES[order.side],
        "RVSE_CNCL_DVSN_CD": "00",
        "PDNO": order.symbol,
        "PRDT_TYPE_CD": PRODUCT_TYPES[exchange],
        "OVRS_EXCG_CD": TRADE_CODES[exchange],
        "FT_ORD_QTY": str(order.quantity),
        "FT_ORD_UNPR3": price_text(order.limit),
        "ORD_SVR_DVSN_CD": "0",
        "RSVN_ORD_RCIT_DT": "",
        "ORD_DVSN": order_type_code(order.order_type),
        "OVRS_RSVN_ODNO": "",
        **({"ALGO_ORD_TMD_DVSN_CD": "02"} if order.order_type in SCHEDULED else {}),
    }


def parse_reserve_request(params: Mapping[str, Any], side: Side) -> OrderRequest:
    """Read an order to be reserved; a limit order when no type is named."""
    fields = values.upper_keys(params)
    values.required(fields, "OVRS_EXCG_CD", "PDNO", "FT_ORD_QTY", "FT_ORD_UNPR3")
    return OrderRequest(
        account=parse_account(fields),
        symbol=fields["PDNO"].strip(),
        side=side,
        quantity=values.integer(fields["FT_ORD_QTY"]),
        limit=values.to_minor(fields["FT_ORD_UNPR3"], _US),
        exchange=exchange_of_trade(fields["OVRS_EXCG_CD"].strip()),
        order_type=order_type_of(fields.get("ORD_DVSN", "").strip() or "00"),
    )


def render_reserved(number: str, received_on: date) -> dict[str, Any]:
    """Answer a reservation; ``ODNO`` is its number, not that of an order."""
    return {
        "output": {
            "ODNO": number,
            "RSVN_ORD_RCIT_DT": values.day_text(received_on),
            "OVRS_RSVN_ODNO": number,
        }
    }


def parse_reserved(body: Mapping[str, Any], today: date) -> tuple[str, date]:
    """Read number and day of a reservation; KIS leaves out the day at times: then ``today``."""
    output = values.upper_keys(values.first_row(body.get("output")))
    number = (output.get("OVRS_RSVN_ODNO") or output.get("ODNO") or "").strip()
    if not number:
        raise SchemaError("예약 주문 응답에 예약번호 없음")
    day = output.get("RSVN_ORD_RCIT_DT", "").strip()
    return number, values.day(day) if day else today


def cancel_reserved_request(account: str, number: str, received_on: date) -> dict[str, str]:
    """Return the body that cancels a reservation."""
    day = values.day_text(received_on)
    return {
        **account_fields(account),
        # The document and its own example spell the day differently.
        "RSYN_ORD_RCIT_DT": day,
        "RSVN_ORD_RCIT_DT": day,
        "OVRS_RSVN_ODNO": number,
    }


def parse_cancel_reserved_request(params: Mapping[str, Any]) -> tuple[str, str, date]:
    """Read account, number and day of the reservation."""
    fields = values.upper_keys(params)
    values.required(fields, "OVRS_RSVN_ODNO")
    day = fields.get("RSYN_ORD_RCIT_DT") or fields.get("RSVN_ORD_RCIT_DT") or ""
    return parse_account(fields), fields["OVRS_RSVN_ODNO"].strip(), values.day(day)


def render_canceled_reserved(number: str) -> dict[str, Any]:
    """Answer a canceled reservation."""
    return {"output": {"OVRS_RSVN_ODNO": number}}


def reserves_request(
    account: str, first: date, last: date, exchange: Exchange, page: Page
) -> dict[str, str]:
    """Ask for the reservations of a range of days on one exchange."""
    return {
        **account_fields(account),
        "INQR_STRT_DT": values.day_text(first),
        "INQR_END_DT": values.day_text(last),
        "INQR_DVSN_CD": _ALL_PRODUCTS,
        "PRDT_TYPE_CD": PRODUCT_TYPES[exchange],
        "OVRS_EXCG_CD": TRADE_CODES[exchange],
        **page_fields(page, 200),
    }


def parse_reserves_request(params: Mapping[str, Any]) -> tuple[str, date, date, Exchange, Page]:
    """Read account, first and last day, exchange and page."""
    fields = values.upper_keys(params)
    values.required(fields, "INQR_STRT_DT", "INQR_END_DT", "OVRS_EXCG_CD")
    return (
        parse_account(fields),
        values.day(fields["INQR_STRT_DT"]),
        values.day(fields["INQR_END_DT"]),
        exchange_of_trade(fields["OVRS_EXCG_CD"].strip()),
        parse_page_request(params, 200),
    )


# Order prices have eight decimals here.
_PRICE8 = Kind(
    "price-8",
    lambda text: values.to_minor(text, _US),
    lambda minor: values.from_minor(minor, _US) + "0000",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedOrder:
    """One reservation as the venue lists it; ``order_id`` once it has become an order."""

    number: str = kis("ovrs_rsvn_odno", TEXT, required=True)
    received_on: date = kis("rsvn_ord_rcit_dt", DAY, required=True)
    received_time: str | None = kis("ord_rcit_tmd", TIME)
    symbol: str = kis("pdno", TEXT, required=True)
    name: str | None = kis("prdt_name", TEXT)
    exchange_code: str | None = kis("ovrs_excg_cd", TEXT)
    side: Side = kis("sll_buy_dvsn_cd", SIDE, required=True)
    kind: str | None = kis("sll_buy_dvsn_cd_name", TEXT)
    quantity: int = kis("ft_ord_qty", WHOLE, required=True)
    limit: int | None = kis("ft_ord_unpr3", _PRICE8)
    filled_quantity: int | None = kis("ft_ccld_qty", WHOLE)
    is_canceled: bool | None = kis("cncl_yn", FLAG)
    status_code: str | None = kis("ovrs_rsvn_ord_stat_cd", TEXT)
    status: str | None = kis("ovrs_rsvn_ord_stat_cd_name", TEXT)
    sent_on: date | None = kis("ord_dt", DAY)
    sent_time: str | None = kis("ord_fwdg_tmd", TIME)
    branch: str | None = kis("ord_gno_brno", TEXT)
    order_id: str | None = kis("odno", TEXT)
    reason: str | None = kis("nprc_rson_text", TEXT)


_RESERVE_BLANKS = "prdt_type_cd tr_dvsn_name tr_mket_name ord_stfno splt_buy_attr_name"


def render_reserves(rows: Sequence[ReservedOrder]) -> dict[str, Any]:
    """Answer one page of reservations."""
    return {"output": [{**values.blanks(_RESERVE_BLANKS), **write(row)} for row in rows]}


def parse_reserves(body: Mapping[str, Any]) -> tuple[ReservedOrder, ...]:
    """Read reservations; the blank row of an empty listing is dropped."""
    return tuple(
        read(ReservedOrder, row)
        for row in values.rows(body.get("output"))
        if str(row.get("ovrs_rsvn_odno", "")).strip()
    )
