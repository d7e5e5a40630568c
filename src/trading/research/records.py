"""Where the records of runs lie: written whole or not at all, found again by name or path.

``data/research/runs/<run id>/`` holds ``run.json`` and, where it was asked for, ``report.html``.
"""

from pathlib import Path

from trading.backtest.record import RunRecord, dumped, loaded
from trading.bootstrap import Installation
from trading.errors import SchemaError, UsageError

_FILE = "run.json"
_PAGE = "report.html"


def runs_dir(installation: Installation) -> Path:
    """Return the folder of all runs."""
    return installation.home.data_dir / "research" / "runs"


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
    path = Path(named).expanduser()
    if path.is_dir():
        return path / _FILE
    if path.is_file():
        return path
    folder = runs_dir(installation)
    known = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if named in known:
        return folder / named / _FILE
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
