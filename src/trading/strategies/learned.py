"""Agents that ask a trained model: one for each family that forecasts, one that trades."""

from collections.abc import Callable

import numpy as np

from trading.domain.arrays import BoolArray, FloatArray
from trading.errors import ModelError
from trading.features.cross_section import SCORE_DECIMALS
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings, compute, fingerprint
from trading.models.base import Model, view, windows
from trading.models.reinforcement import Policy
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
        bars = inputs.bars
        votes = np.full(bars.shape, np.nan)
        model, start = _champion(inputs, family)
        if model is None or start == len(votes):
            return votes
        forecast = forecasts(model, bars, inputs.features, start=start)
        votes[start:] = view(
            forecast,
            np.isfinite(forecast),
            scale=model.card.forecast_scale,
            min_names=model.card.rank_min_names,
        )
        return votes

    return votes


def _standing(inputs: Inputs, settings: AgentSettings) -> FloatArray:
    """Return what the policy ``dqn`` holds, as votes of shape ``(n_sessions, n_instruments)``.

    From ``trained_through`` on it trades an account of its own in each name. While that holds the
    name, or is about to buy it, the vote is by how much holding beats not holding, over the usual
    size of a forecast and at most 1; else it is 0. Abstains as forecasters do, and for good when
    the policy showed no gain after costs in its own validation.

    Raises
    ------
    ModelError
        If the policy was taught other features than these.
    """
    bars = inputs.bars
    votes = np.full(bars.shape, np.nan)
    model, start = _champion(inputs, "dqn")
    if model is None or start == len(votes):
        return votes
    policy, card = model.fitted, model.card
    if not isinstance(policy, Policy):
        raise ModelError(f"강화학습 정책이 아닌 모델: {card.name}")
    if not policy.edge:
        return votes
    x = compute(bars, inputs.features, rows=slice(start, None)).select(card.feature_names)
    known: BoolArray = np.logical_and.reduce(np.isfinite(x), axis=2)
    advantage = policy.advantages(bars.panel, x, known, first=start)
    sized = np.clip(advantage / card.forecast_scale, 0.0, 1.0)
    votes[start:] = np.where(bars.tradable[start:], np.round(sized, SCORE_DECIMALS), np.nan)
    return votes


def _champion(inputs: Inputs, family: str) -> tuple[Model | None, int]:
    """Return the champion and the first row that it may be asked about; ``None`` without one."""
    model = inputs.models.get(family)
    if model is None:
        return None, 0
    card = model.card
    if card.feature_fingerprint != fingerprint(inputs.features):
        raise ModelError(
            "모델의 특성 지문이 현재 설정과 다름 (다시 학습 필요): "
            f"{card.name} {card.trained_through}"
        )
    return model, int(np.searchsorted(inputs.sessions, np.datetime64(card.trained_through, "D")))


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


_FORECASTERS = (
    "forest", "boosting", "lstm", "transformer", "arima", "garch", "hmm", "kalman",
)  # fmt: skip

AGENTS = (
    *(forecaster(family) for family in _FORECASTERS),
    Agent(name="dqn", family=Family.REINFORCEMENT, settings=AgentSettings, votes=_standing),
)
