"""``trading check``: what is wrong with this installation, why, and what to do about it."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from trading import bootstrap, probes
from trading.bootstrap import Installation
from trading.config import Env
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT, model_text
from trading.errors import TradingError
from trading.probes import Finding
from trading.probes import finding as _finding
from trading.wire.endpoints import Profile

MIN_FREE_GB = 5.0
_SEVERITY_TEXT = {"ok": "정상", "info": "참고", "error": "문제"}


def examine(
    installation: Installation, env: str | None = None, market: Market | None = None
) -> list[Finding]:
    """Return one finding a check: code, severity (ok, info, error), cause, action.

    Missing KIS keys are information while the demo is configured; ``env`` asks what still keeps
    that environment from trading and, where its keys are given, the account itself what it can
    do. No order is sent.
    """
    checks: list[Callable[[Installation], Finding]] = [_disk, _settings, _dataset, _lake]
    findings = [check(installation) for check in checks]
    for each in [market] if market is not None else _traded(installation):
        findings += [_ledger(installation, each), _champion(installation, each)]
    findings += [_mail(installation), *_keys(installation, env)]
    wanted = Env(env) if env is not None else Env.DEMO
    if wanted is Env.DEMO:
        return findings
    asked = market or installation.settings.app.market
    profile: Literal["real", "paper"] = "real" if wanted is Env.REAL else "paper"
    if not installation.secrets.missing(profile):
        return findings + _account(installation, wanted, asked)
    # What the environment lacks is known without an account.
    return findings + probes.gaps(Profile(profile), asked)


def text(findings: list[Finding]) -> str:
    """Return the findings as a user reads them."""
    lines = []
    for finding in findings:
        lines.append(f"[{_SEVERITY_TEXT[finding['severity']]}] {finding['cause']}")
        if finding["action"]:
            lines.append(f"       → {finding['action']}")
    bad = sum(f["severity"] == "error" for f in findings)
    lines.append("모두 정상입니다." if not bad else f"고칠 것이 {bad}가지 있습니다.")
    return "\n".join(lines)


def _disk(installation: Installation) -> Finding:
    free = shutil.disk_usage(_standing(installation.home.root)).free / 1e9
    if free < MIN_FREE_GB:
        return _finding(
            "DISK_LOW", "error", f"디스크 여유가 {free:.1f} GB뿐입니다.",
            f"{MIN_FREE_GB:.0f} GB 이상 비워 주십시오.",
        )  # fmt: skip
    return _finding("DISK", "ok", f"디스크 여유 {free:.1f} GB")


def _settings(installation: Installation) -> Finding:
    app = installation.settings.app
    return _finding(
        "SETTINGS", "ok",
        f"설정을 읽었습니다: 환경 {app.env}, 시장 {MARKET_TEXT[app.market]} "
        f"({installation.home.config_dir})",
    )  # fmt: skip


def _dataset(installation: Installation) -> Finding:
    market = installation.settings.app.market
    try:
        sessions = bootstrap.open_source(installation).sessions(market)
    except TradingError as error:
        return _finding(
            "DATASET", "error", str(error), "config/app.yaml의 data.dataset을 고치십시오."
        )
    if not sessions:
        return _finding(
            "DATASET_EMPTY", "error", f"{MARKET_TEXT[market]} 시장의 기록이 없습니다.",
            "data.dataset에 그 시장의 기록 폴더를 주십시오.",
        )  # fmt: skip
    return _finding(
        "DATASET", "ok", f"기록 {len(sessions):,}거래일 ({sessions[0]} ~ {sessions[-1]})"
    )


def _lake(installation: Installation) -> Finding:
    from trading.store.lake import Lake

    lake = Lake(installation.home.data_dir / "lake")
    if damages := lake.verify():
        return _finding(
            "LAKE_DAMAGED", "error", f"저장소의 파일 {len(damages):,}개가 손상됐습니다: {damages[0].path} …",
            "trading data repair로 치운 뒤 trading data backfill로 다시 받으십시오.",
        )  # fmt: skip
    datasets = lake.status()["datasets"]
    clean = [d for d in datasets if d["layer"] == "clean"]
    if not clean:
        return _finding("LAKE_EMPTY", "info", "저장소가 비어 있습니다. 하루를 돌리면 채워집니다.")
    rows = sum(d["rows"] for d in clean)
    return _finding("LAKE", "ok", f"저장소 {rows:,}행")


def _traded(installation: Installation) -> list[Market]:
    """Return the markets that have an account here; the configured one when none has."""
    app = installation.settings.app
    ledgers = {m: bootstrap.ledger_path(installation.home, app.env, m) for m in Market}
    return [m for m, path in ledgers.items() if path.exists()] or [app.market]


def _ledger(installation: Installation, market: Market) -> Finding:
    path = bootstrap.ledger_path(installation.home, installation.settings.app.env, market)
    if not path.exists():
        return _finding(
            "LEDGER_EMPTY", "info", f"{MARKET_TEXT[market]} 시장은 아직 거래한 기록이 없습니다."
        )
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            verdict = db.execute("pragma quick_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        return _finding(
            "LEDGER_BROKEN", "error", f"장부 파일이 손상됐습니다: {path} ({verdict})",
            "백업에서 되살리거나 파일을 옮기고 증권사 잔고로 새로 시작하십시오.",
        )  # fmt: skip
    return _finding("LEDGER", "ok", f"장부 {path.name} 정상")


def _champion(installation: Installation, market: Market) -> Finding:
    from trading.mlops import promote

    name = MARKET_TEXT[market]
    try:
        versions = promote.champions(installation.home, market)
        for family, version in versions.items():
            promote.load_version(installation.home, market, family, version)
    except TradingError as error:
        return _finding(
            "MODEL_BROKEN", "error", str(error),
            "다음 세션이 등록소에서 다시 가져옵니다. 거기에도 없으면 다시 학습합니다 (trading train --force).",
        )  # fmt: skip
    if not versions:
        return _finding(
            "MODEL_NONE", "info",
            f"{name} 시장은 아직 모델이 없습니다. 모델 없는 전략은 기권합니다.",
        )  # fmt: skip
    told = ", ".join(model_text(*item) for item in versions.items())
    return _finding("MODEL", "ok", f"{name} 시장의 거래 모델: {told}, 해시 확인")


def _mail(installation: Installation) -> Finding:
    settings = installation.settings.notify
    if settings.mail.host is None and settings.webhook.url is None:
        return _finding(
            "NOTIFY_NONE", "info", "메일과 웹훅을 설정하지 않아 알림은 로그에만 남습니다.",
            "config/notify.yaml의 mail.host와 TRADING_MAIL_TO를 정하십시오.",
        )  # fmt: skip
    if settings.mail.host is not None and not installation.secrets.mail_recipients:
        return _finding(
            "MAIL_NO_RECIPIENT", "error", "메일 받는 사람이 없습니다.",
            "환경 변수 TRADING_MAIL_TO에 주소를 넣으십시오.",
        )  # fmt: skip
    return _finding("NOTIFY", "ok", "알림 설정이 있습니다.")


def _keys(installation: Installation, env: str | None) -> list[Finding]:
    wanted = Env(env) if env is not None else installation.settings.app.env
    if wanted is Env.DEMO:
        return [_finding("KEYS", "info", "데모에는 한국투자증권 키가 필요 없습니다.")]
    unmet = bootstrap.unmet_conditions(installation, wanted)
    if not unmet:
        return [_finding("KEYS", "ok", f"{wanted} 거래를 시작할 수 있습니다.")]
    return [_finding("NOT_READY", "error", sentence, "") for sentence in unmet]


def _account(installation: Installation, env: Env, market: Market) -> list[Finding]:
    try:
        return probes.probe(installation, env, market)
    except TradingError as error:
        return [_finding("KIS_ACCOUNT", "error", str(error))]


def _standing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())
