"""``trading check``: what is wrong with this installation, why, and what to do about it.

Each check answers with findings and changes nothing. They are asked side by side, because some
wait for a disk or for another machine. What an account at KIS can do is ``trading.probes``.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from trading import bootstrap, probes, real_money
from trading.bootstrap import Installation
from trading.config import Env
from trading.doctor import account, machine, stores
from trading.domain.instrument import Market
from trading.errors import TradingError
from trading.probes import Finding, finding
from trading.wire.endpoints import Profile

SEVERITY_TEXT = {"ok": "정상", "info": "참고", "error": "문제"}

Check = Callable[[], Finding | Iterable[Finding]]


def examine(
    installation: Installation, env: str | None = None, market: Market | None = None
) -> list[Finding]:
    """Return what was found: code, severity (ok, info, error), cause, action.

    Missing KIS keys are information while the demo is configured; ``env`` asks what still keeps
    that environment from trading and, where its keys are given, the account itself what it can
    do. No order is sent.
    """
    app = installation.settings.app
    wanted = Env(env) if env is not None else app.env
    markets = [market] if market is not None else _traded(installation)
    asked = market or app.market
    checks: list[Check] = [
        lambda: machine.settings(installation),
        lambda: machine.disk(installation),
        lambda: machine.memory(installation),
        lambda: machine.folders(installation),
        lambda: machine.clock(installation, wanted),
        lambda: machine.versions(),
        lambda: machine.ports(installation),
        lambda: machine.calendars(installation, markets),
        lambda: stores.dataset(installation),
        lambda: stores.lake(installation),
        lambda: stores.outbox(installation),
        lambda: stores.backups(installation),
        lambda: stores.prefect(installation),
        lambda: stores.mlflow(installation),
        lambda: account.secret_files(installation),
        lambda: account.tokens(installation, wanted),
        lambda: account.mail(installation),
        lambda: account.rate(installation, wanted),
        lambda: _keys(installation, wanted, asked),
    ]
    for each in markets:
        checks += [
            lambda each=each: stores.ledger(installation, each),  # type: ignore[misc]
            lambda each=each: stores.champion(installation, each),  # type: ignore[misc]
            lambda each=each: stores.freshness(installation, each),  # type: ignore[misc]
            lambda each=each: account.control_state(installation, each),  # type: ignore[misc]
            lambda each=each: account.heartbeat(installation, each),  # type: ignore[misc]
            lambda each=each: account.drilled(installation, each),  # type: ignore[misc]
        ]
    if env is not None:
        checks.append(lambda: _account(installation, wanted, asked))
    # The processors compile nothing here: most of the time is waiting for files and sockets.
    with ThreadPoolExecutor(max_workers=min(8, 4 * (os.cpu_count() or 1))) as pool:
        return [one for found in pool.map(_asked, checks) for one in found]


def conditions(
    installation: Installation, env: str | None, market: Market | None
) -> list[real_money.Condition]:
    """Return what the asked environment wants before it trades, met or not; none for the demo."""
    if env is None or Env(env) is Env.DEMO:
        return []
    return bootstrap.conditions(installation, Env(env), market)


def text(findings: list[Finding]) -> str:
    """Return the findings as a user reads them."""
    lines = []
    for one in findings:
        lines.append(f"[{SEVERITY_TEXT[one['severity']]}] {one['cause']}")
        if one["action"]:
            lines.append(f"       → {one['action']}")
    bad = sum(f["severity"] == "error" for f in findings)
    lines.append("모두 정상입니다." if not bad else f"고칠 것이 {bad}가지 있습니다.")
    return "\n".join(lines)


def _asked(check: Check) -> list[Finding]:
    """Return what a check found; one that could not be made is itself found."""
    try:
        found = check()
    except Exception as error:  # whatever a broken file makes a library say
        return [
            finding(
                "CHECK_FAILED", "error",
                f"점검 하나를 마치지 못했습니다: {type(error).__name__}: {error}",
                "적힌 파일이나 설정을 살피고, 알 수 없으면 로그와 함께 개발자에게 알리십시오.",
            )
        ]  # fmt: skip
    return [found] if isinstance(found, dict) else list(found)


def _traded(installation: Installation) -> list[Market]:
    """Return the markets that have an account here; the configured one when none has."""
    app = installation.settings.app
    ledgers = {m: bootstrap.ledger_path(installation.home, app.env, m) for m in Market}
    return [m for m, path in ledgers.items() if path.exists()] or [app.market]


def _keys(installation: Installation, wanted: Env, market: Market) -> list[Finding]:
    if wanted is Env.DEMO:
        return [finding("KEYS", "info", "데모에는 한국투자증권 키가 필요 없습니다.")]
    found = [
        finding(c.code, "error", c.lacking, c.action)
        for c in bootstrap.conditions(installation, wanted, market)
        if not c.is_met
    ]
    found += account.account_numbers(installation, wanted)
    if wanted is Env.REAL:
        found += account.first_sessions(installation, market)
    if any(f["severity"] == "error" for f in found):
        return found
    return [finding("KEYS", "ok", f"{wanted} 거래를 시작할 수 있습니다."), *found]


def _account(installation: Installation, env: Env, market: Market) -> list[Finding]:
    profile: Literal["real", "paper"] = "real" if env is Env.REAL else "paper"
    if installation.secrets.missing(profile):
        # What the environment lacks is known without an account.
        return probes.gaps(Profile(profile), market)
    try:
        return probes.probe(installation, env, market)
    except TradingError as error:
        return [finding("KIS_ACCOUNT", "error", str(error))]
