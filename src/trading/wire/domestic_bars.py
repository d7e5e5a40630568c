"""Bars of Korean shares over REST, in both directions: days to years, minutes of today and before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trading.domain.instrument import Instrument, Market
from trading.domain.market import Quote
from trading.errors import SchemaError
from trading.wire import values
from trading.wire.domestic_quotes import change_fields, optional_won
from trading.wire.fields import DAY, NUMBER, TEXT, WHOLE, WON, kis
from trading.wire.records import DailyRow, MinuteRow

_KRX = Market.KRX


class Period(StrEnum):
    """How much time one bar covers, in KIS's own letters."""

    DAY = "D"
    WEEK = "W"
    MONTH = "M"
    YEAR = "Y"

    def begin(self, day: date) -> date:
        """Return the first calendar day of the period that ``day`` is in."""
        if self is Period.WEEK:
            return day - timedelta(days=day.weekday())
        if self is Period.MONTH:
            return day.replace(day=1)
        return day.replace(month=1, day=1) if self is Period.YEAR else day


def parse_period(params: Mapping[str, Any]) -> Period:
    """Read the period of a request; a day when none is named."""
    code = values.upper_keys(params).get("FID_PERIOD_DIV_CODE") or "D"
    if code not in tuple(Period):
        raise SchemaError(f"알 수 없는 봉 주기: {code!r}")
    return Period(code)


def daily_request(
    symbol: str, first: date, last: date, *, adjusted: bool, period: Period = Period.DAY
) -> dict[str, str]:
    """Ask for the bars of a range; the newest 100 of them come back."""
    return {
        "FID_COND_MRKT_DIV_CODE": "J",
        "FID_INPUT_ISCD": symbol,
        "FID_INPUT_DATE_1": values.day_text(first),
        "FID_INPUT_DATE_2": values.day_text(last),
        "FID_PERIOD_DIV_CODE": period,
        # The other way round than in inquire-daily-price.
        "FID_ORG_ADJ_PRC": "0" if adjusted else "1",
    }


def parse_daily_request(params: Mapping[str, Any]) -> tuple[str, date, date, bool]:
    """Read symbol, first and last day, and whether adjusted prices are asked for."""
    fields = values.upper_keys(params)
    values.required(
        fields, "FID_INPUT_ISCD", "FID_INPUT_DATE_1", "FID_INPUT_DATE_2", "FID_ORG_ADJ_PRC"
    )
    return (
        fields["FID_INPUT_ISCD"].strip(),
        values.day(fields["FID_INPUT_DATE_1"]),
        values.day(fields["FID_INPUT_DATE_2"]),
        fields["FID_ORG_ADJ_PRC"] == "0",
    )


_DAILY_SNAPSHOT_BLANKS = (
    "acml_tr_pbmn askp bidp cpfn eps hts_avls lstn_stcn pbr per prdy_vol prdy_vrss_vol stck_fcam "
    "stck_prdy_hgpr stck_prdy_lwpr stck_prdy_oprc vol_tnrt itewhol_loan_rmnd_ratem"
)


def render_daily(
    bars: Sequence[DailyRow], quote: Quote, instrument: Instrument, *, before: int | None = None
) -> dict[str, Any]:
    """Answer daily bars, given newest first; ``quote`` fills the snapshot.

    ``before`` is the close before the oldest bar, where it is known.
    """
    snapshot = values.blanks(_DAILY_SNAPSHOT_BLANKS)
    snapshot.update(
        change_fields(quote.price, quote.previous_close, quote.upper_limit, quote.lower_limit),
        stck_prdy_clpr=str(quote.previous_close),
        acml_vol=str(quote.volume),
        hts_kor_isnm=instrument.name,
        stck_prpr=str(quote.price),
        stck_shrn_iscd=quote.symbol,
        stck_mxpr=str(quote.upper_limit),
        stck_llam=str(quote.lower_limit),
        stck_oprc=str(quote.open),
        stck_hgpr=str(quote.high),
        stck_lwpr=str(quote.low),
    )
    rows = []
    for number, bar in enumerate(bars):
        older = bars[number + 1].close if number + 1 < len(bars) else before
        rows.append(
            {
                "stck_bsop_date": values.day_text(bar.session),
                "stck_clpr": str(bar.close),
                "stck_oprc": str(bar.open),
                "stck_hgpr": str(bar.high),
                "stck_lwpr": str(bar.low),
                "acml_vol": str(bar.volume),
                "acml_tr_pbmn": "" if bar.value is None else str(bar.value),
                "flng_cls_code": "",
                "prtt_rate": "",
                "mod_yn": "N",
                "prdy_vrss_sign": "" if older is None else values.change_sign(bar.close, older),
                "prdy_vrss": "" if older is None else str(bar.close - older),
                "revl_issu_reas": "",
            }
        )
    return {"output1": snapshot, "output2": rows}


def parse_daily(body: Mapping[str, Any]) -> tuple[DailyRow, ...]:
    """Read daily bars, newest first; the empty rows that KIS mixes in are dropped."""
    return tuple(
        DailyRow(
            session=values.day(values.needed(row, "stck_bsop_date")),
            open=values.to_minor_rounded(row.get("stck_oprc"), _KRX),
            high=values.to_minor_rounded(row.get("stck_hgpr"), _KRX),
            low=values.to_minor_rounded(row.get("stck_lwpr"), _KRX),
            close=values.to_minor_rounded(row.get("stck_clpr"), _KRX),
            volume=(volume := values.integer(row.get("acml_vol"))),
            value=values.turnover(optional_won(row.get("acml_tr_pbmn")), volume),
        )
        for row in values.rows(body.get("output2"))
        if row.get("stck_bsop_date")
    )


def minute_request(symbol: str, last_time: str) -> dict[str, str]:
    """Ask for the 30 minute bars of today that end at ``last_time`` (``HHMMSS``)."""
    return {
        "FID_COND_MRKT_DIV_CODE": "J",
        "FID_INPUT_ISCD": symbol,
        "FID_INPUT_HOUR_1": last_time,
        "FID_PW_DATA_INCU_YN": "N",
        "FID_ETC_CLS_CODE": "",
    }


def parse_minute_request(params: Mapping[str, Any]) -> tuple[str, str]:
    """Read symbol and last time."""
    fields = values.upper_keys(params)
    values.required(fields, "FID_INPUT_ISCD", "FID_INPUT_HOUR_1")
    values.seconds_of(fields["FID_INPUT_HOUR_1"])
    return fields["FID_INPUT_ISCD"].strip(), fields["FID_INPUT_HOUR_1"]


def render_minute(
    bars: Sequence[MinuteRow], quote: Quote, instrument: Instrument
) -> dict[str, Any]:
    """Answer minute bars, given newest first."""
    rows = []
    for bar in bars:
        day, clock = values.date_and_time(bar.start, _KRX)
        rows.append(
            {
                "stck_bsop_date": day,
                "stck_cntg_hour": clock,
                "stck_prpr": str(bar.close),
                "stck_oprc": str(bar.open),
                "stck_hgpr": str(bar.high),
                "stck_lwpr": str(bar.low),
                "cntg_vol": str(bar.volume),
                "acml_tr_pbmn": "" if bar.value is None else str(bar.value),
            }
        )
    snapshot = {
        **change_fields(quote.price, quote.previous_close, quote.upper_limit, quote.lower_limit),
        "stck_prdy_clpr": str(quote.previous_close),
        "acml_vol": str(quote.volume),
        "acml_tr_pbmn": "",
        "hts_kor_isnm": instrument.name,
        "stck_prpr": str(quote.price),
    }
    return {"output1": snapshot, "output2": rows}


def parse_minute(body: Mapping[str, Any]) -> tuple[MinuteRow, ...]:
    """Read minute bars, newest first."""
    return tuple(
        MinuteRow(
            start=values.instant(
                values.needed(row, "stck_bsop_date"), values.needed(row, "stck_cntg_hour"), _KRX
            ),
            open=values.to_minor(row.get("stck_oprc"), _KRX),
            high=values.to_minor(row.get("stck_hgpr"), _KRX),
            low=values.to_minor(row.get("stck_lwpr"), _KRX),
            close=values.to_minor(row.get("stck_prpr"), _KRX),
            volume=values.integer(row.get("cntg_vol")),
            value=optional_won(row.get("acml_tr_pbmn")),
        )
        for row in values.rows(body.get("output2"))
        if row.get("stck_bsop_date")
    )


def earlier_minute(time_text: str) -> str:
    """Return the minute before ``time_text``: where the next older page of minute bars ends."""
    moment = datetime(2000, 1, 1) + timedelta(seconds=values.seconds_of(time_text) - 60)  # noqa: DTZ001 - a time of day, no instant
    return f"{moment:%H%M%S}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentBar:
    """One of the last 30 days, weeks or months; ``foreign_net`` in shares."""

    session: date = kis("stck_bsop_date", DAY, required=True)
    open: int | None = kis("stck_oprc", WON)
    high: int | None = kis("stck_hgpr", WON)
    low: int | None = kis("stck_lwpr", WON)
    close: int | None = kis("stck_clpr", WON)
    volume: int | None = kis("acml_vol", WHOLE)
    change: int | None = kis("prdy_vrss", WON)
    change_percent: Decimal | None = kis("prdy_ctrt", NUMBER)
    foreign_percent: Decimal | None = kis("hts_frgn_ehrt", NUMBER)
    foreign_net: int | None = kis("frgn_ntby_qty", WHOLE)
    rights: str | None = kis("flng_cls_code", TEXT)


def recent_bars_request(symbol: str, *, adjusted: bool, period: Period) -> dict[str, str]:
    """Ask for the last 30 bars."""
    return {
        "FID_COND_MRKT_DIV_CODE": "J",
        "FID_INPUT_ISCD": symbol,
        "FID_PERIOD_DIV_CODE": period,
        # The other way round than in the chart of a range.
        "FID_ORG_ADJ_PRC": "1" if adjusted else "0",
    }


def parse_recent_bars_request(params: Mapping[str, Any]) -> tuple[str, bool, Period]:
    """Read symbol, whether adjusted prices are asked for, and the period."""
    fields = values.upper_keys(params)
    values.required(fields, "FID_INPUT_ISCD", "FID_ORG_ADJ_PRC")
    # The recorded request pads the flag with zeros to ten digits.
    adjusted = fields["FID_ORG_ADJ_PRC"].lstrip("0") == "1"
    return fields["FID_INPUT_ISCD"].strip(), adjusted, parse_period(params)


def past_minute_request(symbol: str, session: date, last_time: str) -> dict[str, str]:
    """Ask for the 120 minute bars of ``session`` that end at ``last_time`` (``HHMMSS``)."""
    return {
        "FID_COND_MRKT_DIV_CODE": "J",
        "FID_INPUT_ISCD": symbol,
        "FID_INPUT_HOUR_1": last_time,
        "FID_INPUT_DATE_1": values.day_text(session),
        "FID_PW_DATA_INCU_YN": "N",
        "FID_FAKE_TICK_INCU_YN": "",
    }


def parse_past_minute_request(params: Mapping[str, Any]) -> tuple[str, date, str]:
    """Read symbol, day and last time."""
    fields = values.upper_keys(params)
    values.required(fields, "FID_INPUT_DATE_1")
    symbol, last_time = parse_minute_request(params)
    return symbol, values.day(fields["FID_INPUT_DATE_1"]), last_time
