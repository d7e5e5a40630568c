"""Korean orders over REST, in both directions: new ones, changes, listings."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from trading.domain.instrument import Instrument, Market
from trading.domain.order import OrderType, Route, Side, VenueOrder
from trading.errors import SchemaError
from trading.wire import order_codes, values
from trading.wire.accounts import (
    SIDE_CODES,
    SIDE_NAMES,
    account_fields,
    page_fields,
    parse_account,
    parse_page_request,
    side_of,
)
from trading.wire.records import (
    ChangeRequest,
    ListedOrder,
    OrderKind,
    OrderRequest,
    Page,
)

_KRX = Market.KRX

_TYPE_NAMES: Mapping[OrderType, str] = {
    OrderType.LIMIT: "지정가",
    OrderType.MARKET: "시장가",
    OrderType.CONDITIONAL_LIMIT: "조건부지정가",
    OrderType.BEST: "최유리지정가",
    OrderType.PRIORITY: "최우선지정가",
    OrderType.PRE_HOURS_CLOSE: "장전시간외",
    OrderType.AFTER_HOURS_CLOSE: "장후시간외",
    OrderType.AFTER_HOURS_SINGLE: "시간외단일가",
    OrderType.LIMIT_IOC: "IOC지정가",
    OrderType.LIMIT_FOK: "FOK지정가",
    OrderType.MARKET_IOC: "IOC시장가",
    OrderType.MARKET_FOK: "FOK시장가",
    OrderType.BEST_IOC: "IOC최유리",
    OrderType.BEST_FOK: "FOK최유리",
    OrderType.MID: "중간가",
    OrderType.STOP_LIMIT: "스톱지정가",
    OrderType.MID_IOC: "중간가IOC",
    OrderType.MID_FOK: "중간가FOK",
    OrderType.NXT_PRE_LIMIT: "프리마켓지정가",
    OrderType.AFTER_MARKET_LIMIT: "애프터지정가",
    OrderType.AFTER_MARKET_LIMIT_IOC: "애프터지정가IOC",
    OrderType.AFTER_MARKET_LIMIT_FOK: "애프터지정가FOK",
    OrderType.AFTER_MARKET_BEST: "애프터최유리",
    OrderType.AFTER_MARKET_BEST_IOC: "애프터최유리IOC",
    OrderType.AFTER_MARKET_BEST_FOK: "애프터최유리FOK",
    OrderType.AFTER_MARKET_PRIORITY: "애프터최우선",
}
# The word of an order listing for every route; KRX alone is what it shows when not asked.
ALL_ROUTES = "ALL"


def type_name(order_type: OrderType) -> str:
    """Return KIS's Korean name of an order type, or its own where Korea has none."""
    return _TYPE_NAMES.get(order_type, order_type.value)


def order_request(order: OrderRequest) -> dict[str, str]:
    """Return the body of a cash order; the TR id carries the side."""
    body = {
        **account_fields(order.account),
        "PDNO": order.symbol,
        "ORD_DVSN": order_codes.DOMESTIC[order.order_type],
        "ORD_QTY": str(order.quantity),
        "ORD_UNPR": str(order.limit),
        "EXCG_ID_DVSN_CD": order.route.value,
    }
    if order.order_type is OrderType.STOP_LIMIT:
        body["CNDT_PRIC"] = str(order.stop)
    if order.side is Side.SELL:
        body["SLL_TYPE"] = "01"
    return body


def parse_order_request(params: Mapping[str, Any], side: Side) -> OrderRequest:
    """Read a cash order."""
    fields = values.upper_keys(params)
    values.required(fields, "PDNO", "ORD_DVSN", "ORD_QTY", "ORD_UNPR")
    return OrderRequest(
        account=parse_account(fields),
        symbol=fields["PDNO"].strip(),
        side=side,
        quantity=parse_quantity(fields),
        limit=values.to_minor(fields["ORD_UNPR"], _KRX),
        order_type=_order_type(fields),
        stop=values.to_minor(fields.get("CNDT_PRIC"), _KRX),
        route=_route(fields),
    )


def parse_quantity(fields: Mapping[str, str]) -> int:
    """Read the shares of a request, which KIS takes with at most ten digits."""
    quantity = values.integer(fields["ORD_QTY"])
    if abs(quantity) >= 10**10:
        raise SchemaError(f"주문수량 길이 오류: {quantity}")
    return quantity


def _order_type(fields: Mapping[str, str]) -> OrderType:
    code = fields.get("ORD_DVSN", "").strip()
    if code not in order_codes.DOMESTIC_TYPES:
        raise SchemaError(f"주문구분 오류: {code}")
    return order_codes.DOMESTIC_TYPES[code]


def _route(fields: Mapping[str, str]) -> Route:
    code = fields.get("EXCG_ID_DVSN_CD", "").strip() or Route.KRX.value
    if code not in {route.value for route in Route}:
        raise SchemaError(f"거래소 구분 오류: {code}")
    return Route(code)


def change_request(change: ChangeRequest) -> dict[str, str]:
    """Return the body that cancels or revises an order."""
    body = {
        **account_fields(change.account),
        "KRX_FWDG_ORD_ORGNO": change.branch,
        "ORGN_ODNO": change.original_order_id,
        "ORD_DVSN": order_codes.DOMESTIC[change.order_type],
        "RVSE_CNCL_DVSN_CD": "02" if change.is_cancel else "01",
        "ORD_QTY": str(change.quantity),
        "ORD_UNPR": "0" if change.is_cancel else str(change.limit),
        "QTY_ALL_ORD_YN": "N" if change.quantity else "Y",
        "EXCG_ID_DVSN_CD": change.route.value,
    }
    if change.order_type is OrderType.STOP_LIMIT:
        body["CNDT_PRIC"] = str(change.stop)
    return body


def parse_change_request(params: Mapping[str, Any]) -> ChangeRequest:
    """Read a cancel or a revision; quantity 0 when all that is left is meant."""
    fields = values.upper_keys(params)
    values.required(fields, "ORGN_ODNO", "RVSE_CNCL_DVSN_CD", "ORD_QTY", "ORD_UNPR")
    is_all = fields.get("QTY_ALL_ORD_YN") == "Y"
    is_cancel = fields["RVSE_CNCL_DVSN_CD"] == "02"
    return ChangeRequest(
        account=parse_account(fields),
        original_order_id=values.order_number(fields["ORGN_ODNO"]),
        quantity=0 if is_all else parse_quantity(fields),
        limit=values.to_minor(fields["ORD_UNPR"], _KRX),
        is_cancel=is_cancel,
        branch=fields.get("KRX_FWDG_ORD_ORGNO", "").strip(),
        order_type=OrderType.LIMIT if is_cancel else _order_type(fields),
        stop=values.to_minor(fields.get("CNDT_PRIC"), _KRX),
        route=_route(fields),
    )


def open_orders_request(account: str, page: Page) -> dict[str, str]:
    """Ask for orders that can still be changed."""
    return {
        **account_fields(account),
        **page_fields(page, 100),
        "INQR_DVSN_1": "0",
        "INQR_DVSN_2": "0",
    }


def parse_open_orders_request(params: Mapping[str, Any]) -> tuple[str, Page]:
    """Read the account and the page."""
    return parse_account(values.upper_keys(params)), parse_page_request(params, 100)


def render_open_orders(
    listed: Sequence[ListedOrder], instruments: Mapping[str, Instrument]
) -> dict[str, Any]:
    """Answer open orders."""
    return {
        "output": [
            {
                "ord_gno_brno": row.order.branch,
                "odno": row.order.venue_order_id,
                "orgn_odno": row.order.original_order_id,
                "pdno": row.order.symbol,
                "prdt_name": _name(instruments, row.order.symbol),
                "rvse_cncl_dvsn_name": "",
                "ord_qty": str(row.order.quantity),
                "ord_tmd": values.korean_time(row.order.ts_event),
                "tot_ccld_qty": str(row.order.filled_quantity),
                "tot_ccld_amt": str(row.order.filled_amount),
                "psbl_qty": str(row.order.open_quantity),
                "sll_buy_dvsn_cd": SIDE_CODES[row.order.side],
                "mgco_aptm_odno": "",
                "stpm_efct_occr_yn": "",
                **_type_fields(row),
                "excg_id_dvsn_cd": row.route.value,
                "excg_id_dvsn_name": row.route.value,
            }
            for row in listed
        ]
    }


def parse_open_orders(body: Mapping[str, Any], received: datetime) -> tuple[ListedOrder, ...]:
    """Read open orders; what is neither filled nor open was canceled."""
    listed = []
    for row in values.rows(body.get("output")):
        if values.is_blank(row, "odno"):
            continue
        values.required(row, "ord_qty", "tot_ccld_qty", "tot_ccld_amt", "psbl_qty")
        quantity = values.integer(row.get("ord_qty"))
        filled = values.integer(row.get("tot_ccld_qty"))
        order = VenueOrder(
            venue_order_id=values.order_number(values.needed(row, "odno")),
            branch=str(row.get("ord_gno_brno", "")).strip(),
            symbol=values.needed(row, "pdno"),
            side=side_of(row),
            quantity=quantity,
            limit=values.to_minor(row.get("ord_unpr"), _KRX),
            filled_quantity=filled,
            filled_amount=values.to_minor(row.get("tot_ccld_amt"), _KRX),
            canceled_quantity=max(0, quantity - filled - values.integer(row.get("psbl_qty"))),
            rejected_quantity=0,
            ts_event=values.nearest_instant(str(row.get("ord_tmd")), received),
            original_order_id=values.order_number(row.get("orgn_odno", "")),
        )
        kind = OrderKind.REVISE if order.original_order_id else OrderKind.NEW
        listed.append(_listed(order, kind, row))
    return tuple(listed)


def _type_fields(row: ListedOrder) -> dict[str, str]:
    return {
        "ord_dvsn_name": _TYPE_NAMES[row.order_type],
        "ord_dvsn_cd": order_codes.DOMESTIC[row.order_type],
        "ord_unpr": str(row.order.limit if row.order_type.names_price else 0),
        "stpm_cndt_pric": str(row.stop) if row.stop else "",
        "excg_dvsn_cd": "02",
    }


def _listed(order: VenueOrder, kind: OrderKind, row: Mapping[str, Any]) -> ListedOrder:
    # Types that no request can ask for (own shares, blocks, baskets) are someone else's: limit.
    code = str(row.get("ord_dvsn_cd") or "").strip()
    # The name of the key ends in a capital in the workbook.
    route = str(row.get("excg_id_dvsn_cd") or row.get("excg_id_dvsn_Cd") or "").strip()
    return ListedOrder(
        order=order,
        kind=kind,
        order_type=order_codes.DOMESTIC_TYPES.get(code, OrderType.LIMIT),
        stop=values.to_minor(row.get("stpm_cndt_pric"), _KRX),
        route=Route(route) if route in tuple(Route) else Route.KRX,
    )


def orders_request(
    account: str, first: date, last: date, page: Page, *, routes: str = ALL_ROUTES
) -> dict[str, str]:
    """Ask for all orders of a range of days with what was filled, sent by any of ``routes``."""
    return {
        **account_fields(account),
        "INQR_STRT_DT": values.day_text(first),
        "INQR_END_DT": values.day_text(last),
        "SLL_BUY_DVSN_CD": "00",
        "INQR_DVSN": "01",
        "PDNO": "",
        "CCLD_DVSN": "00",
        "ORD_GNO_BRNO": "",
        "ODNO": "",
        "INQR_DVSN_3": "00",
        "INQR_DVSN_1": "",
        "EXCG_ID_DVSN_CD": routes,
        **page_fields(page, 100),
    }


def parse_orders_request(params: Mapping[str, Any]) -> tuple[str, date, date, str, bool, Page]:
    """Read account, first and last day, ``00|01|02`` (all, filled, open), newest first, page."""
    fields = values.upper_keys(params)
    values.required(fields, "INQR_STRT_DT", "INQR_END_DT", "CCLD_DVSN", "CTX_AREA_NK100")
    return (
        parse_account(fields),
        values.day(fields["INQR_STRT_DT"]),
        values.day(fields["INQR_END_DT"]),
        fields["CCLD_DVSN"],
        fields.get("INQR_DVSN", "00") == "00",
        parse_page_request(params, 100),
    )


def is_listed(params: Mapping[str, Any], row: ListedOrder) -> bool:
    """Whether the order answers a listing's filters: route, side, symbol and number."""
    fields = values.upper_keys(params)
    routes = fields.get("EXCG_ID_DVSN_CD", "").strip() or Route.KRX
    side = fields.get("SLL_BUY_DVSN_CD", "").strip() or "00"
    symbol = fields.get("PDNO", "").strip()
    number = values.order_number(fields.get("ODNO", ""))
    return (
        routes in (ALL_ROUTES, row.route)
        and side in ("00", SIDE_CODES[row.order.side])
        and symbol in ("", row.order.symbol)
        and number in ("", row.order.venue_order_id)
    )


def render_orders(
    listed: Sequence[ListedOrder],
    instruments: Mapping[str, Instrument],
    *,
    total: Sequence[ListedOrder] | None = None,
    costs: int = 0,
) -> dict[str, Any]:
    """Answer one page of orders; ``total`` is the whole list that the sums are over."""
    every = [row.order for row in (listed if total is None else total)]
    filled = sum(order.filled_quantity for order in every)
    amount = sum(order.filled_amount for order in every)
    return {
        "output1": [_render_order(row, instruments) for row in listed],
        "output2": {
            "tot_ord_qty": str(sum(order.quantity for order in every)),
            "tot_ccld_qty": str(filled),
            "tot_ccld_amt": str(amount),
            "prsm_tlex_smtl": str(costs),
            "pchs_avg_pric": f"{amount / filled:.4f}" if filled else "0.0000",
        },
    }


def _render_order(row: ListedOrder, instruments: Mapping[str, Instrument]) -> dict[str, str]:
    order = row.order
    is_cancel = row.kind is OrderKind.CANCEL
    suffix = {OrderKind.NEW: "", OrderKind.REVISE: "정정*", OrderKind.CANCEL: "취소*"}[row.kind]
    if order.rejected_quantity:
        suffix = "거부"
    average = order.filled_amount // order.filled_quantity if order.filled_quantity else 0
    return {
        "ord_dt": values.date_and_time(order.ts_event, _KRX)[0],
        "ord_gno_brno": order.branch,
        "odno": order.venue_order_id,
        "orgn_odno": order.original_order_id,
        "sll_buy_dvsn_cd": SIDE_CODES[order.side],
        "sll_buy_dvsn_cd_name": f"현금{SIDE_NAMES[order.side]}{suffix}",
        "pdno": order.symbol,
        "prdt_name": _name(instruments, order.symbol),
        "ord_qty": str(order.quantity),
        "ord_tmd": values.korean_time(order.ts_event),
        "tot_ccld_qty": str(order.filled_quantity),
        "avg_prvs": str(average),
        "cncl_yn": "Y" if is_cancel else "N",
        "tot_ccld_amt": str(order.filled_amount),
        "loan_dt": "",
        "ordr_empno": "",
        "cncl_cfrm_qty": str(order.canceled_quantity),
        "rmn_qty": str(0 if is_cancel else order.open_quantity),
        "rjct_qty": str(order.rejected_quantity),
        "ccld_cndt_name": _condition(row.order_type),
        "inqr_ip_addr": "",
        "cpbc_ordp_ord_rcit_dvsn_cd": "",
        "cpbc_ordp_infm_mthd_dvsn_cd": "",
        "infm_tmd": "",
        "ctac_tlno": "",
        "prdt_type_cd": "300",
        "cpbc_ordp_mtrl_dvsn_cd": "",
        "ord_orgno": order.branch,
        "rsvn_ord_end_dt": "",
        **_type_fields(row),
        "excg_id_dvsn_Cd": row.route.value,
        "stpm_efct_occr_dtmd": "",
    }


def _condition(order_type: OrderType) -> str:
    for name in ("IOC", "FOK"):
        if order_type.value.endswith(name.lower()):
            return name
    return "없음"


def parse_orders(body: Mapping[str, Any]) -> tuple[ListedOrder, ...]:
    """Read orders with their exact filled amounts.

    What is neither filled, refused nor left is canceled: where KIS writes the confirmed cancel
    quantity (original row or cancel row) is not documented, the identity holds either way.
    """
    listed = []
    for row in values.rows(body.get("output1")):
        if values.is_blank(row, "odno"):
            continue
        # A field that was renamed must not read as "nothing filled".
        values.required(row, "ord_qty", "tot_ccld_qty", "tot_ccld_amt", "rjct_qty", "rmn_qty")
        quantity = values.integer(row.get("ord_qty"))
        filled = values.integer(row.get("tot_ccld_qty"))
        rejected = values.integer(row.get("rjct_qty"))
        left = values.integer(row.get("rmn_qty"))
        original = values.order_number(row.get("orgn_odno", ""))
        # KIS calls the flag "canceled", and says not of what: a request to cancel trades nothing.
        is_cancel = row.get("cncl_yn") == "Y" and bool(original) and not filled
        order = VenueOrder(
            venue_order_id=values.order_number(values.needed(row, "odno")),
            branch=str(row.get("ord_gno_brno", "")).strip(),
            symbol=values.needed(row, "pdno"),
            side=side_of(row),
            quantity=quantity,
            limit=values.to_minor(row.get("ord_unpr"), _KRX),
            filled_quantity=filled,
            filled_amount=values.to_minor(row.get("tot_ccld_amt"), _KRX),
            canceled_quantity=max(0, quantity - filled - rejected - left),
            rejected_quantity=rejected,
            ts_event=values.instant(
                values.needed(row, "ord_dt"), values.needed(row, "ord_tmd"), _KRX
            ),
            original_order_id=original,
        )
        kind = OrderKind.CANCEL if is_cancel else OrderKind.REVISE if original else OrderKind.NEW
        listed.append(_listed(order, kind, row))
    return tuple(listed)


def _name(instruments: Mapping[str, Instrument], symbol: str) -> str:
    instrument = instruments.get(symbol)
    return instrument.name if instrument is not None else ""
