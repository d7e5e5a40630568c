"""The step to real money: what must be proven first, how far that has come, and how small it begins.

Pure questions to a ledger and a folder of evidence; who gathers these, and refuses to start, is
``bootstrap``.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from trading.backtest.walkforward import proven_sessions
from trading.execution.decide import Policy
from trading.execution.orders import FirstSessions
from trading.live.journal import closed_sessions, read_session
from trading.ports import Ledger, RecordKind

# What real money asks of paper trading first (DESIGN 4, ADR 22): law, not a setting.
PAPER_SESSIONS, PAPER_DAYS = 20, 60
WALK_FORWARD_YEARS = 3

KEY, ENV = "KEY_MISSING", "ENV_DIFFERS"
PAPER, WALK_FORWARD, DRILL, CONFIRM = (
    "REAL_PAPER_SESSIONS",
    "REAL_WALK_FORWARD",
    "REAL_DRILL",
    "REAL_CONFIRM",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that an environment asks for: how far it is, and what to do while it lacks."""

    code: str
    name: str
    progress: str
    is_met: bool
    lacking: str = ""
    action: str = ""


def keys(missing: list[str]) -> list[Condition]:
    """Return one condition for each secret that is missing, or one that is met."""
    if not missing:
        return [Condition(code=KEY, name="한국투자증권 키와 계좌", progress="있음", is_met=True)]
    return [
        Condition(
            code=KEY,
            name=f"환경 변수 {name}",
            progress="없음",
            is_met=False,
            lacking=f"환경 변수 {name}이(가) 없습니다.",
            action="trading setup이 묻고 .env에 적습니다.",
        )
        for name in missing
    ]


def environment(wanted: str, configured: str) -> Condition:
    """Return whether ``app.yaml`` names the environment itself: an option never widens it."""
    return Condition(
        code=ENV,
        name="config/app.yaml의 env",
        progress=configured,
        is_met=wanted == configured,
        lacking=f"config/app.yaml의 env를 {wanted}로 바꿔야 합니다(지금 {configured}).",
        action=f"config/app.yaml에 env: {wanted} 를 적으십시오.",
    )


def paper_sessions(paper: Ledger | None, real: Ledger | None, today: date) -> Condition:
    """Return whether trading has gone long enough with books and parity without a riddle.

    Sessions with real money count like those of paper: they show more, and there are none before
    paper has earned the first. Without them an account that trades would be refused once its
    rehearsal is 60 days old, and its holdings left without stops.
    """
    at_paper, stained_at_paper = _clean_sessions(paper, today)
    at_real, stained_at_real = _clean_sessions(real, today)
    clean, stained = at_paper + at_real, stained_at_paper + stained_at_real
    left_out = f", 차이가 남아 세지 않은 세션 {stained}회" if stained else ""
    return Condition(
        code=PAPER,
        name=f"최근 {PAPER_DAYS}일의 모의투자와 실전 세션",
        progress=f"{clean}/{PAPER_SESSIONS}회{left_out}",
        is_met=clean >= PAPER_SESSIONS,
        lacking=(
            f"최근 {PAPER_DAYS}일 안에 모의투자(실전을 시작한 뒤에는 실전도)에서 차이 없이 마친 세션이 "
            f"{PAPER_SESSIONS}회 있어야 합니다(지금 {clean}회{left_out})."
        ),
        action="env: paper 로 trading run --env paper 를 거래일마다 돌리십시오.",
    )


def _clean_sessions(ledger: Ledger | None, today: date) -> tuple[int, int]:
    """Return how many recent sessions left nothing open, and how many did."""
    if ledger is None:
        return 0, 0
    recent = [s for s in closed_sessions(ledger) if s >= today - timedelta(days=PAPER_DAYS)]
    proven = {
        record.session
        for record in ledger.read(RecordKind.PARITY)
        if record.body["unexplained"] == 0
    }
    clean = sum(
        session in proven and not (read_session(ledger, session).closed or {})["differences"]
        for session in recent
    )
    return clean, len(recent) - clean


def walk_forward(folder: Path, policy_hash: str, sessions_per_year: int) -> Condition:
    """Return whether a kept walk-forward of exactly this policy is long enough."""
    years = proven_sessions(folder, policy_hash) / sessions_per_year
    return Condition(
        code=WALK_FORWARD,
        name="지금 정책의 전진 분석",
        progress=f"{years:.1f}/{WALK_FORWARD_YEARS}년",
        is_met=years >= WALK_FORWARD_YEARS,
        lacking=(
            f"활성 정책의 {WALK_FORWARD_YEARS}년 이상 전진 분석 기록(trading walk-forward ensemble)이 "
            f"있어야 합니다(지금 {years:.1f}년)."
        ),
        action="trading walk-forward ensemble 을 돌리십시오. 설정을 바꾸면 다시 해야 합니다.",
    )


def drill(ledger: Ledger | None, today: date, policy_hash: str) -> Condition:
    """Return whether the guards of the policy in force were proven today."""
    body = None
    if ledger is not None:
        for record in ledger.read(RecordKind.DRILL, session=today):
            body = record.body
    if body is None:
        now = "지금 없음"
    elif body["policy_hash"] != policy_hash:
        now = "그 뒤에 설정이 바뀜"
    elif not body["passed"]:
        now = "오늘은 실패함"
    else:
        now = "통과"
    return Condition(
        code=DRILL,
        name="오늘의 안전장치 훈련",
        progress=now,
        is_met=now == "통과",
        lacking=f"오늘의 안전장치 훈련(trading drill) 기록이 있어야 합니다({now}).",
        action="trading drill 을 돌리십시오. trading run은 이것만 남았으면 스스로 합니다.",
    )


def confirmation(account: str | None, said: str | None) -> Condition:
    """Return whether the operator has repeated the last four digits of the real account."""
    last4 = account.replace("-", "").strip()[-4:] if account else None
    is_met = last4 is not None and said is not None and said.strip() == last4
    return Condition(
        code=CONFIRM,
        name="TRADING_CONFIRM_REAL",
        progress="맞음" if is_met else ("없음" if not said else "다름"),
        is_met=is_met,
        lacking="TRADING_CONFIRM_REAL에 실전 계좌번호의 마지막 네 자리를 넣어야 합니다.",
        action="실행하는 셸에서 export TRADING_CONFIRM_REAL=… 로 정하십시오(.env에는 적지 않습니다).",
    )


def rows(conditions: list[Condition]) -> list[tuple[str, str, str]]:
    """Return a row a condition: name, how far, whether it is met."""
    return [(c.name, c.progress, "됨" if c.is_met else "모자람") for c in conditions]


def first_steps(policy: Policy, settings: FirstSessions, earlier: int) -> Policy:
    """Return the policy of a real account that has closed ``earlier`` sessions.

    The same policy with narrower limits while the account is fresh: every limit is the smaller
    one of the two, so that nothing is ever widened.
    """
    if earlier >= settings.sessions:
        return policy
    risk = policy.risk
    guards = risk.guards.model_copy(
        update={"max_order_share": min(risk.guards.max_order_share, settings.max_order_share)}
    )
    limits = {
        "max_gross": min(risk.max_gross, settings.max_gross),
        "max_single_name": min(risk.max_single_name, settings.max_single_name),
        "guards": guards,
    }
    return replace(policy, risk=risk.model_copy(update=limits))
