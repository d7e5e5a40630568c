"""Who leads the Korean market: rankings and volatility interruptions over REST.

KIS answers rankings with at most 30 rows and no next page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trading.domain.instrument import Market
from trading.wire import endpoints as at
from trading.wire import values
from trading.wire.domestic_quotes import change_fields, optional_won
from trading.wire.endpoints import Endpoint
from trading.wire.fields import DAY, NUMBER, TEXT, TIME, WHOLE, WON, kis, read
from trading.wire.records import RankRow

_KRX = Market.KRX


class Ranking(StrEnum):
    """What the shares of the whole market may be ranked by."""

    VOLUME = "volume"
    VALUE = "value"
    VOLUME_GROWTH = "volume_growth"
    TURNOVER = "turnover"
    VALUE_TURNOVER = "value_turnover"
    RISE = "rise"
    FALL = "fall"
    RISE_FROM_OPEN = "rise_from_open"
    FALL_FROM_OPEN = "fall_from_open"
    RANGE = "range"
    MARKET_CAP = "market_cap"
    BUYING_POWER = "buying_power"


_VOLUME_CODES: Mapping[Ranking, str] = {
    Ranking.VOLUME: "0",
    Ranking.VOLUME_GROWTH: "1",
    Ranking.TURNOVER: "2",
    Ranking.VALUE: "3",
    Ranking.VALUE_TURNOVER: "4",
}
_CHANGE_CODES: Mapping[Ranking, str] = {
    Ranking.RISE: "0",
    Ranking.FALL: "1",
    Ranking.RISE_FROM_OPEN: "2",
    Ranking.FALL_FROM_OPEN: "3",
    Ranking.RANGE: "4",
}
_WHOLE_MARKET = "0000"
_SYMBOL = "mksc_shrn_iscd"


def volume_rank_request(code: str = "0") -> dict[str, str]:
    """Ask for the common shares that lead the day."""
    return {
        "FID_COND_MRKT_DIV_CODE": "J",
        "FID_COND_SCR_DIV_CODE": "20171",
        "FID_INPUT_ISCD": _WHOLE_MARKET,
        "FID_DIV_CLS_CODE": "1",
        "FID_BLNG_CLS_CODE": code,
        "FID_TRGT_CLS_CODE": "111111111",
        "FID_TRGT_EXLS_CLS_CODE": "1111111101",
        "FID_INPUT_PRICE_1": "",
        "FID_INPUT_PRICE_2": "",
        "FID_VOL_CNT": "",
    }


def render_volume_rank(rows: Sequence[RankRow]) -> dict[str, Any]:
    """Answer a volume ranking."""
    return {
        "output": [
            {
                "hts_kor_isnm": row.name,
                "mksc_shrn_iscd": row.symbol,
                "data_rank": str(row.rank),
                "stck_prpr": str(row.price),
                **change_fields(row.price, row.previous_close),
                "acml_vol": str(row.volume),
                "prdy_vol": str(row.previous_volume),
                "lstn_stcn": "",
                "avrg_vol": str(row.volume),
                "n_befr_clpr_vrss_prpr_rate": values.ratio_text(
                    row.price - row.previous_close, row.previous_close
                ),
                "vol_inrt": values.ratio_text(row.volume, row.previous_volume),
                "vol_tnrt": "",
                "nday_vol_tnrt": "",
                "avrg_tr_pbmn": "" if row.value is None else str(row.value),
                "tr_pbmn_tnrt": "",
                "nday_tr_pbmn_tnrt": "",
                "acml_tr_pbmn": "" if row.value is None else str(row.value),
            }
            for row in rows
        ]
    }


def parse_volume_rank(body: Mapping[str, Any]) -> tuple[RankRow, ...]:
    """Read a volume ranking; the output's name has been seen in both cases."""
    listed = body.get("output") if "output" in body else body.get("Output")
    return tuple(
        RankRow(
            rank=values.integer(row.get("data_rank")),
            symbol=values.needed(row, "mksc_shrn_iscd"),
            name=str(row.get("hts_kor_isnm", "")),
            price=values.to_minor(row.get("stck_prpr"), _KRX),
            previous_close=values.to_minor(row.get("stck_prpr"), _KRX)
            - values.to_minor(row.get("prdy_vrss"), _KRX),
            volume=values.integer(row.get("acml_vol")),
            previous_volume=values.integer(row.get("prdy_vol")),
            value=optional_won(row.get("acml_tr_pbmn")),
        )
        for row in values.rows(listed)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedShare:
    """One line of any ranking; what that ranking does not tell is ``None``.

    ``strength`` is bought over sold volume in percent; a run is a number of days in one direction.
    """

    rank: int = kis("data_rank", WHOLE, required=True)
    symbol: str = kis(_SYMBOL, TEXT, required=True)
    name: str | None = kis("hts_kor_isnm", TEXT)
    price: int | None = kis("stck_prpr", WON)
    change: int | None = kis("prdy_vrss", WON)
    change_percent: Decimal | None = kis("prdy_ctrt", NUMBER)
    volume: int | None = kis("acml_vol", WHOLE)
    previous_volume: int | None = kis("prdy_vol", WHOLE)
    value: int | None = kis("acml_tr_pbmn", WON)
    listed_shares: int | None = kis("lstn_stcn", WHOLE)
    turnover_percent: Decimal | None = kis("vol_tnrt", NUMBER)
    high: int | None = kis("stck_hgpr", WON)
    high_at: str | None = kis("hgpr_hour", TIME)
    low: int | None = kis("stck_lwpr", WON)
    low_at: str | None = kis("lwpr_hour", TIME)
    rising_run: int | None = kis("cnnt_ascn_dynu", WHOLE)
    falling_run: int | None = kis("cnnt_down_dynu", WHOLE)
    from_open: int | None = kis("oprc_vrss_prpr", WON)
    from_open_percent: Decimal | None = kis("oprc_vrss_prpr_rate", NUMBER)
    cap_hundred_million_krw: int | None = kis("stck_avls", WHOLE)
    market_share_percent: Decimal | None = kis("mrkt_whol_avls_rlim", NUMBER)
    strength: Decimal | None = kis("tday_rltv", NUMBER)
    sold_volume: int | None = kis("seln_cnqn_smtn", WHOLE)
    bought_volume: int | None = kis("shnu_cnqn_smtn", WHOLE)


def ranking_call(ranking: Ranking) -> tuple[Endpoint, dict[str, str]]:
    """Return endpoint and request of a ranking of the whole market."""
    if ranking in _VOLUME_CODES:
        return at.KRX_VOLUME_RANK, volume_rank_request(_VOLUME_CODES[ranking])
    if ranking is Ranking.MARKET_CAP:
        return at.KRX_CAP_RANK, _ranking("20174")
    if ranking is Ranking.BUYING_POWER:
        return at.KRX_POWER_RANK, _ranking("20168")
    return at.KRX_FLUCTUATION_RANK, {
        **_ranking("20170"),
        "FID_RANK_SORT_CLS_CODE": _CHANGE_CODES[ranking],
        "FID_INPUT_CNT_1": "0",
        "FID_PRC_CLS_CODE": "0",
        "FID_RSFL_RATE1": "",
        "FID_RSFL_RATE2": "",
    }


def parse_ranking(body: Mapping[str, Any]) -> tuple[RankedShare, ...]:
    """Read any ranking; some name the symbol otherwise, and the output has both cases."""
    listed = body.get("output") if "output" in body else body.get("Output")
    return tuple(
        read(RankedShare, {**row, _SYMBOL: row.get(_SYMBOL) or row.get("stck_shrn_iscd")})
        for row in values.rows(listed)
    )


def render_fluctuation(rows: Sequence[RankRow]) -> dict[str, Any]:
    """Answer the ranking by change of price."""
    return {
        "output": [
            {
                **values.blanks(_FLUCTUATION_KEYS),
                "stck_shrn_iscd": row.symbol,
                "data_rank": str(row.rank),
                "hts_kor_isnm": row.name,
                "stck_prpr": str(row.price),
                **change_fields(row.price, row.previous_close),
                "acml_vol": str(row.volume),
            }
            for row in rows
        ]
    }


_FLUCTUATION_KEYS = (
    "stck_hgpr hgpr_hour acml_hgpr_date stck_lwpr lwpr_hour acml_lwpr_date lwpr_vrss_prpr_rate "
    "dsgt_date_clpr_vrss_prpr_rate cnnt_ascn_dynu hgpr_vrss_prpr_rate cnnt_down_dynu "
    "oprc_vrss_prpr_sign oprc_vrss_prpr oprc_vrss_prpr_rate prd_rsfl prd_rsfl_rate"
)


def _ranking(screen: str) -> dict[str, str]:
    return {
        "FID_COND_MRKT_DIV_CODE": "J",
        "FID_COND_SCR_DIV_CODE": screen,
        "FID_INPUT_ISCD": _WHOLE_MARKET,
        "FID_DIV_CLS_CODE": "0",
        "FID_INPUT_PRICE_1": "",
        "FID_INPUT_PRICE_2": "",
        "FID_VOL_CNT": "",
        "FID_TRGT_CLS_CODE": "0",
        "FID_TRGT_EXLS_CLS_CODE": "0",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """One volatility interruption of a day.

    ``state`` is ``Y`` while it lasts; ``kind`` 1 static, 2 dynamic, 3 both. The price that
    triggered it stands beside the base price of its kind.
    """

    symbol: str = kis("mksc_shrn_iscd", TEXT, required=True)
    name: str | None = kis("hts_kor_isnm", TEXT)
    state: str | None = kis("vi_cls_code", TEXT)
    session: date | None = kis("bsop_date", DAY)
    triggered_at: str | None = kis("cntg_vi_hour", TIME)
    released_at: str | None = kis("vi_cncl_hour", TEXT)
    kind: str | None = kis("vi_kind_code", TEXT)
    price: int | None = kis("vi_prc", WON)
    static_base: int | None = kis("vi_stnd_prc", WON)
    static_gap_percent: Decimal | None = kis("vi_dprt", NUMBER)
    dynamic_base: int | None = kis("vi_dmc_stnd_prc", WON)
    dynamic_gap_percent: Decimal | None = kis("vi_dmc_dprt", NUMBER)
    count: int | None = kis("vi_count", WHOLE)


def interruptions_request(session: date, symbol: str = "") -> dict[str, str]:
    """Ask for the interruptions of ``session``, of one symbol when named."""
    return {
        "FID_DIV_CLS_CODE": "0",
        "FID_COND_SCR_DIV_CODE": "20139",
        "FID_MRKT_CLS_CODE": "0",
        "FID_INPUT_ISCD": symbol,
        "FID_RANK_SORT_CLS_CODE": "0",
        "FID_INPUT_DATE_1": values.day_text(session),
        "FID_TRGT_CLS_CODE": "",
        "FID_TRGT_EXLS_CLS_CODE": "",
    }
