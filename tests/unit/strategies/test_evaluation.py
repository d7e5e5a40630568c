"""The whole view of a panel: votes, hit rates, screen."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import yaml

from trading.domain.market import Facts
from trading.errors import UsageError
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.models.base import ModelSettings
from trading.strategies.base import ExitRules
from trading.strategies.calibration import hit_rate
from trading.strategies.catalog import AGENTS, ConfidenceSettings, StrategySettings
from trading.strategies.evaluation import evaluate, survey, vote

AAPL, FB, GOOG, IBM, MSFT = range(5)


def test_shipped_evaluation(embedded_panels):
    """Shapes, names and abstentions of the shipped configuration on the embedded history."""
    raw, panel = embedded_panels

    got = evaluate(panel, raw, features=FeatureSettings(), strategies=StrategySettings()).evaluation

    n, m = panel.close.shape
    # Breakouts are off as shipped.
    assert got.agents == tuple(name for name in AGENTS if name != "volatility_breakout")
    assert got.votes.shape == got.confidence.shape == got.triggers.shape == (n, len(AGENTS) - 1, m)
    assert np.isnan(got.votes[:, got.agents.index("forest")]).all()
    assert (got.confidence[np.isnan(got.votes)] == 0.5).all()
    assert got.first_bar == date(2000, 3, 1)
    assert got.regime_names[int(got.regime[0])] == "unknown"
    assert got.volatility[-1, IBM] == pytest.approx(
        np.sqrt(np.mean((panel.close[-60:, IBM] / panel.close[-61:-1, IBM] - 1) ** 2))
    )
    assert got.screened[-1].all()


def test_a_market_value_is_good_for_a_month(embedded_panels):
    """31 days after it was listed it still says what a company is worth, 32 days after not."""
    raw, panel = embedded_panels
    days = panel.sessions.astype("datetime64[D]").astype(np.int64)
    shape = panel.close.shape
    listed = np.broadcast_to(np.where(days >= days[100], days[100], np.nan)[:, None], shape)
    facts = Facts.none(*shape)
    known = {"market_value": np.where(np.isnan(listed), np.nan, 7e9), "market_value_as_of": listed}

    got, untold = (
        evaluate(
            panel, raw, features=FeatureSettings(), strategies=StrategySettings(), facts=told
        ).evaluation.market_values
        for told in (replace(facts, fundamentals=known), facts)
    )

    young = (days >= days[100]) & (days <= days[100] + 31)
    np.testing.assert_array_equal(
        got, np.broadcast_to(np.where(young, 7e9, np.nan)[:, None], shape)
    )
    assert np.isnan(untold).all()


def test_named_agents_only(embedded_panels):
    """A backtest of one strategy asks that one; an unknown name is a usage error."""
    raw, panel = embedded_panels
    arguments = {"features": FeatureSettings(), "strategies": StrategySettings()}

    got = evaluate(panel.until(300), raw, agents=("rsi",), **arguments).evaluation

    assert got.agents == ("rsi",)
    assert got.votes.shape == (300, 1, 5)
    with pytest.raises(UsageError, match="astrology"):
        evaluate(panel, raw, agents=("astrology",), **arguments)


def test_hit_rate_counts_only_known_outcomes(embedded_panels):
    """Row t counts the votes whose horizon has passed, each as a part of one outcome."""
    panel = embedded_panels[1].until(200)
    bars = Bars(panel)
    votes = np.full(panel.close.shape, np.nan)
    votes[:, IBM] = 1.0
    settings = ConfidenceSettings(horizon_sessions=20, prior_outcomes=20.0)

    got = hit_rate(votes, bars, settings)

    close = panel.close[:, IBM]
    right = sum(close[s + 20] > close[s] for s in range(150 - 20 + 1))
    known = 150 - 20 + 1
    # AAPL, IBM and MSFT trade: who knows nothing is right as often as they rise.
    names = panel.close[:, [AAPL, IBM, MSFT]]
    rose = sum(int((names[s + 20] > names[s]).sum()) for s in range(known))
    base = (rose / 20 + 10) / (3 * known / 20 + 20)
    assert got[150, IBM] == pytest.approx((right / 20 + 20 * base) / (known / 20 + 20), abs=1e-9)
    np.testing.assert_array_equal(got[:20, IBM], 0.5)
    assert (got[:, MSFT] == 0.5).all()


def test_short_views_have_their_own_rate(embedded_panels):
    """A short view is right when the price falls."""
    panel = embedded_panels[1].until(200)
    bars, settings = Bars(panel), ConfidenceSettings()
    votes = np.full(panel.close.shape, np.nan)
    votes[:, IBM] = 1.0

    long, short = hit_rate(votes, bars, settings), hit_rate(-votes, bars, settings)

    # Of IBM no 20-session change in this span is exactly zero, of the others one: a fall and a
    # rise are not quite all there is.
    np.testing.assert_allclose(long[:, IBM] + short[:, IBM], 1.0, atol=1e-3)
    assert (long[40:, IBM] != short[40:, IBM]).any()


def test_a_longer_raw_panel_changes_nothing(embedded_panels):
    """Only the rows of the adjusted panel are read of the raw one."""
    raw, panel = embedded_panels
    cut = replace(
        raw,
        **{
            name: getattr(raw, name)[:500]
            for name in (
                "sessions", "open", "high", "low", "close", "reference", "volume", "tradable",
            )
        },
    )  # fmt: skip
    arguments = {"features": FeatureSettings(), "strategies": StrategySettings()}

    long = evaluate(panel.until(500), raw, **arguments).evaluation
    short = evaluate(panel.until(500), cut, **arguments).evaluation

    np.testing.assert_array_equal(long.screen_reason, short.screen_reason)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("features", FeatureSettings),
        ("strategies", StrategySettings),
        ("models", ModelSettings),
    ],
)
def test_shipped_yaml_is_the_default(name, model, request):
    """The shipped file names every key, and says what the code does without it."""
    text = (request.config.rootpath / "config" / f"{name}.yaml").read_text(encoding="utf-8")

    assert model.model_validate(yaml.safe_load(text)) == model()


def test_one_ground_serves_any_parameters(embedded_panels):
    """Whatever was asked before, and with every line forgotten, it says what a fresh one says."""
    raw, panel = embedded_panels
    panel = panel.until(900)
    shipped, features = StrategySettings(), FeatureSettings()
    names = ("ma_crossover", "rsi", "volatility_breakout")
    asked = [
        shipped.model_copy(update={name: getattr(shipped, name).model_copy(update=changed)})
        for name, changed in (
            ("ma_crossover", {"fast": 5}),
            ("ma_crossover", {"fast": 5, "exits": ExitRules(stop_loss=0.1), "weight": 2.0}),
            ("rsi", {"window": 9}),
            ("volatility_breakout", {"k": 0.8}),
            ("ma_crossover", {}),
            ("ma_crossover", {"fast": 5}),
        )
    ]
    ground = survey(panel, raw, features=features, screening=shipped.screener[panel.market])

    for settings in asked:
        got = vote(ground, settings, names).evaluation
        fresh = evaluate(panel, raw, features=features, strategies=settings, agents=names)
        for name in got.__slots__:
            np.testing.assert_array_equal(getattr(got, name), getattr(fresh.evaluation, name))
        ground.bars.forget(0)
    # A weight and an exit rule are no new question: the second asked nobody.
    voice = ground.voices["ma_crossover"]
    assert vote(ground, asked[1], names).evaluation.weights[0].tolist() == [2.0, 1.0, 1.0]
    assert ground.voices["ma_crossover"] is voice
