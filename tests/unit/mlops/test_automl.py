"""A search within a time: every trial counts, the champion is tried first, the best is judged."""

import itertools
import json
import sqlite3

import pytest

from trading.backtest.trials import trials_path
from trading.domain.instrument import Market
from trading.errors import UsageError
from trading.mlops import automl
from trading.mlops import retrain as training
from trading.mlops import train as taught
from trading.mlops.promote import load_champion
from trading.mlops.retrain import retrain
from trading.mlops.tracking import MlflowRegistry
from trading.mlops.train import Configuration
from trading.models.base import ForestSettings, ModelSettings, SearchSettings, ValidationSettings

# No tree can have no depth: that configuration is refused by the settings themselves.
DEPTHS = (0, 2, 3)
MODELS = ModelSettings(
    forest=ForestSettings(trees=2),
    validation=ValidationSettings(folds=2),
    search=SearchSettings(
        startup_trials=2,
        prune_after_folds=1,
        spaces={"forest": {"max_depth": DEPTHS}},
        groups={"returns": ("return_1", "return_5", "return_20"), "trend": ("adx", "ema_gap")},
    ),
)


@pytest.fixture(autouse=True)
def _not_traded(monkeypatch, track):
    """The account that follows a walk-forward takes seconds: here it is always the same one.

    A second goes by whenever a search looks at the clock: it always tries the same.
    """
    for module in (automl, training):
        monkeypatch.setattr(module, "trade_forecasts", lambda *_: track)
    clock = itertools.count()
    monkeypatch.setattr(automl, "monotonic_seconds", lambda: float(next(clock)))
    # The deadline of a fit is read from the same clock, which stands still there.
    monkeypatch.setattr(taught, "monotonic_seconds", lambda: 0.0)


def trials(home):
    """Return outcome and configuration of everything that was tried, in order."""
    with sqlite3.connect(trials_path(home.data_dir)) as db:
        rows = db.execute("SELECT outcome, configuration FROM trials ORDER BY id").fetchall()
    return [(outcome, json.loads(body)) for outcome, body in rows]


def test_every_trial_is_counted(home, venue):
    """Given up ones too, impossible ones not; what is found lies within what was allowed."""
    found = automl.search(venue(1500), home, MODELS, minutes=0.2)

    counted = trials(home)
    assert len(counted) == found.trials >= 4
    assert all(one["models"]["forest"]["max_depth"] > 0 for _, one in counted)
    assert sum(outcome == "pruned" for outcome, _ in counted) == found.pruned
    assert found.family == "forest"
    assert found.chosen.params["max_depth"] in DEPTHS[1:]
    assert len(found.tracks) == found.trials - found.pruned - 1
    groups = MODELS.search.groups
    for _, one in counted:
        if one["only"] is not None:
            inside = [set(names) & set(one["only"]) for names in groups.values()]
            assert all(kept in (set(), set(names)) for kept, names in
                       zip(inside, groups.values(), strict=True))  # fmt: skip
    assert json.loads(json.dumps(found.to_json()))["trials"] == found.trials
    assert f"{found.trials:,}번 시험" in automl.text(found.to_json())


def test_the_champion_is_tried_first_and_the_best_is_judged(home, venue):
    """A search begins with what trades, and ends in a verdict like any other training."""
    place = venue(1500)
    chosen = Configuration(params={"max_depth": 2}, only=("return_20", "adx"))
    retrain(place, home, MODELS, chosen=chosen)

    found = automl.search(place, home, MODELS, minutes=0.1)
    report = retrain(
        place, home, MODELS, family=found.family, force=True, chosen=found.chosen,
        others=found.tracks,
    )  # fmt: skip

    first = trials(home)[1][1]
    assert first["models"]["forest"]["max_depth"] == 2
    assert report.trials == len({json.dumps(one) for _, one in trials(home)})
    registry = MlflowRegistry(home.mlruns_dir)
    assert registry.version("forest-us", report.version).tags["verdict"] == report.verdict
    assert load_champion(home, Market.US, "forest") is not None


def test_a_family_without_a_space_is_told(home, venue):
    """Nothing is looked for where nothing was allowed."""
    with pytest.raises(UsageError, match=r"search\.spaces"):
        automl.search(venue(1500), home, MODELS, ["lstm"])
