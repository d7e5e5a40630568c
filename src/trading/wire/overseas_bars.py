"""Bars of US shares, foreign indices and exchange rates over REST, in both directions.

Days and times are those of New York; a minute bar carries its start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trading.domain.instrument import Exchange, Instrument, Market
from trading.errors import SchemaError
from trading.wire import values
from trading.wire.domestic_bars import Period, parse_period
from trading.wire.fields import DAY, FLAG, NUMBER, TEXT, TIME, WHOLE, kis, read, read_rows, write
from trading.wire.overseas_codes import stream_key
from trading.wire.overseas_quotes import (
    change_fields,
    optional_minor,
    parse_symbol_request,
    symbol_request,
    whole_dollars,
)
from trading.wire.records import DailyRow, MinuteRow

_US = Market.US
_PERIODS = {Period.DAY: "0", Period.WEEK: "1", Period.MONTH: "2"}
_FROM_PERIOD_CODE = {code: period for period, code in _PERIODS.items()}
MINUTES_PER_CALL = 120


def daily_request(
    instrument: Instrument, last: date, *, adjusted: bool, period: Period = Period.DAY
) -> dict[str, str]:
    """Ask for the 100 bars that end with ``last``: KIS takes no first day here."""
    return {
        **symbol_request(instrument),
        "GUBN": _PERIODS[period],
        "BYMD": values.day_text(last),
        "MODP": "1" if adjusted else "0",
    }


def parse_daily_request(
    params: Mapping[str, Any],
) -> tuple[Exchange, str, date | None, bool, Period]:
    """Read exchange, symbol, last day (``None``: today), whether adjusted, and the period."""
    fields = values.upper_keys(params)
    values.required(fields, "GUBN", "BYMD", "MODP")
    period = _FROM_PERIOD_CODE.get(fields["GUBN"].strip())
    if period is None:
        raise SchemaError(f"알 수 없는 봉 주기: {fields['GUBN']!r}")
    exchange, symbol = parse_symbol_request(fields)
    last = values.day(fields["BYMD"]) if fields["BYMD"].strip() else None
    return exchange, symbol, last, fields["MODP"] == "1", period


def render_daily(
    bars: Sequence[DailyRow], instrument: Instrument, *, before: int | None = None
) -> dict[str, Any]:
    """Answer daily bars, given newest first; closing quotes were not recorded and are blank.

    ``before`` is the close before the oldest bar, where it is known.
    """
    rows = []
    for number, bar in enumerate(bars):
        older = bars[number + 1].close if number + 1 < len(bars) else before
        rows.append(
            {
                "xymd": values.day_text(bar.session),
                "clos": values.from_minor(bar.close, _US),
                **(
                    {"sign": "", "diff": "", "rate": ""}
                    if older is None
                    else change_fields(bar.close, older)
                ),
                "open": values.from_minor(bar.open, _US),
                "high": values.from_minor(bar.high, _US),
                "low": values.from_minor(bar.low, _US),
                "tvol": str(bar.volume),
                "tamt": whole_dollars(bar.value),
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
            volume=(volume := values.integer(row.get("tvol"))),
            value=values.turnover(optional_minor(row.get("tamt")), volume),
        )
        for row in values.rows(body.get("output2"))
        if row.get("xymd")
    )


def minute_request(
    instrument: Instrument, before: datetime | None = None, *, minutes: int = 1
) -> dict[str, str]:
    """Ask for 120 bars of ``minutes``: the newest of today, or those up to ``before``.

    ``before`` may be on any day of about the last month, and the bars then cross midnights.
    """
    key = "".join(values.date_and_time(before, _US)) if before is not None else ""
    return {
        **symbol_request(instrument),
        "NMIN": str(minutes),
        "PINC": "1" if before is not None else "0",
        "NEXT": "1" if before is not None else "",
        "NREC": str(MINUTES_PER_CALL),
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
        min(MINUTES_PER_CALL, values.integer(fields["NREC"])),
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
            start=values.instant(str(row["xymd"]), str(row.get("xhms")), _US),
            open=values.to_minor(row.get("open"), _US),
            high=values.to_minor(row.get("high"), _US),
            low=values.to_minor(row.get("low"), _US),
            close=values.to_minor(row.get("last"), _US),
            volume=values.integer(row.get("evol")),
        )
        for row in values.rows(body.get("output2"))
        if row.get("xymd")
    )


# --- indices and exchange rates --------------------------------------------------------------


class Series(StrEnum):
    """What ``index_daily`` is asked about, in KIS's own letters."""

    INDEX = "N"
    EXCHANGE_RATE = "X"
    TREASURY = "I"
    GOLD = "S"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexNow:
    """Where an index or a rate stands; points are exact decimals."""

    code: str | None = kis("stck_shrn_iscd", TEXT)
    name: str | None = kis("hts_kor_isnm", TEXT)
    value: Decimal | None = kis("ovrs_nmix_prpr", NUMBER)
    change: Decimal | None = kis("ovrs_nmix_prdy_vrss", NUMBER)
    change_percent: Decimal | None = kis("prdy_ctrt", NUMBER)
    direction: str | None = kis("prdy_vrss_sign", TEXT)
    previous_close: Decimal | None = kis("ovrs_nmix_prdy_clpr", NUMBER)
    open: Decimal | None = kis("ovrs_prod_oprc", NUMBER)
    high: Decimal | None = kis("ovrs_prod_hgpr", NUMBER)
    low: Decimal | None = kis("ovrs_prod_lwpr", NUMBER)
    volume: int | None = kis("acml_vol", WHOLE)
    previous_volume: int | None = kis("prdy_vol", WHOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBar:
    """One day, week, month or year of an index or a rate."""

    session: date = kis("stck_bsop_date", DAY, required=True)
    open: Decimal | None = kis("ovrs_nmix_oprc", NUMBER)
    high: Decimal | None = kis("ovrs_nmix_hgpr", NUMBER)
    low: Decimal | None = kis("ovrs_nmix_lwpr", NUMBER)
    close: Decimal = kis("ovrs_nmix_prpr", NUMBER, required=True)
    volume: int | None = kis("acml_vol", WHOLE)
    is_revised: bool | None = kis("mod_yn", FLAG)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexMinute:
    """One minute of an index; day and time are those of its own country."""

    session: date = kis("stck_bsop_date", DAY, required=True)
    time: str = kis("stck_cntg_hour", TIME, required=True)
    open: Decimal | None = kis("optn_oprc", NUMBER)
    high: Decimal | None = kis("optn_hgpr", NUMBER)
    low: Decimal | None = kis("optn_lwpr", NUMBER)
    close: Decimal | None = kis("optn_prpr", NUMBER)
    volume: int | None = kis("cntg_vol", WHOLE)


def index_daily_request(
    series: Series, code: str, first: date, last: date, period: Period
) -> dict[str, str]:
    """Ask for the bars of an index (``SPX``, ``.DJI``) or a rate (``FX@KRW``)."""
    return {
        "FID_COND_MRKT_DIV_CODE": series,
        "FID_INPUT_ISCD": code,
        "FID_INPUT_DATE_1": values.day_text(first),
        "FID_INPUT_DATE_2": values.day_text(last),
        "FID_PERIOD_DIV_CODE": period,
    }


def parse_index_daily_request(
    params: Mapping[str, Any],
) -> tuple[str, str, date, date, Period]:
    """Read series, code, first and last day, and the period."""
    fields = values.upper_keys(params)
    values.required(
        fields,
        "FID_COND_MRKT_DIV_CODE",
        "FID_INPUT_ISCD",
        "FID_INPUT_DATE_1",
        "FID_INPUT_DATE_2",
        "FID_PERIOD_DIV_CODE",
    )
    return (
        fields["FID_COND_MRKT_DIV_CODE"].strip(),
        fields["FID_INPUT_ISCD"].strip(),
        values.day(fields["FID_INPUT_DATE_1"]),
        values.day(fields["FID_INPUT_DATE_2"]),
        parse_period(fields),
    )


def render_index_daily(now: IndexNow | None, bars: Sequence[IndexBar]) -> dict[str, Any]:
    """Answer index bars, given newest first; ``None`` for an index that was not recorded."""
    return {
        "output1": {} if now is None else write(now),
        "output2": [write(bar) for bar in bars],
    }


def parse_index_now(body: Mapping[str, Any]) -> IndexNow:
    """Read where the index stands, from either chart; KIS has sent it without its container."""
    return read(IndexNow, values.first_row(body.get("output1")) or body)


def parse_index_daily(body: Mapping[str, Any]) -> tuple[IndexBar, ...]:
    """Read index bars, newest first."""
    return read_rows(IndexBar, body.get("output2"))


def index_minute_request(code: str, *, past: bool) -> dict[str, str]:
    """Ask for the newest minutes of an index, with those of earlier days when ``past``."""
    return {
        "FID_COND_MRKT_DIV_CODE": Series.INDEX,
        "FID_INPUT_ISCD": code,
        "FID_HOUR_CLS_CODE": "0",
        "FID_PW_DATA_INCU_YN": "Y" if past else "N",
    }


def parse_index_minutes(body: Mapping[str, Any]) -> tuple[IndexMinute, ...]:
    """Read index minutes, newest first."""
    return read_rows(IndexMinute, body.get("output2"))
