"""The gate's verdicts, and a model's way from training to champion in a real registry."""

import json
from dataclasses import replace
from datetime import date

import pytest

from trading.config import Home
from trading.domain.instrument import Market
from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops.promote import (
    expected_best,
    is_due,
    judge,
    last_report,
    list_models,
    load_champion,
    load_version,
    retrain,
    rollback,
)
from trading.mlops.tracking import MlflowRegistry
from trading.models.base import ForestSettings, GateSettings, ModelCard, ModelSettings

CARD = ModelCard(
    name="forest-us", family="forest", market="us", window=1, feature_names=("rsi",), feature_fingerprint="f",
    horizon_sessions=20, rank_min_names=5, trained_through=date(2012, 1, 3), forecast_scale=0.01,
    long_hits=1.0, long_count=2.0, short_hits=1.0, short_count=2.0, rank_ic=0.03, rank_ic_t=2.5,
    rank_ic_sessions=100, rows=1000, seed=7, dataset_hash="d", configuration_hash="c",
    code_version="0",
)  # fmt: skip
GATE = GateSettings()


def test_first_model_trades_unproven():
    """Without a champion the first model takes the place and says that it is not proven."""
    weak = judge(replace(CARD, rank_ic_t=1.0), None, trials=1, gate=GATE)
    strong = judge(CARD, None, trials=1, gate=GATE)

    assert (weak.promoted, weak.verdict) == (True, "not_proven")
    assert (strong.promoted, strong.verdict) == (True, "promoted")


def test_challenger_needs_proof_and_advantage():
    """A t below the threshold or a lower rank IC than the champion's keeps the champion."""
    champion = replace(CARD, rank_ic=0.02)

    assert judge(CARD, champion, trials=1, gate=GATE).verdict == "promoted"
    assert judge(replace(CARD, rank_ic_t=1.9), champion, trials=1, gate=GATE).verdict == "kept"
    assert judge(CARD, replace(CARD, rank_ic=0.04), trials=1, gate=GATE).verdict == "kept"


def test_too_good_and_biased_evidence_proves_nothing():
    """An implausible rank IC or biased data never promotes; a first model is marked unproven."""
    champion = replace(CARD, rank_ic=0.02)
    leak = replace(CARD, rank_ic=0.26, rank_ic_t=3.1)

    assert judge(leak, champion, trials=1, gate=GATE).verdict == "kept"
    assert judge(leak, None, trials=1, gate=GATE).verdict == "not_proven"
    assert judge(CARD, champion, trials=1, gate=GATE, bias="수정주가").verdict == "kept"
    assert judge(CARD, None, trials=1, gate=GATE, bias="수정주가").verdict == "not_proven"


def test_many_trials_raise_the_bar():
    """The threshold follows the expected maximum of N standard normals (REFERENCES 6b)."""
    for trials, expected in ((10, 1.5746), (45, 2.2356), (100, 2.5306), (1000, 3.2551)):
        assert expected_best(trials) == pytest.approx(expected, abs=1e-4)
    assert expected_best(1) == 0.0
    assert not judge(CARD, replace(CARD, rank_ic=0.0), trials=100, gate=GATE).promoted


@pytest.fixture
def home(tmp_path):
    """A home whose folders carry names of their own, as ``app.yaml`` allows."""
    return Home(
        root=tmp_path,
        config_dir=tmp_path / "config",
        data_dir=tmp_path / "stored",
        mlruns_dir=tmp_path / "runs",
        logs_dir=tmp_path / "logs",
    )


def test_a_model_comes_to_trade(home, embedded_panels):
    """Train, register, promote, keep, replace, roll back: files and registry agree throughout."""
    panel = embedded_panels[1]
    features = FeatureSettings()
    settings = ModelSettings(forest=ForestSettings(trees=8))
    early = panel.until(1500)

    assert load_champion(home, Market.US) is None
    assert is_due(home, early, features, settings.gate)
    with pytest.raises(ModelError):
        retrain(panel.until(200), home, features, settings)
    assert last_report(home, Market.US) is None
    first = retrain(early, home, features, settings)

    assert (first.version, first.promoted, first.trained) == (1, True, True)
    assert json.loads(json.dumps(first.to_json()))["panel_end"] == str(early.sessions[-1])
    champion = load_champion(home, Market.US)
    assert champion is not None
    registry = MlflowRegistry(home.mlruns_dir)
    assert registry.load("forest-us", "champion").fingerprint == champion.fingerprint

    # Three sessions later nothing is due; two more and it is.
    soon = retrain(panel.until(1503), home, features, settings)
    assert (soon.trained, soon.version) == (False, 1)
    assert is_due(home, panel.until(1505), features, settings.gate)

    # A model of other features, or from the future, cannot be asked: train at once.
    assert not is_due(home, panel.until(1503), features, settings.gate)
    assert is_due(home, panel.until(1503), FeatureSettings(rsi_window=10), settings.gate)
    assert is_due(home, panel.until(1400), features, settings.gate)

    # No t-statistic reaches 50: the champion stays and the challenger is named.
    strict = settings.model_copy(update={"gate": GateSettings(min_t=50.0)})
    kept = retrain(panel.until(2000), home, features, strict)
    assert (kept.version, kept.promoted, kept.verdict) == (2, False, "kept")
    assert registry.version_of("forest-us", "challenger") == 2
    assert load_champion(home, Market.US).fingerprint == champion.fingerprint
    with pytest.raises(ModelError, match="이전 모델"):
        rollback(home, Market.US)

    # A champion taught on other features holds no place against the newcomer.
    other = retrain(panel.until(2500), home, FeatureSettings(rsi_window=10), strict)
    assert (other.version, other.promoted, other.trials) == (3, True, 2)
    assert [m["aliases"] for m in list_models(home, Market.US)] == [
        ["previous"], ["challenger"], ["champion"],
    ]  # fmt: skip
    assert load_version(home, Market.US, 1).fingerprint == champion.fingerprint

    assert rollback(home, Market.US) == 1
    assert load_champion(home, Market.US).fingerprint == champion.fingerprint
    assert registry.version_of("forest-us", "champion") == 1
    assert registry.version_of("forest-us", "previous") == 3


def test_registry_without_models(home):
    """An alias that names nothing is a ``ModelError``; a listing is empty."""
    registry = MlflowRegistry(home.mlruns_dir)

    assert registry.versions("forest-us") == []
    assert registry.configurations("forest-us") == set()
    with pytest.raises(ModelError, match="champion"):
        registry.load("forest-us", "champion")


def test_a_broken_pointer_is_a_model_error(home):
    """A champion record that cannot be read is not taken for "no champion"."""
    folder = home.data_dir / "models" / "us"
    folder.mkdir(parents=True)
    (folder / "champion.json").write_text("{")

    with pytest.raises(ModelError):
        load_champion(home, Market.US)
