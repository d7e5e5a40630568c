"""The commands of models on a real registry: what they show, refuse, and end with."""

import json
import sqlite3
import sys
from contextlib import closing

import pytest

from trading.cli import _guarded, app
from trading.config import resolve_root
from trading.domain.instrument import Market
from trading.mlops.promote import champion_version, install
from trading.mlops.tracking import MlflowRegistry
from trading.notify import Event


@pytest.fixture
def bare_home(tmp_path):
    """A home as ``trading`` finds it, with the shipped configuration."""
    return resolve_root(tmp_path)


@pytest.fixture
def command(bare_home, monkeypatch, capsys):
    """Return what runs ``trading`` in a home and gives exit code and output."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["trading", "--root", str(bare_home.root), *words])
        code = _guarded(lambda: app.execute("trading"))
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def two(home, register):
    """A champion and a version that was not proven."""
    install(home, MlflowRegistry(home.mlruns_dir), register(), "forest-us")
    register(proven=False)
    return home


def test_models(two, command):
    """Versions, aliases, verdicts, and until when a champion may be asked."""
    code, out = command("models", "--market", "us", "--json")
    first, second = json.loads(out)["models"]

    assert code == 0
    assert (first["aliases"], first["trades"], first["proven"]) == (["champion"], True, True)
    assert (second["aliases"], second["trades"], second["proven"]) == ([], False, False)
    # 250 sessions of New York after 2006-02-10.
    assert first["expires"] == "2007-02-09"
    shown = command("models", "--market", "us")[1]
    assert "랜덤 포레스트" in shown and "증명되지 않음" in shown


def test_models_of_an_empty_home(bare_home, command):
    """Nothing registered is no error, and nothing is made by asking."""
    code, out = command("models", "--market", "us")

    assert code == 0 and "trading train" in out
    assert not bare_home.mlruns_dir.exists()


def test_promotion_by_hand(two, command):
    """Refused without proof with exit code 1; promoted, tagged and notified with the word."""
    assert command("promote", "2", "--market", "us")[0] == 1
    assert champion_version(two, Market.US, "forest") == 1

    code, out = command("promote", "2", "--market", "us", "--without-proof", "--json")

    assert (code, json.loads(out)["version"]) == (0, 2)
    assert champion_version(two, Market.US, "forest") == 2
    tags = MlflowRegistry(two.mlruns_dir).version("forest-us", 2).tags
    assert tags["moved"] == "운영자가 증명 없이 승격"
    with closing(sqlite3.connect(two.data_dir / "outbox.db")) as db:
        told = db.execute(
            "SELECT count(*) FROM outbox WHERE event = ?", (Event.PROMOTED,)
        ).fetchone()
    assert told == (1,)


def test_rollback(two, command):
    """One command; without a predecessor it ends with 3 and one Korean sentence."""
    assert command("rollback", "--market", "us")[0] == 3
    command("promote", "2", "--market", "us", "--without-proof")

    code, out = command("rollback", "--market", "us", "--json")

    assert (code, json.loads(out)["version"], json.loads(out)["previous"]) == (0, 1, 2)
    assert champion_version(two, Market.US, "forest") == 1


def test_wrong_words(two, command):
    """An unknown family is a usage error, an unknown version a failure."""
    assert command("rollback", "--family", "oracle")[0] == 2
    assert command("promote", "77", "--market", "us")[0] == 3
