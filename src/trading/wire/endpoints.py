"""Every REST call of the program: path, TR ids of both profiles, page size.

The same table tells the client what to send and the local exchange what to accept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from trading.errors import UsageError


class Profile(StrEnum):
    """The two rule sets of KIS: 실전투자 and 모의투자. The demo follows ``real``."""

    REAL = "real"
    PAPER = "paper"


class Generation(StrEnum):
    """Order TR ids before and since the Korean alternative exchange; KIS answers both."""

    NEW = "new"
    OLD = "old"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One call.

    ``real``, ``paper`` and their ``old_`` forms map a variant (``buy``, ``sell``, ``""``) to its
    TR id; an empty ``paper`` means that 모의투자 does not have the call. ``context`` is the width
    of the paging keys (0: no paging by key).
    """

    name: str
    method: str
    path: str
    real: Mapping[str, str] = field(default_factory=dict)
    paper: Mapping[str, str] = field(default_factory=dict)
    old_real: Mapping[str, str] = field(default_factory=dict)
    old_paper: Mapping[str, str] = field(default_factory=dict)
    page_real: int = 0
    page_paper: int = 0
    context: int = 0

    def is_offered(self, profile: Profile) -> bool:
        """Whether ``profile`` has this call."""
        return bool(self.real if profile is Profile.REAL else self.paper)

    def tr_id(
        self, profile: Profile, variant: str = "", generation: Generation = Generation.NEW
    ) -> str:
        """Return the TR id to send; ``UsageError`` where the profile has none."""
        new = self.real if profile is Profile.REAL else self.paper
        old = self.old_real if profile is Profile.REAL else self.old_paper
        found = (old.get(variant) if generation is Generation.OLD else None) or new.get(variant)
        if found is None:
            raise UsageError(f"{profile} 계좌에 없는 기능: {self.name}")
        return found

    def variant(self, profile: Profile, tr_id: str) -> str | None:
        """Return which variant ``tr_id`` asks for, old ids included; ``None`` when unknown."""
        tables = (
            (self.real, self.old_real) if profile is Profile.REAL else (self.paper, self.old_paper)
        )
        for table in tables:
            for variant, known in table.items():
                if known == tr_id:
                    return variant
        return None

    def page_size(self, profile: Profile) -> int:
        """Return the rows of a full page; 0 when the call is not paged."""
        return self.page_real if profile is Profile.REAL else self.page_paper


_KRX_QUOTE = "/uapi/domestic-stock/v1/quotations/"
_KRX_TRADE = "/uapi/domestic-stock/v1/trading/"
_US_QUOTE = "/uapi/overseas-price/v1/quotations/"
_US_TRADE = "/uapi/overseas-stock/v1/trading/"

TOKEN = Endpoint(name="token", method="POST", path="/oauth2/tokenP")
REVOKE = Endpoint(name="revoke", method="POST", path="/oauth2/revokeP")
APPROVAL = Endpoint(name="approval", method="POST", path="/oauth2/Approval")
HASHKEY = Endpoint(name="hashkey", method="POST", path="/uapi/hashkey")

KRX_PRICE = Endpoint(
    name="krx_price",
    method="GET",
    path=_KRX_QUOTE + "inquire-price",
    real={"": "FHKST01010100"},
    paper={"": "FHKST01010100"},
)
KRX_BOOK = Endpoint(
    name="krx_book",
    method="GET",
    path=_KRX_QUOTE + "inquire-asking-price-exp-ccn",
    real={"": "FHKST01010200"},
    paper={"": "FHKST01010200"},
)
KRX_DAILY = Endpoint(
    name="krx_daily",
    method="GET",
    path=_KRX_QUOTE + "inquire-daily-itemchartprice",
    page_real=100,
    page_paper=100,
    real={"": "FHKST03010100"},
    paper={"": "FHKST03010100"},
)
KRX_MINUTE = Endpoint(
    name="krx_minute",
    method="GET",
    path=_KRX_QUOTE + "inquire-time-itemchartprice",
    page_real=30,
    page_paper=30,
    real={"": "FHKST03010200"},
    paper={"": "FHKST03010200"},
)
KRX_VOLUME_RANK = Endpoint(
    name="krx_volume_rank",
    method="GET",
    path=_KRX_QUOTE + "volume-rank",
    real={"": "FHPST01710000"},
    page_real=30,
)
KRX_HOLIDAYS = Endpoint(
    name="krx_holidays",
    method="GET",
    path=_KRX_QUOTE + "chk-holiday",
    real={"": "CTCA0903R"},
    page_real=24,
    context=20,
)
KRX_ORDER = Endpoint(
    name="krx_order",
    method="POST",
    path=_KRX_TRADE + "order-cash",
    real={"buy": "TTTC0012U", "sell": "TTTC0011U"},
    paper={"buy": "VTTC0012U", "sell": "VTTC0011U"},
    old_real={"buy": "TTTC0802U", "sell": "TTTC0801U"},
    old_paper={"buy": "VTTC0802U", "sell": "VTTC0801U"},
)
KRX_CHANGE = Endpoint(
    name="krx_change",
    method="POST",
    path=_KRX_TRADE + "order-rvsecncl",
    real={"": "TTTC0013U"},
    paper={"": "VTTC0013U"},
    old_real={"": "TTTC0803U"},
    old_paper={"": "VTTC0803U"},
)
KRX_OPEN_ORDERS = Endpoint(
    name="krx_open_orders",
    method="GET",
    path=_KRX_TRADE + "inquire-psbl-rvsecncl",
    real={"": "TTTC0084R"},
    old_real={"": "TTTC8036R"},
    page_real=50,
    context=100,
)
KRX_ORDERS = Endpoint(
    name="krx_orders",
    method="GET",
    path=_KRX_TRADE + "inquire-daily-ccld",
    real={"": "TTTC0081R", "old_days": "CTSC9215R"},
    paper={"": "VTTC0081R", "old_days": "VTSC9215R"},
    old_real={"": "TTTC8001R", "old_days": "CTSC9115R"},
    old_paper={"": "VTTC8001R", "old_days": "VTSC9115R"},
    page_real=100,
    page_paper=15,
    context=100,
)
KRX_BALANCE = Endpoint(
    name="krx_balance",
    method="GET",
    path=_KRX_TRADE + "inquire-balance",
    real={"": "TTTC8434R"},
    paper={"": "VTTC8434R"},
    page_real=50,
    page_paper=20,
    context=100,
)
KRX_BUYING_POWER = Endpoint(
    name="krx_buying_power",
    method="GET",
    path=_KRX_TRADE + "inquire-psbl-order",
    real={"": "TTTC8908R"},
    paper={"": "VTTC8908R"},
)

US_PRICE = Endpoint(
    name="us_price",
    method="GET",
    path=_US_QUOTE + "price",
    real={"": "HHDFS00000300"},
    paper={"": "HHDFS00000300"},
)
US_PRICE_DETAIL = Endpoint(
    name="us_price_detail",
    method="GET",
    path=_US_QUOTE + "price-detail",
    real={"": "HHDFS76200200"},
)
US_BOOK = Endpoint(
    name="us_book",
    method="GET",
    path=_US_QUOTE + "inquire-asking-price",
    real={"": "HHDFS76200100"},
)
US_DAILY = Endpoint(
    name="us_daily",
    method="GET",
    path=_US_QUOTE + "dailyprice",
    page_real=100,
    page_paper=100,
    real={"": "HHDFS76240000"},
    paper={"": "HHDFS76240000"},
)
US_MINUTE = Endpoint(
    name="us_minute",
    method="GET",
    path=_US_QUOTE + "inquire-time-itemchartprice",
    real={"": "HHDFS76950200"},
    page_real=120,
)
US_VOLUME_RANK = Endpoint(
    name="us_volume_rank",
    method="GET",
    path="/uapi/overseas-stock/v1/ranking/trade-vol",
    real={"": "HHDFS76310010"},
    page_real=100,
)
US_SEARCH = Endpoint(
    name="us_search",
    method="GET",
    path=_US_QUOTE + "inquire-search",
    page_real=100,
    page_paper=100,
    real={"": "HHDFS76410000"},
    paper={"": "HHDFS76410000"},
)
US_ORDER = Endpoint(
    name="us_order",
    method="POST",
    path=_US_TRADE + "order",
    real={"buy": "TTTT1002U", "sell": "TTTT1006U"},
    # Not the real id with another first letter: corrected by KIS in July 2026.
    paper={"buy": "VTTT1002U", "sell": "VTTT1001U"},
)
US_CHANGE = Endpoint(
    name="us_change",
    method="POST",
    path=_US_TRADE + "order-rvsecncl",
    real={"": "TTTT1004U"},
    paper={"": "VTTT1004U"},
)
US_OPEN_ORDERS = Endpoint(
    name="us_open_orders",
    method="GET",
    path=_US_TRADE + "inquire-nccs",
    real={"": "TTTS3018R"},
    page_real=40,
    context=200,
)
US_ORDERS = Endpoint(
    name="us_orders",
    method="GET",
    path=_US_TRADE + "inquire-ccnl",
    real={"": "TTTS3035R"},
    paper={"": "VTTS3035R"},
    page_real=20,
    page_paper=15,
    context=200,
)
US_BALANCE = Endpoint(
    name="us_balance",
    method="GET",
    path=_US_TRADE + "inquire-balance",
    real={"": "TTTS3012R"},
    paper={"": "VTTS3012R"},
    page_real=100,
    page_paper=100,
    context=200,
)
US_PRESENT_BALANCE = Endpoint(
    name="us_present_balance",
    method="GET",
    path=_US_TRADE + "inquire-present-balance",
    real={"": "CTRP6504R"},
    paper={"": "VTRP6504R"},
)
US_BUYING_POWER = Endpoint(
    name="us_buying_power",
    method="GET",
    path=_US_TRADE + "inquire-psamount",
    real={"": "TTTS3007R"},
    paper={"": "VTTS3007R"},
)
US_HOLIDAYS = Endpoint(
    name="us_holidays",
    method="GET",
    path="/uapi/overseas-stock/v1/quotations/countries-holiday",
    real={"": "CTOS5011R"},
    context=20,
)

BY_PATH: Mapping[str, Endpoint] = MappingProxyType(
    {value.path: value for value in list(globals().values()) if isinstance(value, Endpoint)}
)
