"""The account of this home: secrets and their files, token, rate, state, the life of its session."""

import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trading import bootstrap
from trading.bootstrap import Installation
from trading.broker.settings import Credentials
from trading.clock import WallClock
from trading.config import Env
from trading.context import heartbeat_path, run_dir
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT, STATE_TEXT
from trading.errors import ConfigError
from trading.live import control
from trading.live.journal import closed_sessions
from trading.monitoring import CLOSED, is_running, read_heartbeat
from trading.ports import RecordKind
from trading.probes import Finding, finding
from trading.supervision import BY_TEXT
from trading.wire import codes
from trading.wire.endpoints import Profile

# A clock may be read a moment after the file was written.
_SLACK = timedelta(seconds=60)


def secret_files(installation: Installation) -> list[Finding]:
    """Whether somebody else may read what only this user should."""
    home = installation.home
    watched = [(home.root / ".env", "ENV_FILE_OPEN")]
    watched += [(p, "TOKEN_FILE_OPEN") for p in sorted(_token_files(home.data_dir))]
    found = [
        finding(
            code, "error", f"다른 사용자가 읽을 수 있는 비밀 파일입니다: {path}",
            f"chmod 600 '{path}'",
        )
        for path, code in watched
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]  # fmt: skip
    return found or [finding("SECRET_FILES", "ok", "비밀 파일은 이 사용자만 읽습니다.")]


def account_numbers(installation: Installation, env: Env) -> list[Finding]:
    """Whether the account number that is given can be one; it is not shown."""
    account = getattr(installation.secrets, f"kis_{env}_account")
    if account is None:
        return []
    try:
        Credentials(app_key="-", app_secret="-", account=account.get_secret_value(), hts_id="-")  # noqa: S106 (no key: only the form of the account is looked at)
    except ConfigError as error:
        return [
            finding(
                "ACCOUNT_MALFORMED", "error", f"KIS_{env.upper()}_ACCOUNT가 잘못됐습니다: {error}.",
                "증권사 앱의 계좌번호를 8자리-2자리로 .env에 적으십시오 (trading setup).",
            )
        ]  # fmt: skip
    return []


def tokens(installation: Installation, env: Env) -> list[Finding]:
    """How long the access token of this environment's key still lives."""
    key = None if env is Env.DEMO else getattr(installation.secrets, f"kis_{env}_app_key")
    if key is None:
        return []
    # Other keys and the demo's exchange have tokens of their own, by other clocks.
    base = installation.settings.kis.profiles[_profile(env)].rest_base.rstrip("/")
    secret = key.get_secret_value()
    owner = Credentials(app_key=secret, app_secret=secret, account="0" * 10, hts_id="")
    path = installation.home.data_dir / "broker" / f"kis-token-{owner.fingerprint(base)}.json"
    if not path.exists():
        return [
            finding("TOKEN_NONE", "info", "받아 둔 접근토큰이 없습니다. 처음 부를 때 받습니다.")
        ]
    return [_token(path)]


def _profile(env: Env) -> Profile:
    return Profile.REAL if env is Env.REAL else Profile.PAPER


def _token(path: Path) -> Finding:
    now = WallClock().now()
    try:
        body = json.loads(path.read_text("utf-8"))
        expires = datetime.fromisoformat(body["expires_at"]) if body["token"] else None
        asked = datetime.fromisoformat(body["asked_at"]) if body["asked_at"] else None
    except (ValueError, KeyError, TypeError):
        return finding(
            "TOKEN_BROKEN", "info", f"접근토큰 파일을 읽을 수 없습니다: {path.name}",
            "다음에 부를 때 새로 받습니다. 되풀이되면 디스크를 살피십시오.",
        )  # fmt: skip
    if asked is not None and asked > now + _SLACK:
        return finding(
            "TOKEN_FUTURE", "error",
            f"접근토큰을 받은 때가 지금보다 뒤입니다 ({asked:%Y-%m-%d %H:%M} UTC): 시계가 뒤로 갔습니다.",
            "시각 동기화를 켜십시오. 시계가 맞으면 그대로 쓸 수 있습니다.",
        )  # fmt: skip
    if expires is None or expires <= now:
        return finding(
            "TOKEN_STALE", "info", f"접근토큰이 끝났습니다: {path.name}",
            "다음에 부를 때 새로 받습니다.",
        )  # fmt: skip
    hours = (expires - now).total_seconds() / 3600
    return finding("TOKEN", "ok", f"접근토큰이 {hours:.1f}시간 남았습니다.")


def _token_files(data_dir: Path) -> Iterator[Path]:
    return (data_dir / "broker").glob("kis-token-*.json")


def mail(installation: Installation) -> Finding:
    """Whether messages have a way out."""
    settings, secrets = installation.settings.notify, installation.secrets
    webhook = secrets.trading_webhook_url or settings.webhook.url
    if settings.mail.host is None and webhook is None:
        return finding(
            "NOTIFY_NONE", "info", "메일과 웹훅을 설정하지 않아 알림은 로그에만 남습니다.",
            "config/notify.yaml의 mail.host와 TRADING_MAIL_TO, 또는 웹훅의 주소를 정하십시오.",
        )  # fmt: skip
    if settings.mail.host is not None and not secrets.mail_recipients:
        return finding(
            "MAIL_NO_RECIPIENT", "error", "메일 받는 사람이 없습니다.",
            "환경 변수 TRADING_MAIL_TO에 주소를 넣으십시오.",
        )  # fmt: skip
    server = settings.mail
    if server.host is not None and server.username is not None and secrets.smtp_password is None:
        return finding(
            "MAIL_NO_PASSWORD", "error", "메일 서버에 로그인할 비밀번호가 없습니다.",
            "SMTP_PASSWORD를 환경 변수나 .env에 넣거나, 로그인이 없는 서버면 config/notify.yaml의 "
            "mail.username을 null로 두십시오.",
        )  # fmt: skip
    return finding("NOTIFY", "ok", "알림 설정이 있습니다.")


def rate(installation: Installation, env: Env) -> list[Finding]:
    """How many calls are left beside what a session needs each second at most."""
    if env is Env.DEMO:
        return []
    kis = installation.settings.kis
    profile = _profile(env)
    limit, reserve = kis.budget(profile)
    free = limit - reserve - kis.profiles[profile].reserved_for_session
    refused = _refusals(installation.home.logs_dir / "trading.jsonl")
    if refused:
        return [
            finding(
                "RATE_REFUSED", "info",
                f"오늘 증권사가 호출 한도 초과로 {refused:,}번 거절했습니다 (초당 {limit}건의 설정).",
                "되풀이되면 config/kis.yaml의 calls_per_second를 낮추고, 같은 앱키를 쓰는 다른 프로그램을 끄십시오.",
            )
        ]  # fmt: skip
    return [
        finding(
            "RATE", "ok" if free > 1 else "info",
            f"초당 {limit}건 가운데 취소 몫 {reserve}건을 빼고 {limit - reserve}건, "
            f"받기와 함께 돌면 {free}건이 남습니다.",
            "" if free > 1 else "거래하는 동안에는 시세 받기(trading data backfill)를 피하십시오.",
        )
    ]  # fmt: skip


def _refusals(path: Path) -> int:
    """Return how many lines of today's log tell of a refusal for the rate."""
    if not path.exists():
        return 0
    marks = [f'"{code}"'.encode() for code in (codes.GATEWAY_RATE, codes.LEDGER_RATE)]
    with path.open("rb") as lines:
        return sum(any(mark in line for mark in marks) for line in lines)


def control_state(installation: Installation, market: Market) -> Finding:
    """What the operator's standing word on the account is, and who gave it."""
    env, run = installation.settings.app.env, run_dir(installation.home)
    standing = control.read(run, env, market)
    name = MARKET_TEXT[market]
    if standing.state is TradingState.ACTIVE:
        return finding("STATE", "ok", f"{name} 시장: 운영자의 제한이 없습니다.")
    who = BY_TEXT[standing.by] if standing.by is not None else "알 수 없음"
    since = f"{standing.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if standing.since else ""
    reason = f", 까닭: {standing.reason}" if standing.reason else ""
    undo = (
        f"rm '{run / control.HALT_FILE}'"
        if standing.by is control.By.FILE and (run / control.HALT_FILE).exists()
        else f"trading resume --market {market}"
    )
    is_halted = standing.state is TradingState.HALTED
    return finding(
        "STATE_HALTED" if is_halted else "STATE_REDUCING", "error" if is_halted else "info",
        f"{name} 시장이 {STATE_TEXT[standing.state]} 상태입니다 ({who}, {since}{reason}).",
        f"다시 거래하려면: {undo}",
    )  # fmt: skip


def heartbeat(installation: Installation, market: Market) -> Finding:
    """Whether a session died without ending."""
    env = installation.settings.app.env
    beat = read_heartbeat(heartbeat_path(installation.home, env, market))
    name = MARKET_TEXT[market]
    if beat is None or beat.phase == CLOSED:
        return finding("SESSION", "ok", f"{name} 시장: 도는 세션이 없습니다.")
    silent = WallClock().now() - beat.ts
    limit = timedelta(minutes=installation.settings.app.check.heartbeat_minutes)
    if is_running(beat) and silent > limit:
        return finding(
            "SESSION_SILENT", "error",
            f"{name} 시장의 {beat.session} 세션(프로세스 {beat.pid})이 "
            f"{silent.total_seconds() / 60:,.0f}분째 심장박동을 남기지 않습니다.",
            "logs/errors.jsonl을 보고, 멈춰 있으면 kill로 끝낸 뒤 같은 명령을 다시 치십시오.",
        )  # fmt: skip
    if is_running(beat):
        return finding("SESSION", "ok", f"{name} 시장: {beat.session} 세션이 돌고 있습니다.")
    return finding(
        "SESSION_DEAD", "error",
        f"{name} 시장의 {beat.session} 세션이 끝나지 않고 죽었습니다 "
        f"(마지막 심장박동 {beat.ts.astimezone(UTC):%Y-%m-%d %H:%M} UTC).",
        "같은 실행 명령을 다시 치면 장부를 읽고 이어서 합니다.",
    )  # fmt: skip


def drilled(installation: Installation, market: Market) -> Finding:
    """When the guards were last proven, and whether they held."""
    env, home = installation.settings.app.env, installation.home
    name, last = MARKET_TEXT[market], None
    if bootstrap.ledger_path(home, env, market).exists():
        ledger = bootstrap.open_ledger(home, env, market, read_only=True)
        try:
            for record in ledger.read(RecordKind.DRILL):
                last = record
        finally:
            ledger.close()
    if last is None:
        return finding(
            "DRILL_NONE", "info", f"{name} 시장의 안전장치를 아직 시험하지 않았습니다.",
            "세션이 아침마다 스스로 시험합니다. 지금 하려면 trading drill.",
        )  # fmt: skip
    if not last.body["passed"]:
        return finding(
            "DRILL_FAILED", "error", f"{name} 시장의 마지막 안전장치 훈련({last.session})이 실패했습니다.",
            f"trading drill --market {market} 으로 듣지 않는 것을 보고, 고칠 때까지 파는 주문만 나갑니다.",
        )  # fmt: skip
    days = (WallClock().now() - last.ts).days
    if env is not Env.DEMO and days > installation.settings.app.check.max_drill_days:
        return finding(
            "DRILL_OLD", "info", f"{name} 시장의 마지막 안전장치 훈련이 {days}일 전의 것입니다.",
            "세션이 아침마다 스스로 시험합니다. 지금 하려면 trading drill.",
        )  # fmt: skip
    return finding("DRILL", "ok", f"{name} 시장의 안전장치가 {last.session} 훈련을 통과했습니다.")


def first_sessions(installation: Installation, market: Market) -> list[Finding]:
    """How many of the first real sessions, with their narrower limits, are left."""
    caps = installation.settings.execution.first_sessions
    closed = 0
    if bootstrap.ledger_path(installation.home, Env.REAL, market).exists():
        ledger = bootstrap.open_ledger(installation.home, Env.REAL, market, read_only=True)
        try:
            closed = len(closed_sessions(ledger))
        finally:
            ledger.close()
    if closed >= caps.sessions:
        return []
    return [
        finding(
            "FIRST_SESSIONS", "info",
            f"처음 {caps.sessions}회의 실전 세션(지금 {closed}회)은 좁은 한도로 거래합니다: 보유 합계 "
            f"{caps.max_gross:.0%}, 한 종목 {caps.max_single_name:.0%}, 매수 주문 하나 "
            f"{caps.max_order_share:.0%}.",
            "한도는 config/execution.yaml의 first_sessions에 있습니다.",
        )
    ]  # fmt: skip
