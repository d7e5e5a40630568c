"""The commands of models on a real registry: what they show, refuse, and end with."""

import json
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, date, datetime

import pytest

from trading.bootstrap import open_ledger
from trading.cli import _guarded, app
from trading.config import Env, resolve_root
from trading.context import Run
from trading.domain.instrument import Market
from trading.mlops.promote import champion_version, install, write_json
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
    # Before the session of 2007-02-12, 250 sessions of New York have passed since 2006-02-10.
    assert first["expires"] == "2007-02-12"
    shown = command("models", "--market", "us")[1]
    assert "랜덤 포레스트" in shown and "증명되지 않음" in shown


def test_models_taught_at_the_end_of_the_calendar(home, register, command):
    """Of a model that outlives the law that is stated nobody knows the day; all are still listed."""
    install(home, MlflowRegistry(home.mlruns_dir), register(through=date(2027, 6, 1)), "forest-us")

    code, out = command("models", "--market", "us", "--json")

    assert (code, json.loads(out)["models"][0]["expires"]) == (0, None)
    assert "2027-12-31 뒤" in command("models", "--market", "us")[1]


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


def begun(home, first):
    """Begin an account whose first session is ``first``."""
    ledger = open_ledger(home, Env.DEMO, Market.US)
    run = Run(
        run_id=f"us-{first}", market=Market.US, first_session=first, sessions=1, first_bar=first,
        starting_cash=1, dataset=None, profile="real", asked={},
    )  # fmt: skip
    ledger.append(run.record(datetime(first.year, first.month, first.day, tzinfo=UTC)))
    ledger.close()


def refuse(home, model):
    """Let the check after 2006-03-01 have refused a model."""
    write_json(
        home.data_dir / "health" / "us" / "2006-03-01.json",
        {"models": [], "refused": [model.fingerprint]},
    )


def test_what_is_promoted_and_cannot_vote_is_said(home, register, command, model):
    """Nothing against it: it trades; refused, expired or of other features: what happens instead."""
    register()
    other = register(feature_fingerprint="other")

    def said(version=1):
        code, out = command("promote", str(version), "--market", "us")
        assert code == 0
        return out.splitlines()[-1]

    begun(home, date(2006, 3, 2))
    trades = said()
    of_other_features = said(other)
    refuse(home, model)
    refused = said()
    (home.data_dir / "health" / "us" / "2006-03-01.json").unlink()
    begun(home, date(2007, 2, 12))
    on_its_last_day = said()
    begun(home, date(2007, 2, 13))
    expired = said()

    assert "다음 세션부터 거래합니다" in trades and "다음 세션부터 거래합니다" in on_its_last_day
    assert "자동으로 내려옵니다" in refused
    assert "기권합니다" in of_other_features and "특성" in of_other_features
    assert "기권합니다" in expired and "만료" in expired
    for objected in (refused, of_other_features, expired):
        assert "다음 세션부터 거래합니다" not in objected
        assert "trading train --family forest --market us --force" in objected


def test_what_is_rolled_back_to_and_cannot_vote_is_said(two, command, model):
    """Rolled back to a refused version, the operator hears that the morning undoes it."""
    command("promote", "2", "--market", "us", "--without-proof")
    begun(two, date(2006, 3, 2))
    refuse(two, model)

    code, out = command("rollback", "--market", "us", "--json")

    assert code == 0
    assert "자동으로 내려옵니다" in json.loads(out)["objection"]
    with closing(sqlite3.connect(two.data_dir / "outbox.db")) as db:
        (told,) = db.execute("SELECT body FROM outbox ORDER BY rowid DESC LIMIT 1").fetchone()
    assert "자동으로 내려옵니다" in json.loads(told)["message"]


def test_wrong_words(two, command):
    """An unknown family is a usage error, an unknown version a failure."""
    assert command("rollback", "--family", "oracle")[0] == 2
    assert command("promote", "77", "--market", "us")[0] == 3
