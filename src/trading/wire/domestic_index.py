"""Korean indices over REST: their present, their days and their minutes.

Index points are exact decimals with the digits that the venue wrote. Volume is in thousand
shares and value in million won, as KIS counts them for indices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from trading.wire import values
from trading.wire.domestic_bars import Period, parse_period
from trading.wire.fields import DAY, NUMBER, TIME, WHOLE, kis

# KIS counts KOSPI from 0001 and KOSDAQ from 1001; other vendors call KOSPI 1001 (FAULTS 18).
INDEX_CODES: Mapping[str, str] = {"KOSPI": "0001", "KOSDAQ": "1001", "KOSPI200": "2001"}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexQuote:
    """An index now, with how many of its shares rise and fall."""

    value: Decimal = kis("bstp_nmix_prpr", NUMBER, required=True)
    change: Decimal | None = kis("bstp_nmix_prdy_vrss", NUMBER)
    change_percent: Decimal | None = kis("bstp_nmix_prdy_ctrt", NUMBER)
    open: Decimal | None = kis("bstp_nmix_oprc", NUMBER)
    high: Decimal | None = kis("bstp_nmix_hgpr", NUMBER)
    low: Decimal | None = kis("bstp_nmix_lwpr", NUMBER)
    volume_thousand: int | None = kis("acml_vol", WHOLE)
    value_million_krw: int | None = kis("acml_tr_pbmn", WHOLE)
    rising: int | None = kis("ascn_issu_cnt", WHOLE)
    at_upper_limit: int | None = kis("uplm_issu_cnt", WHOLE)
    unchanged: int | None = kis("stnr_issu_cnt", WHOLE)
    falling: int | None = kis("down_issu_cnt", WHOLE)
    at_lower_limit: int | None = kis("lslm_issu_cnt", WHOLE)
    year_high: Decimal | None = kis("dryy_bstp_nmix_hgpr", NUMBER)
    year_high_on: date | None = kis("dryy_bstp_nmix_hgpr_date", DAY)
    year_low: Decimal | None = kis("dryy_bstp_nmix_lwpr", NUMBER)
    year_low_on: date | None = kis("dryy_bstp_nmix_lwpr_date", DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBar:
    """One day, week, month or year of an index."""

    session: date = kis("stck_bsop_date", DAY, required=True)
    close: Decimal = kis("bstp_nmix_prpr", NUMBER, required=True)
    open: Decimal | None = kis("bstp_nmix_oprc", NUMBER)
    high: Decimal | None = kis("bstp_nmix_hgpr", NUMBER)
    low: Decimal | None = kis("bstp_nmix_lwpr", NUMBER)
    volume_thousand: int | None = kis("acml_vol", WHOLE)
    value_million_krw: int | None = kis("acml_tr_pbmn", WHOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexMinute:
    """A short interval of today; ``time`` is ``HHMMSS`` in Korea, the value is that so far."""

    session: date = kis("stck_bsop_date", DAY, required=True)
    time: str = kis("stck_cntg_hour", TIME, required=True)
    close: Decimal | None = kis("bstp_nmix_prpr", NUMBER)
    open: Decimal | None = kis("bstp_nmix_oprc", NUMBER)
    high: Decimal | None = kis("bstp_nmix_hgpr", NUMBER)
    low: Decimal | None = kis("bstp_nmix_lwpr", NUMBER)
    volume_thousand: int | None = kis("cntg_vol", WHOLE)
    value_million_krw: int | None = kis("acml_tr_pbmn", WHOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexTime:
    """What an index was at a time of today, with the totals so far."""

    time: str = kis("bsop_hour", TIME, required=True)
    value: Decimal | None = kis("bstp_nmix_prpr", NUMBER)
    change: Decimal | None = kis("bstp_nmix_prdy_vrss", NUMBER)
    change_percent: Decimal | None = kis("bstp_nmix_prdy_ctrt", NUMBER)
    total_volume_thousand: int | None = kis("acml_vol", WHOLE)
    value_million_krw: int | None = kis("acml_tr_pbmn", WHOLE)
    volume_thousand: int | None = kis("cntg_vol", WHOLE)


def index_request(code: str) -> dict[str, str]:
    """Ask for the present value of an index."""
    return {"FID_COND_MRKT_DIV_CODE": "U", "FID_INPUT_ISCD": code}


def parse_index_request(params: Mapping[str, Any]) -> str:
    """Read which index is asked for."""
    fields = values.upper_keys(params)
    values.required(fields, "FID_INPUT_ISCD")
    return fields["FID_INPUT_ISCD"].strip()


def index_days_request(code: str, last: date, period: Period) -> dict[str, str]:
    """Ask for the last bars up to ``last``, which KIS calls the start date (FAULTS 19)."""
    return {
        **index_request(code),
        "FID_PERIOD_DIV_CODE": period,
        "FID_INPUT_DATE_1": values.day_text(last),
    }


def index_daily_request(code: str, first: date, last: date, period: Period) -> dict[str, str]:
    """Ask for the bars of a range; the newest 50 of them come back."""
    return {
        **index_request(code),
        "FID_INPUT_DATE_1": values.day_text(first),
        "FID_INPUT_DATE_2": values.day_text(last),
        "FID_PERIOD_DIV_CODE": period,
    }


def parse_index_daily_request(params: Mapping[str, Any]) -> tuple[str, date, date, Period]:
    """Read index, first and last day, period; without a first day, all days before the last."""
    fields = values.upper_keys(params)
    values.required(fields, "FID_INPUT_DATE_1")
    first, last = fields["FID_INPUT_DATE_1"], fields.get("FID_INPUT_DATE_2")
    return (
        parse_index_request(params),
        values.day(first) if last else date.min,
        values.day(last or first),
        parse_period(params),
    )


def index_minute_request(code: str, seconds: int) -> dict[str, str]:
    """Ask for the intervals of today of ``seconds`` each (30, 60, 600 or 3600)."""
    return {
        **index_request(code),
        "FID_ETC_CLS_CODE": "0",
        "FID_INPUT_HOUR_1": str(seconds),
        "FID_PW_DATA_INCU_YN": "N",
    }


def index_times_request(code: str, seconds: int) -> dict[str, str]:
    """Ask for the value every ``seconds`` of today (60, 300 or 600)."""
    return {**index_request(code), "FID_INPUT_HOUR_1": str(seconds)}
