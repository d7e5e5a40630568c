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
    of the paging keys (0: no paging by key). ``title`` names the call for people, ``instead`` says
    what a paper account does without it. The ``also_`` ids are taken by the local exchange from
    other clients and never sent.
    """

    name: str
    method: str
    path: str
    title: str = ""
    instead: str = ""
    real: Mapping[str, str] = field(default_factory=dict)
    paper: Mapping[str, str] = field(default_factory=dict)
    old_real: Mapping[str, str] = field(default_factory=dict)
    old_paper: Mapping[str, str] = field(default_factory=dict)
    also_real: Mapping[str, str] = field(default_factory=dict)
    also_paper: Mapping[str, str] = field(default_factory=dict)
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
            raise UsageError(self.absence(profile))
        return found

    def absence(self, profile: Profile) -> str:
        """Say in Korean that ``profile`` lacks the call, and what helps."""
        account = "모의투자" if profile is Profile.PAPER else "실전투자"
        sentence = f"{account}에는 없는 기능: {self.title or self.name}"
        return f"{sentence} ({self.instead})" if self.instead else sentence

    def variant(self, profile: Profile, tr_id: str) -> str | None:
        """Return which variant ``tr_id`` asks for, old ids included; ``None`` when unknown."""
        tables = (
            (self.real, self.old_real, self.also_real)
            if profile is Profile.REAL
            else (self.paper, self.old_paper, self.also_paper)
        )
        for table in tables:
            for variant, known in table.items():
                if known == tr_id:
                    return variant
        return None

    def page_size(self, profile: Profile) -> int:
        """Return the rows of a full page; 0 when the call is not paged."""
        return self.page_real if profile is Profile.REAL else self.page_paper


def lacking(profile: Profile) -> list[Endpoint]:
    """Return the calls that ``profile`` does not have; those without TR ids are everyone's."""
    return [
        endpoint
        for endpoint in BY_PATH.values()
        if (endpoint.real or endpoint.paper) and not endpoint.is_offered(profile)
    ]


def _query(
    name: str,
    title: str,
    path: str,
    tr_id: str,
    *,
    paper: bool = False,
    page: int = 0,
    instead: str = "",
) -> Endpoint:
    """Return a query with one TR id, the same on paper where paper has it."""
    return Endpoint(
        name=name,
        method="GET",
        path=path,
        title=title,
        instead=instead,
        real={"": tr_id},
        paper={"": tr_id} if paper else {},
        page_real=page,
        page_paper=page if paper else 0,
    )


_KRX_QUOTE = "/uapi/domestic-stock/v1/quotations/"
_KRX_FINANCE = "/uapi/domestic-stock/v1/finance/"
_KRX_RANKING = "/uapi/domestic-stock/v1/ranking/"
_KRX_TRADE = "/uapi/domestic-stock/v1/trading/"
_US_QUOTE = "/uapi/overseas-price/v1/quotations/"
_US_TRADE = "/uapi/overseas-stock/v1/trading/"
_US_RANKING = "/uapi/overseas-stock/v1/ranking/"

TOKEN = Endpoint(name="token", method="POST", path="/oauth2/tokenP")
REVOKE = Endpoint(name="revoke", method="POST", path="/oauth2/revokeP")
APPROVAL = Endpoint(name="approval", method="POST", path="/oauth2/Approval")
HASHKEY = Endpoint(name="hashkey", method="POST", path="/uapi/hashkey")

KRX_PRICE = Endpoint(
    name="krx_price",
    title="현재가",
    method="GET",
    path=_KRX_QUOTE + "inquire-price",
    real={"": "FHKST01010100"},
    paper={"": "FHKST01010100"},
)
KRX_BOOK = Endpoint(
    name="krx_book",
    title="호가",
    method="GET",
    path=_KRX_QUOTE + "inquire-asking-price-exp-ccn",
    real={"": "FHKST01010200"},
    paper={"": "FHKST01010200"},
)
KRX_DAILY = Endpoint(
    name="krx_daily",
    title="일·주·월·년봉",
    method="GET",
    path=_KRX_QUOTE + "inquire-daily-itemchartprice",
    page_real=100,
    page_paper=100,
    real={"": "FHKST03010100"},
    paper={"": "FHKST03010100"},
)
KRX_MINUTE = Endpoint(
    name="krx_minute",
    title="당일 분봉",
    method="GET",
    path=_KRX_QUOTE + "inquire-time-itemchartprice",
    page_real=30,
    page_paper=30,
    real={"": "FHKST03010200"},
    paper={"": "FHKST03010200"},
)
KRX_VOLUME_RANK = Endpoint(
    name="krx_volume_rank",
    title="거래량 순위",
    instead="기록된 일봉으로 종목을 고름",
    method="GET",
    path=_KRX_QUOTE + "volume-rank",
    real={"": "FHPST01710000"},
    page_real=30,
)
KRX_HOLIDAYS = Endpoint(
    name="krx_holidays",
    title="휴장일",
    instead="프로그램의 거래일 달력을 씀",
    method="GET",
    path=_KRX_QUOTE + "chk-holiday",
    real={"": "CTCA0903R"},
    page_real=24,
    context=20,
)
KRX_ORDER = Endpoint(
    name="krx_order",
    title="현금 주문",
    method="POST",
    path=_KRX_TRADE + "order-cash",
    real={"buy": "TTTC0012U", "sell": "TTTC0011U"},
    paper={"buy": "VTTC0012U", "sell": "VTTC0011U"},
    old_real={"buy": "TTTC0802U", "sell": "TTTC0801U"},
    old_paper={"buy": "VTTC0802U", "sell": "VTTC0801U"},
)
KRX_CHANGE = Endpoint(
    name="krx_change",
    title="정정·취소",
    method="POST",
    path=_KRX_TRADE + "order-rvsecncl",
    real={"": "TTTC0013U"},
    paper={"": "VTTC0013U"},
    old_real={"": "TTTC0803U"},
    old_paper={"": "VTTC0803U"},
)
KRX_OPEN_ORDERS = Endpoint(
    name="krx_open_orders",
    title="미체결 주문",
    instead="주문·체결 내역에서 골라냄",
    method="GET",
    path=_KRX_TRADE + "inquire-psbl-rvsecncl",
    real={"": "TTTC0084R"},
    old_real={"": "TTTC8036R"},
    page_real=50,
    context=100,
)
KRX_ORDERS = Endpoint(
    name="krx_orders",
    title="주문·체결 내역",
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
    title="잔고",
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
    title="매수 가능 금액",
    method="GET",
    path=_KRX_TRADE + "inquire-psbl-order",
    real={"": "TTTC8908R"},
    paper={"": "VTTC8908R"},
)

KRX_SELLABLE = Endpoint(
    name="krx_sellable",
    method="GET",
    path=_KRX_TRADE + "inquire-psbl-sell",
    title="매도 가능 수량",
    instead="잔고의 주문 가능 수량을 씀",
    real={"": "TTTC8408R"},
)
KRX_REALIZED = Endpoint(
    name="krx_realized",
    method="GET",
    path=_KRX_TRADE + "inquire-balance-rlz-pl",
    title="잔고와 실현손익",
    real={"": "TTTC8494R"},
    page_real=50,
    context=100,
)
KRX_ASSETS = _query(
    "krx_assets", "투자계좌 자산 현황", _KRX_TRADE + "inquire-account-balance", "CTRP6548R"
)
KRX_PERIOD_PROFIT = Endpoint(
    name="krx_period_profit",
    method="GET",
    path=_KRX_TRADE + "inquire-period-profit",
    title="기간별 손익",
    real={"": "TTTC8708R"},
    page_real=100,
    context=100,
)
KRX_TRADE_PROFIT = Endpoint(
    name="krx_trade_profit",
    method="GET",
    path=_KRX_TRADE + "inquire-period-trade-profit",
    title="기간별 매매 손익",
    real={"": "TTTC8715R"},
    page_real=100,
    context=100,
)
KRX_RESERVE = Endpoint(
    name="krx_reserve",
    method="POST",
    path=_KRX_TRADE + "order-resv",
    title="예약 주문",
    real={"": "CTSC0008U"},
)
KRX_RESERVE_CHANGE = Endpoint(
    name="krx_reserve_change",
    method="POST",
    path=_KRX_TRADE + "order-resv-rvsecncl",
    title="예약 주문 정정·취소",
    real={"cancel": "CTSC0009U", "revise": "CTSC0013U"},
)
KRX_RESERVES = Endpoint(
    name="krx_reserves",
    method="GET",
    path=_KRX_TRADE + "order-resv-ccnl",
    title="예약 주문 내역",
    real={"": "CTSC0004R"},
    page_real=20,
    context=200,
)
KRX_PRICE_DETAIL = _query(
    "krx_price_detail", "현재가와 종목 상태", _KRX_QUOTE + "inquire-price-2", "FHPST01010000"
)
KRX_TRADES = _query(
    "krx_trades", "최근 체결", _KRX_QUOTE + "inquire-ccnl", "FHKST01010300", paper=True, page=30
)
KRX_TRADES_BEFORE = _query(
    "krx_trades_before",
    "시간대별 체결",
    _KRX_QUOTE + "inquire-time-itemconclusion",
    "FHPST01060000",
    paper=True,
    page=30,
)
KRX_RECENT_BARS = _query(
    "krx_recent_bars",
    "최근 30개 일·주·월봉",
    _KRX_QUOTE + "inquire-daily-price",
    "FHKST01010400",
    paper=True,
    page=30,
)
KRX_PAST_MINUTE = _query(
    "krx_past_minute",
    "지난 날 분봉",
    _KRX_QUOTE + "inquire-time-dailychartprice",
    "FHKST03010230",
    page=120,
)
KRX_OVERTIME_PRICE = _query(
    "krx_overtime_price", "시간외 단일가", _KRX_QUOTE + "inquire-overtime-price", "FHPST02300000"
)
KRX_EXPECTED_CLOSE = _query(
    "krx_expected_close", "예상 종가", _KRX_QUOTE + "exp-closing-price", "FHKST117300C0", page=30
)
KRX_PRICES = _query(
    "krx_prices", "여러 종목 현재가", _KRX_QUOTE + "intstock-multprice", "FHKST11300006", page=30
)
KRX_ETF_PRICE = _query(
    "krx_etf_price",
    "ETF·ETN 현재가",
    "/uapi/etfetn/v1/quotations/inquire-price",
    "FHPST02400000",
)
KRX_INDEX = _query("krx_index", "지수 현재가", _KRX_QUOTE + "inquire-index-price", "FHPUP02100000")
KRX_INDEX_DAYS = _query(
    "krx_index_days",
    "지수 일자별 시세",
    _KRX_QUOTE + "inquire-index-daily-price",
    "FHPUP02120000",
    page=100,
)
KRX_INDEX_DAILY = _query(
    "krx_index_daily",
    "지수 일·주·월·년봉",
    _KRX_QUOTE + "inquire-daily-indexchartprice",
    "FHKUP03500100",
    paper=True,
    page=50,
)
KRX_INDEX_MINUTE = _query(
    "krx_index_minute",
    "지수 분봉",
    _KRX_QUOTE + "inquire-time-indexchartprice",
    "FHKUP03500200",
    page=102,
)
KRX_INDEX_TIMES = _query(
    "krx_index_times", "지수 시간별 시세", _KRX_QUOTE + "inquire-index-timeprice", "FHPUP02110200"
)
KRX_MARKET_TIME = _query(
    "krx_market_time", "영업일과 장 시간", _KRX_QUOTE + "market-time", "HHMCM000002C0"
)
KRX_INTERRUPTIONS = _query(
    "krx_interruptions", "변동성 완화장치 현황", _KRX_QUOTE + "inquire-vi-status", "FHPST01390000"
)
KRX_NEWS = _query("krx_news", "뉴스 제목", _KRX_QUOTE + "news-title", "FHKST01011800", page=40)
KRX_STOCK_INFO = _query(
    "krx_stock_info", "주식 기본 정보", _KRX_QUOTE + "search-stock-info", "CTPF1002R"
)
KRX_PRODUCT_INFO = _query(
    "krx_product_info", "상품 기본 정보", _KRX_QUOTE + "search-info", "CTPF1604R"
)
KRX_FINANCIAL_RATIO = _query(
    "krx_financial_ratio", "재무 비율", _KRX_FINANCE + "financial-ratio", "FHKST66430300"
)
KRX_INCOME_STATEMENT = _query(
    "krx_income_statement", "손익 계산서", _KRX_FINANCE + "income-statement", "FHKST66430200"
)
KRX_BALANCE_SHEET = _query(
    "krx_balance_sheet", "대차 대조표", _KRX_FINANCE + "balance-sheet", "FHKST66430100"
)
KRX_PROFIT_RATIO = _query(
    "krx_profit_ratio", "수익성 비율", _KRX_FINANCE + "profit-ratio", "FHKST66430400"
)
KRX_STABILITY_RATIO = _query(
    "krx_stability_ratio", "안정성 비율", _KRX_FINANCE + "stability-ratio", "FHKST66430600"
)
KRX_GROWTH_RATIO = _query(
    "krx_growth_ratio", "성장성 비율", _KRX_FINANCE + "growth-ratio", "FHKST66430800"
)
KRX_OTHER_RATIOS = _query(
    "krx_other_ratios", "기타 주요 비율", _KRX_FINANCE + "other-major-ratios", "FHKST66430500"
)
KRX_FLUCTUATION_RANK = _query(
    "krx_fluctuation_rank", "등락률 순위", _KRX_RANKING + "fluctuation", "FHPST01700000", page=30
)
KRX_CAP_RANK = _query(
    "krx_cap_rank", "시가총액 순위", _KRX_RANKING + "market-cap", "FHPST01740000", page=30
)
KRX_POWER_RANK = _query(
    "krx_power_rank", "체결강도 순위", _KRX_RANKING + "volume-power", "FHPST01680000", page=30
)
KRX_INVESTORS = _query(
    "krx_investors",
    "투자자별 매매",
    _KRX_QUOTE + "inquire-investor",
    "FHKST01010900",
    paper=True,
    page=30,
)
KRX_INVESTORS_DAILY = _query(
    "krx_investors_daily",
    "종목별 투자자 일별 매매",
    _KRX_QUOTE + "investor-trade-by-stock-daily",
    "FHPTJ04160001",
)
KRX_INVESTORS_NOW = _query(
    "krx_investors_now",
    "시장별 투자자 매매 (현재)",
    _KRX_QUOTE + "inquire-investor-time-by-market",
    "FHPTJ04030000",
)
KRX_INVESTORS_MARKET = _query(
    "krx_investors_market",
    "시장별 투자자 매매 (일별)",
    _KRX_QUOTE + "inquire-investor-daily-by-market",
    "FHPTJ04040000",
)
KRX_FOREIGN_INSTITUTION = _query(
    "krx_foreign_institution",
    "외국인·기관 매매 종목",
    _KRX_QUOTE + "foreign-institution-total",
    "FHPTJ04400000",
)
KRX_INVESTOR_ESTIMATE = _query(
    "krx_investor_estimate",
    "외국인·기관 추정 가집계",
    _KRX_QUOTE + "investor-trend-estimate",
    "HHPTJ04160200",
)

US_PRICE = _query("us_price", "해외 현재가", _US_QUOTE + "price", "HHDFS00000300", paper=True)
US_PRICE_DETAIL = _query(
    "us_price_detail",
    "해외 현재가 상세",
    _US_QUOTE + "price-detail",
    "HHDFS76200200",
    instead="시가·고가·저가 없는 현재가를 씀",
)
US_PRICES = _query(
    "us_prices", "해외 여러 종목 현재가", _US_QUOTE + "multprice", "HHDFS76220000", page=10
)
US_BOOK = _query("us_book", "해외 10호가", _US_QUOTE + "inquire-asking-price", "HHDFS76200100")
US_TRADES = _query("us_trades", "해외 최근 체결", _US_QUOTE + "inquire-ccnl", "HHDFS76200300")
US_DAILY = _query(
    "us_daily", "해외 일·주·월봉", _US_QUOTE + "dailyprice", "HHDFS76240000", paper=True, page=100
)
US_MINUTE = _query(
    "us_minute",
    "해외 분봉",
    _US_QUOTE + "inquire-time-itemchartprice",
    "HHDFS76950200",
    page=120,
    instead="현재가를 주기적으로 조회해 봉을 만듦",
)
US_INDEX_DAILY = _query(
    "us_index_daily",
    "해외 지수·환율 일·주·월·년봉",
    _US_QUOTE + "inquire-daily-chartprice",
    "FHKST03030100",
    paper=True,
    page=100,
)
US_INDEX_MINUTE = _query(
    "us_index_minute",
    "해외 지수 분봉",
    _US_QUOTE + "inquire-time-indexchartprice",
    "FHKST03030200",
    page=102,
)
US_SEARCH = _query(
    "us_search",
    "해외 조건 검색",
    _US_QUOTE + "inquire-search",
    "HHDFS76410000",
    paper=True,
    page=100,
)
US_PRODUCT_INFO = _query(
    "us_product_info", "해외 상품 기본 정보", _US_QUOTE + "search-info", "CTPF1702R"
)
US_NEWS = _query("us_news", "해외 뉴스 제목", _US_QUOTE + "news-title", "HHPSTH60100C1", page=40)
US_BREAKING_NEWS = _query(
    "us_breaking_news", "해외 속보 제목", _US_QUOTE + "brknews-title", "FHKST01011801", page=100
)
US_VOLUME_RANK = _query(
    "us_volume_rank",
    "해외 거래량 순위",
    _US_RANKING + "trade-vol",
    "HHDFS76310010",
    page=100,
    instead="거래량 조건 검색으로 대신함",
)
US_VALUE_RANK = _query(
    "us_value_rank", "해외 거래대금 순위", _US_RANKING + "trade-pbmn", "HHDFS76320010", page=100
)
US_CHANGE_RANK = _query(
    "us_change_rank",
    "해외 상승률·하락률 순위",
    _US_RANKING + "updown-rate",
    "HHDFS76290000",
    page=100,
)
US_CAP_RANK = _query(
    "us_cap_rank", "해외 시가총액 순위", _US_RANKING + "market-cap", "HHDFS76350100", page=100
)
US_GROWTH_RANK = _query(
    "us_growth_rank",
    "해외 거래량 증가율 순위",
    _US_RANKING + "trade-growth",
    "HHDFS76330000",
    page=100,
)
US_TURNOVER_RANK = _query(
    "us_turnover_rank",
    "해외 거래 회전율 순위",
    _US_RANKING + "trade-turnover",
    "HHDFS76340000",
    page=100,
)
US_SURGE_RANK = _query(
    "us_surge_rank", "해외 거래량 급증", _US_RANKING + "volume-surge", "HHDFS76270000", page=100
)
US_MOVE_RANK = _query(
    "us_move_rank", "해외 가격 급등락", _US_RANKING + "price-fluct", "HHDFS76260000", page=100
)
US_POWER_RANK = _query(
    "us_power_rank",
    "해외 매수 체결강도 순위",
    _US_RANKING + "volume-power",
    "HHDFS76280000",
    page=100,
)
US_EXTREME_RANK = _query(
    "us_extreme_rank", "해외 신고가·신저가", _US_RANKING + "new-highlow", "HHDFS76300000", page=100
)
US_HOLIDAYS = Endpoint(
    name="us_holidays",
    title="해외 결제일과 휴장일",
    instead="프로그램의 거래일 달력을 씀",
    method="GET",
    path="/uapi/overseas-stock/v1/quotations/countries-holiday",
    real={"": "CTOS5011R"},
    context=20,
)
US_ORDER = Endpoint(
    name="us_order",
    title="해외 주문",
    method="POST",
    path=_US_TRADE + "order",
    real={"buy": "TTTT1002U", "sell": "TTTT1006U"},
    # Not the real id with another first letter: corrected by KIS in July 2026.
    paper={"buy": "VTTT1002U", "sell": "VTTT1001U"},
    also_real={"buy": "JTTT1002U", "sell": "JTTT1006U"},
)
US_CHANGE = Endpoint(
    name="us_change",
    title="해외 정정·취소",
    method="POST",
    path=_US_TRADE + "order-rvsecncl",
    real={"": "TTTT1004U"},
    paper={"": "VTTT1004U"},
)
US_DAYTIME_ORDER = Endpoint(
    name="us_daytime_order",
    title="해외 주간 주문",
    method="POST",
    path=_US_TRADE + "daytime-order",
    real={"buy": "TTTS6036U", "sell": "TTTS6037U"},
)
US_DAYTIME_CHANGE = Endpoint(
    name="us_daytime_change",
    title="해외 주간 주문 정정·취소",
    method="POST",
    path=_US_TRADE + "daytime-order-rvsecncl",
    real={"": "TTTS6038U"},
)
US_RESERVE = Endpoint(
    name="us_reserve",
    title="해외 예약 주문",
    method="POST",
    path=_US_TRADE + "order-resv",
    real={"buy": "TTTT3014U", "sell": "TTTT3016U"},
    paper={"buy": "VTTT3014U", "sell": "VTTT3016U"},
)
US_RESERVE_CANCEL = Endpoint(
    name="us_reserve_cancel",
    title="해외 예약 주문 취소",
    method="POST",
    path=_US_TRADE + "order-resv-ccnl",
    real={"": "TTTT3017U"},
    paper={"": "VTTT3017U"},
)
US_RESERVES = Endpoint(
    name="us_reserves",
    title="해외 예약 주문 내역",
    method="GET",
    path=_US_TRADE + "order-resv-list",
    real={"": "TTTT3039R"},
    page_real=20,
    context=200,
)
US_OPEN_ORDERS = Endpoint(
    name="us_open_orders",
    title="해외 미체결 주문",
    instead="주문·체결 내역에서 골라냄",
    method="GET",
    path=_US_TRADE + "inquire-nccs",
    real={"": "TTTS3018R"},
    page_real=40,
    context=200,
)
US_ORDERS = Endpoint(
    name="us_orders",
    title="해외 주문·체결 내역",
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
    title="해외 잔고",
    method="GET",
    path=_US_TRADE + "inquire-balance",
    real={"": "TTTS3012R"},
    paper={"": "VTTS3012R"},
    also_real={"": "JTTT3012R"},
    also_paper={"": "VTTT3012R"},
    page_real=100,
    page_paper=100,
    context=200,
)
US_PRESENT_BALANCE = Endpoint(
    name="us_present_balance",
    title="해외 체결 기준 잔고",
    method="GET",
    path=_US_TRADE + "inquire-present-balance",
    real={"": "CTRP6504R"},
    paper={"": "VTRP6504R"},
)
US_SETTLED_BALANCE = _query(
    "us_settled_balance",
    "해외 결제 기준 잔고",
    _US_TRADE + "inquire-paymt-stdr-balance",
    "CTRP6010R",
)
US_BUYING_POWER = Endpoint(
    name="us_buying_power",
    title="해외 매수 가능 금액",
    method="GET",
    path=_US_TRADE + "inquire-psamount",
    real={"": "TTTS3007R"},
    paper={"": "VTTS3007R"},
)
US_MARGINS = _query("us_margins", "해외 통화별 증거금", _US_TRADE + "foreign-margin", "TTTC2101R")
US_PERIOD_PROFIT = Endpoint(
    name="us_period_profit",
    title="해외 기간 손익",
    method="GET",
    path=_US_TRADE + "inquire-period-profit",
    real={"": "TTTS3039R"},
    page_real=20,
    context=200,
)
US_PERIOD_TRADES = Endpoint(
    name="us_period_trades",
    title="해외 일별 거래 내역",
    method="GET",
    path=_US_TRADE + "inquire-period-trans",
    real={"": "CTOS4001R"},
    page_real=50,
    context=100,
)
# From before 2023, and still asked by mojito: which of two ledgers an order belongs to.
US_LEDGER = Endpoint(
    name="us_ledger",
    title="해외 주야간 원장 구분",
    method="GET",
    path=_US_TRADE + "dayornight",
    real={"": "JTTT3010R"},
    paper={"": "JTTT3010R"},
)

BY_PATH: Mapping[str, Endpoint] = MappingProxyType(
    {value.path: value for value in list(globals().values()) if isinstance(value, Endpoint)}
)
