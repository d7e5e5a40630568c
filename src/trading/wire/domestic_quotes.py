"""Prices of Korean shares and indices over REST, in both directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from trading.domain.instrument import Instrument, Market
from trading.domain.market import Quote
from trading.errors import MissingDataError
from trading.wire import values
from trading.wire.fields import DAY, FLAG, NUMBER, TEXT, TIME, WHOLE, WON, kis
from trading.wire.records import (
    Book,
    BookLevel,
    YearRange,
)

_KRX = Market.KRX
_HALTED_STATUS = "58"
_LEVELS = 10


def symbol_request(symbol: str) -> dict[str, str]:
    """Ask for the price or the book of one symbol."""
    return {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": symbol}


def parse_symbol_request(params: Mapping[str, Any]) -> str:
    """Read the symbol asked for."""
    fields = values.upper_keys(params)
    values.required(fields, "FID_COND_MRKT_DIV_CODE", "FID_INPUT_ISCD")
    return fields["FID_INPUT_ISCD"].strip()


_PRICE_KEYS = (
    "iscd_stat_cls_code marg_rate rprs_mrkt_kor_name bstp_kor_isnm temp_stop_yn "
    "oprc_rang_cont_yn clpr_rang_cont_yn crdt_able_yn grmn_rate_cls_code elw_pblc_yn stck_prpr "
    "prdy_vrss prdy_vrss_sign prdy_ctrt acml_tr_pbmn acml_vol prdy_vrss_vol_rate stck_oprc "
    "stck_hgpr stck_lwpr stck_mxpr stck_llam stck_sdpr wghn_avrg_stck_prc hts_frgn_ehrt "
    "frgn_ntby_qty pgtr_ntby_qty pvt_scnd_dmrs_prc pvt_frst_dmrs_prc pvt_pont_val "
    "pvt_frst_dmsp_prc pvt_scnd_dmsp_prc dmrs_val dmsp_val cpfn rstc_wdth_prc stck_fcam "
    "stck_sspr aspr_unit hts_deal_qty_unit_val lstn_stcn hts_avls per pbr stac_month vol_tnrt "
    "eps bps d250_hgpr d250_hgpr_date d250_hgpr_vrss_prpr_rate d250_lwpr d250_lwpr_date "
    "d250_lwpr_vrss_prpr_rate stck_dryy_hgpr dryy_hgpr_vrss_prpr_rate dryy_hgpr_date "
    "stck_dryy_lwpr dryy_lwpr_vrss_prpr_rate dryy_lwpr_date w52_hgpr w52_hgpr_vrss_prpr_ctrt "
    "w52_hgpr_date w52_lwpr w52_lwpr_vrss_prpr_ctrt w52_lwpr_date whol_loan_rmnd_rate ssts_yn "
    "stck_shrn_iscd fcam_cnnm cpfn_cnnm frgn_hldn_qty vi_cls_code ovtm_vi_cls_code "
    "last_ssts_cntg_qty invt_caful_yn mrkt_warn_cls_code short_over_yn sltr_yn"
)


def render_price(
    quote: Quote,
    instrument: Instrument,
    *,
    value: int,
    tick: int,
    lot: int,
    year: YearRange | None = None,
) -> dict[str, Any]:
    """Answer the current price; ``value`` is the turnover so far.

    No share of a replay is under a warning or overheated: the record knows of none.
    """
    output = values.blanks(_PRICE_KEYS)
    output.update(
        change_fields(quote.price, quote.previous_close, quote.upper_limit, quote.lower_limit),
        iscd_stat_cls_code=_HALTED_STATUS if quote.halted else "",
        rprs_mrkt_kor_name=str(instrument.exchange),
        bstp_kor_isnm=instrument.sector or "",
        temp_stop_yn="Y" if quote.halted else "N",
        stck_prpr=str(quote.price),
        acml_tr_pbmn=str(value),
        acml_vol=str(quote.volume),
        stck_oprc=str(quote.open),
        stck_hgpr=str(quote.high),
        stck_lwpr=str(quote.low),
        stck_mxpr=str(quote.upper_limit),
        stck_llam=str(quote.lower_limit),
        stck_sdpr=str(quote.previous_close),
        aspr_unit=str(tick),
        hts_deal_qty_unit_val=str(lot),
        stck_shrn_iscd=quote.symbol,
        mrkt_warn_cls_code="00",
        short_over_yn="N",
    )
    if year is not None:
        output.update(
            w52_hgpr=str(year.high),
            w52_hgpr_date=values.day_text(year.high_on),
            w52_lwpr=str(year.low),
            w52_lwpr_date=values.day_text(year.low_on),
        )
    return {"output": output}


def render_unknown_price() -> dict[str, Any]:
    """Answer for a symbol that the venue does not know: a price of zero, not an error."""
    return {"output": values.blanks(_PRICE_KEYS) | {"stck_prpr": "0"}}


def parse_price(body: Mapping[str, Any], symbol: str, received: datetime) -> Quote:
    """Read the current price.

    ``previous_close`` is the base price of the day: the previous close restated for that
    morning's corporate actions. ``MissingDataError`` when the venue does not know the symbol.
    """
    output = values.first_row(body.get("output"))
    price = values.to_minor(output.get("stck_prpr"), _KRX)
    base = values.to_minor(output.get("stck_sdpr"), _KRX)
    if price == 0 and base == 0:
        raise MissingDataError(f"거래소가 모르는 종목: {symbol}")
    return Quote(
        symbol=symbol,
        price=price or base,
        previous_close=base,
        open=values.to_minor(output.get("stck_oprc"), _KRX),
        high=values.to_minor(output.get("stck_hgpr"), _KRX),
        low=values.to_minor(output.get("stck_lwpr"), _KRX),
        volume=values.integer(output.get("acml_vol")),
        upper_limit=values.to_minor(output.get("stck_mxpr"), _KRX),
        lower_limit=values.to_minor(output.get("stck_llam"), _KRX),
        ts_event=received,
        halted=output.get("temp_stop_yn") == "Y"
        or output.get("iscd_stat_cls_code") == _HALTED_STATUS,
    )


def render_book(book: Book, quote: Quote, received_at: str) -> dict[str, Any]:
    """Answer the order book; ``received_at`` is its ``HHMMSS``. An unrecorded level is blank."""
    output: dict[str, str] = {"aspr_acpt_hour": received_at}
    for name, levels in (("askp", book.asks), ("bidp", book.bids)):
        for number in range(1, _LEVELS + 1):
            level = levels[number - 1] if number <= len(levels) else None
            output[f"{name}{number}"] = str(level.price) if level else ""
            output[f"{name}_rsqn{number}"] = str(level.quantity) if level else ""
            output[f"{name}_rsqn_icdc{number}"] = ""
    output.update(
        total_askp_rsqn=str(sum(level.quantity for level in book.asks)) if book.asks else "",
        total_bidp_rsqn=str(sum(level.quantity for level in book.bids)) if book.bids else "",
    )
    output |= values.blanks(
        "total_askp_rsqn_icdc total_bidp_rsqn_icdc ovtm_total_askp_icdc ovtm_total_bidp_icdc "
        "ovtm_total_askp_rsqn ovtm_total_bidp_rsqn ntby_aspr_rsqn new_mkop_cls_code"
    )
    return {
        "output1": output,
        "output2": {
            "antc_mkop_cls_code": "",
            "stck_prpr": str(quote.price),
            "stck_oprc": str(quote.open),
            "stck_hgpr": str(quote.high),
            "stck_lwpr": str(quote.low),
            "stck_sdpr": str(quote.previous_close),
            "antc_cnpr": "",
            "antc_cntg_vrss_sign": "",
            "antc_cntg_vrss": "",
            "antc_cntg_prdy_ctrt": "",
            "antc_vol": "",
            "stck_shrn_iscd": quote.symbol,
            "vi_cls_code": "",
        },
    }


def parse_book(body: Mapping[str, Any], symbol: str) -> Book:
    """Read the order book; levels without a price are left out."""
    output = values.first_row(body.get("output1"))
    return Book(symbol=symbol, asks=_levels(output, "askp"), bids=_levels(output, "bidp"))


def _levels(output: Mapping[str, Any], name: str) -> tuple[BookLevel, ...]:
    levels = (
        BookLevel(
            price=values.to_minor(output.get(f"{name}{number}"), _KRX),
            quantity=values.integer(output.get(f"{name}_rsqn{number}")),
        )
        for number in range(1, _LEVELS + 1)
    )
    return tuple(level for level in levels if level.price)


def change_fields(price: int, base: int, upper: int = 0, lower: int = 0) -> dict[str, str]:
    """Write the change against the base price: amount, direction, percent."""
    return {
        "prdy_vrss": str(price - base),
        "prdy_vrss_sign": values.change_sign(price, base, upper=upper, lower=lower),
        "prdy_ctrt": values.ratio_text(price - base, base),
    }


def optional_won(text: Any) -> int | None:
    """Read whole won; ``None`` when blank."""
    return None if text is None or not str(text).strip() else values.to_minor(text, _KRX)


# --- rows that are read as they stand --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceDetail:
    """The current price with what the exchange says about the share.

    ``interruption`` is the state of the volatility interruption (``N`` none, ``Y`` in force),
    ``warning`` 00 none, 01 caution, 02 warning, 03 risk; ``rights`` names an ex-date of today.
    """

    price: int = kis("stck_prpr", WON, required=True)
    base: int | None = kis("stck_sdpr", WON)
    previous_close: int | None = kis("stck_prdy_clpr", WON)
    change: int | None = kis("prdy_vrss", WON)
    change_percent: Decimal | None = kis("prdy_ctrt", NUMBER)
    open: int | None = kis("stck_oprc", WON)
    high: int | None = kis("stck_hgpr", WON)
    low: int | None = kis("stck_lwpr", WON)
    upper_limit: int | None = kis("stck_mxpr", WON)
    lower_limit: int | None = kis("stck_llam", WON)
    volume: int | None = kis("acml_vol", WHOLE)
    previous_volume: int | None = kis("prdy_vol", WHOLE)
    value: int | None = kis("acml_tr_pbmn", WON)
    board: str | None = kis("rprs_mrkt_kor_name", TEXT)
    sector: str | None = kis("bstp_kor_isnm", TEXT)
    margin_percent: Decimal | None = kis("marg_rate", NUMBER)
    interruption: str | None = kis("vi_cls_code", TEXT)
    warning: str | None = kis("mrkt_warn_cls_code", TEXT)
    rights: str | None = kis("flng_cls_name", TEXT)
    is_halted: bool | None = kis("trht_yn", FLAG)
    is_administrative: bool | None = kis("mang_issu_yn", FLAG)
    is_liquidating: bool | None = kis("sltr_yn", FLAG)
    is_cautioned: bool | None = kis("invt_caful_yn", FLAG)
    is_unfaithful: bool | None = kis("insn_pbnt_yn", FLAG)
    is_overheated: bool | None = kis("short_over_yn", FLAG)
    is_surging: bool | None = kis("stange_runup_yn", FLAG)
    is_illiquid: bool | None = kis("low_current_yn", FLAG)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentTrade:
    """One of the last 30 trades; ``time`` is ``HHMMSS``, ``strength`` buys over sells in percent."""

    time: str = kis("stck_cntg_hour", TIME, required=True)
    price: int | None = kis("stck_prpr", WON)
    change: int | None = kis("prdy_vrss", WON)
    change_percent: Decimal | None = kis("prdy_ctrt", NUMBER)
    volume: int | None = kis("cntg_vol", WHOLE)
    strength: Decimal | None = kis("tday_rltv", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedTrade:
    """One trade of today up to a time of day, with the best prices of its moment."""

    time: str = kis("stck_cntg_hour", TIME, required=True)
    price: int | None = kis("stck_pbpr", WON)
    change: int | None = kis("prdy_vrss", WON)
    change_percent: Decimal | None = kis("prdy_ctrt", NUMBER)
    ask: int | None = kis("askp", WON)
    bid: int | None = kis("bidp", WON)
    volume: int | None = kis("cnqn", WHOLE)
    cumulative_volume: int | None = kis("acml_vol", WHOLE)
    strength: Decimal | None = kis("tday_rltv", NUMBER)


def trades_before_request(symbol: str, last_time: str) -> dict[str, str]:
    """Ask for the trades of today up to ``last_time`` (``HHMMSS``)."""
    return {**symbol_request(symbol), "FID_INPUT_HOUR_1": last_time}


def parse_trades_before_request(params: Mapping[str, Any]) -> tuple[str, str]:
    """Read symbol and last time."""
    fields = values.upper_keys(params)
    values.required(fields, "FID_INPUT_ISCD", "FID_INPUT_HOUR_1")
    values.seconds_of(fields["FID_INPUT_HOUR_1"])
    return fields["FID_INPUT_ISCD"].strip(), fields["FID_INPUT_HOUR_1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedPrice:
    """The price of one of many symbols; sizes and totals are those that wait in the book.

    An index may be among them, so that prices are exact decimals in won or points.
    """

    symbol: str = kis("inter_shrn_iscd", TEXT, required=True)
    name: str | None = kis("inter_kor_isnm", TEXT)
    board: str | None = kis("kospi_kosdaq_cls_name", TEXT)
    price: Decimal | None = kis("inter2_prpr", NUMBER)
    change: Decimal | None = kis("inter2_prdy_vrss", NUMBER)
    change_percent: Decimal | None = kis("prdy_ctrt", NUMBER)
    base: Decimal | None = kis("inter2_sdpr", NUMBER)
    previous_close: Decimal | None = kis("inter2_prdy_clpr", NUMBER)
    open: Decimal | None = kis("inter2_oprc", NUMBER)
    high: Decimal | None = kis("inter2_hgpr", NUMBER)
    low: Decimal | None = kis("inter2_lwpr", NUMBER)
    upper_limit: Decimal | None = kis("inter2_mxpr", NUMBER)
    lower_limit: Decimal | None = kis("inter2_llam", NUMBER)
    ask: Decimal | None = kis("inter2_askp", NUMBER)
    bid: Decimal | None = kis("inter2_bidp", NUMBER)
    ask_quantity: int | None = kis("seln_rsqn", WHOLE)
    bid_quantity: int | None = kis("shnu_rsqn", WHOLE)
    total_asks: int | None = kis("total_askp_rsqn", WHOLE)
    total_bids: int | None = kis("total_bidp_rsqn", WHOLE)
    volume: int | None = kis("acml_vol", WHOLE)
    value: int | None = kis("acml_tr_pbmn", WON)


MOST_WATCHED = 30


def prices_request(symbols: Sequence[str]) -> dict[str, str]:
    """Ask for the prices of at most 30 symbols."""
    body = {}
    for number, symbol in enumerate(symbols, start=1):
        body[f"FID_COND_MRKT_DIV_CODE_{number}"] = "J"
        body[f"FID_INPUT_ISCD_{number}"] = symbol
    return body


def parse_prices_request(params: Mapping[str, Any]) -> list[str]:
    """Read the symbols asked for."""
    fields = values.upper_keys(params)
    values.required(fields, "FID_INPUT_ISCD_1")
    named = (fields.get(f"FID_INPUT_ISCD_{k}", "").strip() for k in range(1, MOST_WATCHED + 1))
    return [symbol for symbol in named if symbol]


@dataclass(frozen=True, slots=True, kw_only=True)
class OvertimePrice:
    """The single price after hours, which KRX had until 2026-09-11, and the next one expected."""

    price: int | None = kis("ovtm_untp_prpr", WON)
    base: int | None = kis("ovtm_untp_sdpr", WON)
    change: int | None = kis("ovtm_untp_prdy_vrss", WON)
    change_percent: Decimal | None = kis("ovtm_untp_prdy_ctrt", NUMBER)
    open: int | None = kis("ovtm_untp_oprc", WON)
    high: int | None = kis("ovtm_untp_hgpr", WON)
    low: int | None = kis("ovtm_untp_lwpr", WON)
    upper_limit: int | None = kis("ovtm_untp_mxpr", WON)
    lower_limit: int | None = kis("ovtm_untp_llam", WON)
    volume: int | None = kis("ovtm_untp_vol", WHOLE)
    value: int | None = kis("ovtm_untp_tr_pbmn", WON)
    ask: int | None = kis("askp", WON)
    bid: int | None = kis("bidp", WON)
    expected_price: int | None = kis("ovtm_untp_antc_cnpr", WON)
    expected_volume: int | None = kis("ovtm_untp_antc_cnqn", WHOLE)
    interruption: str | None = kis("ovtm_vi_cls_code", TEXT)
    is_halted: bool | None = kis("trht_yn", FLAG)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedClose:
    """One share with the price at which the closing auction would match."""

    symbol: str = kis("stck_shrn_iscd", TEXT, required=True)
    name: str | None = kis("hts_kor_isnm", TEXT)
    price: int | None = kis("stck_prpr", WON)
    change: int | None = kis("prdy_vrss", WON)
    change_percent: Decimal | None = kis("prdy_ctrt", NUMBER)
    from_base: int | None = kis("sdpr_vrss_prpr", WON)
    from_base_percent: Decimal | None = kis("sdpr_vrss_prpr_rate", NUMBER)
    volume: int | None = kis("cntg_vol", WHOLE)


def expected_closes_request() -> dict[str, str]:
    """Ask for the shares of the whole market, largest expected gain first."""
    return {
        "FID_RANK_SORT_CLS_CODE": "0",
        "FID_COND_MRKT_DIV_CODE": "J",
        "FID_COND_SCR_DIV_CODE": "11173",
        "FID_INPUT_ISCD": "0000",
        "FID_BLNG_CLS_CODE": "0",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class FundPrice:
    """The price of an ETF or ETN beside its net asset value; ``gap_percent`` is between them."""

    price: int = kis("stck_prpr", WON, required=True)
    change: int | None = kis("prdy_vrss", WON)
    change_percent: Decimal | None = kis("prdy_ctrt", NUMBER)
    previous_close: int | None = kis("stck_prdy_clpr", WON)
    open: int | None = kis("stck_oprc", WON)
    high: int | None = kis("stck_hgpr", WON)
    low: int | None = kis("stck_lwpr", WON)
    upper_limit: int | None = kis("stck_mxpr", WON)
    lower_limit: int | None = kis("stck_llam", WON)
    volume: int | None = kis("acml_vol", WHOLE)
    asset_value: Decimal | None = kis("nav", NUMBER)
    previous_asset_value: Decimal | None = kis("prdy_last_nav", NUMBER)
    gap_percent: Decimal | None = kis("dprt", NUMBER)
    tracking_error: Decimal | None = kis("trc_errt", NUMBER)
    multiple: Decimal | None = kis("etf_trc_ert_mltp", NUMBER)
    target: str | None = kis("etf_rprs_bstp_kor_isnm", TEXT)
    manager: str | None = kis("mbcr_name", TEXT)
    listed: date | None = kis("stck_lstn_date", DAY)
    interruption: str | None = kis("vi_cls_code", TEXT)
