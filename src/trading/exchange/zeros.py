"""Numbers that KIS never leaves blank: where nothing was recorded, its own empty number, zero.

KIS clients read these fields as numbers without a look. A zero says on this wire what a blank
says elsewhere (PROTOCOL 15): no such level, no such ratio, no rate.
"""

from collections.abc import Mapping
from typing import Any

_LEVELS = range(1, 11)
# By endpoint and key.
_ZEROS: Mapping[str, Mapping[str, str]] = {
    "krx_price": {
        **dict.fromkeys(("eps", "bps", "per", "pbr", "prdy_vrss_vol_rate"), "0.00"),
        "hts_avls": "0",
    },
    "krx_book": {
        f"{side}{part}{level}": "0"
        for side in ("askp", "bidp")
        for part in ("", "_rsqn")
        for level in _LEVELS
    },
    # The first bar of all has no change.
    "krx_daily": {
        "acml_tr_pbmn": "0",
        "prdy_vrss": "0",
        "prdy_vrss_sign": "3",
        "prtt_rate": "0.00",
    },
    "us_price_detail": {
        **dict.fromkeys(("perx", "pbrx", "epsx", "bpsx", "t_rate"), "0.00"),
        **dict.fromkeys(("pvol", "tomv"), "0"),
    },
    # The first bar of all has no change.
    "us_daily": {"tamt": "0", "diff": "0.0000", "rate": "0.00", "sign": "3"},
    "us_minute": {"eamt": "0"},
    "us_book": {
        **{f"p{side}{level}": "0.0000" for side in ("bid", "ask") for level in _LEVELS},
        **{f"v{side}{level}": "0" for side in ("bid", "ask") for level in _LEVELS},
    },
    "us_present_balance": {
        "bass_exrt": "0.00000000",
        "frst_bltn_exrt": "0.00000000",
        "pchs_rmnd_wcrc_amt": "0",
    },
    "us_period_profit": {"frst_bltn_exrt": "0.00000000", "exrt": "0.00000000"},
    "us_buying_power": {"exrt": "0.0000000000"},
}


def with_zeros(name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the answer of the endpoint ``name`` without blanks where KIS has none."""
    zeros = _ZEROS.get(name)
    return body if zeros is None else {key: _filled(value, zeros) for key, value in body.items()}


def _filled(value: Any, zeros: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_filled(row, zeros) for row in value]
    if isinstance(value, dict):
        return {key: text or zeros.get(key, text) for key, text in value.items()}
    return value
