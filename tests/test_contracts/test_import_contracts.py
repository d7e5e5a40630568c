"""Each import contract finds the violation that it exists for."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

# One importer that must not, and what it must not import, for each contract but the floors.
PLANTED = {
    "adapters": ("trading.live.session", "trading.store.lake"),
    "pure": ("trading.domain.order", "sqlite3"),
    "prefect": ("trading.store.lake", "prefect"),
    "mlflow": ("trading.mlops.train", "mlflow"),
    "torch": ("trading.models.inference", "torch"),
    "great_expectations": ("trading.store.lake", "great_expectations"),
    "optuna": ("trading.models.forest", "optuna"),
    "sockets": ("trading.notify", "requests"),
    "asgi": ("trading.notify", "starlette"),
    "time_series": ("trading.models.forest", "statsmodels"),
    "learning": ("trading.risk.var", "sklearn"),
    "calendars": ("trading.config", "exchange_calendars"),
    "talib": ("trading.strategies.technical", "talib"),
    "structlog": ("trading.notify", "structlog"),
    "pages": ("trading.reporting", "streamlit"),
    "storage": ("trading.reporting", "pyarrow"),
    "messages": ("trading.reporting", "aiosmtplib"),
}


def contracts() -> configparser.ConfigParser:
    """Return the checkout's contract file."""
    parser = configparser.ConfigParser()
    parser.read(CHECKOUT / ".importlinter", encoding="utf-8")
    return parser


def floors() -> list[list[str]]:
    """Return the layers from the top down, each as the modules that exist."""
    lines = contracts()["importlinter:contract:floors"]["layers"].split("\n")
    layers = [re.findall(r"[\w.]+", line) for line in lines if line.strip()]
    found = [[name for name in layer if module_file(CHECKOUT, name).exists()] for layer in layers]
    return [layer for layer in found if layer]


def module_file(checkout: Path, name: str) -> Path:
    """Return the file in which the module or package ``name`` is written."""
    base = checkout / ("src" if name.startswith("trading") else ".")
    path = base.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def plant(checkout: Path, importer: str, imported: str) -> None:
    """Append an import to the importer's file."""
    file = module_file(checkout, importer)
    file.write_text(f"{file.read_text(encoding='utf-8')}\nimport {imported}\n", encoding="utf-8")


def lint(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over a copy."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": f"{checkout / 'src'}{os.pathsep}{checkout}"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the sources and the contracts."""
    for folder in ("src/trading", "flows", "tasks"):
        shutil.copytree(
            CHECKOUT / folder,
            tmp_path / folder,
            ignore=shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc"),
        )
    shutil.copy(CHECKOUT / ".importlinter", tmp_path)
    return tmp_path


def test_the_checkout_keeps_every_contract(copy):
    """As it is, no contract is broken."""
    result = lint(copy)

    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_every_contract_finds_its_violation(copy):
    """One forbidden import per contract breaks every contract, and each is named."""
    sections = [name for name in contracts().sections() if ":contract:" in name]
    assert {name.rsplit(":", 1)[1] for name in sections} == {"floors", *PLANTED}
    for importer, imported in PLANTED.values():
        plant(copy, importer, imported)
    plant(copy, "trading.errors", "trading.clock")

    result = lint(copy)

    assert f"0 kept, {len(sections)} broken" in result.stdout, result.stdout
    for importer, imported in PLANTED.values():
        assert re.search(rf"{re.escape(importer)} -> {re.escape(imported)}\b", result.stdout)


def test_no_floor_may_import_the_one_above(copy):
    """Between each two neighbouring floors an upward import is found, and named."""
    layers = floors()
    pairs = [(below[0], above[0]) for above, below in pairwise(layers)]
    for below, above in pairs:
        plant(copy, below, above)

    result = lint(copy)

    assert result.returncode == 1
    for below, above in pairs:
        assert f"{below} is not allowed to import {above}" in result.stdout
