"""Walk-forward over the embedded history: nothing after a fold changes it, whoever does the work."""

import json
from datetime import date
from pathlib import Path

import pytest

from trading import bootstrap
from trading.domain.instrument import Market
from trading.errors import UsageError
from trading.research.history import Scope
from trading.research.walkforward import Plan, walk_forward

GRID = [{"fast": 5, "slow": 20}, {"fast": 10, "slow": 50}, {"fast": 20, "slow": 60}]
PLAN = Plan(train=120, test=60, purge=5, objective="sharpe")
FIRST = date(2005, 6, 1)
SYMBOLS = ("AAPL", "IBM", "MSFT")


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """Return an installation of its own."""
    return bootstrap.open_home(tmp_path_factory.mktemp("home"))


def walked(installation, last, plan=PLAN, candidates=GRID, **options):
    scope = Scope(market=Market.US, symbols=SYMBOLS, first=FIRST, last=last)
    return walk_forward(installation, "ma_crossover", candidates, scope, plan, **options)


@pytest.fixture(scope="module")
def whole(installation):
    """Return the walk-forward to the end of 2006."""
    return walked(installation, date(2006, 12, 29))


def test_the_tests_make_one_record(installation, whole):
    """The sessions of all tests follow each other, and their orders are all orders."""
    folds = whole["folds"]

    assert len(folds) == 5
    assert whole["sessions"][0] == folds[0]["test_first"]
    assert whole["sessions"][-1] == folds[-1]["test_last"] == "2006-12-29"
    assert len(whole["sessions"]) == len(whole["equity"])
    assert sum(fold["orders"] for fold in folds) == whole["orders"] > 0
    assert all(fold["train_last"] < fold["test_first"] for fold in folds)
    assert {tuple(fold["params"].items()) for fold in folds} <= {tuple(g.items()) for g in GRID}
    assert 0.0 <= whole["overfitting"]["pbo"] <= 1.0
    kept = json.loads(Path(whole["path"]).read_text(encoding="utf-8"))
    assert kept == {name: value for name, value in whole.items() if name != "path"}


def test_nothing_after_a_fold_changes_it(installation, whole):
    """A record that ends with a fold gives that fold, and all before it, to the bit."""
    for count in (1, 3):
        end = date.fromisoformat(whole["folds"][count - 1]["test_last"])
        cut = walked(installation, end)

        assert cut["folds"] == whole["folds"][:count]
        assert cut["sessions"] == whole["sessions"][: len(cut["sessions"])]
        assert cut["equity"] == whole["equity"][: len(cut["equity"])]


def test_rolling_ranges_move_and_the_tests_stay(installation, whole):
    """Both schemes test on the same sessions; a rolling range leaves its beginning behind."""
    rolling = Plan(scheme="rolling", train=120, test=60, purge=5)
    one = walked(installation, date(2006, 12, 29), plan=rolling)

    assert [f["train_first"] for f in one["folds"]] != [f["train_first"] for f in whole["folds"]]
    assert [f["test_first"] for f in one["folds"]] == [f["test_first"] for f in whole["folds"]]


def test_every_candidate_is_a_trial_once(installation, tmp_path):
    """The same walk-forward again tries nothing new; the record of the whole is a trial too."""
    fresh = bootstrap.open_home(tmp_path)
    first = walked(fresh, date(2006, 3, 31))
    again = walked(fresh, date(2006, 3, 31))

    assert (first["trials"]["raw"], first["trials"]["distinct"]) == (4, 4)
    assert (again["trials"]["raw"], again["trials"]["distinct"]) == (8, 4)
    assert 1.0 <= first["trials"]["effective"] <= 4.0
    assert {**again, "trials": 0, "path": 0} == {**first, "trials": 0, "path": 0}


def test_a_search_on_each_training_range(installation):
    """With trials the choice is looked for in the ranges of research.yaml, the same each time."""
    once = walked(installation, date(2006, 3, 31), candidates=[{}], trials=6)
    cut = walked(
        installation,
        date.fromisoformat(once["folds"][0]["test_last"]),
        candidates=[{}],
        trials=6,
    )

    assert all(0 < fold["candidates"] <= 6 for fold in once["folds"])
    assert set(once["folds"][0]["params"]) == {"kind", "fast", "slow"}
    assert cut["folds"] == once["folds"][:1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"candidates": [{"fast": 60, "slow": 20}]}, "쓸 수 없는 조합"),
        ({"candidates": [{"fas": 6}]}, "없는 매개변수"),
        ({"plan": Plan(train=5000)}, "시험할 날이 없습니다"),
        ({"trials": 3}, "함께 쓸 수 없습니다"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_tried(tmp_path, changes, sentence):
    """Nothing is traded and nothing is counted."""
    fresh = bootstrap.open_home(tmp_path)

    with pytest.raises(UsageError, match=sentence):
        walked(fresh, date(2006, 3, 31), **changes)
    assert not (tmp_path / "data" / "research").exists()


def test_real_trading_asks_for_three_years_of_this_very_policy(tmp_path):
    """A kept walk-forward of the ensemble as configured meets the condition; a shorter one says how long."""
    from trading.config import Env

    home = bootstrap.open_home(tmp_path)
    market = home.settings.app.market
    _, calendar = bootstrap.rules_and_calendar(home.settings, market)
    body = {
        "strategy": "ensemble",
        "policy_hash": bootstrap.policy_of(home.settings, market, calendar).hash,
        "folds": [{"params": {}}],
    }
    folder = bootstrap.research_dir(home.home) / "walk-forward"
    folder.mkdir(parents=True)

    def told(sessions):
        kept = {**body, "sessions": ["2007-03-16"] * sessions}
        (folder / "ensemble.json").write_text(json.dumps(kept), encoding="utf-8")
        found = bootstrap.unmet_conditions(home, Env.REAL)
        return [sentence for sentence in found if "전진 분석" in sentence]

    assert "지금 2.0년" in told(2 * calendar.sessions_per_year)[0]
    assert told(3 * calendar.sessions_per_year) == []


def test_the_forest_is_taught_anew_for_each_test(installation):
    """By what was known where its training range ends: a cut record teaches and trades the same."""
    plan = Plan(train=120, test=60)

    def learned(last):
        scope = Scope(market=Market.US, first=date(2008, 1, 2), last=last)
        return walk_forward(installation, "forest", [{}], scope, plan)

    whole = learned(date(2008, 12, 31))
    cut = learned(date.fromisoformat(whole["folds"][0]["test_last"]))
    taught = [fold["models"]["forest"] for fold in whole["folds"]]

    assert len(set(taught)) == len(taught) == 3
    assert whole["orders"] > 0
    assert cut["folds"] == whole["folds"][:1]
    assert cut["equity"] == whole["equity"][: len(cut["equity"])]
