"""Everything the agents say about a panel, evaluated once for all its sessions."""

from collections.abc import Collection, Sequence

import numpy as np

from trading.domain.arrays import FloatArray
from trading.domain.instrument import Exchange
from trading.domain.market import AdjustedPanel, RawPanel
from trading.errors import UsageError
from trading.features import regimes, statistics
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.models.base import Model, ModelCard
from trading.strategies import learned, technical
from trading.strategies.base import AGENTS, ConfidenceSettings, Evaluation, StrategySettings
from trading.strategies.screener import screen

_WEIGHT_STEPS = 1000


def evaluate(
    panel: AdjustedPanel,
    raw: RawPanel,
    *,
    features: FeatureSettings,
    strategies: StrategySettings,
    model: Model | None = None,
    agents: Sequence[str] | None = None,
    exchanges: Collection[Exchange] = tuple(Exchange),
    first_row: int = 0,
) -> Evaluation:
    """Return votes, confidence, volatility, screen and regime of every session.

    Parameters
    ----------
    panel : AdjustedPanel
        Its first row is part of the policy; what follows row ``t`` never changes row ``t``.
    raw : RawPanel
        The same instruments from the same first session; it may be longer.
    model : Model, optional
        The champion; without one the forest abstains.
    agents : sequence of str, optional
        Who votes; those enabled in ``strategies`` when not named.
    exchanges : collection of Exchange, optional
        Listings that the screen lets through; all when not named.
    first_row : int, default=0
        Regimes are estimated from this row on only. A row's values do not depend on it.

    Raises
    ------
    UsageError
        If an agent is unknown.
    """
    names = tuple(agents) if agents is not None else strategies.enabled()
    if unknown := [name for name in names if name not in AGENTS]:
        raise UsageError(f"없는 전략: {', '.join(unknown)} (가능: {', '.join(AGENTS)})")
    bars = Bars(panel)
    n, m = bars.shape
    votes = np.full((n, len(names), m), np.nan)
    confidence = np.full((n, len(names), m), 0.5)
    for k, name in enumerate(names):
        votes[:, k] = _votes(name, bars, panel, features, strategies, model)
        card = model.card if name == "forest" and model is not None else None
        confidence[:, k] = hit_rate(votes[:, k], bars, strategies.confidence, card=card)
    chosen = screen(bars, raw, strategies.screener[panel.market], exchanges=exchanges)
    regime = regimes.estimate(panel, features.regime, first_row=first_row)
    unknown_state = len(regime.names)
    return Evaluation(
        agents=names,
        votes=votes,
        confidence=confidence,
        volatility=statistics.realized_volatility(bars, features.volatility_long_window),
        returns=statistics.session_returns(bars),
        screened=chosen.selected,
        screen_reason=chosen.reason,
        regime=np.where(regime.state == regimes.UNKNOWN, unknown_state, regime.state),
        regime_names=(*regime.names, "unknown"),
        regime_from_index=regime.from_index,
        first_bar=panel.sessions[0].item(),
    )


def hit_rate(
    votes: FloatArray,
    bars: Bars,
    settings: ConfidenceSettings,
    *,
    card: ModelCard | None = None,
) -> FloatArray:
    r"""Return how often standing views of this sign were right, shrunk to one half.

    .. math:: c_t = \frac{h_t + a/2}{n_t + a}

    over all names and all votes whose outcome was known at ``t``, weighted by ``|vote|``.
    A long view is right when the close ``horizon_sessions`` later is higher, a short one when it
    is lower. Outcomes overlap, so each counts ``1 / horizon_sessions``; ``a`` is
    ``prior_outcomes``. A model's out-of-sample record (``card``) is counted with it.
    """
    n, m = votes.shape
    horizon = settings.horizon_sessions
    out = np.full((n, m), 0.5)
    close = bars.close()
    moved = np.zeros((n, m))
    if n > horizon:
        moved[: n - horizon] = np.sign(close[horizon:] - close[:-horizon])
    counted = bars.tradable & np.isfinite(votes) & np.isfinite(moved)
    for sign in (1, -1):
        # Integer weights: their sum is exact, whatever the order and the number of names.
        weight = np.where(counted & (votes * sign > 0), np.abs(votes), 0.0)
        size = np.rint(weight * _WEIGHT_STEPS).astype(np.int64)
        hits = np.where(moved * sign > 0, size, 0)
        n_known = np.zeros(n)
        h_known = np.zeros(n)
        per_outcome = 1.0 / (_WEIGHT_STEPS * horizon)
        if n > horizon:
            n_known[horizon:] = np.cumsum(size.sum(axis=1))[:-horizon] * per_outcome
            h_known[horizon:] = np.cumsum(hits.sum(axis=1))[:-horizon] * per_outcome
        if card is not None:
            n_known += card.long_count if sign > 0 else card.short_count
            h_known += card.long_hits if sign > 0 else card.short_hits
        rate = (h_known + 0.5 * settings.prior_outcomes) / (n_known + settings.prior_outcomes)
        out = np.where(votes * sign > 0, np.round(rate, 9)[:, None], out)
    return out


def _votes(
    name: str,
    bars: Bars,
    panel: AdjustedPanel,
    features: FeatureSettings,
    strategies: StrategySettings,
    model: Model | None,
) -> FloatArray:
    match name:
        case "ma_crossover":
            return technical.ma_crossover(bars, strategies.ma_crossover)
        case "rsi":
            return technical.rsi(bars, strategies.rsi)
        case "bollinger_mfi":
            return technical.bollinger_mfi(bars, strategies.bollinger_mfi)
        case "momentum":
            return technical.momentum(bars, strategies.momentum)
        case _:
            if model is None:
                return np.full(bars.shape, np.nan)
            return learned.forest(bars, panel.sessions, model, features)
