"""Who bought and sold Korean shares, by class of investor, over REST.

Shares are whole (thousands where a whole market is meant), amounts in million won. The many
keys of one class share a prefix; which of them an answer has differs from call to call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trading.errors import SchemaError
from trading.wire import values
from trading.wire.domestic_quotes import symbol_request
from trading.wire.fields import DAY, NUMBER, TEXT, WHOLE, WON, kis


class Investor(StrEnum):
    """A class of investors, by the prefix of its keys; institutions are those after it."""

    FOREIGN = "frgn"
    PERSON = "prsn"
    INSTITUTION = "orgn"
    SECURITIES = "scrt"
    TRUST = "ivtr"
    PRIVATE_FUND = "pe_fund"
    BANK = "bank"
    INSURANCE = "insu"
    MERCHANT_BANK = "mrbn"
    PENSION = "fund"
    OTHER = "etc"
    OTHER_ORGANIZATION = "etc_orgt"
    OTHER_CORPORATION = "etc_corp"


# These write their net shares as a volume.
_NET_IS_VOLUME = frozenset(
    {Investor.PRIVATE_FUND, Investor.OTHER_ORGANIZATION, Investor.OTHER_CORPORATION}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What one class did; ``None`` where the answer does not say."""

    net: int | None = None
    bought: int | None = None
    sold: int | None = None
    net_million_krw: int | None = None
    bought_million_krw: int | None = None
    sold_million_krw: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowDay:
    """The flows of one session, of a share or of a whole market; ``None`` for those of now."""

    session: date | None
    flows: Mapping[Investor, Flow]


def flow_keys(investor: Investor) -> tuple[str, ...]:
    """Return the keys of ``investor`` in the order of the fields of ``Flow``."""
    net = "ntby_vol" if investor in _NET_IS_VOLUME else "ntby_qty"
    endings = (net, "shnu_vol", "seln_vol", "ntby_tr_pbmn", "shnu_tr_pbmn", "seln_tr_pbmn")
    return tuple(f"{investor}_{ending}" for ending in endings)


def parse_flows(row: Mapping[str, Any]) -> FlowDay:
    """Read the classes that a row tells about."""
    flows = {}
    for investor in Investor:
        found = [_whole(row.get(key)) for key in flow_keys(investor)]
        if any(number is not None for number in found):
            names = (item.name for item in fields(Flow))
            flows[investor] = Flow(**dict(zip(names, found, strict=True)))
    day = str(row.get("stck_bsop_date") or "").strip()
    return FlowDay(session=DAY.read(day) if day else None, flows=flows)


def render_flows(day: FlowDay) -> dict[str, str]:
    """Write a row; what is not known is left out."""
    row = {} if day.session is None else {"stck_bsop_date": values.day_text(day.session)}
    for investor, flow in day.flows.items():
        for key, item in zip(flow_keys(investor), fields(Flow), strict=True):
            number = getattr(flow, item.name)
            if number is not None:
                row[key] = str(number)
    return row


def parse_flow_rows(value: Any) -> tuple[FlowDay, ...]:
    """Read all rows of an output."""
    return tuple(parse_flows(row) for row in values.rows(value))


def _whole(text: Any) -> int | None:
    return None if text is None or not str(text).strip() else values.integer(text)


_MARKETS = {"0001": "KSP", "1001": "KSQ"}


def _market(code: str) -> str:
    if code not in _MARKETS:
        raise SchemaError(f"투자자별 매매는 코스피(0001)와 코스닥(1001)만 있음: {code!r}")
    return _MARKETS[code]


def investors_daily_request(symbol: str, last: date) -> dict[str, str]:
    """Ask for the days of one share up to ``last``."""
    return {
        **symbol_request(symbol),
        "FID_INPUT_DATE_1": values.day_text(last),
        "FID_ORG_ADJ_PRC": "",
        "FID_ETC_CLS_CODE": "1",
    }


def investors_now_request(code: str) -> dict[str, str]:
    """Ask for today's flows of the market of index ``code`` (0001 KOSPI, 1001 KOSDAQ)."""
    return {"FID_INPUT_ISCD": _market(code), "FID_INPUT_ISCD_2": code}


def investors_market_request(code: str, last: date) -> dict[str, str]:
    """Ask for the days of the market of index ``code`` up to ``last``."""
    day = values.day_text(last)
    return {
        "FID_COND_MRKT_DIV_CODE": "U",
        "FID_INPUT_ISCD": code,
        "FID_INPUT_DATE_1": day,
        "FID_INPUT_ISCD_1": _market(code),
        # KIS wants the same date twice.
        "FID_INPUT_DATE_2": day,
        "FID_INPUT_ISCD_2": code,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class NetBuy:
    """A share that foreigners or institutions buy, as reported so far today."""

    symbol: str = kis("mksc_shrn_iscd", TEXT, required=True)
    name: str | None = kis("hts_kor_isnm", TEXT)
    price: int | None = kis("stck_prpr", WON)
    change: int | None = kis("prdy_vrss", WON)
    change_percent: Decimal | None = kis("prdy_ctrt", NUMBER)
    volume: int | None = kis("acml_vol", WHOLE)
    net: int | None = kis("ntby_qty", WHOLE)
    foreign_net: int | None = kis("frgn_ntby_qty", WHOLE)
    institution_net: int | None = kis("orgn_ntby_qty", WHOLE)
    foreign_net_million_krw: int | None = kis("frgn_ntby_tr_pbmn", WHOLE)
    institution_net_million_krw: int | None = kis("orgn_ntby_tr_pbmn", WHOLE)


def net_buys_request(*, selling: bool = False) -> dict[str, str]:
    """Ask for the shares of the whole market with the largest net purchases, or sales."""
    return {
        "FID_COND_MRKT_DIV_CODE": "V",
        "FID_COND_SCR_DIV_CODE": "16449",
        "FID_INPUT_ISCD": "0000",
        "FID_DIV_CLS_CODE": "0",
        "FID_RANK_SORT_CLS_CODE": "1" if selling else "0",
        "FID_ETC_CLS_CODE": "0",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowEstimate:
    """Provisional net shares of a day at one of five times.

    ``number`` 1 is 09:30, 2 10:00, 3 11:20, 4 13:20, 5 14:30.
    """

    number: int = kis("bsop_hour_gb", WHOLE, required=True)
    foreign_net: int | None = kis("frgn_fake_ntby_qty", WHOLE)
    institution_net: int | None = kis("orgn_fake_ntby_qty", WHOLE)
    net: int | None = kis("sum_fake_ntby_qty", WHOLE)


def flow_estimate_request(symbol: str) -> dict[str, str]:
    """Ask for today's estimates of one share."""
    return {"MKSC_SHRN_ISCD": symbol}
