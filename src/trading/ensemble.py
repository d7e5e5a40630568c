"""Combining the standing votes of the agents into one forecast per instrument.

Where the votes come from is ``strategies``; how large a position is wished is ``allocation``,
what it may be is ``risk``.
"""

import math

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.decision import Verdict

# Scores are rounded to 1e-9 before they meet a threshold, so that the last bit never decides.
# Divided by this, not multiplied by 1e-9: only so is 0.6 the very number that 0.6 in a file is.
SCORES_PER_UNIT = 1e9
NOBODY = -1

_ALLOWED = int(Verdict.ALLOWED)
_ABSTAIN = int(Verdict.ABSTAIN)
_NOT_TRADABLE = int(Verdict.NOT_TRADABLE)
_BELOW_ENTRY_FORECAST = int(Verdict.BELOW_ENTRY_FORECAST)
_BELOW_MIN_CONFIDENCE = int(Verdict.BELOW_MIN_CONFIDENCE)
_ENTRY_VAR = int(Verdict.ENTRY_VAR)
_NOT_SCREENED = int(Verdict.NOT_SCREENED)
_EXIT_SIGNAL = int(Verdict.EXIT_SIGNAL)
_REGIME_BLOCK = int(Verdict.REGIME_BLOCK)
_TIME_STOP = int(Verdict.TIME_STOP)


@njit(cache=True)
def _rounded(score: float) -> float:
    return math.floor(score * SCORES_PER_UNIT + 0.5) / SCORES_PER_UNIT


@njit(cache=True)
def blend(
    votes: FloatArray, confidence: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return ``(forecast, agreement, leader)`` of each instrument.

    Parameters
    ----------
    votes, confidence : ndarray of shape (n_agents, n_instruments)
        Standing votes (NaN abstains) and calibrated hit rates.
    weights : ndarray of shape (n_agents,)
        An agent's vote counts ``weight × confidence``.

    Returns
    -------
    forecast : ndarray of shape (n_instruments,)
        Weighted mean of the votes; NaN where everybody abstains.
    agreement : ndarray of shape (n_instruments,)
        Share of the voting weight on the forecast's side (docs/adr/0003).
    leader : ndarray of shape (n_instruments,)
        The agent that pulls hardest towards the forecast, the first of equals; ``NOBODY``
        where nothing pulls.
    """
    n_agents, n = votes.shape
    forecast = np.full(n, math.nan)
    agreement = np.zeros(n)
    leader = np.full(n, NOBODY)
    for i in range(n):
        total = 0.0
        score = 0.0
        for k in range(n_agents):
            if not math.isnan(votes[k, i]):
                weight = weights[k] * confidence[k, i]
                total += weight
                score += weight * votes[k, i]
        if total <= 0.0:
            continue
        forecast[i] = _rounded(score / total)
        agreeing = 0.0
        strongest = 0.0
        for k in range(n_agents):
            pull = weights[k] * confidence[k, i] * votes[k, i] * np.sign(forecast[i])
            if pull > 0.0:
                agreeing += weights[k] * confidence[k, i]
                if _rounded(pull) > strongest:
                    strongest = _rounded(pull)
                    leader[i] = k
        agreement[i] = _rounded(agreeing / total)
    return forecast, agreement, leader


@njit(cache=True)
def combine(
    votes: FloatArray,
    confidence: FloatArray,
    weights: FloatArray,
    held_weights: FloatArray,
    screened: BoolArray,
    tradable: BoolArray,
    expired: BoolArray,
    name_var: FloatArray,
    entry_forecast: float,
    exit_forecast: float,
    min_confidence: float,
    max_entry_var: float,
    regime_scale: float,
) -> tuple[FloatArray, FloatArray, IntArray, BoolArray, IntArray]:
    """Return ``(forecast, confidence, leader, members, verdicts)``, one entry an instrument.

    ``members`` are the names that the portfolio should hold; how much is ``allocation.sizing``.
    A name that is not tradable is no member: what is held of it stays as it is.

    Parameters
    ----------
    votes, confidence, weights
        As in ``blend``.
    held_weights : ndarray of shape (n_instruments,)
        Present share of equity; a held name is kept until its forecast falls to
        ``exit_forecast``.
    screened, tradable, expired : ndarray of shape (n_instruments,)
        Names that may be entered, that trade at all, and that have been held long enough.
    name_var : ndarray of shape (n_instruments,)
        One-day VaR of each instrument alone, a positive loss; NaN (unknown) forbids an entry.
    regime_scale : float
        0 forbids entries and keeps what is held.
    """
    forecast, agreement, leader = blend(votes, confidence, weights)
    n = forecast.shape[0]
    members = np.zeros(n, dtype=np.bool_)
    verdict = np.zeros(n, dtype=np.int64)
    for i in range(n):
        silent = math.isnan(forecast[i])
        if silent:
            forecast[i] = 0.0
        if not tradable[i]:
            verdict[i] = _NOT_TRADABLE
        elif held_weights[i] > 0.0:
            if expired[i]:
                verdict[i] = _TIME_STOP
            else:
                members[i] = silent or forecast[i] > exit_forecast
                verdict[i] = _ALLOWED if members[i] else _EXIT_SIGNAL
        elif silent:
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
    return forecast, agreement, leader, members, verdict
