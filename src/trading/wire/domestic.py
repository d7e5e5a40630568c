"""Korean shares over REST: both directions of every request and answer.

``X_request`` and ``parse_X`` are the client's side, ``parse_X_request`` and ``render_X`` the
venue's. A ``render_X`` returns the outputs only; ``codes.success`` puts the envelope around.
Fields of which nothing was recorded are blank, never invented.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from trading.domain.instrument import Instrument, Market
from trading.domain.market import Quote
from trading.domain.order import OrderAck, Side, VenueOrder
from trading.errors import MissingDataError, SchemaError
from trading.wire import values
from trading.wire.records import (
    Balance,
    Book,
    BookLevel,
    BuyingPower,
    ChangeRequest,
    DailyRow,
    Holding,
    HolidayRow,
    ListedOrder,
    MinuteRow,
    OrderKind,
    OrderRequest,
    Page,
    RankRow,
)

SIDE_CODES = {Side.SELL: "01", Side.BUY: "02"}
_SIDES = {code: side for side, code in SIDE_CODES.items()}
_SIDE_NAMES = {Side.SELL: "매도", Side.BUY: "매수"}
_KRX = Market.KRX
_HALTED_STATUS = "58"
_LEVELS = 10


# --- accounts and paging -------------------------------------------------------------------


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


# --- quotations ----------------------------------------------------------------------------


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
    quote: Quote, instrument: Instrument, *, value: int, tick: int, lot: int
) -> dict[str, Any]:
    """Answer the current price; ``value`` is the turnover so far."""
    output = values.blanks(_PRICE_KEYS)
    output.update(
        _change(quote.price, quote.previous_close, quote.upper_limit, quote.lower_limit),
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
    output = body.get("output") or {}
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
    output = body.get("output1") or {}
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


def daily_request(symbol: str, first: date, last: date, *, adjusted: bool) -> dict[str, str]:
    """Ask for daily bars; the newest 100 of the range come back."""
    return {
        "FID_COND_MRKT_DIV_CODE": "J",
        "FID_INPUT_ISCD": symbol,
        "FID_INPUT_DATE_1": values.day_text(first),
        "FID_INPUT_DATE_2": values.day_text(last),
        "FID_PERIOD_DIV_CODE": "D",
        # The other way round than in inquire-daily-price.
        "FID_ORG_ADJ_PRC": "0" if adjusted else "1",
    }


def parse_daily_request(params: Mapping[str, Any]) -> tuple[str, date, date, bool]:
    """Read symbol, first and last day, and whether adjusted prices are asked for."""
    fields = values.upper_keys(params)
    values.required(
        fields, "FID_INPUT_ISCD", "FID_INPUT_DATE_1", "FID_INPUT_DATE_2", "FID_ORG_ADJ_PRC"
    )
    if fields.get("FID_PERIOD_DIV_CODE", "D") != "D":
        raise SchemaError("일봉만 제공함")
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


def render_daily(bars: Sequence[DailyRow], quote: Quote, instrument: Instrument) -> dict[str, Any]:
    """Answer daily bars, given newest first; ``quote`` fills the snapshot."""
    snapshot = values.blanks(_DAILY_SNAPSHOT_BLANKS)
    snapshot.update(
        _change(quote.price, quote.previous_close, quote.upper_limit, quote.lower_limit),
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
        older = bars[number + 1].close if number + 1 < len(bars) else None
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
            session=values.day(row["stck_bsop_date"]),
            open=values.to_minor_rounded(row.get("stck_oprc"), _KRX),
            high=values.to_minor_rounded(row.get("stck_hgpr"), _KRX),
            low=values.to_minor_rounded(row.get("stck_lwpr"), _KRX),
            close=values.to_minor_rounded(row.get("stck_clpr"), _KRX),
            volume=values.integer(row.get("acml_vol")),
            value=_optional(row.get("acml_tr_pbmn")),
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
        **_change(quote.price, quote.previous_close, quote.upper_limit, quote.lower_limit),
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
            start=values.instant(row["stck_bsop_date"], row["stck_cntg_hour"], _KRX),
            open=values.to_minor(row.get("stck_oprc"), _KRX),
            high=values.to_minor(row.get("stck_hgpr"), _KRX),
            low=values.to_minor(row.get("stck_lwpr"), _KRX),
            close=values.to_minor(row.get("stck_prpr"), _KRX),
            volume=values.integer(row.get("cntg_vol")),
            value=_optional(row.get("acml_tr_pbmn")),
        )
        for row in values.rows(body.get("output2"))
        if row.get("stck_bsop_date")
    )


def volume_rank_request() -> dict[str, str]:
    """Ask for the common shares with the largest volume of the day."""
    return {
        "FID_COND_MRKT_DIV_CODE": "J",
        "FID_COND_SCR_DIV_CODE": "20171",
        "FID_INPUT_ISCD": "0000",
        "FID_DIV_CLS_CODE": "1",
        "FID_BLNG_CLS_CODE": "0",
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
                **_change(row.price, row.previous_close),
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
            symbol=str(row["mksc_shrn_iscd"]),
            name=str(row.get("hts_kor_isnm", "")),
            price=values.to_minor(row.get("stck_prpr"), _KRX),
            previous_close=values.to_minor(row.get("stck_prpr"), _KRX)
            - values.to_minor(row.get("prdy_vrss"), _KRX),
            volume=values.integer(row.get("acml_vol")),
            previous_volume=values.integer(row.get("prdy_vol")),
            value=_optional(row.get("acml_tr_pbmn")),
        )
        for row in values.rows(listed)
    )


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
        HolidayRow(day=values.day(row["bass_dt"]), is_open=row.get("opnd_yn") == "Y")
        for row in values.rows(body.get("output"))
    )


# --- orders --------------------------------------------------------------------------------


def order_request(order: OrderRequest) -> dict[str, str]:
    """Return the body of a cash order; the TR id carries the side."""
    body = {
        **account_fields(order.account),
        "PDNO": order.symbol,
        "ORD_DVSN": order.order_kind,
        "ORD_QTY": str(order.quantity),
        "ORD_UNPR": str(order.limit),
        "EXCG_ID_DVSN_CD": "KRX",
    }
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
        quantity=values.integer(fields["ORD_QTY"]),
        limit=values.to_minor(fields["ORD_UNPR"], _KRX),
        order_kind=fields["ORD_DVSN"],
    )


def change_request(change: ChangeRequest) -> dict[str, str]:
    """Return the body that cancels or revises an order."""
    return {
        **account_fields(change.account),
        "KRX_FWDG_ORD_ORGNO": change.branch,
        "ORGN_ODNO": change.original_order_id,
        "ORD_DVSN": "00",
        "RVSE_CNCL_DVSN_CD": "02" if change.is_cancel else "01",
        "ORD_QTY": str(change.quantity),
        "ORD_UNPR": "0" if change.is_cancel else str(change.limit),
        "QTY_ALL_ORD_YN": "N" if change.quantity else "Y",
        "EXCG_ID_DVSN_CD": "KRX",
    }


def parse_change_request(params: Mapping[str, Any]) -> ChangeRequest:
    """Read a cancel or a revision; quantity 0 when all that is left is meant."""
    fields = values.upper_keys(params)
    values.required(fields, "ORGN_ODNO", "RVSE_CNCL_DVSN_CD", "ORD_QTY", "ORD_UNPR")
    is_all = fields.get("QTY_ALL_ORD_YN") == "Y"
    return ChangeRequest(
        account=parse_account(fields),
        original_order_id=values.order_number(fields["ORGN_ODNO"]),
        quantity=0 if is_all else values.integer(fields["ORD_QTY"]),
        limit=values.to_minor(fields["ORD_UNPR"], _KRX),
        is_cancel=fields["RVSE_CNCL_DVSN_CD"] == "02",
        branch=fields.get("KRX_FWDG_ORD_ORGNO", ""),
    )


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
    output = values.upper_keys(body.get("output") or {})
    number = values.order_number(output.get("ODNO", ""))
    if not number:
        raise SchemaError("주문 응답에 주문번호 없음")
    clock = output.get("ORD_TMD", "").strip()
    return OrderAck(
        venue_order_id=number,
        branch=output.get("KRX_FWDG_ORD_ORGNO", "").strip(),
        ts_event=values.nearest_instant(clock, received) if clock else received,
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
    orders: Sequence[VenueOrder], instruments: Mapping[str, Instrument]
) -> dict[str, Any]:
    """Answer open orders."""
    return {
        "output": [
            {
                "ord_gno_brno": order.branch,
                "odno": order.venue_order_id,
                "orgn_odno": order.original_order_id,
                "ord_dvsn_name": "지정가",
                "pdno": order.symbol,
                "prdt_name": _name(instruments, order.symbol),
                "rvse_cncl_dvsn_name": "",
                "ord_qty": str(order.quantity),
                "ord_unpr": str(order.limit),
                "ord_tmd": values.korean_time(order.ts_event),
                "tot_ccld_qty": str(order.filled_quantity),
                "tot_ccld_amt": str(order.filled_amount),
                "psbl_qty": str(order.open_quantity),
                "sll_buy_dvsn_cd": SIDE_CODES[order.side],
                "ord_dvsn_cd": "00",
                "mgco_aptm_odno": "",
            }
            for order in orders
        ]
    }


def parse_open_orders(body: Mapping[str, Any], received: datetime) -> tuple[ListedOrder, ...]:
    """Read open orders; what is neither filled nor open was canceled."""
    listed = []
    for row in values.rows(body.get("output")):
        quantity = values.integer(row.get("ord_qty"))
        filled = values.integer(row.get("tot_ccld_qty"))
        order = VenueOrder(
            venue_order_id=values.order_number(row["odno"]),
            branch=str(row.get("ord_gno_brno", "")).strip(),
            symbol=str(row["pdno"]).strip(),
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
        listed.append(ListedOrder(order=order, kind=kind))
    return tuple(listed)


def orders_request(account: str, first: date, last: date, page: Page) -> dict[str, str]:
    """Ask for all orders of a range of days with what was filled."""
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
        "EXCG_ID_DVSN_CD": "KRX",
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
        "ord_dvsn_name": "지정가",
        "sll_buy_dvsn_cd": SIDE_CODES[order.side],
        "sll_buy_dvsn_cd_name": f"현금{_SIDE_NAMES[order.side]}{suffix}",
        "pdno": order.symbol,
        "prdt_name": _name(instruments, order.symbol),
        "ord_qty": str(order.quantity),
        "ord_unpr": str(order.limit),
        "ord_tmd": values.korean_time(order.ts_event),
        "tot_ccld_qty": str(order.filled_quantity),
        "avg_prvs": str(average),
        "cncl_yn": "Y" if is_cancel else "N",
        "tot_ccld_amt": str(order.filled_amount),
        "loan_dt": "",
        "ordr_empno": "",
        "ord_dvsn_cd": "00",
        "cncl_cfrm_qty": str(order.canceled_quantity),
        "rmn_qty": str(0 if is_cancel else order.open_quantity),
        "rjct_qty": str(order.rejected_quantity),
        "ccld_cndt_name": "없음",
        "inqr_ip_addr": "",
        "cpbc_ordp_ord_rcit_dvsn_cd": "",
        "cpbc_ordp_infm_mthd_dvsn_cd": "",
        "infm_tmd": "",
        "ctac_tlno": "",
        "prdt_type_cd": "300",
        "excg_dvsn_cd": "02",
        "cpbc_ordp_mtrl_dvsn_cd": "",
        "ord_orgno": order.branch,
        "rsvn_ord_end_dt": "",
    }


def parse_orders(body: Mapping[str, Any]) -> tuple[ListedOrder, ...]:
    """Read orders with their exact filled amounts.

    What is neither filled, refused nor left is canceled: where KIS writes the confirmed cancel
    quantity (original row or cancel row) is not documented, the identity holds either way.
    """
    listed = []
    for row in values.rows(body.get("output1")):
        if not row.get("odno"):
            continue
        quantity = values.integer(row.get("ord_qty"))
        filled = values.integer(row.get("tot_ccld_qty"))
        rejected = values.integer(row.get("rjct_qty"))
        left = values.integer(row.get("rmn_qty"))
        original = values.order_number(row.get("orgn_odno", ""))
        is_cancel = row.get("cncl_yn") == "Y" and bool(original)
        order = VenueOrder(
            venue_order_id=values.order_number(row["odno"]),
            branch=str(row.get("ord_gno_brno", "")).strip(),
            symbol=str(row["pdno"]).strip(),
            side=side_of(row),
            quantity=quantity,
            limit=values.to_minor(row.get("ord_unpr"), _KRX),
            filled_quantity=filled,
            filled_amount=values.to_minor(row.get("tot_ccld_amt"), _KRX),
            canceled_quantity=max(0, quantity - filled - rejected - left),
            rejected_quantity=rejected,
            ts_event=values.instant(row["ord_dt"], row["ord_tmd"], _KRX),
            original_order_id=original,
        )
        kind = OrderKind.CANCEL if is_cancel else OrderKind.REVISE if original else OrderKind.NEW
        listed.append(ListedOrder(order=order, kind=kind))
    return tuple(listed)


def side_of(row: Mapping[str, Any]) -> Side:
    """Read the side code of a listed row."""
    code = str(row.get("sll_buy_dvsn_cd", "")).strip()
    if code not in _SIDES:
        raise SchemaError(f"알 수 없는 매매 구분: {code!r}")
    return _SIDES[code]


# --- account -------------------------------------------------------------------------------


def balance_request(account: str, page: Page) -> dict[str, str]:
    """Ask for holdings and cash, today's trades included."""
    return {
        **account_fields(account),
        "AFHR_FLPR_YN": "N",
        "OFL_YN": "",
        "INQR_DVSN": "02",
        "UNPR_DVSN": "01",
        "FUND_STTL_ICLD_YN": "N",
        "FNCG_AMT_AUTO_RDPT_YN": "N",
        "PRCS_DVSN": "00",
        **page_fields(page, 100),
    }


def parse_balance_request(params: Mapping[str, Any]) -> tuple[str, Page]:
    """Read the account and the page."""
    return parse_account(values.upper_keys(params)), parse_page_request(params, 100)


def render_balance(balance: Balance, *, every: Sequence[Holding] | None = None) -> dict[str, Any]:
    """Answer one page of holdings with the cash of all; ``every`` are all holdings.

    Prices and costs are as the records say; previous-day figures are blank.
    """
    whole = balance.holdings if every is None else every
    worth = sum(holding.quantity * holding.price for holding in whole)
    paid = sum(holding.cost for holding in whole)
    total = worth + balance.cash_final
    return {
        "output1": [_render_holding(holding) for holding in balance.holdings],
        "output2": [
            {
                "dnca_tot_amt": str(balance.cash),
                "nxdy_excc_amt": str(balance.cash_next),
                "prvs_rcdl_excc_amt": str(balance.cash_final),
                "cma_evlu_amt": "0",
                "bfdy_buy_amt": "",
                "thdt_buy_amt": str(balance.bought_today),
                "nxdy_auto_rdpt_amt": "0",
                "bfdy_sll_amt": "",
                "thdt_sll_amt": str(balance.sold_today),
                "d2_auto_rdpt_amt": "0",
                "bfdy_tlex_amt": "",
                "thdt_tlex_amt": str(balance.costs_today),
                "tot_loan_amt": "0",
                "scts_evlu_amt": str(worth),
                "tot_evlu_amt": str(total),
                "nass_amt": str(total),
                "fncg_gld_auto_rdpt_yn": "",
                "pchs_amt_smtl_amt": str(paid),
                "evlu_amt_smtl_amt": str(worth),
                "evlu_pfls_smtl_amt": str(worth - paid),
                "tot_stln_slng_chgs": "0",
                "bfdy_tot_asst_evlu_amt": "",
                "asst_icdc_amt": "",
                "asst_icdc_erng_rt": "",
            }
        ],
    }


def _render_holding(holding: Holding) -> dict[str, str]:
    worth = holding.quantity * holding.price
    average = holding.cost / holding.quantity if holding.quantity else 0.0
    return {
        "pdno": holding.symbol,
        "prdt_name": holding.name,
        "trad_dvsn_name": "현금",
        "bfdy_buy_qty": "",
        "bfdy_sll_qty": "",
        "thdt_buyqty": str(holding.bought_today),
        "thdt_sll_qty": str(holding.sold_today),
        "hldg_qty": str(holding.quantity),
        "ord_psbl_qty": str(holding.sellable),
        "pchs_avg_pric": f"{average:.4f}",
        "pchs_amt": str(holding.cost),
        "prpr": str(holding.price),
        "evlu_amt": str(worth),
        "evlu_pfls_amt": str(worth - holding.cost),
        "evlu_pfls_rt": values.ratio_text(worth - holding.cost, holding.cost),
        "evlu_erng_rt": "0.00000000",
        "loan_dt": "",
        "loan_amt": "0",
        "stln_slng_chgs": "0",
        "expd_dt": "",
        "fltt_rt": "",
        "bfdy_cprs_icdc": "",
        "item_mgna_rt_name": "",
        "grta_rt_name": "",
        "sbst_pric": "",
        "stck_loan_unpr": "0.0000",
    }


def parse_balance(body: Mapping[str, Any]) -> Balance:
    """Read holdings and cash; sold-out positions, which stay listed until D+2, are dropped."""
    holdings = []
    for row in values.rows(body.get("output1")):
        quantity = values.integer(row.get("hldg_qty"))
        if not quantity:
            continue
        holdings.append(
            Holding(
                symbol=str(row["pdno"]).strip(),
                quantity=quantity,
                sellable=values.integer(row.get("ord_psbl_qty")),
                cost=values.to_minor_rounded(row.get("pchs_amt"), _KRX),
                price=values.to_minor(row.get("prpr"), _KRX),
                name=str(row.get("prdt_name", "")),
                bought_today=values.integer(row.get("thdt_buyqty")),
                sold_today=values.integer(row.get("thdt_sll_qty")),
            )
        )
    sums = values.rows(body.get("output2"))
    if not sums:
        raise SchemaError("잔고 응답에 예수금 없음")
    cash = sums[0]
    return Balance(
        holdings=tuple(holdings),
        cash=values.to_minor(cash.get("dnca_tot_amt"), _KRX),
        cash_next=values.to_minor(cash.get("nxdy_excc_amt"), _KRX),
        cash_final=values.to_minor(cash.get("prvs_rcdl_excc_amt"), _KRX),
        bought_today=values.to_minor(cash.get("thdt_buy_amt"), _KRX),
        sold_today=values.to_minor(cash.get("thdt_sll_amt"), _KRX),
        costs_today=values.to_minor(cash.get("thdt_tlex_amt"), _KRX),
    )


def buying_power_request(account: str, symbol: str = "", limit: int = 0) -> dict[str, str]:
    """Ask what may be spent; without a symbol the amount alone is answered."""
    return {
        **account_fields(account),
        "PDNO": symbol,
        "ORD_UNPR": str(limit) if limit else "",
        # With 00 the margin rate of the symbol would not be applied to the quantity.
        "ORD_DVSN": "01" if not limit else "00",
        "CMA_EVLU_AMT_ICLD_YN": "N",
        "OVRS_ICLD_YN": "N",
    }


def parse_buying_power_request(params: Mapping[str, Any]) -> tuple[str, str, int]:
    """Read account, symbol and price; blank and 0 when not given."""
    fields = values.upper_keys(params)
    values.required(fields, "PDNO", "ORD_UNPR")
    return (
        parse_account(fields),
        fields["PDNO"].strip(),
        values.to_minor(fields["ORD_UNPR"], _KRX),
    )


def render_buying_power(power: BuyingPower) -> dict[str, Any]:
    """Answer what may be spent; without credit the maximum is the amount without margin."""
    return {
        "output": {
            "ord_psbl_cash": str(power.amount),
            "ord_psbl_sbst": "0",
            "ruse_psbl_amt": "0",
            "fund_rpch_chgs": "0",
            "psbl_qty_calc_unpr": str(power.price),
            "nrcvb_buy_amt": str(power.amount),
            "nrcvb_buy_qty": str(power.quantity),
            "max_buy_amt": str(power.amount),
            "max_buy_qty": str(power.quantity),
            "cma_evlu_amt": "0",
            "ovrs_re_use_amt_wcrc": "0",
            "ord_psbl_frcr_amt_wcrc": "0",
        }
    }


def parse_buying_power(body: Mapping[str, Any]) -> BuyingPower:
    """Read what may be spent without credit (미수)."""
    output = body.get("output") or {}
    return BuyingPower(
        amount=values.to_minor(output.get("nrcvb_buy_amt"), _KRX),
        quantity=values.integer(output.get("nrcvb_buy_qty")),
        price=values.to_minor(output.get("psbl_qty_calc_unpr"), _KRX),
    )


def earlier_minute(time_text: str) -> str:
    """Return the minute before ``time_text``: where the next older page of minute bars ends."""
    moment = datetime(2000, 1, 1) + timedelta(seconds=values.seconds_of(time_text) - 60)  # noqa: DTZ001 - a time of day, no instant
    return f"{moment:%H%M%S}"


def _change(price: int, base: int, upper: int = 0, lower: int = 0) -> dict[str, str]:
    return {
        "prdy_vrss": str(price - base),
        "prdy_vrss_sign": values.change_sign(price, base, upper=upper, lower=lower),
        "prdy_ctrt": values.ratio_text(price - base, base),
    }


def _optional(text: Any) -> int | None:
    return None if text is None or not str(text).strip() else values.to_minor(text, _KRX)


def _name(instruments: Mapping[str, Instrument], symbol: str) -> str:
    instrument = instruments.get(symbol)
    return instrument.name if instrument is not None else ""
