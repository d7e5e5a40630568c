"""Agents that ask a trained model."""

import numpy as np

from trading.domain.arrays import FloatArray
from trading.errors import ModelError
from trading.features.pipeline import compute, fingerprint
from trading.models.base import view
from trading.strategies.base import Agent, AgentSettings, Family, Inputs


def forest(inputs: Inputs, settings: AgentSettings) -> FloatArray:
    """Return the champion's forecasts as votes of shape ``(n_sessions, n_instruments)``.

    Abstains without a champion, before its ``trained_through`` (those rows are in sample), for
    names that do not trade or lack a feature.

    Raises
    ------
    ModelError
        If the model was taught other features than these.
    """
    bars, sessions, features = inputs.bars, inputs.sessions, inputs.features
    votes = np.full(bars.shape, np.nan)
    model = inputs.models.get("forest")
    if model is None:
        return votes
    card = model.card
    if card.feature_fingerprint != fingerprint(features):
        raise ModelError(
            f"모델의 특성 지문이 현재 설정과 다름 (다시 학습 필요): {card.name} {card.trained_through}"
        )
    start = int(np.searchsorted(sessions, np.datetime64(card.trained_through, "D")))
    if start == len(sessions):
        return votes
    x = compute(bars, features, rows=slice(start, None)).select(card.feature_names)
    known = np.isfinite(x).all(axis=2) & bars.tradable[start:]
    forecast = np.full(known.shape, np.nan)
    forecast[known] = model.predict(x[known])
    votes[start:] = view(forecast, known, scale=card.forecast_scale, min_names=card.rank_min_names)
    return votes


AGENTS = (Agent(name="forest", family=Family.FORECASTER, settings=AgentSettings, votes=forest),)
