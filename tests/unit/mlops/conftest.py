"""A real registry of its own for each test, and the embedded history as models are judged on it."""

import shutil
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from trading.config import Home, load_settings
from trading.domain.instrument import Market
from trading.domain.rules import shipped_config_dir
from trading.features.pipeline import FeatureSettings
from trading.mlops.gate import Track
from trading.mlops.track import Venue
from trading.mlops.tracking import MlflowRegistry
from trading.mlops.train import train
from trading.models.base import BoostingSettings, ForestSettings, ModelSettings
from trading.models.inference import TrainedModel


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory):
    """Return a folder with MLflow's database before anything was registered: it takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    MlflowRegistry(folder)
    return folder


@pytest.fixture
def bare_home(tmp_path):
    """A home whose folders carry names of their own, as ``app.yaml`` allows; nothing in it."""
    return Home(
        root=tmp_path,
        config_dir=tmp_path / "config",
        data_dir=tmp_path / "stored",
        mlruns_dir=tmp_path / "runs",
        logs_dir=tmp_path / "logs",
    )


@pytest.fixture
def home(bare_home, empty_registry):
    """A home with an empty registry."""
    shutil.copytree(empty_registry, bare_home.mlruns_dir)
    return bare_home


@pytest.fixture(scope="session")
def venue(embedded_market, embedded_panels):
    """Return what makes the embedded history until a row a place to trade forecasts."""
    settings = load_settings(shipped_config_dir().parent)
    raw, adjusted = embedded_panels
    whole = Venue(
        raw=raw,
        adjusted=adjusted,
        actions=embedded_market.actions,
        calendar=embedded_market.calendar,
        rules=embedded_market.rules,
        policy=embedded_market.policy,
        strategies=settings.strategies,
        features=FeatureSettings(),
        cash=1_000_000_000,
        exchanges=settings.universe.exchanges[Market.US],
    )

    def until(row, features=None):
        return replace(whole, adjusted=adjusted.until(row), features=features or FeatureSettings())

    return until


@pytest.fixture(scope="session")
def model(embedded_panels):
    """A small forest."""
    settings = ModelSettings(forest=ForestSettings(trees=3))
    return train(embedded_panels[1].until(1500), FeatureSettings(), settings).model


@pytest.fixture(scope="session")
def boosted(embedded_panels):
    """A small model of another family."""
    settings = ModelSettings(boosting=BoostingSettings(trees=3))
    panel = embedded_panels[1].until(1500)
    return train(panel, FeatureSettings(), settings, family="boosting").model


@pytest.fixture
def register(home, model):
    """Return what registers a model, the small forest when none is given, as a new version."""

    def registered(given=None, *, proven=True, through=date(2006, 2, 10), **card):
        given = given or model
        card = replace(given.card, trained_through=through, **card)
        return MlflowRegistry(home.mlruns_dir).register(
            TrainedModel(card=card, fitted=given.fitted),
            experiment="랜덤 포레스트 (forest)",
            parameters={"trees": 3},
            metrics={"rank_ic": card.rank_ic},
            curves={"fold_rank_ic": [0.1, 0.2]},
            tags={
                "verdict": "promoted" if proven else "not_proven",
                "proven": str(proven),
                "reason": "승격: 시험" if proven else "증명되지 않음: 시험",
                "trained_through": through.isoformat(),
                "rank_ic": "0.1000",
                "rank_ic_t": "1.00",
            },
            files={"verdict.html": "<p>판정</p>"},
        )

    return registered


@pytest.fixture(scope="session")
def track(venue):
    """Return the account that follows a small forest: arithmetic for tests of what is done with it.

    Not traded by the engine: the returns are those of two recorded names.
    """
    panel = venue(1500).adjusted
    returns = panel.close[1:] / panel.close[:-1] - 1.0
    rows = slice(1000, 1400)
    net, benchmark = returns[rows, 0], returns[rows, 3]
    flat = np.full(400, 0.9)
    return Track(
        sessions=panel.sessions[1001:1401],
        net=net,
        benchmark=benchmark,
        exposure=flat,
        doubled=net,
        delayed=net,
        sessions_per_year=252,
        turnover=2.0,
        break_even_bps=20.0,
        capital=1e9,
        capacity=1e10,
        stretches=(),
        rank_ic=0.05,
        rank_ic_t=1.0,
    )
