"""Health of champions: each finding has its action, and an action changes who is asked."""

import math
import shutil
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from trading.config import Home
from trading.domain.instrument import Market
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset, health, promote
from trading.mlops.drift import Drift, Kept, Realized, Reference
from trading.mlops.health import Action, Findings, decide, examine, promise_of, skew
from trading.mlops.retrain import RetrainReport, is_due
from trading.mlops.tracking import PREVIOUS, MlflowRegistry
from trading.mlops.train import train
from trading.models.base import (
    DriftSettings,
    ForestSettings,
    GateSettings,
    ModelCard,
    ModelSettings,
)
from trading.models.forest import Forest
from trading.models.inference import TrainedModel, load

SETTINGS = DriftSettings()
MODELS = ModelSettings(forest=ForestSettings(trees=8))
PATIENT = MODELS.model_copy(update={"drift": DriftSettings(max_age_sessions=1000)})
FEATURES = FeatureSettings()
TODAY = date(2008, 12, 24)
_CARD = ModelCard(
    name="forest-us", family="forest", market="us", window=1, feature_names=("rsi",), feature_fingerprint="f",
    horizon_sessions=20, rank_min_names=5, trained_through=date(2006, 12, 29), forecast_scale=0.01,
    long_hits=1.0, long_count=2.0, short_hits=1.0, short_count=2.0, rank_ic=0.03, rank_ic_t=2.5,
    rank_ic_sessions=100, rows=1000, seed=7, dataset_hash="d", configuration_hash="c",
    code_version="0",
)  # fmt: skip


@pytest.fixture(scope="module")
def panel(embedded_panels):
    return embedded_panels[1]


def row_of(panel, day):
    return int(np.searchsorted(panel.sessions, np.datetime64(day)))


@pytest.fixture(scope="module")
def honest(panel):
    """A forest of everything known at the end of 2006, with its reference."""
    return train(panel.until(row_of(panel, "2006-12-30")), FEATURES, MODELS, None).model


@pytest.fixture(scope="module")
def perverse(panel, honest):
    """A control: it says the opposite of what came until 2009, and claims to know nothing of it."""
    data = dataset.build(panel.until(row_of(panel, "2009-06-01")), FEATURES, MODELS)
    names = honest.card.feature_names
    assert data.feature_names == names
    deep = ForestSettings(trees=40, max_depth=12, min_leaf_share=0.001)
    fitted = Forest(deep).fit(replace(data, excess=-data.excess), np.arange(len(data.row)), seed=7)
    return TrainedModel(card=honest.card, fitted=fitted, reference=honest.reference)


def seen(model, panel, day, **changes):
    bars = Bars(panel.until(row_of(panel, day)))
    return examine(model, bars, FEATURES, MODELS, session=date.fromisoformat(day), **changes)


def install(home, model):
    """Register a model and let it trade; return its version."""
    registry = MlflowRegistry(home.mlruns_dir)
    version = registry.register(
        model,
        experiment="시험",
        parameters={},
        metrics={},
        curves={},
        tags={"verdict": "promoted", "proven": "True"},
        files={},
    )
    promote.install(home, registry, version, model.card.name)
    return version


def test_a_new_champion_is_healthy(panel, honest):
    """Two months after its training nothing is found, and what cannot be known yet is unknown."""
    found = seen(honest, panel, "2007-03-01")

    assert found.features is not None
    assert found.age == 42
    assert not found.is_skewed
    assert found.realized.sessions == 42 - 19
    assert math.isnan(found.realized.low)
    assert found.kept.p == 1.0
    assert decide(found, SETTINGS) == ()


def test_the_crisis_calls_for_training_and_age_ends_a_model(panel, honest):
    """At the end of 2008 the features are others, and a model of 2006 has expired."""
    found = seen(honest, panel, "2008-12-24")
    steps = decide(found, SETTINGS)

    assert found.features.has_drifted
    assert found.age > 250
    assert [s.action for s in steps if "거래일" in s.reason] == [Action.ABSTAIN, Action.RETRAIN]
    assert any(s.action is Action.RETRAIN and "분포가 배운 것과 다름" in s.reason for s in steps)
    assert {s.since for s in steps if "분포" in s.reason} == {TODAY}


def test_beyond_what_was_taught_nobody_is_asked(panel, honest):
    """With a limit of 40 % the volatility of December 2008 is out of range: the model is silent."""
    settings = DriftSettings(max_outside=0.4, max_age_sessions=1000)
    steps = decide(seen(honest, panel, "2008-12-24"), settings)

    assert steps[0].action is Action.ABSTAIN
    assert "volatility_long" in steps[0].reason


def test_live_evidence_refuses_a_champion(panel, perverse):
    """A model whose forecasts come out reversed is demoted; the honest one of the same card is not."""
    found = seen(perverse, panel, "2008-12-24")
    steps = decide(found, DriftSettings(max_age_sessions=1000))

    assert found.realized.high < 0.0
    assert found.kept.p < 0.05
    assert steps[0].action is Action.DEMOTE
    assert Action.RETRAIN in {step.action for step in steps}


def test_the_honest_one_stays(panel, honest):
    """Two years of forecasts do not refuse the promise of the model that made them."""
    found = seen(honest, panel, "2008-12-24")

    assert found.kept.p > 0.05
    assert Action.DEMOTE not in {step.action for step in decide(found, SETTINGS)}


def test_without_a_reference_much_is_unknown(panel, honest):
    """A model that was saved before references were has an age and a rank IC, and no drift."""
    found = seen(replace(honest, reference={}), panel, "2008-12-24")

    assert (found.features, found.forecasts, found.kept, found.rose_on) == (None, None, None, None)
    assert found.realized.sessions > 400
    assert {step.action for step in decide(found, DriftSettings(max_age_sessions=1000))} == set()


def findings(**changes):
    """Findings of a champion of two features with nothing to find, and what a test changes."""
    calm = Drift(
        psi=np.array([0.1, 0.1]),
        ks=np.array([0.1, 0.1]),
        missing=np.zeros(2),
        outside=np.zeros(2),
        score=np.array([0.5, 0.6]),
        limit=1.5,
    )
    card = replace(_CARD, feature_names=("rsi", "atr"))
    usual = Findings(
        card=card,
        session=TODAY,
        age=10,
        features=calm,
        forecasts=calm,
        rose_on=None,
        rose_ago=0,
        realized=Realized(sessions=10, mean=0.0, low=math.nan, high=math.nan),
        kept=Kept(promise=0.02, p=1.0, blocks=0),
        is_skewed=False,
    )
    return replace(usual, **changes), calm


def test_each_finding_has_its_action():
    """Nothing, or exactly what the rules say; the gravest first."""
    usual, calm = findings()
    far = replace(calm, score=np.array([2.0, 0.1]))
    lacking = replace(calm, missing=np.array([0.0, 0.6]))
    outside = replace(calm, outside=np.array([0.0, 0.9]))

    def actions(**changes):
        return [step.action for step in decide(replace(usual, **changes), SETTINGS)]

    assert actions() == []
    assert actions(features=far) == [Action.RETRAIN]
    assert actions(forecasts=far) == [Action.RETRAIN]
    assert actions(features=lacking) == [Action.RETRAIN]
    assert actions(features=outside) == [Action.ABSTAIN, Action.RETRAIN]
    assert actions(is_skewed=True) == [Action.ABSTAIN]
    assert actions(age=250) == [Action.ABSTAIN, Action.RETRAIN]
    assert actions(rose_on=date(2008, 12, 22), rose_ago=2) == [Action.RETRAIN]
    assert actions(rose_on=date(2008, 12, 1), rose_ago=20) == []
    assert actions(kept=Kept(promise=0.02, p=0.01, blocks=9)) == [Action.DEMOTE, Action.RETRAIN]
    assert actions(features=replace(far, limit=math.nan)) == []


def test_the_promise_is_what_the_walk_forward_is_sure_of():
    """The one-sided 95 % bound of the card's rank IC, and never less than nothing."""
    sure = replace(_CARD, rank_ic=0.04, rank_ic_t=4.0)

    assert promise_of(sure, SETTINGS) == pytest.approx(0.04 - 1.644854 * 0.01, abs=1e-6)
    assert promise_of(replace(sure, rank_ic_t=1.0), SETTINGS) == 0.0
    assert promise_of(replace(sure, rank_ic=-0.02, rank_ic_t=-1.0), SETTINGS) == 0.0
    assert promise_of(replace(sure, rank_ic_t=0.0), SETTINGS) == 0.0


def test_a_reference_travels_with_its_model(tmp_path, honest):
    """Saved and loaded, it compares the same; a model without one has none."""
    honest.save(tmp_path / "with")
    replace(honest, reference={}).save(tmp_path / "without")
    again = Reference.from_tensors(load(tmp_path / "with").reference)

    assert again.step == MODELS.stride_sessions
    np.testing.assert_array_equal(
        again.features.counts, Reference.from_tensors(honest.reference).features.counts
    )
    assert Reference.from_tensors(load(tmp_path / "without").reference) is None


def test_skew_is_seen_to_the_bit():
    """The last bit of one feature or vote is a skew; other data behind it explain it."""
    then = {
        "data": np.arange(4, dtype=np.uint8),
        "features": np.array([[0.1, np.nan]]),
        "votes.forest": np.array([0.5]),
    }
    bit = {**then, "features": np.array([[np.nextafter(0.1, 1.0), np.nan]])}

    assert skew(then, {name: value.copy() for name, value in then.items()}) == "equal"
    assert skew(then, bit) == "skewed"
    assert skew(then, {**then, "votes.forest": np.array([-0.5])}) == "skewed"
    assert skew(then, {name: then[name] for name in ("data", "features")}) == "skewed"
    assert skew(then, {**bit, "data": np.zeros(4, dtype=np.uint8)}) == "revised"
    assert skew(None, then) == "unknown"


@pytest.fixture(scope="module")
def begun(tmp_path_factory, panel, perverse, honest):
    """A home where the honest model was followed by the perverse one, checked in December 2008."""
    home = home_at(tmp_path_factory.mktemp("begun"))
    for model in (honest, perverse):
        install(home, model)
    bars = Bars(panel.until(row_of(panel, TODAY)))
    health.weigh(home, bars, FEATURES, PATIENT, session=TODAY, skew="equal")
    return home, bars


@pytest.fixture
def checked(begun, tmp_path):
    """A copy of that home to change, and what was kept of the check."""
    root, bars = begun[0].root, begun[1]
    shutil.copytree(root, tmp_path / "home")
    home = home_at(tmp_path / "home")
    return home, bars, health.read_check(home, Market.US, TODAY)


def home_at(root):
    return Home(
        root=root,
        config_dir=root / "config",
        data_dir=root / "stored",
        mlruns_dir=root / "runs",
        logs_dir=root / "logs",
    )


class Context:
    """As much of a day as ``apply`` looks at, and what it was told."""

    def __init__(self, home, session):
        self.home, self.session, self.market = home, session, Market.US
        self.settings = type("Settings", (), {"features": FEATURES})
        self.run = type("Run", (), {"run_id": "r"})
        self.notifier, self.sent = self, []

    def send(self, event, fields):
        self.sent.append((event, fields))


def test_a_refused_champion_makes_way(checked):
    """Who is refused is not asked in the next session, and gives its place to who was before."""
    home, bars, body = checked
    (entry,) = body["models"]
    again = health.weigh(home, bars, FEATURES, PATIENT, session=TODAY, skew="equal")
    after = date(2008, 12, 26)

    def silenced():
        voting, _, _ = promote.load_champions(home, Market.US, FEATURES)
        return health.silenced(
            home, Market.US, voting, PATIENT.drift, session=after, sessions=bars.panel.sessions
        )

    assert entry["version"] == 2
    assert body["refused"] == [entry["fingerprint"]]
    assert body == again
    assert health.last_check(home, Market.US, TODAY) is None
    assert "강등" in silenced()["forest"]
    assert health.rows(body)[0][-1].startswith("강등: ")

    context = Context(home, after)
    done = health.apply(context)
    assert promote.champion_version(home, Market.US, "forest") == 1
    assert len(done) == 1
    assert [event for event, _ in context.sent] == ["model_health"]
    assert silenced() == {}
    # Asked again nothing happens, and the refused one never comes back by itself.
    assert health.apply(context) == []
    assert promote.champion_version(home, Market.US, "forest") == 1
    later = health.weigh(home, bars, FEATURES, PATIENT, session=after, skew="equal")
    assert later["refused"] == body["refused"]


def test_without_a_former_one_the_family_abstains(checked):
    """A refused champion with nobody before it leaves its place empty."""
    home = checked[0]
    MlflowRegistry(home.mlruns_dir).remove_alias("forest-us", PREVIOUS)

    done = health.apply(Context(home, date(2008, 12, 26)))

    assert "기권" in done[0]
    assert promote.load_champion(home, Market.US, "forest") is None


def test_a_refused_one_does_not_follow_a_refused_one(checked, honest):
    """When the former champion was refused as well, nobody trades."""
    home, _, body = checked
    promote.write_json(
        home.data_dir / "health" / "us" / f"{TODAY}.json",
        {**body, "refused": [*body["refused"], honest.fingerprint]},
    )

    health.apply(Context(home, date(2008, 12, 26)))

    assert promote.load_champion(home, Market.US, "forest") is None


def test_a_damaged_registry_keeps_nobody_in_place(checked):
    """The refused champion is taken out although MLflow's database cannot be read."""
    home = checked[0]
    (home.mlruns_dir / "mlflow.db").write_text("garbage")

    done = health.apply(Context(home, date(2008, 12, 26)))

    assert "기권" in done[0]
    assert promote.load_champion(home, Market.US, "forest") is None


def test_damaged_records_end_no_day(checked):
    """A check, or the features of a morning, that cannot be read count as none, and are told."""
    home = checked[0]
    folder = home.data_dir / "health" / "us"
    (folder / f"{TODAY}.json").write_text("{")
    (folder / f"{TODAY}.safetensors").write_text("garbage")
    context = Context(home, TODAY)

    assert health.last_check(home, Market.US, date(2008, 12, 26)) is None
    assert health.apply(Context(home, date(2008, 12, 26))) == []
    assert health._kept_features(context) is None
    assert skew(None, {}) == "unknown"


def test_training_is_called_for_once(checked, panel):
    """Due from the next session on, until a training has seen it, and not right after another."""
    home = checked[0]
    known = panel.until(row_of(panel, "2008-12-26"))

    def wanted(since, family="forest"):
        return health.wants_training(
            home, known, family, since=date.fromisoformat(since), pause_sessions=5
        )

    earlier = panel.until(row_of(panel, "2008-12-24"))
    assert wanted("2008-12-01")
    assert not health.wants_training(
        home, earlier, "forest", since=date(2008, 12, 1), pause_sessions=5
    )
    assert not wanted("2008-12-01", "lstm")
    assert not wanted("2008-12-19")
    assert not wanted("2008-12-24")


def test_a_check_makes_training_due(checked, panel):
    """Where training is rare, drift brings it forward; without a check it waits."""
    home = checked[0]
    report = RetrainReport(
        market="us", family="forest", version=2, promoted=True, verdict="promoted", proven=True,
        reason="", trained_through="2006-12-26", panel_end="2008-12-01", rank_ic=0.0, rank_ic_t=0.0,
        rows=1, trials=1, dataset_hash="", feature_fingerprint="", seconds=0.0, page="",
    )  # fmt: skip
    folder = promote.family_dir(home, Market.US, "forest")
    promote.write_json(folder / "latest.json", report.to_json())
    rare = PATIENT.model_copy(update={"gate": GateSettings(retrain_every_sessions=250)})
    known = panel.until(row_of(panel, "2008-12-26"))

    assert is_due(home, known, FEATURES, rare, "forest")
    shutil.rmtree(home.data_dir / "health")
    assert not is_due(home, known, FEATURES, rare, "forest")


def test_age_silences_at_once(home, honest, panel):
    """An expired champion is not asked even where no session was ever checked."""
    sessions = panel.until(row_of(panel, TODAY)).sessions
    young = sessions[: row_of(panel, "2007-12-01")]

    def silenced(days):
        return health.silenced(
            home, Market.US, {"forest": honest}, SETTINGS, session=TODAY, sessions=days
        )

    assert "만료" in silenced(sessions)["forest"]
    assert silenced(young) == {}
    # One that has seen what is still to come has no view, and that is told.
    assert "뒤의 가격" in silenced(sessions[: row_of(panel, "2006-06-01")])["forest"]


def test_the_last_session_of_a_model(home, honest, panel):
    """It is asked in that one and in none after it, by its age and by what the check then says."""
    past = int((panel.sessions <= np.datetime64(honest.card.trained_through)).sum())
    last = health.last_asked([day.item() for day in panel.sessions[past:]], SETTINGS)
    row = row_of(panel, last)

    assert panel.sessions[row].item() == last
    assert not health.has_expired(honest.card, panel.sessions[:row], SETTINGS)
    assert health.has_expired(honest.card, panel.sessions[: row + 1], SETTINGS)

    def is_too_old(row):
        found = seen(honest, panel, str(panel.sessions[row]))
        return any("배운 지" in step.reason for step in decide(found, SETTINGS))

    assert not is_too_old(row - 1)
    assert is_too_old(row)
    assert health.last_asked([last], SETTINGS) is None


def test_a_skew_silences_one_session(home, honest, panel):
    """A skew silences those who were asked then, and not the model that has taken the place."""
    folder = promote.family_dir(home, Market.US, "forest")
    honest.save(folder / "1")
    promote.write_json(folder / "champion.json", {"version": 1})
    day = date(2007, 3, 1)
    bars = Bars(panel.until(row_of(panel, day)))
    health.weigh(home, bars, FEATURES, MODELS, session=day, skew="skewed")
    other = replace(honest, fitted=replace(honest.fitted, value=honest.fitted.value + 1e-9))

    def silenced(model, session):
        return health.silenced(
            home, Market.US, {"forest": model}, SETTINGS, session=session,
            sessions=bars.panel.sessions,
        )  # fmt: skip

    assert "특성" in silenced(honest, date(2007, 3, 2))["forest"]
    assert silenced(honest, day) == {}
    assert silenced(other, date(2007, 3, 2)) == {}
    health.weigh(home, bars, FEATURES, MODELS, session=date(2007, 3, 2), skew="equal")
    assert silenced(honest, date(2007, 3, 5)) == {}
