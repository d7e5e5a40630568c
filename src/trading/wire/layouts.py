"""The fields of every WebSocket record, in the order of the wire: one table for both directions.

``stream`` and ``ticker`` read the few fields that an event needs; here is the whole record, typed.
KIS appends fields without notice, so what comes after the known ones is kept as text.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from trading.wire.fields import DAY, NUMBER, TEXT, TIME, WHOLE, Kind
from trading.wire.values import integer

Layout = tuple[tuple[str, Kind], ...]


def _padded(width: int) -> Kind:
    return Kind(f"padded-{width}", integer, lambda number: f"{number:0{width}d}")


_KINDS = {
    "t": TEXT,
    "h": TIME,
    "d": DAY,
    "w": WHOLE,
    "n": NUMBER,
    "q": _padded(10),
    "p": _padded(9),
    "x": _padded(12),
}


def _layout(text: str) -> Layout:
    fields: list[tuple[str, Kind]] = []
    for item in text.split():
        name, _, kind = item.partition(":")
        stem, _, last = name.partition("#")
        names = [f"{stem}{k}" for k in range(1, int(last) + 1)] if last else [stem]
        fields += [(one, _KINDS[kind]) for one in names]
    return tuple(fields)


_TRADE = _layout(
    "MKSC_SHRN_ISCD:t STCK_CNTG_HOUR:h STCK_PRPR:w PRDY_VRSS_SIGN:t PRDY_VRSS:w PRDY_CTRT:n "
    "WGHN_AVRG_STCK_PRC:n STCK_OPRC:w STCK_HGPR:w STCK_LWPR:w ASKP1:w BIDP1:w CNTG_VOL:w "
    "ACML_VOL:w ACML_TR_PBMN:w SELN_CNTG_CSNU:w SHNU_CNTG_CSNU:w NTBY_CNTG_CSNU:w CTTR:n "
    "SELN_CNTG_SMTN:w SHNU_CNTG_SMTN:w CCLD_DVSN:t SHNU_RATE:n PRDY_VOL_VRSS_ACML_VOL_RATE:n "
    "OPRC_HOUR:h OPRC_VRSS_PRPR_SIGN:t OPRC_VRSS_PRPR:w HGPR_HOUR:h HGPR_VRSS_PRPR_SIGN:t "
    "HGPR_VRSS_PRPR:w LWPR_HOUR:h LWPR_VRSS_PRPR_SIGN:t LWPR_VRSS_PRPR:w BSOP_DATE:d "
    "NEW_MKOP_CLS_CODE:t TRHT_YN:t ASKP_RSQN1:w BIDP_RSQN1:w TOTAL_ASKP_RSQN:w TOTAL_BIDP_RSQN:w "
    "VOL_TNRT:n PRDY_SMNS_HOUR_ACML_VOL:w PRDY_SMNS_HOUR_ACML_VOL_RATE:n HOUR_CLS_CODE:t "
    "MRKT_TRTM_CLS_CODE:t VI_STND_PRC:w"
)
_BOOK = _layout(
    "MKSC_SHRN_ISCD:t BSOP_HOUR:h HOUR_CLS_CODE:t ASKP#10:w BIDP#10:w ASKP_RSQN#10:w "
    "BIDP_RSQN#10:w TOTAL_ASKP_RSQN:w TOTAL_BIDP_RSQN:w OVTM_TOTAL_ASKP_RSQN:w "
    "OVTM_TOTAL_BIDP_RSQN:w ANTC_CNPR:w ANTC_CNQN:w ANTC_VOL:w ANTC_CNTG_VRSS:w "
    "ANTC_CNTG_VRSS_SIGN:t ANTC_CNTG_PRDY_CTRT:n ACML_VOL:w TOTAL_ASKP_RSQN_ICDC:w "
    "TOTAL_BIDP_RSQN_ICDC:w OVTM_TOTAL_ASKP_ICDC:w OVTM_TOTAL_BIDP_ICDC:w STCK_DEAL_CLS_CODE:t"
)
_MIDS = _layout(
    "KMID_PRC:w KMID_TOTAL_RSQN:w KMID_CLS_CODE:t NMID_PRC:w NMID_TOTAL_RSQN:w NMID_CLS_CODE:t"
)
# The expected match is a trade record up to MRKT_TRTM_CLS_CODE, on NXT and unified all of it.
_EXPECTED = _TRADE[:45]
_INDEX = _layout(
    "BSTP_CLS_CODE:t BSOP_HOUR:h PRPR_NMIX:n PRDY_VRSS_SIGN:t BSTP_NMIX_PRDY_VRSS:n ACML_VOL:w "
    "ACML_TR_PBMN:w PCAS_VOL:w PCAS_TR_PBMN:w PRDY_CTRT:n OPRC_NMIX:n NMIX_HGPR:n NMIX_LWPR:n "
    "OPRC_VRSS_NMIX_PRPR:n OPRC_VRSS_NMIX_SIGN:t HGPR_VRSS_NMIX_PRPR:n HGPR_VRSS_NMIX_SIGN:t "
    "LWPR_VRSS_NMIX_PRPR:n LWPR_VRSS_NMIX_SIGN:t PRDY_CLPR_VRSS_OPRC_RATE:n "
    "PRDY_CLPR_VRSS_HGPR_RATE:n PRDY_CLPR_VRSS_LWPR_RATE:n UPLM_ISSU_CNT:w ASCN_ISSU_CNT:w "
    "STNR_ISSU_CNT:w DOWN_ISSU_CNT:w LSLM_ISSU_CNT:w QTQT_ASCN_ISSU_CNT:w QTQT_DOWN_ISSU_CNT:w "
    "TICK_VRSS:w"
)
_STATUS = _layout(
    "MKSC_SHRN_ISCD:t TRHT_YN:t TR_SUSP_REAS_CNTT:t MKOP_CLS_CODE:t ANTC_MKOP_CLS_CODE:t "
    "MRKT_TRTM_CLS_CODE:t DIVI_APP_CLS_CODE:t ISCD_STAT_CLS_CODE:t VI_CLS_CODE:t "
    "OVTM_VI_CLS_CODE:t EXCH_CLS_CODE:t"
)
_US_TRADE = _layout(
    "RSYM:t SYMB:t ZDIV:t TYMD:d XYMD:d XHMS:h KYMD:d KHMS:h OPEN:n HIGH:n LOW:n LAST:n SIGN:t "
    "DIFF:n RATE:n PBID:n PASK:n VBID:w VASK:w EVOL:w TVOL:w TAMT:w BIVL:w ASVL:w STRN:n MTYP:t"
)
_US_BOOK = _layout(
    "RSYM:t SYMB:t ZDIV:t XYMD:d XHMS:h KYMD:d KHMS:h BVOL:w AVOL:w BDVL:w ADVL:w "
    + " ".join(f"PBID{k}:n PASK{k}:n VBID{k}:w VASK{k}:w DBID{k}:w DASK{k}:w" for k in range(1, 11))
)
_NOTICE_HEAD = (
    "CUST_ID:t ACNT_NO:t ODER_NO:t OODER_NO:t SELN_BYOV_CLS:t RCTF_CLS:t ODER_KIND:t ODER_COND:t "
    "STCK_SHRN_ISCD:t CNTG_QTY:q CNTG_UNPR:p STCK_CNTG_HOUR:h RFUS_YN:t CNTG_YN:t ACPT_YN:t "
    "BRNC_NO:t ODER_QTY:p ACNT_NAME:t "
)
_NOTICE = _layout(
    _NOTICE_HEAD + "ORD_COND_PRC:t ORD_EXG_GB:t POPUP_YN:t FILLER:t CRDT_CLS:t CRDT_LOAN_DATE:t "
    "CNTG_ISNM40:t ODER_PRC:p"
)
# Of before 2025-03; three fields were put into the middle then (PROTOCOL 12.5).
_FORMER_NOTICE = _layout(
    _NOTICE_HEAD + "CNTG_ISNM:t CRDT_CLS:t CRDT_LOAN_DATE:t CNTG_ISNM40:t ODER_PRC:p"
)
_US_NOTICE = _layout(
    "CUST_ID:t ACNT_NO:t ODER_NO:t OODER_NO:t SELN_BYOV_CLS:t RCTF_CLS:t ODER_KIND2:t "
    "STCK_SHRN_ISCD:t CNTG_QTY:q CNTG_UNPR:p STCK_CNTG_HOUR:h RFUS_YN:t CNTG_YN:t ACPT_YN:t "
    "BRNC_NO:t ODER_QTY:p ACNT_NAME:t CNTG_ISNM:t ODER_COND:t DEBT_GB:t DEBT_DATE:t START_TM:t "
    "END_TM:t TM_DIV_TP:t CNTG_UNPR12:x"
)
LAYOUTS: Mapping[str, Layout] = {
    **dict.fromkeys(("H0STCNT0", "H0NXCNT0", "H0UNCNT0"), _TRADE),
    "H0STASP0": _BOOK,
    **dict.fromkeys(("H0NXASP0", "H0UNASP0"), _BOOK + _MIDS),
    "H0STANC0": _EXPECTED,
    **dict.fromkeys(("H0NXANC0", "H0UNANC0"), _TRADE),
    **dict.fromkeys(("H0UPCNT0", "H0UPANC0"), _INDEX),
    **dict.fromkeys(("H0STMKO0", "H0NXMKO0"), _STATUS),
    # The workbook leaves its first field out.
    "H0UNMKO0": _STATUS[1:],
    "HDFSCNT0": _US_TRADE,
    "HDFSASP0": _US_BOOK,
    **dict.fromkeys(("H0STCNI0", "H0STCNI9"), _NOTICE),
    **dict.fromkeys(("H0GSCNI0", "H0GSCNI9"), _US_NOTICE),
}
FIELD_COUNTS = {tr_id: len(layout) for tr_id, layout in LAYOUTS.items()}
FORMER_NOTICE_FIELDS = {
    **dict.fromkeys(("H0STCNI0", "H0STCNI9"), len(_FORMER_NOTICE)),
    **dict.fromkeys(("H0GSCNI0", "H0GSCNI9"), 21),
}


def decode_record(tr_id: str, record: Sequence[str]) -> dict[str, Any]:
    """Return the whole record by KIS's names; blank is ``None``.

    Fields beyond the known ones, and all of an unknown TR, are text under ``EXTRA1`` and so on.
    """
    layout = _layout_of(tr_id, len(record))
    row = {
        name: kind.read(text) if text else None
        for (name, kind), text in zip(layout, record, strict=False)
    }
    extra = islice(record, len(layout), None)
    return row | {f"EXTRA{number}": text for number, text in enumerate(extra, 1)}


def encode_record(tr_id: str, row: Mapping[str, Any]) -> list[str]:
    """Return the fields of a record that ``decode_record`` returned."""
    kinds = dict(_layout_of(tr_id, len(row)))
    return [
        "" if value is None else kinds.get(name, TEXT).write(value) for name, value in row.items()
    ]


def _layout_of(tr_id: str, count: int) -> Layout:
    if tr_id in ("H0STCNI0", "H0STCNI9") and count <= len(_FORMER_NOTICE):
        return _FORMER_NOTICE
    return LAYOUTS.get(tr_id, ())
