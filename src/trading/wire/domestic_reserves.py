"""Korean orders for the next session (예약주문) over REST, in both directions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from trading.domain.instrument import Market
from trading.domain.order import OrderType, Side
from trading.errors import SchemaError
from trading.wire import order_codes, values
from trading.wire.accounts import (
    SIDE,
    SIDE_CODES,
    account_fields,
    page_fields,
    parse_account,
    parse_page_request,
)
from trading.wire.domestic_orders import parse_quantity
from trading.wire.fields import DAY, TEXT, TIME, WHOLE, WON, Kind, kis
from trading.wire.records import Page

_KRX = Market.KRX
RESERVABLE = frozenset(
    {
        OrderType.LIMIT,
        OrderType.MARKET,
        OrderType.CONDITIONAL_LIMIT,
        OrderType.PRE_HOURS_CLOSE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveRequest:
    """An order for the next session, or, until ``last``, for every session up to that day."""

    account: str = field(repr=False)
    symbol: str
    side: Side
    quantity: int
    limit: int
    order_type: OrderType = OrderType.LIMIT
    last: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveChangeRequest:
    """The cancel of a reservation or, with ``wish``, what it is to be instead."""

    account: str = field(repr=False)
    number: str
    day: date
    wish: ReserveRequest | None = None


def _read_type(code: str) -> OrderType:
    if code not in order_codes.DOMESTIC_TYPES:
        raise SchemaError(f"주문구분 오류: {code}")
    return order_codes.DOMESTIC_TYPES[code]


_ORDER_TYPE = Kind("order-type", _read_type, lambda kind: order_codes.DOMESTIC[kind])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedOrder:
    """One reservation: when it came, for which day, and what became of it.

    ``result`` is KIS's own word (처리, 미처리, 거부); ``venue_order_id`` is blank until the order
    was sent.
    """

    number: str = kis("rsvn_ord_seq", TEXT, required=True)
    day: date | None = kis("rsvn_ord_ord_dt", DAY)
    received_on: date | None = kis("rsvn_ord_rcit_dt", DAY)
    received_at: str | None = kis("rsvn_ord_rcit_tmd", TIME)
    symbol: str = kis("pdno", TEXT, required=True)
    name: str | None = kis("kor_item_shtn_name", TEXT)
    side: Side = kis("sll_buy_dvsn_cd", SIDE, required=True)
    order_type: OrderType = kis("ord_dvsn_cd", _ORDER_TYPE, required=True)
    quantity: int = kis("ord_rsvn_qty", WHOLE, required=True)
    limit: int | None = kis("ord_rsvn_unpr", WON)
    filled_quantity: int | None = kis("tot_ccld_qty", WHOLE)
    filled_amount: int | None = kis("tot_ccld_amt", WON)
    venue_order_id: str | None = kis("odno", TEXT)
    sent_at: str | None = kis("ord_tmd", TIME)
    canceled_on: date | None = kis("cncl_ord_dt", DAY)
    canceled_at: str | None = kis("cncl_rcit_tmd", TIME)
    result: str | None = kis("prcs_rslt", TEXT)
    reason: str | None = kis("rjct_rson2", TEXT)
    last: date | None = kis("rsvn_end_dt", DAY)


def reserve_request(wish: ReserveRequest) -> dict[str, str]:
    """Return the body of a reservation."""
    return {
        **account_fields(wish.account),
        "PDNO": wish.symbol,
        "ORD_QTY": str(wish.quantity),
        "ORD_UNPR": str(wish.limit),
        "SLL_BUY_DVSN_CD": SIDE_CODES[wish.side],
        "ORD_DVSN_CD": order_codes.DOMESTIC[wish.order_type],
        # Cash.
        "ORD_OBJT_CBLC_DVSN_CD": "10",
        "LOAN_DT": "",
        "RSVN_ORD_END_DT": "" if wish.last is None else values.day_text(wish.last),
    }


def parse_reserve_request(params: Mapping[str, Any]) -> ReserveRequest:
    """Read a reservation."""
    fields = values.upper_keys(params)
    values.required(
        fields, "PDNO", "ORD_QTY", "ORD_UNPR", "SLL_BUY_DVSN_CD", "ORD_DVSN_CD",
        "ORD_OBJT_CBLC_DVSN_CD",
    )  # fmt: skip
    last = fields.get("RSVN_ORD_END_DT", "").strip()
    return ReserveRequest(
        account=parse_account(fields),
        symbol=fields["PDNO"].strip(),
        side=SIDE.read(fields["SLL_BUY_DVSN_CD"].strip()),
        quantity=parse_quantity(fields),
        limit=values.to_minor(fields["ORD_UNPR"], _KRX),
        order_type=_read_type(fields["ORD_DVSN_CD"].strip()),
        last=values.day(last) if last else None,
    )


def render_reserved(number: str) -> dict[str, Any]:
    """Answer an accepted reservation."""
    return {"output": {"RSVN_ORD_SEQ": number}}


def parse_reserved(body: Mapping[str, Any]) -> str:
    """Read the number of an accepted reservation."""
    rows = values.rows(body.get("output"))
    number = values.upper_keys(rows[0]).get("RSVN_ORD_SEQ", "").strip() if rows else ""
    if not number:
        raise SchemaError("예약 주문 응답에 예약 번호 없음")
    return number


def reserve_change_request(change: ReserveChangeRequest) -> dict[str, str]:
    """Return the body that cancels or revises a reservation."""
    wish = {} if change.wish is None else reserve_request(change.wish)
    return {
        **account_fields(change.account),
        **wish,
        "RSVN_ORD_SEQ": change.number,
        "RSVN_ORD_ORD_DT": values.day_text(change.day),
        "RSVN_ORD_ORGNO": "",
    }


def parse_reserve_change_request(
    params: Mapping[str, Any], *, is_cancel: bool
) -> ReserveChangeRequest:
    """Read the cancel or the revision of a reservation."""
    fields = values.upper_keys(params)
    values.required(fields, "RSVN_ORD_SEQ", "RSVN_ORD_ORD_DT")
    return ReserveChangeRequest(
        account=parse_account(fields),
        number=fields["RSVN_ORD_SEQ"].strip(),
        day=values.day(fields["RSVN_ORD_ORD_DT"]),
        wish=None if is_cancel else parse_reserve_request(params),
    )


def render_reserve_changed() -> dict[str, Any]:
    """Answer a change that was made."""
    return {"output": {"NRML_PRCS_YN": "Y"}}


def parse_reserve_changed(body: Mapping[str, Any]) -> bool:
    """Whether the change was made."""
    rows = values.rows(body.get("output"))
    return bool(rows) and values.upper_keys(rows[0]).get("NRML_PRCS_YN") == "Y"


def reserves_request(account: str, first: date, last: date, page: Page) -> dict[str, str]:
    """Ask for the reservations for a range of days, canceled ones included."""
    return {
        **account_fields(account),
        "RSVN_ORD_ORD_DT": values.day_text(first),
        "RSVN_ORD_END_DT": values.day_text(last),
        "RSVN_ORD_SEQ": "",
        "TMNL_MDIA_KIND_CD": "00",
        "PRCS_DVSN_CD": "0",
        "CNCL_YN": "Y",
        "PDNO": "",
        "SLL_BUY_DVSN_CD": "",
        **page_fields(page, 200),
    }


def parse_reserves_request(params: Mapping[str, Any]) -> tuple[str, date, date, Page]:
    """Read account, first and last day, and the page."""
    fields = values.upper_keys(params)
    values.required(fields, "RSVN_ORD_ORD_DT", "RSVN_ORD_END_DT")
    return (
        parse_account(fields),
        values.day(fields["RSVN_ORD_ORD_DT"]),
        values.day(fields["RSVN_ORD_END_DT"]),
        parse_page_request(params, 200),
    )
