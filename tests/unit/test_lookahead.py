"""Nothing knows the future, and whatever does is found."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import create_model
from typer.testing import CliRunner

from trading import bootstrap, cli
from trading.allocation.sizing import SizingMethod
from trading.domain.instrument import Market
from trading.errors import MissingDataError, UsageError
from trading.execution.decide import Views
from trading.features import pipeline, regimes
from trading.features.indicators import Bars
from trading.features.pipeline import Feature
from trading.lookahead import runner
from trading.lookahead.compare import Kind, Subject, first_difference
from trading.lookahead.plants import Plant, planted
from trading.lookahead.record import Record, Terms, recorded, terms_of
from trading.lookahead.runner import Report
from trading.store import fundamentals, universe
from trading.strategies import catalog
from trading.strategies.base import Agent, AgentSettings, Family, Inputs

# To 2006-05: GOOG lists on 2004-08-19, FB is not there yet.
ROWS = 1560
# In the middle of a month, after the model was taught; before and after GOOG lists.
CUTS = (900, 1450)
QUICK = ("momentum", "rsi", "volatility_breakout", "forest")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> bootstrap.Installation:
    return bootstrap.open_home(tmp_path_factory.mktemp("lookahead"), console=False)


@pytest.fixture(scope="module")
def whole(installation: bootstrap.Installation) -> Record:
    source = bootstrap.open_source(installation)
    return recorded(installation, source, Market.US, 0, np.random.default_rng(0))


@pytest.fixture(scope="module")
def record(whole: Record) -> Record:
    return whole.before(ROWS)


@pytest.fixture(scope="module")
def terms(installation: bootstrap.Installation, whole: Record) -> Terms:
    return terms_of(installation, whole)


def checked(record: Record, terms: Terms, cuts: tuple[int, ...] = CUTS) -> Report:
    return runner.check(record, terms, cuts, np.random.default_rng(1))


@pytest.fixture(scope="module")
def clean(record: Record, terms: Terms) -> Report:
    return checked(record, terms)


@pytest.mark.compiled_only
def test_nothing_knows_the_future(clean: Report):
    """No registered thing differs, whatever comes after."""
    assert clean.violations == ()


@pytest.mark.compiled_only
def test_everything_is_checked_at_every_cut(clean: Report):
    """Checked is registered times cuts, for each thing by itself too."""
    body = clean.to_json()

    assert set(clean.checked.values()) == {len(CUTS)}
    assert body["checked"] == body["registered"] * len(CUTS)
    assert sum(kind["checked"] for kind in body["kinds"].values()) == body["checked"]
    assert set(body["kinds"]) == {str(kind) for kind in Kind}


@pytest.mark.compiled_only
def test_all_registries_take_part(clean: Report):
    """Every feature, agent and way of sizing is registered by its name."""
    names = {kind: {s.name for s in clean.subjects if s.kind is kind} for kind in Kind}

    assert names[Kind.FEATURE] == {feature.name for feature in pipeline.REGISTRY}
    for name, agent in catalog.AGENTS.items():
        assert {f"{name}.votes", f"{name}.confidence"} <= names[Kind.AGENT]
        assert (f"{name}.triggers" in names[Kind.AGENT]) == (agent.triggers is not None)
    for method in SizingMethod:
        assert f"{method.name.lower()}.weight" in names[Kind.DECISION]
    assert {"value", "quality", "momentum", "growth", "composite"} <= names[Kind.FACTOR]
    assert {"weights", "momentum.record"} <= names[Kind.WEIGHT]
    assert {"screened", "screen_reason"} <= names[Kind.SCREEN]
    assert {"regime", "probability"} <= names[Kind.REGIME]
    assert {"expected", "expected_error"} <= names[Kind.EXPECTATION]


@pytest.mark.compiled_only
def test_what_proves_nothing_is_said(clean: Report):
    """Of the embedded names nothing is published: those scores are silent, and few other things."""
    silent = {(s.kind, s.name) for s in clean.silent}

    assert {(Kind.FACTOR, name) for name in ("value", "quality", "growth")} <= silent
    assert (Kind.FACTOR, "momentum") not in silent
    assert not any(kind in (Kind.PANEL, Kind.REGIME) for kind, _ in silent)
    agents = {name for kind, name in silent if kind is Kind.AGENT}
    # It enters inside a session and has no standing view.
    assert agents <= {f"volatility_breakout.{part}" for part in ("votes", "confidence")}
    assert len([name for kind, name in silent if kind is Kind.FEATURE]) == 3


@pytest.mark.compiled_only
@pytest.mark.parametrize(
    ("plant", "kind", "name"),
    [
        (Plant.CENTRED, Kind.FEATURE, "moving_average_gap"),
        pytest.param(Plant.FULLSAMPLE_SCALER, Kind.FEATURE, "rsi", marks=pytest.mark.slow),
        pytest.param(Plant.SMOOTHED_HMM, Kind.REGIME, "probability", marks=pytest.mark.slow),
        (Plant.SAME_BAR_FILL, Kind.DECISION, "view"),
        (Plant.RESTATED_FUNDAMENTALS, Kind.FUNDAMENTAL, "restatement.net_income"),
        pytest.param(Plant.SURVIVORS, Kind.UNIVERSE, "members", marks=pytest.mark.slow),
    ],
)
def test_planted_leaks_are_found(record: Record, terms: Terms, plant: Plant, kind: Kind, name: str):
    """Every leak is found where it was put, through the same comparison."""
    with planted(plant):
        found = checked(record, replace(terms, agents=QUICK))

    assert (kind, name) in {(v.kind, v.name) for v in found.violations}
    at = next(v for v in found.violations if (v.kind, v.name) == (kind, name))
    assert at.whole != at.cut
    assert at.session <= at.cut_at


@pytest.mark.compiled_only
def test_plants_are_taken_out(record: Record, terms: Terms):
    """After a plant the real part is back, also when what it was planted for fails."""
    before = (
        pipeline.REGISTRY,
        regimes.forward_filter,
        fundamentals.known,
        universe.members,
        Views.__init__,
    )
    for plant in Plant:
        with pytest.raises(ZeroDivisionError), planted(plant):
            raise ZeroDivisionError
    assert before == (
        pipeline.REGISTRY,
        regimes.forward_filter,
        fundamentals.known,
        universe.members,
        Views.__init__,
    )


@pytest.mark.compiled_only
def test_missing_numbers_count(record: Record, terms: Terms):
    """Survivors show only where one record has a name and the other has not: NaN is compared."""
    with planted(Plant.SURVIVORS):
        found = checked(record, replace(terms, agents=("rsi",)), (900,))

    (violation,) = [v for v in found.violations if v.kind is Kind.UNIVERSE]
    # GOOG traded at the end, and is missing in the record that ends in 2003.
    assert violation.symbol == "GOOG"
    assert violation.whole is not None
    assert violation.cut is None


@pytest.mark.compiled_only
def test_the_morning_itself_counts(record: Record, terms: Terms):
    """A fill by the same bar shows on the morning of the cut only, where its bar is not known."""
    with planted(Plant.SAME_BAR_FILL):
        found = checked(record, replace(terms, agents=("rsi", "momentum")), (1450,))

    decisions = [v for v in found.violations if v.kind is Kind.DECISION]
    assert decisions
    assert {v.session for v in decisions} == {v.cut_at for v in decisions}


@pytest.mark.compiled_only
def test_early_rows_count(record: Record, terms: Terms):
    """A leak into the first rows is found, though the last row before the cut is right."""
    with planted(Plant.FULLSAMPLE_SCALER):
        found = checked(record, replace(terms, agents=("rsi",)), (900,))

    at = next(v for v in found.violations if v.kind is Kind.FEATURE)
    assert at.session == record.sessions[14]


@pytest.mark.compiled_only
def test_a_new_feature_takes_part(record: Record, terms: Terms, monkeypatch: pytest.MonkeyPatch):
    """A feature that somebody registers is checked without a line in the checker."""

    def tomorrow(bars: Bars, settings: object) -> np.ndarray:
        close = bars.close()
        return np.vstack([close[1:], close[-1:]]) / close - 1.0

    leaking = Feature(
        name="tomorrow", unit="fraction", reference="-", warm_up=lambda s: 0, compute=tomorrow
    )
    monkeypatch.setattr(pipeline, "REGISTRY", (*pipeline.REGISTRY, leaking))

    found = checked(record, replace(terms, agents=("rsi",)), (900,))

    caught = {v.name for v in found.violations}
    assert caught == {"tomorrow"}
    assert found.checked[Subject(Kind.FEATURE, "tomorrow")] == 1


@pytest.mark.compiled_only
def test_a_new_agent_takes_part(record: Record, terms: Terms, monkeypatch: pytest.MonkeyPatch):
    """A strategy that somebody adds is checked, with what becomes of its votes."""

    def seer(inputs: Inputs, settings: AgentSettings) -> np.ndarray:
        close = inputs.bars.close()
        ahead = np.vstack([close[1:], np.full((1, close.shape[1]), np.nan)])
        return np.sign(ahead / close - 1.0)

    agent = Agent(name="seer", family=Family.TECHNICAL, settings=AgentSettings, votes=seer)
    monkeypatch.setitem(catalog.AGENTS, "seer", agent)
    base: Any = catalog.StrategySettings
    settings = create_model("Wider", __base__=base, seer=(AgentSettings, AgentSettings()))
    strategies = settings.model_validate(terms.strategies.model_dump())

    found = checked(record, replace(terms, strategies=strategies, agents=("seer", "rsi")), (900,))

    caught = {v.name for v in found.violations}
    assert {"seer.votes", "view"} <= caught
    assert not any(name.startswith("rsi.") for name in caught)


@pytest.mark.compiled_only
def test_another_future_is_told_apart(record: Record, terms: Terms):
    """A clean function that asks how long the panel is differs only without a future."""
    assert first_difference(np.arange(3.0), np.arange(3.0)) is None
    other = record.otherwise(900)

    daily, theirs = (r.frame(Market.US, "daily") for r in (record, other))
    merged = daily.merge(theirs, on=["symbol", "session"], suffixes=("", "_other"))
    later = merged["session"] >= np.datetime64(record.sessions[900], "s")
    assert (merged["close"] == merged["close_other"])[~later].all()
    assert (merged["close"] != merged["close_other"])[later].all()
    assert (merged["low_other"] <= merged["close_other"]).all()
    assert (merged["close_other"] <= merged["high_other"]).all()


def test_first_difference():
    """Bits are compared: a missing number equals a missing number, 0 is not -0."""
    nan = float("nan")
    a = np.array([[1.0, nan], [0.0, 2.0]])

    assert first_difference(a, a.copy()) is None
    # Another payload is still a missing number.
    odd = a.copy()
    odd.view(np.uint64)[0, 1] ^= 1
    assert np.isnan(odd[0, 1])
    assert first_difference(a, odd) is None
    assert first_difference(a, np.where(np.isnan(a), 0.0, a)) == (0, 1)
    assert first_difference(a, np.array([[1.0, nan], [-0.0, 2.0]])) == (1, 0)
    assert first_difference(a, np.nextafter(a, 3.0)) == (0, 0)
    assert first_difference(np.array([1, 2]), np.array([1, 3])) == (1,)


def test_cuts_are_drawn_one_from_each_part():
    """The same seed draws the same mornings, one from each of as many equal parts."""
    rows = runner.drawn(1002, 10, np.random.default_rng(7))

    assert rows == runner.drawn(1002, 10, np.random.default_rng(7))
    assert rows != runner.drawn(1002, 10, np.random.default_rng(8))
    assert [(row - 2) // 100 for row in rows] == list(range(10))
    with pytest.raises(UsageError, match="자를 날이 모자랍니다"):
        runner.drawn(10, 20, np.random.default_rng(0))


def test_a_cut_record_knows_nothing_later(whole: Record):
    """On a morning no bar, index, listing or coming action of later is in the record."""
    morning = whole.sessions[1000]
    cut = whole.before(1000)

    assert cut.sessions[-1] == morning
    assert cut.known == 1000
    for kind in ("daily", "index"):
        assert cut.frame(Market.US, kind)["session"].max() < np.datetime64(morning, "s")
    assert all(action.ex_date <= morning for action in cut.corporate)
    assert {item.symbol for item in cut.listed} == {"AAPL", "IBM", "MSFT"}
    assert {item.symbol for item in whole.listed} == {"AAPL", "FB", "GOOG", "IBM", "MSFT"}


@pytest.mark.compiled_only
@pytest.mark.slow
def test_the_command(
    installation: bootstrap.Installation,
    record: Record,
    terms: Terms,
    monkeypatch: pytest.MonkeyPatch,
):
    """One JSON object on stdout; exit 0 when nothing knows the future, 1 when something does."""
    monkeypatch.setattr(runner, "recorded", lambda *_: record)
    few = replace(terms, agents=("rsi", "momentum"))
    monkeypatch.setattr(runner, "terms_of", lambda *_: few)
    arguments = ["--root", str(installation.home.root), "lookahead", "--cuts", "1"]

    fine = CliRunner().invoke(cli.app, [*arguments, "--json"])
    leaking = CliRunner().invoke(cli.app, [*arguments, "--json", "--plant", "centred"])
    said = CliRunner().invoke(cli.app, [*arguments, "--plant", "restated-fundamentals"])

    body = json.loads(fine.stdout)
    assert fine.exit_code == 0
    assert body["violations"] == []
    assert body["checked"] == body["registered"] * 1
    body = json.loads(leaking.stdout)
    assert leaking.exit_code == 1
    assert body["plant"] == "centred"
    first = body["violations"][0]
    assert {"name", "kind", "session", "symbol", "whole", "cut"} <= set(first)
    assert said.exit_code == 1
    assert "앞일을 아는 값이 있습니다." in said.stdout
    assert "[재무] restatement.net_income" in said.stdout


def test_every_leak_can_be_planted_by_name():
    """The command line offers exactly the leaks that there are."""
    assert {str(name) for name in cli.LeakName} == {str(plant) for plant in Plant}


def test_a_market_without_record(installation: bootstrap.Installation):
    """The embedded history is American: Korea is told to bring a dataset."""
    with pytest.raises(MissingDataError, match="--dataset"):
        runner.run(installation, market=Market.KRX)


@pytest.mark.slow
@pytest.mark.compiled_only
def test_recorded_fundamentals_and_delisted_names(
    installation: bootstrap.Installation, shared_data: Path
):
    """On Korean records with fundamentals, listings and delisted names nothing differs either."""
    body = runner.run(installation, cuts=2, names=12, dataset=shared_data, market=Market.KRX)

    assert body["violations"] == []
    assert body["checked"] == body["registered"] * 2
    assert body["kinds"]["fundamental"]["registered"] > 1
