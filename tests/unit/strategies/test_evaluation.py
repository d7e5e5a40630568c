"""The whole view of a panel: votes, hit rates, screen."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import yaml

from trading.domain.instrument import Exchange, Market
from trading.errors import UsageError
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.models.base import ModelSettings
from trading.strategies.base import AGENTS, ConfidenceSettings, ScreenSettings, StrategySettings
from trading.strategies.evaluation import evaluate, hit_rate
from trading.strategies.screener import ScreenReason, screen

AAPL, FB, GOOG, IBM, MSFT = range(5)


def test_shipped_evaluation(embedded_panels):
    """Shapes, names and abstentions of the shipped configuration on the embedded history."""
    raw, panel = embedded_panels

    got = evaluate(panel, raw, features=FeatureSettings(), strategies=StrategySettings())

    n, m = panel.close.shape
    assert got.agents == AGENTS
    assert got.votes.shape == got.confidence.shape == (n, 5, m)
    assert np.isnan(got.votes[:, AGENTS.index("forest")]).all()
    assert (got.confidence[np.isnan(got.votes)] == 0.5).all()
    assert got.first_bar == date(2000, 3, 1)
    assert got.regime_names[int(got.regime[0])] == "unknown"
    assert got.volatility[-1, IBM] == pytest.approx(
        np.sqrt(np.mean((panel.close[-60:, IBM] / panel.close[-61:-1, IBM] - 1) ** 2))
    )
    assert got.screened[-1].all()


def test_named_agents_only(embedded_panels):
    """A backtest of one strategy asks that one; an unknown name is a usage error."""
    raw, panel = embedded_panels
    arguments = {"features": FeatureSettings(), "strategies": StrategySettings()}

    got = evaluate(panel.until(300), raw, agents=("rsi",), **arguments)

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
    assert got[150, IBM] == pytest.approx((right / 20 + 10) / (known / 20 + 20), abs=1e-9)
    np.testing.assert_array_equal(got[:20, IBM], 0.5)
    assert (got[:, MSFT] == 0.5).all()


def test_short_views_have_their_own_rate(embedded_panels):
    """A short view is right when the price falls."""
    panel = embedded_panels[1].until(200)
    bars, settings = Bars(panel), ConfidenceSettings()
    votes = np.full(panel.close.shape, np.nan)
    votes[:, IBM] = 1.0

    long, short = hit_rate(votes, bars, settings), hit_rate(-votes, bars, settings)

    # No 20-session change of IBM in this span is exactly zero.
    np.testing.assert_allclose(long[:, IBM] + short[:, IBM], 1.0, atol=2e-9)


def screen_settings(**changes: float) -> ScreenSettings:
    shipped = StrategySettings().screener[Market.US]
    return shipped.model_copy(update=changes)


def test_screen_filters_in_order(embedded_panels):
    """Price as traded, age, traded value and tradability each keep a name out, with the reason."""
    raw, panel = embedded_panels
    bars = Bars(panel)

    young = screen(bars, raw, screen_settings(min_bars=300)).explain()
    cheap = screen(bars, raw, screen_settings(min_price=30.0)).explain()
    thin = screen(bars, raw, screen_settings(min_value=2e9)).explain()
    absent = screen(bars, raw, screen_settings()).explain(1000)

    assert young["FB"] is ScreenReason.TOO_YOUNG
    assert young["IBM"] is ScreenReason.SELECTED
    # Closes of 2013-03-01: FB 27.78, MSFT 27.95 dollars.
    assert [s for s, why in cheap.items() if why is ScreenReason.PRICE_TOO_LOW] == ["FB", "MSFT"]
    assert thin["AAPL"] is ScreenReason.SELECTED
    assert thin["IBM"] is ScreenReason.VALUE_TOO_LOW
    assert absent["GOOG"] is ScreenReason.NOT_TRADABLE
    assert ScreenReason.NOT_TRADABLE.text == "거래 불가"


def test_mean_value_is_exact(embedded_panels):
    """A name whose mean traded value is the limit passes; one dollar more and it does not."""
    raw, panel = embedded_panels
    value = raw.close[-20:, IBM] * raw.volume[-20:, IBM] // 10_000
    mean = int(value.sum() // 20)
    bars = Bars(panel)

    at = screen(bars, raw, screen_settings(min_value=mean)).explain()
    above = screen(bars, raw, screen_settings(min_value=mean + 1)).explain()

    assert at["IBM"] is ScreenReason.SELECTED
    assert above["IBM"] is ScreenReason.VALUE_TOO_LOW


def test_leaders_then_momentum(embedded_panels):
    """Of the most traded names the best by momentum are selected."""
    raw, panel = embedded_panels
    bars = Bars(panel)

    why = screen(bars, raw, screen_settings(leaders=4, top=2, min_names=3)).explain()
    few = screen(bars, raw, screen_settings(leaders=4, top=2, min_names=5)).explain()

    value = (raw.close[-20:] * raw.volume[-20:]).sum(axis=0)
    assert why[raw.symbols[int(np.argmin(value))]] is ScreenReason.NOT_A_LEADER
    assert sum(reason is ScreenReason.SELECTED for reason in why.values()) == 2
    assert sum(reason is ScreenReason.SELECTED for reason in few.values()) == 4


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

    long = evaluate(panel.until(500), raw, **arguments)
    short = evaluate(panel.until(500), cut, **arguments)

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


def test_other_exchanges_are_not_screened(embedded_panels):
    """A name of an exchange that is not traded is out, and the reason says so."""
    raw, panel = embedded_panels

    at = screen(
        Bars(panel), raw, screen_settings(leaders=0, top=0), exchanges=(Exchange.NASDAQ,)
    ).explain()

    assert at["IBM"] is ScreenReason.OTHER_EXCHANGE
    assert at["MSFT"] is ScreenReason.SELECTED
