"""Compiled functions are those of the sources that are there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_ASK = "import os, trading; print(os.environ['NUMBA_CACHE_DIR'])"


def folder(source: Path, **environment: str) -> Path:
    """Return where a program that imports the package of ``source`` keeps what it compiles."""
    clean = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        env=clean | {"PYTHONPATH": str(source)} | environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


def test_changed_sources_have_a_folder_of_their_own(tmp_path):
    """A changed line of what is compiled changes the folder; one of the command line does not."""
    source = tmp_path / "src"
    shutil.copytree(
        CHECKOUT / "src" / "trading",
        source / "trading",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    first = folder(source)
    (source / "trading" / "cli.py").write_text("# nothing\n")
    same = folder(source)
    ensemble = source / "trading" / "ensemble.py"
    ensemble.write_text(ensemble.read_text("utf-8") + "\n# changed\n", "utf-8")
    changed = folder(source)

    assert first == same != changed
    assert first.parent == changed.parent == source / "trading" / "__pycache__"
    assert changed.is_dir()


def test_a_named_folder_is_kept_and_inherited(tmp_path):
    """Who names a folder gets one inside it, and a child process the same as its parent."""
    inside = folder(CHECKOUT / "src", NUMBA_CACHE_DIR=str(tmp_path))
    child = folder(CHECKOUT / "src", NUMBA_CACHE_DIR=str(inside))

    assert inside.parent == tmp_path
    assert child == inside


def test_old_folders_go_and_those_of_running_sessions_stay(tmp_path):
    """Of many states the newest stay, and whatever was made within a day of the newest."""
    for age_hours in (1, 20, 30, 40, 50):
        made = tmp_path / f"compiled-{age_hours:016d}"
        made.mkdir()
        stamp = made.stat().st_mtime - age_hours * 3600
        os.utime(made, (stamp, stamp))

    newest = folder(CHECKOUT / "src", NUMBA_CACHE_DIR=str(tmp_path))

    assert {path.name for path in tmp_path.iterdir()} == {
        newest.name, f"compiled-{1:016d}", f"compiled-{20:016d}",
    }  # fmt: skip
