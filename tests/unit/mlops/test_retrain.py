"""A model's way from history to a verdict: proof, deadlines, failures, and being killed."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trading.backtest.trials import TrialLedger, trials_path
from trading.domain.instrument import Market
from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops import retrain as training
from trading.mlops.promote import champion_version, champions, list_models, load_champion
from trading.mlops.retrain import is_due, last_report, retrain, retrain_all
from trading.mlops.tracking import MlflowRegistry, aliases
from trading.mlops.train import Configuration, configuration_hash, train
from trading.models.base import (
    BoostingSettings,
    DriftSettings,
    ForestSettings,
    GateSettings,
    ModelSettings,
)

SMALL = ModelSettings(
    forest=ForestSettings(trees=4), boosting=BoostingSettings(trees=4, patience=2)
)
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _not_traded(monkeypatch, track):
    """The account that follows a walk-forward takes seconds: here it is always the same one."""
    monkeypatch.setattr(training, "trade_forecasts", lambda *_: track)


def tried(home):
    """Return how many configurations the trial ledger knows."""
    with TrialLedger(trials_path(home.data_dir)) as ledger:
        return ledger.count(Market.US).distinct


def test_a_model_comes_to_trade(home, venue):
    """Trained, registered, judged: the first forest trades unproven, a worse one does not."""
    early = venue(1500)
    assert is_due(home, early.adjusted, early.features, SMALL)
    with pytest.raises(ModelError):
        retrain(venue(200), home, SMALL)
    assert last_report(home, Market.US) is None

    first = retrain(early, home, SMALL)

    assert (first.version, first.promoted, first.verdict) == (1, True, "not_proven")
    assert json.loads(json.dumps(first.to_json()))["panel_end"] == str(early.adjusted.sessions[-1])
    champion = load_champion(home, Market.US, "forest")
    assert MlflowRegistry(home.mlruns_dir).load("forest-us", "champion").fingerprint == (
        champion.fingerprint
    )
    assert "<html" in Path(first.page).read_text("utf-8")
    assert json.loads(Path(first.page).with_suffix(".json").read_text("utf-8"))["promoted"] is True

    # Three sessions later nothing is due; two more and it is.
    soon = retrain(venue(1503), home, SMALL)
    assert (soon.trained, soon.version) == (False, 1)
    assert is_due(home, venue(1505).adjusted, early.features, SMALL)
    assert is_due(home, venue(1501).adjusted, early.features, SMALL, is_full=True)
    # A model of other features, or from the future, cannot be asked: train at once.
    assert is_due(home, venue(1503).adjusted, FeatureSettings(rsi_window=10), SMALL)
    assert is_due(home, venue(1400).adjusted, early.features, SMALL)

    strict = SMALL.model_copy(update={"gate": GateSettings(min_t=50.0)})
    kept = retrain(venue(1700), home, strict)
    assert (kept.version, kept.promoted, kept.verdict) == (2, False, "kept")
    assert aliases(home.mlruns_dir) == {"forest-us": {"champion": 1, "challenger": 2}}
    assert load_champion(home, Market.US, "forest").fingerprint == champion.fingerprint

    # A champion taught on other features holds no place against the newcomer.
    other = retrain(venue(2500, FeatureSettings(rsi_window=10)), home, strict)
    assert (other.version, other.promoted) == (3, True)
    assert [m["aliases"] for m in list_models(home, Market.US)] == [
        ["previous"], ["challenger"], ["champion"],
    ]  # fmt: skip


def test_the_verdict_of_a_home_that_was_moved(home, venue, tmp_path):
    """The last report leads to the page where it is now, not where it was written."""
    retrain(venue(1500), home, SMALL)
    moved = replace(home, data_dir=home.data_dir.rename(tmp_path / "elsewhere"))

    report = last_report(moved, Market.US)

    assert report is not None
    assert Path(report.page).is_relative_to(moved.data_dir) and Path(report.page).is_file()


def test_an_expired_champion_holds_no_place(home, venue):
    """While it may be asked it stays; from the morning on which it may not, the next forest is a first."""
    strict = SMALL.model_copy(
        update={"gate": GateSettings(min_t=50.0), "drift": DriftSettings(max_age_sessions=100)}
    )
    retrain(venue(1500), home, strict)
    through = load_champion(home, Market.US, "forest").card.trained_through
    last_asked = int((venue(1500).adjusted.sessions <= np.datetime64(through)).sum()) + 100

    kept = retrain(venue(last_asked), home, strict, force=True)
    assert (kept.verdict, champion_version(home, Market.US, "forest")) == ("kept", 1)

    expired = venue(last_asked + 1)
    assert is_due(home, expired.adjusted, expired.features, strict)
    fresh = retrain(expired, home, strict)
    assert (fresh.verdict, fresh.promoted) == ("not_proven", True)
    assert champion_version(home, Market.US, "forest") == fresh.version


def test_only_the_forest_trades_unproven(home, venue):
    """A first model of another family is a challenger until it passes; the next day is not due."""
    report = retrain(venue(1500), home, SMALL, family="boosting")

    assert (report.promoted, report.verdict) == (False, "not_proven")
    assert champions(home, Market.US) == {}
    assert aliases(home.mlruns_dir) == {"boosting-us": {"challenger": 1}}
    assert not is_due(home, venue(1501).adjusted, FeatureSettings(), SMALL, "boosting")


def test_a_track_is_read_as_it_was_written(track):
    """The champion's account is kept beside it, for the next challenger."""
    again = training.track_from(json.loads(json.dumps(training.track_json(track))))

    assert training.track_json(again) == training.track_json(track)
    assert (again.sessions == track.sessions).all() and (again.net == track.net).all()


def test_every_configuration_counts_once(home, venue):
    """The same one on longer history is no new trial; another one is."""
    assert retrain(venue(1500), home, SMALL).trials == 1
    assert retrain(venue(1510), home, SMALL).trials == 1
    deeper = SMALL.model_copy(update={"forest": ForestSettings(trees=4, max_depth=3)})
    assert retrain(venue(1520), home, deeper).trials == 2
    assert retrain(venue(1500), home, SMALL, family="boosting").trials == 3
    assert tried(home) == 3


def test_the_choice_of_a_search_is_kept(home, venue):
    """A champion is taught as it was found, until the operator changes the settings."""
    chosen = Configuration(params={"max_depth": 2}, only=("return_20", "momentum"))
    retrain(venue(1500), home, SMALL, chosen=chosen)
    assert load_champion(home, Market.US, "forest").card.feature_names == ("return_20", "momentum")

    again = retrain(venue(1510), home, SMALL)
    registry = MlflowRegistry(home.mlruns_dir)
    tuned = SMALL.model_copy(update={"forest": ForestSettings(trees=4, max_depth=2)})
    assert registry.version("forest-us", again.version).tags["configuration_hash"] == (
        configuration_hash(FeatureSettings(), tuned, "forest", chosen.only)
    )
    other = SMALL.model_copy(update={"forest": ForestSettings(trees=5)})
    fresh = retrain(venue(1520), home, other)
    assert registry.version("forest-us", fresh.version).tags["configuration_hash"] == (
        configuration_hash(FeatureSettings(), other, "forest")
    )


def test_no_time_left(home, venue):
    """What does not fit is told and left; the champion stays."""
    retrain(venue(1500), home, SMALL)

    found = retrain_all(venue(1510), home, SMALL, ["forest", "boosting"], minutes=1e-9)
    assert (found.reports, sorted(found.missed)) == ((), ["boosting", "forest"])
    assert champion_version(home, Market.US, "forest") == 1

    # The last training took longer than there is time now.
    path = home.data_dir / "models" / "us" / "forest" / "latest.json"
    body = json.loads(path.read_text()) | {"seconds": 7200.0}
    path.write_text(json.dumps(body))
    found = retrain_all(venue(1510), home, SMALL, ["forest"], minutes=60)
    assert "120.0분" in found.missed["forest"]


def test_other_seeds_are_no_time_of_a_training(home, venue, monkeypatch):
    """What the seeds of a Saturday took keeps nobody from being taught in the minutes of a day."""
    now = [0.0]
    monkeypatch.setattr(training, "monotonic_seconds", lambda: now[0])
    monkeypatch.setattr("trading.mlops.train.monotonic_seconds", lambda: now[0])

    def seeds(*_):
        now[0] += 3600.0
        return {}, {}

    monkeypatch.setattr(training, "_over_seeds", seeds)
    retrain_all(venue(1500), home, SMALL, ["forest"], minutes=240, is_full=True)

    found = retrain_all(venue(1510), home, SMALL, ["forest"], minutes=20)

    assert (len(found.trained), found.missed) == (1, {})


def test_a_fit_is_not_begun_after_the_deadline(venue):
    """The walk-forward stops between its folds."""
    given = venue(1500)
    with pytest.raises(ModelError, match="시간"):
        train(given.adjusted, given.features, SMALL, deadline=0.0)


def test_a_failure_keeps_the_others_and_the_champion(home, venue):
    """One family that cannot be taught does not stop the next."""
    unreachable = SMALL.model_copy(
        update={"boosting": BoostingSettings(trees=4), "min_rows": 10**6}
    )
    retrain(venue(1500), home, SMALL)

    found = retrain_all(venue(1510), home, unreachable, ["boosting", "forest"], minutes=60)

    assert sorted(found.missed) == ["boosting", "forest"]
    assert champion_version(home, Market.US, "forest") == 1


def test_whatever_fails_the_day_goes_on(home, venue, monkeypatch):
    """Neither a damaged trial ledger nor a bug of a learner is an error of the stage."""
    retrain(venue(1500), home, SMALL)
    trials_path(home.data_dir).write_bytes(b"garbage" * 1000)

    found = retrain_all(venue(1510), home, SMALL, ["forest"], minutes=60)
    assert (found.reports, list(found.missed)) == ((), ["forest"])
    assert "시도 장부" in found.missed["forest"]

    monkeypatch.setattr(training, "trade_forecasts", lambda *_: 1 / 0)
    found = retrain_all(venue(1510), home, SMALL, ["boosting", "forest"], minutes=60)
    assert sorted(found.missed) == ["boosting", "forest"]
    assert "ZeroDivisionError" in found.missed["boosting"]
    assert champion_version(home, Market.US, "forest") == 1


def test_damaged_records_of_a_training(home, venue):
    """The last report is written anew; without the champion's account nobody is judged against it."""
    retrain(venue(1500), home, SMALL)
    folder = home.data_dir / "models" / "us" / "forest"
    (folder / "latest.json").write_text("{")
    assert last_report(home, Market.US) is None

    again = retrain_all(venue(1510), home, SMALL, ["forest"], minutes=60)
    assert last_report(home, Market.US) == again.trained[0]

    (folder / "1" / "track.json").write_text("{")
    found = retrain_all(venue(1520), home, SMALL, ["forest"], minutes=60)
    assert "trading promote 1 --family forest" in found.missed["forest"]


def test_a_full_training_is_done_once_a_session(home, venue):
    """Asked again for the same session it does nothing; the families are each by themselves."""
    whole = ["forest", "boosting"]
    first = retrain_all(venue(1500), home, SMALL, whole, minutes=60, is_full=True)
    again = retrain_all(venue(1500), home, SMALL, whole, minutes=60, is_full=True)

    assert [report.family for report in first.trained] == whole
    assert again.trained == ()
    assert len(list_models(home, Market.US)) == 2


# Where the process that trains is killed: what is called then, and in which module.
KILLS = {
    "between_families": ("trading.mlops.retrain", "retrain", 2),
    "before_the_version": ("mlflow.MlflowClient", "create_model_version", 1),
    "before_the_files": ("trading.mlops.promote", "install", 1),
    "before_the_pointer": ("trading.mlops.promote", "write_json", 1),
    "before_the_report": ("trading.mlops.promote", "write_json", 2),
    "before_the_last_tag": ("trading.mlops.tracking.MlflowRegistry", "tag", 1),
}
# Trains a forest and a boosting model; kills itself, as kill -9 does, at a given call.
SCRIPT = """
import importlib, os, pickle, signal, sys
place, called, times, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
with open(folder + "/work.pickle", "rb") as file:
    venue, home, settings, track = pickle.load(file)
from trading.mlops import retrain as training
training.trade_forecasts = lambda *_: track
if times:
    owner = None
    parts = place.split(".")
    for end in range(len(parts), 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            owner = getattr(owner, name)
        break
    real, left = getattr(owner, called), [times]
    def killing(*given, **named):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **named)
    setattr(owner, called, killing)
training.retrain_all(venue, home, settings, ["forest", "boosting"], minutes=60, is_full=False)
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, empty_registry, venue, track):
    """Return what a training that nobody stops leaves."""
    import shutil

    from trading.config import Home

    root = tmp_path_factory.mktemp("undisturbed")
    home = Home(root=root, config_dir=root, data_dir=root / "stored", mlruns_dir=root / "runs",
                logs_dir=root)  # fmt: skip
    shutil.copytree(empty_registry, home.mlruns_dir)
    done = run(home, venue(1500), track, "", "", 0)
    assert done.returncode == 0, done.stderr
    return state(home)


def run(home, given, track, place, called, times):
    """Train in a process of its own."""
    import pickle

    work = home.root / "work.pickle"
    # What is computed once and kept beside the fields is not sent.
    work.write_bytes(pickle.dumps((replace(given), home, SMALL, track)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, place, called, str(times), str(home.root)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip


def state(home):
    """Return who trades, what is registered, and the reports, without times and places."""
    reports = {}
    for family in ("forest", "boosting"):
        report = last_report(home, Market.US, family)
        reports[family] = replace(report, seconds=0.0, page="") if report is not None else None
    versions = [{**one, "page": ""} for one in list_models(home, Market.US)]
    pointer = home.data_dir / "models" / "us" / "forest" / "champion.json"
    files = sorted(
        str(path.relative_to(home.data_dir / "models"))
        for path in (home.data_dir / "models").rglob("*")
    )
    return reports, versions, json.loads(pointer.read_text()), aliases(home.mlruns_dir), files


@pytest.mark.slow
@pytest.mark.parametrize("kill", KILLS)
def test_killed_and_started_again(home, venue, track, undisturbed, kill):
    """kill -9 at any step, then the same again: the end is as if nothing had happened."""
    killed = run(home, venue(1500), track, *KILLS[kill])
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    done = run(home, venue(1500), track, "", "", 0)

    assert done.returncode == 0, done.stderr
    assert state(home) == undisturbed


def test_who_has_no_view_did_not_fail(home, venue):
    """As shipped the families of returns abstain from recorded prices: told, and no failure."""
    found = retrain_all(venue(1500), home, SMALL, ["arima"], minutes=60, is_full=True)

    assert (found.reports, found.missed, list(found.silent)) == ((), {}, ["arima"])
    assert training.text(found) == [f"ARIMA: {found.silent['arima']}"]
