"""Agents that ask a trained model."""

import numpy as np

from trading.domain.arrays import DateArray, FloatArray
from trading.errors import ModelError
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings, compute, fingerprint
from trading.models.base import Model, view


def forest(bars: Bars, sessions: DateArray, model: Model, features: FeatureSettings) -> FloatArray:
    """Return the model's forecasts as votes of shape ``(n_sessions, n_instruments)``.

    Abstains before ``trained_through`` (those rows are in sample), for names that do not trade
    or lack a feature.

    Raises
    ------
    ModelError
        If the model was taught other features than these.
    """
    card = model.card
    if card.feature_fingerprint != fingerprint(features):
        raise ModelError(
            f"모델의 특성 지문이 현재 설정과 다름 (다시 학습 필요): {card.name} {card.trained_through}"
        )
    votes = np.full(bars.shape, np.nan)
    start = int(np.searchsorted(sessions, np.datetime64(card.trained_through, "D")))
    if start == len(sessions):
        return votes
    x = compute(bars, features, rows=slice(start, None)).select(card.feature_names)
    known = np.isfinite(x).all(axis=2) & bars.tradable[start:]
    forecast = np.full(known.shape, np.nan)
    forecast[known] = model.predict(x[known])
    votes[start:] = view(forecast, known, scale=card.forecast_scale, min_names=card.rank_min_names)
    return votes
