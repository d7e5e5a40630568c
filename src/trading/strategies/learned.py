"""Agents that ask a trained model: one for each family that forecasts."""

from collections.abc import Callable

import numpy as np

from trading.domain.arrays import BoolArray, FloatArray
from trading.errors import ModelError
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings, compute, fingerprint
from trading.models.base import Model, view, windows
from trading.strategies.base import Agent, AgentSettings, Family, Inputs


def forecaster(family: str) -> Agent:
    """Return the agent that votes what the champion of ``family`` forecasts."""
    return Agent(
        name=family, family=Family.FORECASTER, settings=AgentSettings, votes=_votes_of(family)
    )


def _votes_of(family: str) -> Callable[[Inputs, AgentSettings], FloatArray]:
    def votes(inputs: Inputs, settings: AgentSettings) -> FloatArray:
        """Return the champion's forecasts as votes of shape ``(n_sessions, n_instruments)``.

        Abstains without a champion, before its ``trained_through`` (those rows are in sample), for
        names that do not trade or lack a feature in the sessions it looks at.

        Raises
        ------
        ModelError
            If the model was taught other features than these.
        """
        bars, sessions, features = inputs.bars, inputs.sessions, inputs.features
        votes = np.full(bars.shape, np.nan)
        model = inputs.models.get(family)
        if model is None:
            return votes
        card = model.card
        if card.feature_fingerprint != fingerprint(features):
            raise ModelError(
                "모델의 특성 지문이 현재 설정과 다름 (다시 학습 필요): "
                f"{card.name} {card.trained_through}"
            )
        start = int(np.searchsorted(sessions, np.datetime64(card.trained_through, "D")))
        if start == len(sessions):
            return votes
        forecast = forecasts(model, bars, features, start=start)
        votes[start:] = view(
            forecast,
            np.isfinite(forecast),
            scale=card.forecast_scale,
            min_names=card.rank_min_names,
        )
        return votes

    return votes


def forecasts(model: Model, bars: Bars, features: FeatureSettings, *, start: int = 0) -> FloatArray:
    """Return what ``model`` forecasts in each session from row ``start`` on, per name.

    NaN for names that do not trade or lack a feature in the sessions it looks at, and where the
    model abstains.
    """
    card = model.card
    first = max(0, start - card.window + 1)
    x = compute(bars, features, rows=slice(first, None)).select(card.feature_names)
    known: BoolArray = np.logical_and.reduce(np.isfinite(x), axis=2)
    if card.window > 1:
        x = windows(x.astype(np.float32), card.window)
        known = np.logical_and.reduce(windows(known, card.window), axis=2)
    x, known = x[start - first :], known[start - first :] & bars.tradable[start:]
    forecast = np.full(known.shape, np.nan)
    forecast[known] = model.predict(x[known])
    return forecast


AGENTS = tuple(
    forecaster(family) for family in ("forest", "boosting", "lstm", "transformer", "arima")
)
