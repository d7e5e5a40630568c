"""docs/strategies.md: one file and one block make a strategy that every command knows."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
PAGE = (CHECKOUT / "docs" / "strategies.md").read_text("utf-8")
# What the file's place in the package would do by itself.
_RUN = """
import sys, trading.strategies
trading.strategies.__path__.append(sys.argv.pop(1))
from trading.cli import main
main()
"""


def block(language):
    """Return the page's only code block in ``language``."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return found


def test_the_page_works(tmp_path):
    """File and block as printed: a backtest trades by them, a wrong value is told in Korean."""
    own, root = tmp_path / "own", tmp_path / "home"
    own.mkdir()
    (own / "donchian.py").write_text(block("python"), encoding="utf-8")
    shutil.copytree(CHECKOUT / "config", root / "config")
    strategies = root / "config" / "strategies.yaml"
    shipped = strategies.read_text("utf-8")
    strategies.write_text(shipped + block("yaml"), encoding="utf-8")
    commands = re.findall(r"^\.venv/bin/trading (backtest .*)$", PAGE, flags=re.MULTILINE)

    done = trading(own, root, *commands[0].split(), "--json")
    strategies.write_text(shipped + block("yaml").replace("enter: 20", "enter: 1"), "utf-8")
    wrong = trading(own, root, *commands[0].split(), "--json")

    body = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert body["orders"] > 20
    assert body["cash_difference"] == 0
    assert wrong.returncode == 2
    assert "donchian.enter" in wrong.stderr
    assert "2 이상" in wrong.stderr


def trading(own, root, *words):
    """Run the command line with the strategy in ``own``."""
    return subprocess.run(
        [sys.executable, "-c", _RUN, str(own), "--root", str(root), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONUTF8": "1"},
        check=False,
    )
