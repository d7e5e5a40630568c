"""``trading explain CODE``: what a code means, what the program does, what the user does.

The codes of the venue are in ``wire.codes``; ours stand here. ``docs/codes.md`` is ``page()``.
"""

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trading.wire.codes import CODES, RATE_REFUSALS, RATE_RESPONSE, MessageCode, Retry, lookup
from trading.wire.endpoints import Profile, lacking


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Codes that begin alike, and who says them."""

    name: str
    title: str
    codes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """A code of ours: its meaning and the setting behind it."""

    cause: str
    setting: str = ""


_VERDICT = "판정"
_GUARD = "거부"
_REASON = "파는 규칙"
# In the order in which they are decided.
_VERDICTS: Mapping[str, _Own] = {
    "ALLOWED": _Own(cause="목표 비중 그대로 허용"),
    "ABSTAIN": _Own(cause="모든 전략이 기권해 의견이 없음", setting="`strategies.yaml`"),
    "NOT_TRADABLE": _Own(cause="정지, 상장 전후, 또는 그날 호가 단위에 맞지 않는 기록"),
    "NOT_SCREENED": _Own(cause="장전 선별에서 빠짐", setting="`strategies.yaml` `screener`"),
    "BELOW_ENTRY_FORECAST": _Own(
        cause="종합 예측이 진입 기준 이하", setting="`allocation.yaml` `ensemble.entry_forecast`"
    ),
    "BELOW_MIN_CONFIDENCE": _Own(
        cause="신뢰도가 최소 기준 미만", setting="`allocation.yaml` `ensemble.min_confidence`"
    ),
    "ENTRY_VAR": _Own(
        cause="종목 자체의 하루 95 % VaR가 너무 크거나 알 수 없음",
        setting="`allocation.yaml` `ensemble.max_entry_var`",
    ),
    "EXIT_SIGNAL": _Own(
        cause="보유 의견이 사라져 판다", setting="`allocation.yaml` `ensemble.exit_forecast`"
    ),
    "REGIME_BLOCK": _Own(
        cause="시장 국면이 새 진입을 막음", setting="`allocation.yaml` `ensemble.regime_action`"
    ),
    "COOLDOWN": _Own(
        cause="손절 등으로 판 뒤 다시 사지 않는 기간",
        setting="`execution.yaml` `exits.cooldown_sessions`",
    ),
    "NO_VOLATILITY": _Own(
        cause="변동성이나 이력이 모자라 비중을 정할 수 없어 가진 만큼 그대로 둠",
        setting="`features.yaml` `volatility_long_window`, `allocation.yaml` `optimizer.min_sessions`",
    ),
    "NO_EDGE": _Own(
        cause="기록에서 기대되는 수익이 0 이하라 비중을 두지 않음 (켈리)",
        setting="`allocation.yaml` `sizing.method`",
    ),
    "TIME_STOP": _Own(
        cause="보유 기간이 끝나 다음 개장에 판다",
        setting="`strategies.yaml` `exits.max_sessions`",
    ),
    "WAITING": _Own(
        cause="장중에 정한 가격까지 오르면 산다 (변동성 돌파)",
        setting="`strategies.yaml` `volatility_breakout`",
    ),
    "CAP_EXPOSURE": _Own(
        cause="변동성 목표나 낙폭 사다리가 전체 노출을 줄임", setting="`risk.yaml` `exposure`"
    ),
    "CAP_SINGLE_NAME": _Own(cause="단일 종목 한도로 줄임", setting="`risk.yaml` `max_single_name`"),
    "CAP_SECTOR": _Own(cause="업종 한도로 줄임", setting="`risk.yaml` `max_sector`"),
    "CAP_GROSS": _Own(cause="총 노출 한도로 줄임", setting="`risk.yaml` `max_gross`"),
    "CAP_PORTFOLIO_VAR": _Own(
        cause="포트폴리오 VaR 한도로 줄임", setting="`risk.yaml` `max_portfolio_var`"
    ),
    "CAP_ADV": _Own(cause="평균 거래량 비율 한도로 줄임", setting="`risk.yaml` `max_adv_share`"),
    "CAP_DRAWDOWN": _Own(cause="고점 대비 낙폭 한도", setting="`risk.yaml` `max_drawdown`"),
    "DAILY_LOSS": _Own(
        cause="하루 손실 한도에 닿아 사지 않음", setting="`risk.yaml` `max_daily_loss`"
    ),
    "REDUCING": _Own(cause="줄이는 주문만 허용되는 상태"),
    "HALTED": _Own(cause="거래 정지 상태"),
    "WITHIN_BAND": _Own(
        cause="바꿀 양이 무거래 구간 안이라 그대로 둠", setting="`allocation.yaml` `no_trade_band`"
    ),
    "BELOW_LOT": _Own(cause="한 매매 단위에 못 미침", setting="`config/markets/*.yaml`"),
    "NO_CASH": _Own(
        cause="쓸 수 있는 현금이 모자라 줄임", setting="`allocation.yaml` `cash_buffer`"
    ),
}
_GUARDS: Mapping[str, _Own] = {
    "GUARD_BAD_QUANTITY": _Own(cause="수량이나 가격이 0 이하이거나 정수가 아님"),
    "GUARD_ORDER_TYPE": _Own(cause="지정가가 없어 얼마가 될지 알 수 없는 주문 유형"),
    "GUARD_DUPLICATE": _Own(cause="같은 주문이 이미 나감"),
    "GUARD_SYMBOL_FROZEN": _Own(cause="결과를 모르는 주문이 있어 멈춘 종목"),
    "GUARD_SESSION_CLOSED": _Own(cause="주문을 받는 시간이 아니거나 오늘의 주문이 아님"),
    "GUARD_HALTED": _Own(cause="거래 정지 상태"),
    "GUARD_REDUCING": _Own(cause="축소만 허용되는 상태에서 사려 함"),
    "GUARD_SHORT_SALE": _Own(cause="가진 수량보다 많이 팔려 함"),
    "GUARD_UNKNOWN_SYMBOL": _Own(cause="오늘의 호가 단위, 매매 단위, 가격제한을 모르는 종목"),
    "GUARD_SYMBOL_HALTED": _Own(
        cause="거래정지, VI, 서킷브레이커로 매매가 멈춤 (파는 주문도 풀릴 때까지 기다림)"
    ),
    "GUARD_ENTRY_STOPPED": _Own(cause="사이드카이거나 오늘 매매할 수 없는 종목을 사려 함"),
    "GUARD_STALE_DATA": _Own(cause="시세가 없거나 너무 오래됨", setting="`guards.stale_seconds`"),
    "GUARD_PRICE_LIMIT": _Own(
        cause="하루 가격제한폭 밖의 지정가", setting="`config/markets/*.yaml`"
    ),
    "GUARD_TICK": _Own(cause="호가 단위에 맞지 않는 지정가", setting="`config/markets/*.yaml`"),
    "GUARD_LOT": _Own(cause="매매 단위의 배수가 아닌 수량", setting="`config/markets/*.yaml`"),
    "GUARD_PRICE_BAND": _Own(
        cause="마지막 시세에서 너무 먼 지정가", setting="`guards.max_price_deviation`"
    ),
    "GUARD_ORDER_VALUE": _Own(cause="한 주문의 금액이 너무 큼", setting="`guards.max_order_share`"),
    "GUARD_ADV_SHARE": _Own(
        cause="평균 거래량에 견주어 너무 큰 매수 (같은 종목의 미체결 포함)",
        setting="`max_adv_share`",
    ),
    "GUARD_NO_CASH": _Own(cause="수수료까지 쓸 수 있는 현금보다 큰 매수 (미수 금지)"),
    "GUARD_GROSS": _Own(
        cause="보유와 미체결을 더하면 총 노출이 한도와 오늘의 결정을 넘음", setting="`max_gross`"
    ),
    "GUARD_SECTOR": _Own(
        cause="보유와 미체결을 더하면 업종 비중이 한도와 오늘의 결정을 넘음", setting="`max_sector`"
    ),
    "GUARD_SINGLE_NAME": _Own(
        cause="보유와 미체결을 더하면 단일 종목 한도를 넘음", setting="`max_single_name`"
    ),
    "GUARD_ORDER_RATE": _Own(
        cause="1분 안의 주문 수 한도", setting="`guards.max_orders_per_minute`"
    ),
}
_REASONS: Mapping[str, _Own] = {
    "rebalance": _Own(cause="아침 판단에 따른 비중 조정"),
    "stop_loss": _Own(cause="평균 매입가에서 정한 비율만큼 내림", setting="`stop_loss`"),
    "trailing_stop": _Own(cause="매입 뒤 고점에서 정한 비율만큼 내림", setting="`trailing_stop`"),
    "take_profit": _Own(cause="평균 매입가에서 정한 비율만큼 오름", setting="`take_profit`"),
    "trigger": _Own(
        cause="장중에 정한 가격까지 올라 삼", setting="`strategies.yaml` `volatility_breakout`"
    ),
}
_OWN = {_VERDICT: _VERDICTS, _GUARD: _GUARDS, _REASON: _REASONS}
_OWN_RESPONSE = {
    _VERDICT: "그 종목의 목표를 이 까닭으로 정하고 결정에 적음",
    _GUARD: "주문을 보내지 않고 거부로 적음",
    _REASON: "이 까닭으로 주문을 내고 주문 기록에 적음",
}
# How the codes of the venue begin, and who says them.
_VENUE: tuple[tuple[str, str], ...] = (
    ("EGW", "게이트웨이와 인증"),
    ("OPSQ", "조회 서버"),
    ("MCA", "공통 처리"),
    ("KIOK", "조회 결과"),
    ("APBK", "원장: 주문"),
    ("APAC", "원장: 계좌"),
    ("KIER", "원장: 예약 주문"),
    ("OPSP", "실시간 접속"),
    ("", "모의투자 원장 (숫자 여덟 자리)"),
)
_CLASSES: Mapping[Retry, str] = {
    Retry.OK: "성공",
    Retry.AGAIN: "다시 물음",
    Retry.RENEW: "새로 받음",
    Retry.MINUTE: "1분 뒤",
    Retry.VERIFY: "확인",
    Retry.NEVER: "거부",
}
_RATE = "속도 한도"


def families() -> list[Family]:
    """Return every family of codes: ours, then the venue's."""
    own = [
        Family(name=name, title="이 프로그램", codes=tuple(codes)) for name, codes in _OWN.items()
    ]
    return own + [
        Family(name=prefix or "숫자", title=title, codes=_venue_codes(prefix))
        for prefix, title in _VENUE
    ]


def explain(code: str) -> dict[str, Any]:
    """Return what is known about ``code``, in any case; ``known`` is false when nothing is.

    An unknown code comes with the ``near`` ones, nearest first.
    """
    for family in families():
        for known in family.codes:
            if known.upper() == code.strip().upper():
                return _explained(known, family)
    all_codes = {known.upper(): known for family in families() for known in family.codes}
    near = difflib.get_close_matches(code.strip().upper(), all_codes, n=5, cutoff=0.6)
    return {"code": code.strip(), "known": False, "near": [all_codes[name] for name in near]}


def text(found: Mapping[str, Any]) -> str:
    """Return an explanation as a user reads it."""
    if not found["known"]:
        sentence = f"알려지지 않은 코드입니다: {found['code']}"
        return f"{sentence}\n비슷한 코드: {', '.join(found['near'])}" if found["near"] else sentence
    lines = [f"{found['code']} ({found['family']})", f"  뜻: {found['cause']}"]
    if found["text"]:
        lines.append(f"  증권사 문구: {found['text']}")
    lines.append(f"  프로그램이 하는 일: {found['response']}")
    lines.append(f"  할 일: {found['action']}")
    return "\n".join(lines)


def families_text() -> str:
    """Return the list of families as a user reads it."""
    lines = ["코드를 하나 주면 뜻과 할 일을 알려 줍니다. 예: trading explain EGW00201", ""]
    for family in families():
        first, last = family.codes[0], family.codes[-1]
        lines.append(f"  {family.name} ({family.title}): {len(family.codes)}개, {first} ~ {last}")
    return "\n".join(lines)


def page() -> str:
    """Return ``docs/codes.md``."""
    sections = [
        "# 코드",
        "왜 사지 않았는지, 왜 주문이 나가지 않았는지, 증권사가 무엇이라 답했는지는 늘 코드 하나로 남습니다. "
        "코드는 보고서, `logs/trades.jsonl`, 장부, 메일에서 같습니다. "
        "`trading explain 코드` 가 이 표의 한 줄을 보여 줍니다.",
        "## 판정: 포트폴리오가 허락되는가",
        "`decide` 가 종목마다 하나를 남깁니다. 앞의 것이 뒤의 것보다 먼저 정해지고, "
        "한도(`CAP_*`)는 가장 나중에 줄인 것이 남습니다.",
        _own_table(_VERDICTS, "코드", "정하는 설정"),
        "## 거부: 이 주문이 지금 나가도 되는가",
        "`risk.guards` 가 주문이 나가기 직전에 봅니다. 확인할 수 없는 것은 거부합니다. "
        "백테스트에서는 하나도 걸리지 않아야 합니다.",
        _own_table(_GUARDS, "코드", "정하는 설정 (`risk.yaml`)"),
        "## 파는 규칙",
        _own_table(_REASONS, "주문의 `reason`", "정하는 설정 (`execution.yaml` `exits`)"),
        "## 증권사의 응답 코드",
        "프로그램이 하는 일은 갈래마다 하나입니다. 주문은 어느 갈래에서도 다시 보내지 않습니다. "
        "여기 없는 코드가 주문에 오면, 원장의 거부(HTTP 200, `APBK`·`APAC`·`KIER`·숫자 여덟 자리)가 "
        "아닌 한 결과 불명으로 두고 주문 목록에서 확인합니다.",
        _table(
            ("갈래", "프로그램이 하는 일"),
            [(title, MessageCode(code="", cause="", action="", retry=retry).response)
             for retry, title in _CLASSES.items()] + [(_RATE, RATE_RESPONSE)],
        ),
    ]  # fmt: skip
    for prefix, title in _VENUE:
        sections.append(f"### {prefix or '숫자'}: {title}")
        sections.append(_venue_table(prefix))
    sections.append("## 모의투자에 없는 기능")
    sections.append(
        "`trading check --env paper` 가 그 시장의 것을 늘어놓습니다. "
        "부르면 보내기 전에 이 까닭으로 끝납니다."
    )
    sections.append(
        _table(
            ("기능", "주소", "대신하는 것"),
            [(e.title, f"`{e.path}`", e.instead or "없음") for e in lacking(Profile.PAPER)],
        )
    )
    return "\n\n".join(sections) + "\n"


def _explained(code: str, family: Family) -> dict[str, Any]:
    found = {"code": code, "known": True, "family": f"{family.name}, {family.title}"}
    own = _OWN.get(family.name, {}).get(code)
    if own is not None:
        action = f"{own.setting.replace('`', '')} 설정을 보십시오" if own.setting else "할 일 없음"
        return found | {
            "cause": own.cause,
            "text": "",
            "response": _OWN_RESPONSE[family.name],
            "action": action,
            "retry": str(Retry.NEVER),
        }
    known = lookup(code)
    return found | {
        "cause": known.cause,
        "text": known.text,
        "response": known.response,
        "action": known.action,
        "retry": str(known.retry),
    }


def _venue_codes(prefix: str) -> tuple[str, ...]:
    if not prefix:
        return tuple(sorted(code for code in CODES if code.isdecimal()))
    return tuple(sorted(code for code in CODES if code.startswith(prefix)))


def _own_table(codes: Mapping[str, _Own], first: str, last: str) -> str:
    rows = [(f"`{code}`", own.cause, own.setting) for code, own in codes.items()]
    return _table((first, "뜻", last), rows)


def _venue_table(prefix: str) -> str:
    rows = []
    for code in _venue_codes(prefix):
        known = CODES[code]
        retry = _RATE if code in RATE_REFUSALS else _CLASSES[known.retry]
        rows.append((f"`{code}`", known.cause, retry, known.action))
    return _table(("코드", "뜻", "갈래", "할 일"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |".replace("  |", " |") for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
