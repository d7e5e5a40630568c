"""Combining the standing votes of the agents into one forecast per instrument.

Where the votes come from is ``strategies``; what the forecast may buy is ``risk``.
"""

import math

from numba import njit

from trading.allocation.sizing import volatility_weights
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.decision import Verdict

# Scores are rounded to 1e-9 before they meet a threshold, so that the last bit never decides.
# Divided by this, not multiplied by 1e-9: only so is 0.6 the very number that 0.6 in a file is.
SCORES_PER_UNIT = 1e9

_ALLOWED = int(Verdict.ALLOWED)
_ABSTAIN = int(Verdict.ABSTAIN)
_NOT_TRADABLE = int(Verdict.NOT_TRADABLE)
_BELOW_ENTRY_FORECAST = int(Verdict.BELOW_ENTRY_FORECAST)
_BELOW_MIN_CONFIDENCE = int(Verdict.BELOW_MIN_CONFIDENCE)
_ENTRY_VAR = int(Verdict.ENTRY_VAR)
_NOT_SCREENED = int(Verdict.NOT_SCREENED)
_EXIT_SIGNAL = int(Verdict.EXIT_SIGNAL)
_REGIME_BLOCK = int(Verdict.REGIME_BLOCK)
_NO_VOLATILITY = int(Verdict.NO_VOLATILITY)


@njit(cache=True)
def _rounded(score: float) -> float:
    return math.floor(score * SCORES_PER_UNIT + 0.5) / SCORES_PER_UNIT


@njit(cache=True)
def combine(
    votes: FloatArray,
    confidence: FloatArray,
    priors: FloatArray,
    held_weights: FloatArray,
    screened: BoolArray,
    tradable: BoolArray,
    name_var: FloatArray,
    annual_volatility: FloatArray,
    entry_forecast: float,
    exit_forecast: float,
    min_confidence: float,
    max_entry_var: float,
    regime_scale: float,
    volatility_target: float,
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    r"""Return ``(forecast, confidence, raw weight, verdict)``, each of shape ``(n_instruments,)``.

    .. math:: f_i = \frac{\sum_k p_k c_{ki} v_{ki}}{\sum_k p_k c_{ki}}, \qquad
              C_i = \frac{\sum_k p_k c_{ki}\,[v_{ki} f_i > 0]}{\sum_k p_k c_{ki}}

    over the agents that did not abstain. An agent's weight is its prior times its calibrated
    hit rate; the confidence of the forecast is the share of that weight that agrees with it.

    Parameters
    ----------
    votes, confidence : ndarray of shape (n_agents, n_instruments)
        Standing votes in [-1, 1], NaN when the agent abstains; calibrated hit rates in [0, 1].
    priors : ndarray of shape (n_agents,)
        Configured weights.
    held_weights : ndarray of shape (n_instruments,)
        What is held now, as shares of equity; 0 is not held. What cannot be traded, or whose
        volatility is unknown, keeps this weight: nothing is sized, or sold, by a guess.
    name_var : ndarray of shape (n_instruments,)
        One-day VaR of each instrument alone, a positive loss; NaN (unknown) forbids an entry.
    regime_scale : float
        Multiplies every weight; 0 forbids entries and keeps what is held.
    """
    n_agents, n = votes.shape
    forecast = name_var * 0.0
    agreement = name_var * 0.0
    members = held_weights < 0.0
    verdict = members.astype("int64")
    for i in range(n):
        total = 0.0
        score = 0.0
        for k in range(n_agents):
            if not math.isnan(votes[k, i]):
                weight = priors[k] * confidence[k, i]
                total += weight
                score += weight * votes[k, i]
        forecast[i] = _rounded(score / total) if total > 0.0 else 0.0
        agreeing = 0.0
        for k in range(n_agents):
            if not math.isnan(votes[k, i]) and votes[k, i] * forecast[i] > 0.0:
                agreeing += priors[k] * confidence[k, i]
        agreement[i] = _rounded(agreeing / total) if total > 0.0 else 0.0
        if not tradable[i]:
            verdict[i] = _NOT_TRADABLE
        elif held_weights[i] > 0.0:
            members[i] = total == 0.0 or forecast[i] > exit_forecast
            verdict[i] = _ALLOWED if members[i] else _EXIT_SIGNAL
        elif total == 0.0:
            verdict[i] = _ABSTAIN
        elif not screened[i]:
            verdict[i] = _NOT_SCREENED
        elif forecast[i] <= entry_forecast:
            verdict[i] = _BELOW_ENTRY_FORECAST
        elif agreement[i] < min_confidence:
            verdict[i] = _BELOW_MIN_CONFIDENCE
        elif not name_var[i] <= max_entry_var:
            verdict[i] = _ENTRY_VAR
        elif regime_scale <= 0.0:
            verdict[i] = _REGIME_BLOCK
        else:
            members[i] = True
            verdict[i] = _ALLOWED
    scale = regime_scale if regime_scale > 0.0 else 1.0
    weights = volatility_weights(members, annual_volatility, volatility_target) * scale
    for i in range(n):
        if members[i] and weights[i] <= 0.0:
            verdict[i] = _NO_VOLATILITY
        if verdict[i] == _NO_VOLATILITY or verdict[i] == _NOT_TRADABLE:
            weights[i] = held_weights[i]
    return forecast, agreement, weights, verdict
