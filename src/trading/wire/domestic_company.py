"""Korean companies, their statements, business days and news over REST, in both directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from trading.domain.instrument import Exchange, Instrument
from trading.wire import values
from trading.wire.accounts import SYMBOL, listed_symbol, page_fields, parse_page_request
from trading.wire.domestic_quotes import symbol_request
from trading.wire.endpoints import (
    KRX_BALANCE_SHEET,
    KRX_FINANCIAL_RATIO,
    KRX_GROWTH_RATIO,
    KRX_INCOME_STATEMENT,
    KRX_OTHER_RATIOS,
    KRX_PROFIT_RATIO,
    KRX_STABILITY_RATIO,
    Endpoint,
)
from trading.wire.fields import DAY, FLAG, NUMBER, TEXT, TIME, WHOLE, WON, kis
from trading.wire.records import HolidayRow, Page


def holidays_request(first: date, page: Page) -> dict[str, str]:
    """Ask which days from ``first`` on are business days."""
    return {"BASS_DT": values.day_text(first), **page_fields(page, 20)}


def parse_holidays_request(params: Mapping[str, Any]) -> tuple[date, Page]:
    """Read the first day and the page."""
    fields = values.upper_keys(params)
    values.required(fields, "BASS_DT")
    return values.day(fields["BASS_DT"]), parse_page_request(params, 20)


def render_holidays(rows: Sequence[HolidayRow]) -> dict[str, Any]:
    """Answer business days; Sunday is weekday 01."""
    output = []
    for row in rows:
        flag = "Y" if row.is_open else "N"
        output.append(
            {
                "bass_dt": values.day_text(row.day),
                "wday_dvsn_cd": f"{row.day.isoweekday() % 7 + 1:02d}",
                "bzdy_yn": flag,
                "tr_day_yn": flag,
                "opnd_yn": flag,
                "sttl_day_yn": flag,
            }
        )
    return {"output": output}


def parse_holidays(body: Mapping[str, Any]) -> tuple[HolidayRow, ...]:
    """Read which days are open: ``opnd_yn`` says whether an order can be placed."""
    return tuple(
        HolidayRow(day=values.day(values.needed(row, "bass_dt")), is_open=row.get("opnd_yn") == "Y")
        for row in values.rows(body.get("output"))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketTime:
    """Five business days around ``today``, and the hours that KIS works in."""

    first: date | None = kis("date1", DAY)
    second: date | None = kis("date2", DAY)
    third: date | None = kis("date3", DAY)
    fourth: date | None = kis("date4", DAY)
    fifth: date | None = kis("date5", DAY)
    today: date = kis("today", DAY, required=True)
    now: str | None = kis("time", TIME)
    opens: str | None = kis("s_time", TIME)
    closes: str | None = kis("e_time", TIME)


@dataclass(frozen=True, slots=True, kw_only=True)
class StockInfo:
    """What a listed share is.

    ``group`` says what kind of security (ST share, EF fund, EN note …), ``board`` where it is
    listed (STK KOSPI, KSQ KOSDAQ, KNX KONEX).
    """

    symbol: str = kis("pdno", SYMBOL, required=True)
    board: str | None = kis("mket_id_cd", TEXT)
    group: str | None = kis("scty_grp_id_cd", TEXT)
    name: str | None = kis("prdt_abrv_name", TEXT)
    full_name: str | None = kis("prdt_name", TEXT)
    english_name: str | None = kis("prdt_eng_name", TEXT)
    isin: str | None = kis("std_pdno", TEXT)
    sector: str | None = kis("std_idst_clsf_cd_name", TEXT)
    index_sector: str | None = kis("idx_bztp_mcls_cd_name", TEXT)
    listed_shares: int | None = kis("lstg_stqt", WHOLE)
    capital: int | None = kis("cpta", WON)
    par_value: Decimal | None = kis("papr", NUMBER)
    fiscal_end: str | None = kis("setl_mmdd", TEXT)
    is_kospi200: bool | None = kis("kospi200_item_yn", FLAG)
    kospi_listed: date | None = kis("scts_mket_lstg_dt", DAY)
    kospi_delisted: date | None = kis("scts_mket_lstg_abol_dt", DAY)
    kosdaq_listed: date | None = kis("kosdaq_mket_lstg_dt", DAY)
    kosdaq_delisted: date | None = kis("kosdaq_mket_lstg_abol_dt", DAY)
    delisted: date | None = kis("lstg_abol_dt", DAY)
    close: int | None = kis("thdt_clpr", WON)
    previous_close: int | None = kis("bfdy_clpr", WON)
    is_halted: bool | None = kis("tr_stop_yn", FLAG)
    is_administrative: bool | None = kis("admn_item_yn", FLAG)
    is_on_nxt: bool | None = kis("cptt_trad_tr_psbl_yn", FLAG)
    is_halted_on_nxt: bool | None = kis("nxt_tr_stop_yn", FLAG)
    fund_multiple: Decimal | None = kis("etf_chas_erng_rt_dbnb", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductInfo:
    """What a product of the broker is: share, fund or foreign share."""

    symbol: str = kis("pdno", SYMBOL, required=True)
    short_symbol: str | None = kis("shtn_pdno", TEXT)
    product_type: str | None = kis("prdt_type_cd", TEXT)
    name: str | None = kis("prdt_abrv_name", TEXT)
    full_name: str | None = kis("prdt_name", TEXT)
    english_name: str | None = kis("prdt_eng_name", TEXT)
    isin: str | None = kis("std_pdno", TEXT)
    class_code: str | None = kis("prdt_clsf_cd", TEXT)
    class_name: str | None = kis("prdt_clsf_name", TEXT)
    registered: date | None = kis("frst_erlm_dt", DAY)


SHARE_TYPE = "300"
_BOARDS = {Exchange.KOSPI: "STK", Exchange.KOSDAQ: "KSQ"}


def info_request(symbol: str, product_type: str = SHARE_TYPE) -> dict[str, str]:
    """Ask what a symbol is."""
    return {"PRDT_TYPE_CD": product_type, "PDNO": symbol}


def parse_info_request(params: Mapping[str, Any]) -> str:
    """Read the symbol asked for."""
    fields = values.upper_keys(params)
    values.required(fields, "PRDT_TYPE_CD", "PDNO")
    return listed_symbol(fields["PDNO"].strip())


def parse_product_info_request(params: Mapping[str, Any]) -> tuple[str, str]:
    """Read the product type and the symbol asked for."""
    symbol = parse_info_request(params)
    return values.upper_keys(params)["PRDT_TYPE_CD"].strip(), symbol


def product_info(instrument: Instrument, product_type: str = SHARE_TYPE) -> ProductInfo:
    """Return what is known of ``instrument`` as a product; all else stays unsaid."""
    return ProductInfo(
        symbol=instrument.symbol,
        short_symbol=instrument.symbol,
        product_type=product_type,
        name=instrument.name or None,
        full_name=instrument.name or None,
    )


def stock_info(instrument: Instrument, *, halted: bool) -> StockInfo:
    """Return what is known of ``instrument``; all else stays unsaid."""
    on_kospi = instrument.exchange is Exchange.KOSPI
    return StockInfo(
        symbol=instrument.symbol,
        board=_BOARDS[instrument.exchange],
        name=instrument.name,
        full_name=instrument.name,
        sector=instrument.sector,
        kospi_listed=instrument.listed if on_kospi else None,
        kosdaq_listed=None if on_kospi else instrument.listed,
        delisted=instrument.delisted,
        is_halted=halted,
    )


# --- statements ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FinancialRatio:
    """Growth, return and debt of a period, in percent; per-share figures in won."""

    period: str = kis("stac_yymm", TEXT, required=True)
    sales_growth: Decimal | None = kis("grs", NUMBER)
    operating_growth: Decimal | None = kis("bsop_prfi_inrt", NUMBER)
    income_growth: Decimal | None = kis("ntin_inrt", NUMBER)
    return_on_equity: Decimal | None = kis("roe_val", NUMBER)
    earnings_per_share: Decimal | None = kis("eps", NUMBER)
    sales_per_share: Decimal | None = kis("sps", NUMBER)
    book_per_share: Decimal | None = kis("bps", NUMBER)
    reserves: Decimal | None = kis("rsrv_rate", NUMBER)
    debt: Decimal | None = kis("lblt_rate", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomeStatement:
    """Sales and profits of a period, in 100 million won; quarters are summed up from January.

    KIS does not provide depreciation, administration, other income and other costs: it prints
    99.99 for them, so they are not read.
    """

    period: str = kis("stac_yymm", TEXT, required=True)
    sales: Decimal | None = kis("sale_account", NUMBER)
    cost_of_sales: Decimal | None = kis("sale_cost", NUMBER)
    gross_profit: Decimal | None = kis("sale_totl_prfi", NUMBER)
    operating_profit: Decimal | None = kis("bsop_prti", NUMBER)
    ordinary_profit: Decimal | None = kis("op_prfi", NUMBER)
    net_income: Decimal | None = kis("thtr_ntin", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceSheet:
    """Assets, debts and equity at the end of a period, in 100 million won."""

    period: str = kis("stac_yymm", TEXT, required=True)
    current_assets: Decimal | None = kis("cras", NUMBER)
    fixed_assets: Decimal | None = kis("fxas", NUMBER)
    assets: Decimal | None = kis("total_aset", NUMBER)
    current_debts: Decimal | None = kis("flow_lblt", NUMBER)
    fixed_debts: Decimal | None = kis("fix_lblt", NUMBER)
    debts: Decimal | None = kis("total_lblt", NUMBER)
    capital: Decimal | None = kis("cpfn", NUMBER)
    equity: Decimal | None = kis("total_cptl", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfitRatio:
    """Margins of a period, in percent."""

    period: str = kis("stac_yymm", TEXT, required=True)
    income_to_assets: Decimal | None = kis("cptl_ntin_rate", NUMBER)
    income_to_equity: Decimal | None = kis("self_cptl_ntin_inrt", NUMBER)
    income_to_sales: Decimal | None = kis("sale_ntin_rate", NUMBER)
    gross_to_sales: Decimal | None = kis("sale_totl_rate", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityRatio:
    """Debt and liquidity at the end of a period, in percent."""

    period: str = kis("stac_yymm", TEXT, required=True)
    debt: Decimal | None = kis("lblt_rate", NUMBER)
    borrowings: Decimal | None = kis("bram_depn", NUMBER)
    current: Decimal | None = kis("crnt_rate", NUMBER)
    quick: Decimal | None = kis("quck_rate", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthRatio:
    """Growth of a period against the year before, in percent."""

    period: str = kis("stac_yymm", TEXT, required=True)
    sales: Decimal | None = kis("grs", NUMBER)
    operating_profit: Decimal | None = kis("bsop_prfi_inrt", NUMBER)
    equity: Decimal | None = kis("equt_inrt", NUMBER)
    assets: Decimal | None = kis("totl_aset_inrt", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRatios:
    """Payout in percent, EVA and EBITDA in 100 million won, enterprise value over EBITDA."""

    period: str = kis("stac_yymm", TEXT, required=True)
    payout: Decimal | None = kis("payout_rate", NUMBER)
    economic_value_added: Decimal | None = kis("eva", NUMBER)
    ebitda: Decimal | None = kis("ebitda", NUMBER)
    value_to_ebitda: Decimal | None = kis("ev_ebitda", NUMBER)


Statement = (
    FinancialRatio
    | IncomeStatement
    | BalanceSheet
    | ProfitRatio
    | StabilityRatio
    | GrowthRatio
    | OtherRatios
)
STATEMENTS: Mapping[type[Any], Endpoint] = {
    FinancialRatio: KRX_FINANCIAL_RATIO,
    IncomeStatement: KRX_INCOME_STATEMENT,
    BalanceSheet: KRX_BALANCE_SHEET,
    ProfitRatio: KRX_PROFIT_RATIO,
    StabilityRatio: KRX_STABILITY_RATIO,
    GrowthRatio: KRX_GROWTH_RATIO,
    OtherRatios: KRX_OTHER_RATIOS,
}


def statement_request(symbol: str, *, quarterly: bool) -> dict[str, str]:
    """Ask for one kind of statement, newest period first."""
    return {"FID_DIV_CLS_CODE": "1" if quarterly else "0", **symbol_request(symbol)}


# --- news ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsTitle:
    """One headline; ``number`` is what the next older page is asked with."""

    number: str = kis("cntt_usiq_srno", TEXT, required=True)
    day: date | None = kis("data_dt", DAY)
    time: str | None = kis("data_tm", TIME)
    title: str | None = kis("hts_pbnt_titl_cntt", TEXT)
    source: str | None = kis("dorg", TEXT)
    topic: str | None = kis("news_lrdv_code", TEXT)
    symbol: str | None = kis("iscd1", TEXT)
    second_symbol: str | None = kis("iscd2", TEXT)
    third_symbol: str | None = kis("iscd3", TEXT)


def news_request(symbol: str = "", before: str = "") -> dict[str, str]:
    """Ask for the newest headlines, of one symbol when named, older than number ``before``."""
    return {
        "FID_NEWS_OFER_ENTP_CODE": "",
        "FID_COND_MRKT_CLS_CODE": "",
        "FID_INPUT_ISCD": symbol,
        "FID_TITL_CNTT": "",
        "FID_INPUT_DATE_1": "",
        "FID_INPUT_HOUR_1": "",
        "FID_RANK_SORT_CLS_CODE": "",
        "FID_INPUT_SRNO": before,
    }
