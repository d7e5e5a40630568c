"""What the calls of both markets share: account numbers, pages, sides, acknowledgements."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trading.domain.order import OrderAck, Side
from trading.errors import SchemaError
from trading.wire import values
from trading.wire.fields import Kind
from trading.wire.records import Page

SIDE_CODES = {Side.SELL: "01", Side.BUY: "02"}
SIDE_NAMES = {Side.SELL: "매도", Side.BUY: "매수"}
_SIDES = {code: side for side, code in SIDE_CODES.items()}


def account_fields(account: str) -> dict[str, str]:
    """Return the two fields of a ten-digit account number."""
    return {"CANO": account[:8], "ACNT_PRDT_CD": account[8:] or "01"}


def parse_account(fields: Mapping[str, str]) -> str:
    """Read the ten-digit account number of an upper-cased request."""
    values.required(fields, "CANO", "ACNT_PRDT_CD")
    return fields["CANO"] + fields["ACNT_PRDT_CD"]


def page_fields(page: Page, width: int) -> dict[str, str]:
    """Return the request fields that ask for ``page``."""
    suffix = "" if width == 20 else str(width)
    return {f"CTX_AREA_FK{suffix}": page.fk, f"CTX_AREA_NK{suffix}": page.nk}


def parse_page_request(params: Mapping[str, Any], width: int) -> Page:
    """Read which page a request asks for; padding is dropped."""
    fields = values.upper_keys(params)
    suffix = "" if width == 20 else str(width)
    return Page(
        fk=fields.get(f"CTX_AREA_FK{suffix}", "").strip(),
        nk=fields.get(f"CTX_AREA_NK{suffix}", "").strip(),
    )


def render_page(page: Page, width: int) -> dict[str, str]:
    """Return the answer fields that name the next page, padded with blanks as KIS does."""
    suffix = "" if width == 20 else str(width)
    return {
        f"ctx_area_fk{suffix}": page.fk.ljust(width),
        f"ctx_area_nk{suffix}": page.nk.ljust(width),
    }


def parse_page(body: Mapping[str, Any], width: int) -> Page:
    """Read the keys of the next page as they came: KIS wants them back unchanged."""
    suffix = "" if width == 20 else str(width)
    return Page(
        fk=str(body.get(f"ctx_area_fk{suffix}", "")), nk=str(body.get(f"ctx_area_nk{suffix}", ""))
    )


def side_of(row: Mapping[str, Any]) -> Side:
    """Read the side code of a listed row."""
    return _side(str(row.get("sll_buy_dvsn_cd", "")).strip())


def _side(code: str) -> Side:
    if code not in _SIDES:
        raise SchemaError(f"알 수 없는 매매 구분: {code!r}")
    return _SIDES[code]


SIDE = Kind("side", _side, lambda side: SIDE_CODES[side])


def render_ack(ack: OrderAck) -> dict[str, Any]:
    """Answer an accepted order; these names alone are upper case."""
    return {
        "output": {
            "KRX_FWDG_ORD_ORGNO": ack.branch,
            "ODNO": ack.venue_order_id,
            "ORD_TMD": values.korean_time(ack.ts_event),
        }
    }


def parse_ack(body: Mapping[str, Any], received: datetime) -> OrderAck:
    """Read an acceptance, of Korean and US orders alike; names in either case."""
    output = values.upper_keys(values.first_row(body.get("output")))
    number = values.order_number(output.get("ODNO", ""))
    if not number:
        raise SchemaError("주문 응답에 주문번호 없음")
    clock = output.get("ORD_TMD", "").strip()
    return OrderAck(
        venue_order_id=number,
        branch=output.get("KRX_FWDG_ORD_ORGNO", "").strip(),
        ts_event=values.nearest_instant(clock, received) if clock else received,
    )


# Some listings pad a symbol to twelve characters behind a letter that says what it is.
_PADDING = "00000"
_SHARE_LETTER = "A"


def listed_symbol(text: str) -> str:
    """Return the symbol of a padded one: ``00000A000660`` is 000660, an ETN keeps its Q."""
    if len(text) == 12 and text.startswith(_PADDING):
        text = text.removeprefix(_PADDING)
        return text.removeprefix(_SHARE_LETTER)
    return text


SYMBOL = Kind("symbol", listed_symbol, str)
