"""Fully automatic trading of Korean and US shares through the KIS OpenAPI."""

import os
import sys
from hashlib import blake2b
from pathlib import Path

__version__ = "0.1.0"

# Here, because whatever starts the program (command line, flow, exchange) comes by before numpy is
# loaded, which reads them only then. More threads than free cores make an eigendecomposition of
# 200 names ten times slower, and its last bits depend on their number (law 3).
for _library in ("OPENBLAS", "MKL", "OMP"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")


_COMPILED = (
    "allocation", "backtest", "domain", "execution", "features", "models", "risk", "simulation",
    "store", "strategies", "ensemble.py",
)  # fmt: skip
_FOLDER = "compiled-"
_KEPT = 3
_DAY_SECONDS = 86_400


def _keep_compiled_code_apart() -> None:
    """Give each state of the sources a folder of its own for compiled functions.

    numba keys what it keeps on the file of a function alone: after an update of ``ensemble`` the
    plan that was compiled with the old one would go on deciding by it.
    """
    package = Path(__file__).parent
    digest = blake2b(digest_size=8)
    for name in _COMPILED:
        part = package / name
        for path in (part,) if part.is_file() else sorted(part.rglob("*.py")):
            digest.update(path.read_bytes())
    named = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(named) if named else package / "__pycache__"
    if base.name.startswith(_FOLDER):
        # Inherited from the process that started this one.
        base = base.parent
    folder = base / f"{_FOLDER}{digest.hexdigest()}"
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _forget_old(base)
    except OSError:
        # Nothing can be kept here; numba finds a place in the user's own cache, file by file.
        folder = Path.home() / ".cache" / "ai-trading" / folder.name
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)


def _forget_old(base: Path) -> None:
    """Keep the newest folders only; each holds some tens of megabytes.

    One made within the last day may be of a session that still runs and compiles into it.
    """
    import shutil

    made = sorted(base.glob(f"{_FOLDER}*"), key=lambda folder: folder.stat().st_mtime)
    latest = made[-1].stat().st_mtime
    for folder in made[:-_KEPT]:
        if latest - folder.stat().st_mtime > _DAY_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


_keep_compiled_code_apart()
