"""How values read in Korean for people: codes, states, money, percentages.

Used by mail, report, console and artifacts alike, so that one thing has one name everywhere.
"""

import math
from collections.abc import Mapping

from trading.domain.actions import ActionKind
from trading.domain.decision import TradingState, Verdict
from trading.domain.instrument import Currency, Market
from trading.domain.market import PriceBasis
from trading.domain.order import OrderStatus, Side

MARKET_TEXT: Mapping[Market, str] = {Market.KRX: "한국", Market.US: "미국"}

SIDE_TEXT: Mapping[Side, str] = {Side.BUY: "매수", Side.SELL: "매도"}

STATE_TEXT: Mapping[TradingState, str] = {
    TradingState.ACTIVE: "정상",
    TradingState.REDUCING: "축소만 허용",
    TradingState.HALTED: "거래 정지",
}

STATUS_TEXT: Mapping[OrderStatus, str] = {
    OrderStatus.NEW: "생성",
    OrderStatus.SUBMITTED: "전송",
    OrderStatus.ACCEPTED: "접수",
    OrderStatus.PARTIALLY_FILLED: "일부 체결",
    OrderStatus.FILLED: "체결",
    OrderStatus.DENIED: "내부 거부",
    OrderStatus.REJECTED: "거래소 거부",
    OrderStatus.CANCELED: "취소",
    OrderStatus.EXPIRED: "미체결 소멸",
    OrderStatus.PENDING_CANCEL: "취소 대기",
    OrderStatus.UNKNOWN: "결과 불명",
}

# What the prints of a replayed session were made of.
REPLAY_TEXT: Mapping[str, str] = {"daily": "일봉", "minute": "분봉", "tick": "체결"}

BASIS_TEXT: Mapping[PriceBasis, str] = {
    PriceBasis.RAW: "실제 거래된 가격",
    PriceBasis.ADJUSTED: "공급자가 고친 가격(수정주가)",
}

# The gate's word on a model that was trained.
GATE_TEXT: Mapping[str, str] = {
    "promoted": "승격",
    "kept": "챔피언 유지",
    "not_proven": "증명되지 않음",
}

# The families of models that are taught.
MODEL_TEXT: Mapping[str, str] = {
    "forest": "랜덤 포레스트",
    "boosting": "그레이디언트 부스팅",
    "lstm": "LSTM",
    "transformer": "트랜스포머",
    "arima": "ARIMA",
    "garch": "GARCH",
    "hmm": "은닉 마르코프(HMM)",
    "kalman": "칼만 필터",
    "dqn": "강화학습 DQN",
}

ACTION_TEXT: Mapping[ActionKind, str] = {
    ActionKind.SPLIT: "주식 분할·병합",
    ActionKind.RIGHTS: "유상증자 권리락",
    ActionKind.CASH_DIVIDEND: "현금 배당",
    ActionKind.DELISTING: "상장 폐지",
}

VERDICT_TEXT: Mapping[Verdict, str] = {
    Verdict.ALLOWED: "허용: 목표 비중 그대로",
    Verdict.ABSTAIN: "의견 없음: 모든 전략이 기권",
    Verdict.NOT_TRADABLE: "거래 불가: 정지, 상장 전후 또는 호가 단위 불일치",
    Verdict.BELOW_ENTRY_FORECAST: "진입 안 함: 종합 예측이 진입 기준 이하",
    Verdict.BELOW_MIN_CONFIDENCE: "진입 안 함: 신뢰도가 최소 기준 미만",
    Verdict.ENTRY_VAR: "진입 안 함: 종목 하루 VaR가 한도 초과",
    Verdict.NOT_SCREENED: "진입 안 함: 장전 선별에서 제외",
    Verdict.EXIT_SIGNAL: "청산: 보유 의견이 사라짐",
    Verdict.REGIME_BLOCK: "진입 차단: 시장 국면",
    Verdict.CAP_SINGLE_NAME: "축소: 단일 종목 한도",
    Verdict.CAP_SECTOR: "축소: 업종 한도",
    Verdict.CAP_GROSS: "축소: 총 노출 한도",
    Verdict.CAP_PORTFOLIO_VAR: "축소: 포트폴리오 VaR 한도",
    Verdict.CAP_DRAWDOWN: "축소: 낙폭 한도",
    Verdict.DAILY_LOSS: "진입 차단: 하루 손실 한도",
    Verdict.REDUCING: "축소만 허용되는 상태",
    Verdict.HALTED: "거래 정지 상태",
    Verdict.WITHIN_BAND: "유지: 무거래 구간 안",
    Verdict.BELOW_LOT: "주문 없음: 매매 단위 미만",
    Verdict.NO_CASH: "축소: 현금 부족",
    Verdict.CAP_ADV: "축소: 평균 거래량 비율 한도",
    Verdict.COOLDOWN: "진입 차단: 청산 뒤 재진입 대기",
    Verdict.NO_VOLATILITY: "유지: 변동성이나 이력이 모자라 비중을 정할 수 없음",
    Verdict.TIME_STOP: "청산: 보유 기간 만료",
    Verdict.CAP_EXPOSURE: "축소: 노출 조절(변동성 목표·낙폭 사다리)",
    Verdict.WAITING: "대기: 장중에 정한 가격에 닿으면 매수",
    Verdict.NO_EDGE: "비중 없음: 기대 수익이 0 이하",
}

# By the code's text: the codes themselves belong to ``risk.guards``, two floors up.
GUARD_TEXT: Mapping[str, str] = {
    "GUARD_ORDER_TYPE": "거부: 값을 미리 알 수 없는 주문 유형",
    "GUARD_DUPLICATE": "거부: 같은 주문이 이미 나감",
    "GUARD_SESSION_CLOSED": "거부: 주문을 받는 시간이 아니거나 오늘의 주문이 아님",
    "GUARD_HALTED": "거부: 거래 정지 상태",
    "GUARD_REDUCING": "거부: 축소만 허용되는 상태",
    "GUARD_SHORT_SALE": "거부: 가진 수량보다 많은 매도",
    "GUARD_UNKNOWN_SYMBOL": "거부: 오늘의 호가 단위와 가격제한을 모르는 종목",
    "GUARD_SYMBOL_HALTED": "거부: 종목이나 시장의 매매가 멈춤 (거래정지, VI, 서킷브레이커)",
    "GUARD_ENTRY_STOPPED": "거부: 지금 새로 사지 않는 종목 (사이드카, 매매 불가 종목)",
    "GUARD_STALE_DATA": "거부: 시세가 없거나 오래됨",
    "GUARD_PRICE_LIMIT": "거부: 하루 가격제한폭 밖의 가격",
    "GUARD_TICK": "거부: 호가 단위에 맞지 않는 가격",
    "GUARD_LOT": "거부: 매매 단위에 맞지 않는 수량",
    "GUARD_PRICE_BAND": "거부: 마지막 시세에서 너무 먼 가격",
    "GUARD_ORDER_VALUE": "거부: 한 주문의 금액 한도 초과",
    "GUARD_ADV_SHARE": "거부: 평균 거래량 비율 한도 초과",
    "GUARD_NO_CASH": "거부: 쓸 수 있는 현금 부족",
    "GUARD_GROSS": "거부: 미체결을 더하면 총 노출 한도 초과",
    "GUARD_SECTOR": "거부: 미체결을 더하면 업종 한도 초과",
    "GUARD_SINGLE_NAME": "거부: 미체결을 더하면 단일 종목 한도 초과",
    "GUARD_ORDER_RATE": "거부: 분당 주문 수 한도 초과",
    "GUARD_BAD_QUANTITY": "거부: 수량이나 가격이 0 이하",
    "GUARD_SYMBOL_FROZEN": "거부: 결과를 모르는 주문이 있어 멈춘 종목",
}

# By the name that ``features.regimes`` gives the states, in the order of their volatility.
REGIME_TEXT: Mapping[str, str] = {"calm": "안정", "normal": "보통", "turbulent": "불안정"}

# By the names that ``risk.var`` and ``risk.sums`` give the methods.
VAR_TEXT: Mapping[str, str] = {
    "historical": "역사적",
    "normal": "정규분포",
    "student": "스튜던트 t",
    "filtered": "필터(GARCH)",
    "monte_carlo_filtered": "모의실험(GARCH)",
    "monte_carlo": "모의실험(t, 독립)",
    "exact": "정확한 값(t, 독립)",
}

ZONE_TEXT: Mapping[str, str] = {"green": "녹색", "yellow": "황색", "red": "적색"}

# By the names that ``holdings`` gives limits, exposure's causes, sums without a name, and factors.
LIMIT_TEXT: Mapping[str, str] = {
    "single_name": "가장 큰 종목",
    "sector": "가장 큰 업종",
    "gross": "총 노출",
    "var": "하루 VaR",
    "drawdown": "고점 대비 낙폭",
    "daily_loss": "하루 손실",
}

EXPOSURE_TEXT: Mapping[str, str] = {
    "full": "줄이지 않음: 변동성, VaR, 낙폭이 모두 한도 안",
    "volatility": "변동성 목표에 맞춰 줄임",
    "var": "VaR 한도에 맞춰 줄임",
    "drawdown": "낙폭 사다리에 맞춰 줄임",
    "rising": "여유가 생겨 조금씩 늘리는 중",
    "waiting": "여유가 찰 때까지 늘리지 않음",
    "unmeasured": "재지 못한 값이 있어 늘리지 않음",
}

FACTOR_TEXT: Mapping[str, str] = {
    "market": "시장",
    "size": "규모(작은 쪽)",
    "value": "가치",
    "quality": "우량",
    "momentum": "모멘텀",
    "growth": "성장",
}

BASIS_OF_SCENARIO_TEXT: Mapping[str, str] = {
    "own": "자기 기록",
    "proxy": "업종 평균으로 대신",
    "left_out": "제외",
}

# By the names that ``notify.channels`` gives the ways out.
CHANNEL_TEXT: Mapping[str, str] = {"mail": "메일", "webhook": "웹훅", "log": "로그"}

REASON_TEXT: Mapping[str, str] = {
    "rebalance": "비중 조정",
    "stop_loss": "손절",
    "trailing_stop": "추적 손절",
    "take_profit": "익절",
    "trigger": "변동성 돌파",
    "manual": "손으로 낸 주문",
}


def money_text(minor: float, currency: Currency) -> str:
    """Return an amount as ``1,234,500원`` or ``$1,234.56``.

    Dollars show cents, and down to 1/10,000 only where a smaller part would be lost.
    """
    if currency is Currency.KRW:
        return f"{minor:,.0f}원"
    sign = "-" if minor < 0 else ""
    dollars = f"{abs(minor) / currency.minor_per_unit:,.4f}"
    return f"{sign}${dollars[:-2] if dollars.endswith('00') else dollars}"


def model_text(family: str, version: int | None = None) -> str:
    """Return a family of models, or one version of it, as people read it."""
    name = MODEL_TEXT.get(family, family)
    return name if version is None else f"{name} {version}판"


def percent_text(fraction: float | None, *, signed: bool = True, digits: int = 2) -> str:
    """Return a fraction as ``+0.80 %``; ``기록 없음`` for ``None`` and NaN."""
    if fraction is None or math.isnan(fraction):
        return "기록 없음"
    return f"{100 * fraction:{'+' if signed else ''}.{digits}f} %"


def reason_text(reason: str) -> str:
    """Return the Korean words of an order's reason or guard code; itself when it has none."""
    return REASON_TEXT.get(reason) or GUARD_TEXT.get(reason, reason)


def boundary_text(boundary: str) -> str:
    """Return the Korean name of a moment of decision; itself when it has none."""
    return {"open": "개장", "exit": "장중 청산", "trigger": "장중 돌파"}.get(boundary, boundary)
