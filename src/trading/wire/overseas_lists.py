"""Lists of US shares over REST, in both directions: rankings, searches, what a share is, news."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trading.domain.instrument import Exchange, Instrument, Market
from trading.wire import endpoints as at
from trading.wire import values
from trading.wire.accounts import page_fields, parse_page_request
from trading.wire.endpoints import Endpoint
from trading.wire.fields import (
    DAY,
    DOLLAR,
    FLAG,
    NUMBER,
    TEXT,
    TIME,
    WHOLE,
    kis,
    read,
    read_rows,
    write,
)
from trading.wire.overseas_codes import (
    PRODUCT_TYPES,
    QUOTE_CODES,
    exchange_of_product_type,
    exchange_of_quote,
    find_exchange,
)
from trading.wire.overseas_quotes import (
    RATE,
    WHOLE_DOLLARS,
    change_fields,
    optional_minor,
    whole_dollars,
)
from trading.wire.records import Page, RankRow, SettlementRow

_US = Market.US


# --- rankings --------------------------------------------------------------------------------


class Ranking(StrEnum):
    """What the shares of one exchange may be ranked by."""

    VOLUME = "volume"
    VALUE = "value"
    RISE = "rise"
    FALL = "fall"
    MARKET_CAP = "market_cap"
    VOLUME_GROWTH = "volume_growth"
    TURNOVER = "turnover"
    VOLUME_SURGE = "volume_surge"
    PRICE_RISE = "price_rise"
    PRICE_FALL = "price_fall"
    BUYING_POWER = "buying_power"
    NEW_HIGH = "new_high"
    NEW_LOW = "new_low"


# Each ranking with its own filters: today, the last minutes where it asks for minutes, no limits.
_RANKINGS: Mapping[Ranking, tuple[Endpoint, Mapping[str, str]]] = {
    Ranking.VOLUME: (at.US_VOLUME_RANK, {"NDAY": "0", "PRC1": "", "PRC2": ""}),
    Ranking.VALUE: (at.US_VALUE_RANK, {"NDAY": "0", "PRC1": "", "PRC2": ""}),
    Ranking.RISE: (at.US_CHANGE_RANK, {"GUBN": "1", "NDAY": "0"}),
    Ranking.FALL: (at.US_CHANGE_RANK, {"GUBN": "0", "NDAY": "0"}),
    Ranking.MARKET_CAP: (at.US_CAP_RANK, {}),
    Ranking.VOLUME_GROWTH: (at.US_GROWTH_RANK, {"NDAY": "0"}),
    Ranking.TURNOVER: (at.US_TURNOVER_RANK, {"NDAY": "0"}),
    Ranking.VOLUME_SURGE: (at.US_SURGE_RANK, {"MINX": "0"}),
    Ranking.PRICE_RISE: (at.US_MOVE_RANK, {"GUBN": "1", "MINX": "0"}),
    Ranking.PRICE_FALL: (at.US_MOVE_RANK, {"GUBN": "0", "MINX": "0"}),
    Ranking.BUYING_POWER: (at.US_POWER_RANK, {"NDAY": "0"}),
    Ranking.NEW_HIGH: (at.US_EXTREME_RANK, {"GUBN": "1", "GUBN2": "1", "NDAY": "0"}),
    Ranking.NEW_LOW: (at.US_EXTREME_RANK, {"GUBN": "0", "GUBN2": "1", "NDAY": "0"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedShare:
    """One line of any ranking; what that ranking does not tell is ``None``.

    ``change`` has its direction in ``change_percent``. The ``reference`` figures are those that
    the ranking compares with: earlier volume or price.
    """

    symbol: str = kis("symb", TEXT, required=True)
    exchange_code: str | None = kis("excd", TEXT)
    name: str | None = kis("name", TEXT)
    english_name: str | None = kis("ename", TEXT)
    rank: int | None = kis("rank", WHOLE)
    price: int | None = kis("last", DOLLAR)
    direction: str | None = kis("sign", TEXT)
    change: int | None = kis("diff", DOLLAR)
    change_percent: Decimal | None = kis("rate", RATE)
    bid: int | None = kis("pbid", DOLLAR)
    ask: int | None = kis("pask", DOLLAR)
    volume: int | None = kis("tvol", WHOLE)
    value: int | None = kis("tamt", WHOLE_DOLLARS)
    average_volume: int | None = kis("a_tvol", WHOLE)
    average_value: int | None = kis("a_tamt", WHOLE_DOLLARS)
    shares: int | None = kis("shar", WHOLE)
    market_cap: int | None = kis("tomv", WHOLE_DOLLARS)
    market_cap_percent: Decimal | None = kis("grav", NUMBER)
    turnover_percent: Decimal | None = kis("tover", NUMBER)
    reference_volume: int | None = kis("n_tvol", WHOLE)
    reference_price: int | None = kis("n_base", DOLLAR)
    reference_change: Decimal | None = kis("n_diff", NUMBER)
    reference_percent: Decimal | None = kis("n_rate", NUMBER)
    buying_power_now: Decimal | None = kis("tpow", NUMBER)
    buying_power: Decimal | None = kis("powx", NUMBER)


def ranking_call(ranking: Ranking, exchange: Exchange) -> tuple[Endpoint, dict[str, str]]:
    """Return endpoint and request that rank the shares of one exchange."""
    endpoint, filters = _RANKINGS[ranking]
    blanks = {"KEYB": "", "AUTH": "", "EXCD": QUOTE_CODES[exchange], "VOL_RANG": "0"}
    return endpoint, {**blanks, **filters}


def parse_ranking(body: Mapping[str, Any]) -> tuple[RankedShare, ...]:
    """Read any ranking; some call the names ``knam`` and ``enam``."""
    return tuple(
        read(
            RankedShare,
            {**row, "name": row.get("name") or row.get("knam"),
             "ename": row.get("ename") or row.get("enam")},
        )
        for row in values.rows(body.get("output2"))
        if row.get("symb")
    )  # fmt: skip


# --- searches --------------------------------------------------------------------------------


class Criterion(StrEnum):
    """What a search may ask for, in KIS's own words.

    Market cap, value and shares are in thousands; a change in percent.
    """

    PRICE = "PRICECUR"
    CHANGE_PERCENT = "RATE"
    MARKET_CAP = "VALX"
    SHARES = "SHAR"
    VOLUME = "VOLUME"
    VALUE = "AMT"
    EARNINGS_PER_SHARE = "EPS"
    PRICE_TO_EARNINGS = "PER"


Range = tuple[Decimal | int, Decimal | int]
Criteria = Mapping[Criterion, Range]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundShare:
    """One share that a search found; ``market_cap_thousands`` as KIS counts."""

    symbol: str = kis("symb", TEXT, required=True)
    exchange_code: str | None = kis("excd", TEXT)
    name: str | None = kis("name", TEXT)
    english_name: str | None = kis("ename", TEXT)
    rank: int | None = kis("rank", WHOLE)
    price: int | None = kis("last", DOLLAR)
    direction: str | None = kis("sign", TEXT)
    change: int | None = kis("diff", DOLLAR)
    change_percent: Decimal | None = kis("rate", RATE)
    open: int | None = kis("popen", DOLLAR)
    high: int | None = kis("phigh", DOLLAR)
    low: int | None = kis("plow", DOLLAR)
    volume: int | None = kis("tvol", WHOLE)
    value: int | None = kis("avol", WHOLE_DOLLARS)
    shares: int | None = kis("shar", WHOLE)
    market_cap_thousands: int | None = kis("valx", WHOLE)
    earnings_per_share: Decimal | None = kis("eps", NUMBER)
    price_to_earnings: Decimal | None = kis("per", NUMBER)


def search_request(exchange: Exchange, criteria: Criteria) -> dict[str, str]:
    """Ask for the shares of one exchange that meet all ``criteria``."""
    request = {"AUTH": "", "EXCD": QUOTE_CODES[exchange], "KEYB": ""}
    for criterion, (least, most) in criteria.items():
        request[f"CO_YN_{criterion}"] = "1"
        request[f"CO_ST_{criterion}"] = f"{least:f}" if isinstance(least, Decimal) else str(least)
        request[f"CO_EN_{criterion}"] = f"{most:f}" if isinstance(most, Decimal) else str(most)
    return request


def parse_search_request(params: Mapping[str, Any]) -> tuple[Exchange, dict[Criterion, Range]]:
    """Read the exchange and what is asked for; an end left blank is open."""
    fields = values.upper_keys(params)
    criteria: dict[Criterion, Range] = {}
    for criterion in Criterion:
        if fields.get(f"CO_YN_{criterion}", "").strip() == "1":
            most = fields.get(f"CO_EN_{criterion}", "").strip()
            criteria[criterion] = (
                values.decimal(fields.get(f"CO_ST_{criterion}")),
                values.decimal(most) if most else Decimal("Infinity"),
            )
    return parse_exchange_request(params), criteria


def render_search(rows: Sequence[FoundShare]) -> dict[str, Any]:
    """Answer what a search found."""
    count = str(len(rows))
    return {
        "output1": {"zdiv": "4", "stat": "", "crec": count, "trec": count, "nrec": count},
        "output2": [
            {
                **write(row),
                "rsym": f"D{row.exchange_code}{row.symbol}",
                "e_ordyn": "○",
            }
            for row in rows
        ],
    }


def parse_search(body: Mapping[str, Any]) -> tuple[FoundShare, ...]:
    """Read what a search found."""
    return tuple(
        read(FoundShare, row) for row in values.rows(body.get("output2")) if row.get("symb")
    )


def parse_exchange_request(params: Mapping[str, Any]) -> Exchange:
    """Read which exchange a ranking or a search asks for."""
    fields = values.upper_keys(params)
    values.required(fields, "EXCD")
    return exchange_of_quote(fields["EXCD"].strip())


_RANK_BLANKS = "popen phigh plow valx shar eps per pask pbid a_tvol a_tamt n_base n_diff n_rate"


def render_volume_rank(rows: Sequence[RankRow]) -> dict[str, Any]:
    """Answer a volume ranking or a search: the keys of both."""
    count = str(len(rows))
    return {
        "output1": {"zdiv": "4", "stat": "", "crec": count, "trec": count, "nrec": count},
        "output2": [_render_rank(row) for row in rows],
    }


def _render_rank(row: RankRow) -> dict[str, str]:
    exchange = row.exchange or Exchange.NASDAQ
    return {
        **values.blanks(_RANK_BLANKS),
        "rsym": f"D{QUOTE_CODES[exchange]}{row.symbol}",
        "excd": QUOTE_CODES[exchange],
        "symb": row.symbol,
        "name": row.name,
        "last": values.from_minor(row.price, _US),
        **change_fields(row.price, row.previous_close),
        "tvol": str(row.volume),
        "tamt": whole_dollars(row.value),
        "avol": whole_dollars(row.value),
        "rank": str(row.rank),
        "ename": row.name,
        "e_ordyn": "○",
    }


def parse_volume_rank(body: Mapping[str, Any]) -> tuple[RankRow, ...]:
    """Read a volume ranking or a search."""
    ranked = []
    for row in values.rows(body.get("output2")):
        if not row.get("symb"):
            continue
        price = values.to_minor(row.get("last"), _US)
        change = abs(values.to_minor(row.get("diff"), _US))
        down = str(row.get("sign", "")).strip() in ("4", "5")
        ranked.append(
            RankRow(
                rank=values.integer(row.get("rank")),
                symbol=str(row["symb"]).strip(),
                name=str(row.get("ename") or row.get("name") or ""),
                price=price,
                previous_close=price + change if down else price - change,
                volume=values.integer(row.get("tvol")),
                # The turnover is called ``tamt`` in rankings and ``avol`` in searches.
                value=optional_minor(row.get("tamt") or row.get("avol")),
                exchange=find_exchange(str(row.get("excd", "")).strip()),
            )
        )
    return tuple(ranked)


# --- what a share is ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductInfo:
    """What KIS keeps about one foreign share."""

    isin: str | None = kis("std_pdno", TEXT)
    name: str | None = kis("prdt_name", TEXT)
    english_name: str | None = kis("prdt_eng_name", TEXT)
    country_code: str | None = kis("natn_cd", TEXT)
    exchange_code: str | None = kis("ovrs_excg_cd", TEXT)
    exchange_name: str | None = kis("ovrs_excg_name", TEXT)
    currency: str | None = kis("tr_crcy_cd", TEXT)
    par_value: Decimal | None = kis("ovrs_papr", NUMBER)
    kind: str | None = kis("ovrs_stck_dvsn_cd", TEXT)
    class_name: str | None = kis("prdt_clsf_name", TEXT)
    sell_lot: int | None = kis("sll_unit_qty", WHOLE)
    buy_lot: int | None = kis("buy_unit_qty", WHOLE)
    shares: int | None = kis("lstg_stck_num", WHOLE)
    listed_on: date | None = kis("lstg_dt", DAY)
    is_listed: bool | None = kis("lstg_yn", FLAG)
    is_delisted: bool | None = kis("lstg_abol_item_yn", FLAG)
    delisted_on: date | None = kis("lstg_abol_dt", DAY)
    halt_code: str | None = kis("ovrs_stck_tr_stop_dvsn_cd", TEXT)
    halt_reason_code: str | None = kis("ovrs_stck_stop_rson_cd", TEXT)
    previous_symbol: str | None = kis("chng_bf_pdno", TEXT)
    etp_class: str | None = kis("ovrs_stck_etf_risk_drtp_cd", TEXT)
    etp_leverage: Decimal | None = kis("etp_chas_erng_rt_dbnb", NUMBER)
    is_partnership: bool | None = kis("ptp_item_yn", FLAG)
    is_daytime_tradable: bool | None = kis("dtm_tr_psbl_yn", FLAG)
    sedol: str | None = kis("sedol_no", TEXT)
    bloomberg: str | None = kis("blbg_tckr_text", TEXT)


_PRODUCT_BLANKS = (
    "natn_name tr_mket_cd tr_mket_name crcy_name prdt_clsf_cd tr_unit_amt "
    "ovrs_stck_prdt_grp_no tax_levy_yn ovrs_stck_erlm_rosn_cd ovrs_stck_hist_rght_dvsn_cd "
    "prdt_type_cd_2 ovrs_item_name istt_usge_isin_cd mint_svc_yn mint_svc_yn_chng_dt lei_cd "
    "mini_stk_tr_stat_dvsn_cd mint_frst_svc_erlm_dt mint_dcpt_trad_psbl_yn "
    "mint_fnum_trad_psbl_yn mint_cblc_cvsn_ipsb_yn ptp_item_trfx_exmt_yn "
    "ptp_item_trfx_exmt_strt_dt ptp_item_trfx_exmt_end_dt sdrf_stop_ecls_yn "
    "sdrf_stop_ecls_erlm_dt memo_text1 ovrs_now_pric1 sgle_item_lvrg_etp_yn last_rcvg_dtime"
)


def product_info_request(instrument: Instrument) -> dict[str, str]:
    """Ask what a share is."""
    return {"PRDT_TYPE_CD": PRODUCT_TYPES[instrument.exchange], "PDNO": instrument.symbol}


def parse_product_info_request(params: Mapping[str, Any]) -> tuple[Exchange, str]:
    """Read exchange and symbol."""
    fields = values.upper_keys(params)
    values.required(fields, "PRDT_TYPE_CD", "PDNO")
    return exchange_of_product_type(fields["PRDT_TYPE_CD"].strip()), fields["PDNO"].strip()


def render_product_info(info: ProductInfo) -> dict[str, Any]:
    """Answer what a share is; what is not known is blank."""
    return {"output": {**values.blanks(_PRODUCT_BLANKS), **write(info)}}


def parse_product_info(body: Mapping[str, Any]) -> ProductInfo:
    """Read what a share is; all ``None`` for an unknown one."""
    return read(ProductInfo, values.first_row(body.get("output")))


# --- news ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsTitle:
    """One headline about a foreign share; day and time are Korean."""

    key: str = kis("news_key", TEXT, required=True)
    day: date | None = kis("data_dt", DAY)
    time: str | None = kis("data_tm", TIME)
    title: str | None = kis("title", TEXT)
    kind: str | None = kis("class_name", TEXT)
    source: str | None = kis("source", TEXT)
    country: str | None = kis("nation_cd", TEXT)
    exchange_code: str | None = kis("exchange_cd", TEXT)
    symbol: str | None = kis("symb", TEXT)
    name: str | None = kis("symb_name", TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakingNews:
    """One headline of the day's foreign breaking news; day and time are Korean."""

    key: str = kis("cntt_usiq_srno", TEXT, required=True)
    publisher: str | None = kis("news_ofer_entp_code", TEXT)
    day: date | None = kis("data_dt", DAY)
    time: str | None = kis("data_tm", TIME)
    title: str | None = kis("hts_pbnt_titl_cntt", TEXT)
    kind: str | None = kis("news_lrdv_code", TEXT)
    source: str | None = kis("dorg", TEXT)
    symbol: str | None = kis("iscd1", TEXT)
    name: str | None = kis("kor_isnm1", TEXT)


def news_request(instrument: Instrument | None, day: date | None) -> dict[str, str]:
    """Ask for headlines about one share or all, up to the end of ``day`` or the newest."""
    return {
        "INFO_GB": "",
        "CLASS_CD": "",
        "NATION_CD": "US",
        "EXCHANGE_CD": QUOTE_CODES[instrument.exchange] if instrument is not None else "",
        "SYMB": instrument.symbol if instrument is not None else "",
        "DATA_DT": values.day_text(day) if day is not None else "",
        "DATA_TM": "",
        "CTS": "",
    }


def parse_news(body: Mapping[str, Any]) -> tuple[NewsTitle, ...]:
    """Read headlines, newest first."""
    return read_rows(NewsTitle, body.get("outblock1"))


def breaking_news_request() -> dict[str, str]:
    """Ask for the newest breaking news."""
    return {
        "FID_NEWS_OFER_ENTP_CODE": "0",
        "FID_COND_MRKT_CLS_CODE": "",
        "FID_INPUT_ISCD": "",
        "FID_TITL_CNTT": "",
        "FID_INPUT_DATE_1": "",
        "FID_INPUT_HOUR_1": "",
        "FID_RANK_SORT_CLS_CODE": "",
        "FID_INPUT_SRNO": "",
        "FID_COND_SCR_DIV_CODE": "11801",
    }


def parse_breaking_news(body: Mapping[str, Any]) -> tuple[BreakingNews, ...]:
    """Read breaking news, newest first."""
    return read_rows(BreakingNews, body.get("output"))


# --- settlement days ---------------------------------------------------------------------------


def settlement_request(day: date, page: Page) -> dict[str, str]:
    """Ask when trades of ``day`` settle; markets that are closed that day are not listed."""
    return {"TRAD_DT": values.day_text(day), **page_fields(page, 20)}


def parse_settlement_request(params: Mapping[str, Any]) -> tuple[date, Page]:
    """Read the trade day and the page."""
    fields = values.upper_keys(params)
    values.required(fields, "TRAD_DT")
    return values.day(fields["TRAD_DT"]), parse_page_request(params, 20)


def render_settlements(rows: Sequence[SettlementRow]) -> dict[str, Any]:
    """Answer the settlement dates of US markets."""
    return {
        "output": [
            {
                "prdt_type_cd": "512",
                "tr_natn_cd": row.country,
                "tr_natn_name": "미국",
                "natn_eng_abrv_cd": "US",
                "tr_mket_cd": "01",
                "tr_mket_name": row.market_name,
                "acpl_sttl_dt": values.day_text(row.local_settlement),
                "dmst_sttl_dt": values.day_text(row.domestic_settlement),
            }
            for row in rows
        ]
    }


def parse_settlements(body: Mapping[str, Any]) -> tuple[SettlementRow, ...]:
    """Read settlement dates per market; country 840 is the United States."""
    return tuple(
        SettlementRow(
            country=str(row.get("tr_natn_cd", "")),
            market_name=str(row.get("tr_mket_name", "")),
            local_settlement=values.day(row["acpl_sttl_dt"]),
            domestic_settlement=values.day(row.get("dmst_sttl_dt")),
        )
        for row in values.rows(body.get("output"))
        if row.get("acpl_sttl_dt")
    )
