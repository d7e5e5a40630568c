"""What is kept: recorded history, lake, ledgers, models, outbox, backups, Prefect's and MLflow's books."""

import os
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from trading import bootstrap
from trading.backup import latest
from trading.bootstrap import Installation
from trading.clock import WallClock
from trading.config import Env
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT, model_text
from trading.errors import TradingError
from trading.notify.outbox import backlog
from trading.probes import Finding, finding
from trading.sessions import SessionCalendar

# Where Prefect and its server are told of another database than the file of their own.
_PREFECT_ELSEWHERE = (
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_API_DATABASE_CONNECTION_URL",
)


def dataset(installation: Installation) -> Finding:
    """Whether the recorded history can be read and holds the configured market."""
    market = installation.settings.app.market
    try:
        sessions = bootstrap.open_source(installation).sessions(market)
    except TradingError as error:
        return finding(
            "DATASET", "error", str(error), "config/app.yaml의 data.dataset을 고치십시오."
        )
    if not sessions:
        return finding(
            "DATASET_EMPTY", "error", f"{MARKET_TEXT[market]} 시장의 기록이 없습니다.",
            "data.dataset에 그 시장의 기록 폴더를 주십시오.",
        )  # fmt: skip
    return finding(
        "DATASET", "ok", f"기록 {len(sessions):,}거래일 ({sessions[0]} ~ {sessions[-1]})"
    )


def lake(installation: Installation) -> Finding:
    """Whether the files of the lake are those that were written; a big one is only counted."""
    from trading.store.lake import Lake

    kept = Lake(installation.home.data_dir / "lake")
    datasets = kept.status()["datasets"]
    size_mb = sum(d["bytes"] for d in datasets) / 1e6
    is_small = size_mb <= installation.settings.app.check.verify_lake_mb
    if is_small and (damages := kept.verify()):
        return finding(
            "LAKE_DAMAGED", "error",
            f"저장소의 파일 {len(damages):,}개가 손상됐습니다: {damages[0].path} …",
            "trading data repair로 치운 뒤 trading data backfill로 다시 받으십시오.",
        )  # fmt: skip
    clean = [d for d in datasets if d["layer"] == "clean"]
    if not clean:
        return finding("LAKE_EMPTY", "info", "저장소가 비어 있습니다. 하루를 돌리면 채워집니다.")
    rows = sum(d["rows"] for d in clean)
    if not is_small:
        return finding(
            "LAKE_UNVERIFIED", "info",
            f"저장소 {rows:,}행, {size_mb:,.0f} MB: 커서 파일의 해시는 견주지 않았습니다.",
            "trading data status --verify 로 견줍니다.",
        )  # fmt: skip
    return finding("LAKE", "ok", f"저장소 {rows:,}행, 파일이 모두 목록과 같습니다.")


def freshness(installation: Installation, market: Market) -> Finding:
    """How far the daily bars of the lake are behind the last session that has closed."""
    from trading.store.lake import Lake

    app, name = installation.settings.app, MARKET_TEXT[market]
    last = max(Lake(installation.home.data_dir / "lake").sessions(market), default=None)
    if last is None:
        return finding("LAKE_LAST", "info", f"저장소에 {name} 시장의 일봉이 없습니다.")
    if app.env is Env.DEMO:
        return finding("LAKE_LAST", "info", f"저장소의 {name} 시장 일봉은 {last}까지입니다.")
    missing = _closed_since(installation, market, last)
    if len(missing) > app.check.max_lake_lag_sessions:
        return finding(
            "LAKE_STALE", "error",
            f"저장소의 {name} 시장 일봉이 {last}에서 멈춰 {len(missing)}거래일 뒤졌습니다.",
            f"trading data backfill --source kis --market {market} 로 채우십시오.",
        )  # fmt: skip
    return finding("LAKE_LAST", "ok", f"저장소의 {name} 시장 일봉은 {last}까지로 새것입니다.")


def _closed_since(installation: Installation, market: Market, last: date) -> list[date]:
    """Return the closed sessions after ``last``, of the last weeks."""
    now = WallClock().now()
    calendar = SessionCalendar(market, installation.settings.markets[market], around=now.date())
    weeks = now.date() - timedelta(days=28)
    return [
        session
        for session in calendar.sessions(max(last + timedelta(days=1), weeks), now.date())
        if calendar.open_close(session)[1] < now
    ]


def ledger(installation: Installation, market: Market) -> Finding:
    """Whether the books of an account can be read."""
    path = bootstrap.ledger_path(installation.home, installation.settings.app.env, market)
    if not path.exists():
        return finding(
            "LEDGER_EMPTY", "info", f"{MARKET_TEXT[market]} 시장은 아직 거래한 기록이 없습니다."
        )
    if broken := _damage(path):
        return finding(
            "LEDGER_BROKEN", "error", f"장부 파일이 손상됐습니다: {path} ({broken})",
            "백업에서 되살리거나 파일을 옮기고 증권사 잔고로 새로 시작하십시오.",
        )  # fmt: skip
    # Opening it says what else keeps it from being used: a shape that this program does not know.
    try:
        bootstrap.open_ledger(
            installation.home, installation.settings.app.env, market, read_only=True
        ).close()
    except TradingError as error:
        return finding("LEDGER_BROKEN", "error", str(error), "맞는 판의 프로그램으로 여십시오.")
    return finding("LEDGER", "ok", f"장부 {path.name} 정상")


def champion(installation: Installation, market: Market) -> Finding:
    """Whether the models that trade are what was registered, by hash."""
    from trading.mlops import promote

    name = MARKET_TEXT[market]
    try:
        versions = promote.champions(installation.home, market)
        for family, version in versions.items():
            promote.load_version(installation.home, market, family, version)
    except TradingError as error:
        return finding(
            "MODEL_BROKEN", "error", str(error),
            "다음 세션이 등록소에서 다시 가져옵니다. 거기에도 없으면 다시 학습합니다 (trading train --force).",
        )  # fmt: skip
    if not versions:
        return finding(
            "MODEL_NONE", "info",
            f"{name} 시장은 아직 모델이 없습니다. 모델 없는 전략은 기권합니다.",
        )  # fmt: skip
    told = ", ".join(model_text(*item) for item in versions.items())
    return finding("MODEL", "ok", f"{name} 시장의 거래 모델: {told}, 해시 확인")


def outbox(installation: Installation) -> Finding:
    """Whether messages wait that should long have left."""
    path = installation.home.data_dir / "outbox.db"
    if not path.exists():
        return finding("OUTBOX", "ok", "기다리는 알림이 없습니다.")
    if broken := _damage(path):
        return finding(
            "OUTBOX_BROKEN", "error", f"알림 보관함이 손상됐습니다: {path} ({broken})",
            "다음 실행이 파일을 옆으로 옮기고 새로 만듭니다. 보내지 못한 알림은 잃습니다.",
        )  # fmt: skip
    minutes = installation.settings.app.check.outbox_minutes
    kept = backlog(path, before=WallClock().now() - timedelta(minutes=minutes))
    if kept.oldest is not None:
        why = f" 마지막 까닭: {kept.reason}" if kept.reason else ""
        return finding(
            "OUTBOX_STUCK", "error",
            f"{kept.oldest:%Y-%m-%d %H:%M}(UTC)부터 보내지 못한 알림이 {kept.late:,}건 있습니다.{why}",
            "trading notify test 로 메일과 웹훅 설정을 시험하십시오.",
        )  # fmt: skip
    return finding("OUTBOX", "ok", "오래 기다리는 알림이 없습니다.")


def backups(installation: Installation) -> Finding:
    """Whether there is a verified backup that is young enough."""
    app = installation.settings.app
    last = latest(installation.home)
    if last is None:
        has_traded = any((installation.home.data_dir / "ledger").glob(f"{app.env}-*.db"))
        return finding(
            "BACKUP_NONE", "info" if app.env is Env.DEMO or not has_traded else "error",
            "아직 백업이 없습니다.", "trading backup 으로 뜨십시오.",
        )  # fmt: skip
    age, path = WallClock().now() - last.ts, last.path
    if not path.exists():
        return finding(
            "BACKUP_LOST", "error", f"마지막 백업 파일이 없습니다: {path}",
            "옮겼으면 그대로 두고, 아니면 trading backup 으로 다시 뜨십시오.",
        )  # fmt: skip
    if not last.verified:
        return finding(
            "BACKUP_UNVERIFIED", "error", f"마지막 백업이 검증되지 않았습니다: {path}",
            "trading backup 으로 다시 뜨십시오.",
        )  # fmt: skip
    if age > timedelta(days=app.check.max_backup_days):
        return finding(
            "BACKUP_OLD", "info" if app.env is Env.DEMO else "error",
            f"마지막 백업이 {age.days}일 전의 것입니다: {path}", "trading backup 으로 뜨십시오.",
        )  # fmt: skip
    hours = age.total_seconds() / 3600
    return finding("BACKUP", "ok", f"마지막 백업은 {hours:,.0f}시간 전에 검증됐습니다: {path}")


def prefect(installation: Installation) -> Finding:
    """Whether Prefect's own database can be read, and how big it has become."""
    if elsewhere := next((name for name in _PREFECT_ELSEWHERE if os.environ.get(name)), None):
        return finding(
            "PREFECT_STORE", "info", f"Prefect의 장부는 {elsewhere}가 정한 곳에 있습니다."
        )
    folder = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    return _store(
        installation, "PREFECT", "Prefect", folder / "prefect.db", ("flow_run", "alembic_version"),
        "make serve 가 처음 만듭니다.",
        "Prefect 서버를 끄고 파일을 옮긴 뒤 make serve 를 다시 하십시오. 거래 기록은 여기에 없습니다.",
    )  # fmt: skip


def mlflow(installation: Installation) -> Finding:
    """Whether the register of models can be read."""
    return _store(
        installation, "MLFLOW", "MLflow", installation.home.mlruns_dir / "mlflow.db",
        ("runs", "registered_models", "alembic_version"),
        "첫 학습이 만듭니다.",
        "trading restore 로 백업에서 되살리십시오. 거래 중인 모델은 data/models에 따로 있습니다.",
    )  # fmt: skip


def _store(
    installation: Installation, code: str, name: str, path: Path, tables: tuple[str, ...],
    without: str, remedy: str,
) -> Finding:  # fmt: skip
    if not path.exists():
        return finding(f"{code}_STORE_NONE", "info", f"{name}의 장부가 아직 없습니다. {without}")
    size_gb = path.stat().st_size / 1e9
    limit = installation.settings.app.check.max_store_gb
    # Reading a big file whole takes long: of that one only the shape is looked at.
    broken = _damage(path, whole=size_gb <= limit / 10)
    if not broken:
        with closing(_reader(path)) as db:
            there = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
        missing = [table for table in tables if table not in there]
        broken = f"없는 표: {', '.join(missing)}" if missing else ""
    if broken:
        return finding(
            f"{code}_STORE_BROKEN", "error",
            f"{name}의 장부를 읽을 수 없습니다: {path} ({broken})", remedy,
        )  # fmt: skip
    if size_gb > limit:
        return finding(
            f"{code}_STORE_BIG", "info", f"{name}의 장부가 {size_gb:.1f} GB로 커졌습니다: {path}",
            "오래된 실행을 지우거나 PostgreSQL로 옮기십시오 (docs/prefect.md).",
        )  # fmt: skip
    return finding(f"{code}_STORE", "ok", f"{name}의 장부 정상, {size_gb * 1000:,.1f} MB")


def _damage(path: Path, *, whole: bool = True) -> str:
    """Return what is wrong with an SQLite file, empty when nothing is."""
    try:
        with closing(_reader(path)) as db:
            if not whole:
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
                return ""
            verdict = str(db.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if verdict == "ok" else verdict


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)
