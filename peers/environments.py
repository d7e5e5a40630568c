"""The environments of the peers, made once for each list of versions.

Each lives in ``.venv-peers-NAME/`` beside ours; ``installed.txt`` in it, written last, is the list
that it was made from. ``environments.py NAME …`` makes those named, as ``nautilus``, which is only
timed. Standard library only.
"""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Two, because vectorbt and pybroker need older versions of numpy and plotly than the others.
ENVIRONMENTS = ("main", "vbt")
ENGINES: Mapping[str, str] = {
    "backtrader": "main",
    "backtesting": "main",
    "bt": "main",
    "numba": "main",
    "callback": "main",
    "vectorbt": "vbt",
    "pybroker": "vbt",
    "nautilus": "nautilus",
}

# Where the package is called otherwise than the engine.
PACKAGES = {"pybroker": "lib-pybroker", "nautilus": "nautilus_trader"}


def folder(name: str) -> Path:
    """Return where an environment lives."""
    return ROOT / f".venv-peers-{name}"


def python_of(engine: str) -> Path:
    """Return the interpreter that has ``engine``."""
    return folder(ENGINES[engine]) / "bin" / "python"


def goog() -> Path:
    """Return the history that backtesting.py ships, as ``engines.workloads`` reads it."""
    return folder("main") / "goog.npz"


def is_ready(names: Sequence[str] = ENVIRONMENTS) -> bool:
    """Whether the environments are what the lists of today say."""
    return all(_is_made(name) for name in names)


def ensure(names: Sequence[str] = ENVIRONMENTS) -> None:
    """Make what is missing; ends the program with 2 and one sentence when that is not possible."""
    unknown = [name for name in names if not _requirements(name).is_file()]
    if unknown:
        sys.stderr.write(f"그런 환경은 없습니다: {', '.join(unknown)}\n")
        raise SystemExit(2)
    missing = [name for name in names if not _is_made(name)]
    for number, name in enumerate(missing, start=1):
        _make(name, f"[{number}/{len(missing)}] 비교할 라이브러리를 설치합니다 ({name})")


def _requirements(name: str) -> Path:
    return HERE / f"requirements-{name}.txt"


def _wanted(name: str) -> str:
    version = ".".join(map(str, sys.version_info[:2]))
    return f"# Python {version}\n{_requirements(name).read_text(encoding='utf-8')}"


def _is_made(name: str) -> bool:
    home = folder(name)
    installed = home / "installed.txt"
    # The interpreter is a link: it leads nowhere after the Python below it has gone.
    if not installed.is_file() or not (home / "bin" / "python").exists():
        return False
    return installed.read_text(encoding="utf-8") == _wanted(name)


def _make(name: str, title: str) -> None:
    home = folder(name)
    log = ROOT / "build" / f"peers-{name}.log"
    log.parent.mkdir(exist_ok=True)
    python = str(home / "bin" / "python")
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [
            python, "-u", "-m", "pip", "install", "--disable-pip-version-check", "--retries", "2",
            "--timeout", "20", "-r", str(_requirements(name)),
        ],
    ]  # fmt: skip
    if name == "main":
        steps.append([python, str(HERE / "run_engine.py"), "export", str(goog())])
    log.write_text("", encoding="utf-8")
    sys.stderr.write(f"{title}: 처음에는 몇 분 걸립니다\n")
    for step in steps:
        with log.open("a", encoding="utf-8") as out:
            process = subprocess.Popen(step, stdout=out, stderr=subprocess.STDOUT)
        while process.poll() is None:
            _tell(title, log)
            time.sleep(1)
        if process.returncode != 0:
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
            sys.stderr.write("\n" + "\n".join(tail) + "\n")
            sys.stderr.write(
                "비교할 라이브러리를 설치하지 못했습니다: 인터넷 연결을 확인한 뒤 다시 실행해 주세요 "
                f"({log.relative_to(ROOT)}).\n"
            )
            raise SystemExit(2)
    (home / "installed.txt").write_text(_wanted(name), encoding="utf-8")
    if sys.stderr.isatty():
        sys.stderr.write("\n")


def _tell(title: str, log: Path) -> None:
    """Rewrite the line of progress; elsewhere than on a terminal it is written once."""
    if sys.stderr.isatty():
        text = log.read_text(encoding="utf-8", errors="replace")
        doing = ", 설치하는 중" if "Installing collected" in text else ""
        sys.stderr.write(f"\r{title}: 받은 패키지 {text.count('Collecting '):,}개{doing} ")
        sys.stderr.flush()


if __name__ == "__main__":
    ensure(sys.argv[1:] or ENVIRONMENTS)
