"""Where the records of runs lie: written whole or not at all, found again by name or path.

``data/research/runs/<run id>/`` holds ``run.json`` and, where it was asked for, ``report.html``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trading.backtest.record import Evidence, RunRecord, dumped, loaded, record_of
from trading.backtest.runner import BacktestResult
from trading.backtest.trials import Count
from trading.bootstrap import Installation, research_dir
from trading.errors import SchemaError, UsageError
from trading.research.history import History, evidence_of

if TYPE_CHECKING:
    from trading.backtest.page import Language

_FILE = "run.json"
_PAGE = "report.html"


def runs_dir(installation: Installation) -> Path:
    """Return the folder of all runs."""
    return research_dir(installation.home) / "runs"


def record_run(
    installation: Installation,
    history: History,
    result: BacktestResult,
    strategy: str,
    replayed: Mapping[str, int],
    trials: Count,
) -> RunRecord:
    """Return the record of a run by the configured parameters of ``strategy``."""
    strategies = installation.settings.strategies.model_dump(mode="json")
    policy = history.policy
    told = evidence_of(history)
    return record_of(
        result,
        history.raw,
        history.adjusted,
        history.actions,
        strategy=strategy,
        # All that decided, so that two runs can be told apart by what was set.
        params={
            **strategies.get(strategy, strategies),
            "allocation": policy.allocation.model_dump(mode="json"),
            "risk": policy.risk.model_dump(mode="json"),
            "orders": policy.orders.model_dump(mode="json"),
            "default_exits": policy.exits.model_dump(mode="json"),
        },
        sessions_per_year=policy.sessions_per_year,
        policy_hash=policy.hash,
        evidence=Evidence(
            price_basis=history.raw.basis,
            survivorship=told["survivorship"],
            survivorship_text=told["survivorship_text"],
            are_sectors_of_today=told["are_sectors_of_today"],
            replayed=dict(replayed),
        ),
        most_charts=installation.settings.research.report.charts,
        trials=trials,
        names=history.names,
    )


def publish(installation: Installation, record: RunRecord, language: "Language") -> dict[str, str]:
    """Keep a run, write its page, and return its id and both paths."""
    from trading.backtest.page import Words, render
    from trading.backtest.report import run_page

    folder = save(installation, record)
    words = Words(language)
    page = run_page(record, words, installation.settings.research.report)
    return {
        "run_id": record.run_id,
        "run": str(folder / _FILE),
        "report": str(save_page(folder, render(page, words))),
    }


def save(installation: Installation, record: RunRecord) -> Path:
    """Write a record durably and return its folder; the same run again replaces itself."""
    from trading.store.parts import make_durably, write_durably

    folder = runs_dir(installation) / record.run_id
    make_durably(folder)
    write_durably(folder / _FILE, dumped(record))
    return folder


def save_page(folder: Path, html: str, name: str = _PAGE) -> Path:
    """Write a page durably into ``folder`` and return its path."""
    from trading.store.parts import make_durably, write_durably

    make_durably(folder)
    write_durably(folder / name, html.encode())
    return folder / name


def load(installation: Installation, named: str) -> RunRecord:
    """Return a run by its id, the beginning of its id, its folder, or its file.

    Raises
    ------
    UsageError
        When there is no such run, or several begin like this.
    SchemaError
        When its file is damaged.
    """
    path = _find(installation, named)
    try:
        record = loaded(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"실행 기록 파일이 없습니다: {path}") from None
    except OSError as error:
        raise SchemaError(f"실행 기록을 읽을 수 없습니다: {path} ({error.strerror})") from error
    except ValueError as error:
        raise SchemaError(
            f"실행 기록이 손상되었거나 이 판의 것이 아닙니다: {path} — 백테스트를 --report로 다시 "
            "돌리면 새로 쓰입니다."
        ) from error
    return record


def _find(installation: Installation, named: str) -> Path:
    folder = runs_dir(installation)
    known = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if named in known:
        return folder / named / _FILE
    path = Path(named).expanduser()
    if (path / _FILE).is_file():
        return path / _FILE
    if path.is_file():
        return path
    found = [name for name in known if named and name.startswith(named)]
    if len(found) == 1:
        return folder / found[0] / _FILE
    if found:
        raise UsageError(f"{named}(으)로 시작하는 실행이 여럿입니다: {', '.join(found[:5])}")
    if not known:
        raise UsageError(
            "저장된 실행이 없습니다. trading backtest 전략 --report 로 실행을 남겨 주십시오."
        )
    raise UsageError(f"없는 실행입니다: {named} (있는 것: {', '.join(known[-5:])})")
