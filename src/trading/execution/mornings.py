"""What is known before each open of a range of sessions, for every instrument at once.

A view (``execution.decide``) takes the columns of one session out of it, and so does the compiled
loop of ``backtest.sweep``, by the same functions.
"""

import math
from datetime import date
from typing import NamedTuple

import numpy as np
from numba import njit

from trading.allocation.rebalance import limit_price
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.instrument import Exchange
from trading.domain.market import RawPanel
from trading.domain.rules import MarketRules
from trading.execution.plan import Morning
from trading.risk.var import name_vars
from trading.strategies.base import Evaluation

# KIS accepts 41 registrations a session: 40 symbols and the account's notices.
MAX_VIEW_SYMBOLS = 40


class Terms(NamedTuple):
    """What of a policy the mornings depend on; see the settings of the same names."""

    adv_sessions: int
    max_adv_share: float
    entry_band: float
    exit_band: float
    sessions_per_year: int
    resize_daily: bool


class Window(NamedTuple):
    """The past returns that risk is measured on; see the settings of the same names."""

    sessions: int
    level: float
    min_sessions: int


class Mornings(NamedTuple):
    """Sessions ``first_row`` on, as arrays; the first axis is the session, the last the instrument.

    Most fields are those of ``Morning``. ``buy_rate_ppb`` is what a purchase pays beside its
    price, ``volume`` the mean of the past days in shares, ``value`` what it was worth at the last
    close; ``lower`` and ``upper`` are the day's price limits (0 for none) and ``ladder_of`` says
    which of ``ladders`` holds. ``returns`` are those of the whole panel.
    """

    first_row: int
    votes: FloatArray
    confidence: FloatArray
    weights: FloatArray
    triggers: FloatArray
    trigger_confidence: FloatArray
    ceilings: FloatArray
    screened: BoolArray
    tradable: BoolArray
    volatility: FloatArray
    atr: FloatArray
    expected: FloatArray
    expected_error: FloatArray
    returns: FloatArray
    regime_scale: FloatArray
    var_champion: IntArray
    reference: IntArray
    buy_limit: IntArray
    sell_limit: IntArray
    lot: IntArray
    max_shares: IntArray
    sectors: IntArray
    buy_rate_ppb: IntArray
    resize: BoolArray
    volume: IntArray
    value: IntArray
    lower: IntArray
    upper: IntArray
    ladders: IntArray
    ladder_of: IntArray


def mornings(
    evaluation: Evaluation,
    raw: RawPanel,
    rules: MarketRules,
    terms: Terms,
    *,
    regime_scales: FloatArray,
    champions: IntArray,
    first: int,
    stop: int,
) -> Mornings:
    """Return what is known before the sessions in rows ``first`` to ``stop`` (not included).

    Parameters
    ----------
    evaluation : Evaluation
        Its ``returns`` are contiguous.
    regime_scales : ndarray of shape (n_regimes,)
        Factor on all weights by regime.
    champions : ndarray of shape (n_sessions,)
        The VaR method in force after each session.
    """
    past, today = slice(first - 1, stop - 1), slice(first, stop)
    sessions = raw.sessions[today]
    reference = np.ascontiguousarray(raw.reference[today])
    volume = _mean_volume(raw.volume, terms.adv_sessions, first, stop)
    lower, upper = rules.limit_arrays(raw.exchanges, reference, sessions)
    ladders, ladder_of = rules.ladder_arrays(raw.exchanges, sessions)
    law = (ladders, ladder_of, lower, upper)
    months = raw.sessions[first - 1 : stop].astype("datetime64[M]")
    return Mornings(
        first_row=first,
        votes=np.ascontiguousarray(evaluation.votes[past]),
        confidence=np.ascontiguousarray(evaluation.confidence[past]),
        weights=np.ascontiguousarray(evaluation.weights[past]),
        triggers=np.ascontiguousarray(evaluation.triggers[past]),
        trigger_confidence=np.ascontiguousarray(evaluation.trigger_confidence[past]),
        ceilings=evaluation.ceilings,
        screened=np.ascontiguousarray(evaluation.screened[past]),
        tradable=raw.tradable[past] & (reference > 0),
        volatility=np.ascontiguousarray(
            evaluation.volatility[past] * math.sqrt(terms.sessions_per_year)
        ),
        atr=np.ascontiguousarray(evaluation.atr[past]),
        expected=np.ascontiguousarray(evaluation.expected[past] * terms.sessions_per_year),
        expected_error=np.ascontiguousarray(
            evaluation.expected_error[past] * terms.sessions_per_year
        ),
        returns=evaluation.returns,
        regime_scale=regime_scales[evaluation.regime[past]],
        var_champion=champions[past].astype(np.int64),
        reference=reference,
        buy_limit=limit_prices(reference, terms.entry_band, 1, *law),
        sell_limit=limit_prices(reference, terms.exit_band, -1, *law),
        lot=rules.lot_arrays(raw.exchanges, reference, sessions),
        max_shares=(volume * terms.max_adv_share).astype(np.int64),
        sectors=np.ascontiguousarray(evaluation.sectors[past]),
        buy_rate_ppb=_buy_rates(raw.exchanges, sessions.tolist(), rules),
        resize=terms.resize_daily | (months[1:] != months[:-1]),
        volume=volume,
        value=volume * raw.close[past],
        lower=lower,
        upper=upper,
        ladders=ladders,
        ladder_of=ladder_of,
    )


@njit(cache=True)
def columns_of(known: Mornings, t: int, held: BoolArray) -> IntArray:
    """Return the instruments that the ``t``-th view shows, in ascending order.

    All of them, or of more than one feed can carry those ``held`` and the screened ones, the most
    traded first.
    """
    m = held.shape[0]
    if m <= MAX_VIEW_SYMBOLS:
        return np.arange(m)
    kept = np.flatnonzero(held)
    others = np.flatnonzero(known.screened[t] & ~held)
    room = max(0, MAX_VIEW_SYMBOLS - kept.shape[0])
    ranked = others[np.argsort(-known.value[t][others], kind="mergesort")[:room]]
    return np.sort(np.concatenate((kept, ranked)))


@njit(cache=True)
def morning_of(known: Mornings, t: int, columns: IntArray, window: Window) -> Morning:
    """Return the ``t``-th morning of the instruments in ``columns``."""
    row = known.first_row + t
    returns = _taken(known.returns[max(0, row - window.sessions) : row], columns)
    buy_fee_ppb = 0
    for i in columns:
        buy_fee_ppb = max(buy_fee_ppb, known.buy_rate_ppb[t, i])
    return Morning(
        _taken(known.votes[t], columns),
        _taken(known.confidence[t], columns),
        known.weights[t].copy(),
        _taken(known.triggers[t], columns),
        known.trigger_confidence[t].copy(),
        known.ceilings,
        known.screened[t][columns],
        known.tradable[t][columns],
        name_vars(returns, window.level, window.min_sessions),
        known.volatility[t][columns],
        known.atr[t][columns],
        known.expected[t][columns],
        known.expected_error[t][columns],
        returns,
        known.regime_scale[t],
        known.var_champion[t],
        known.reference[t][columns],
        known.buy_limit[t][columns],
        known.sell_limit[t][columns],
        known.lot[t][columns],
        known.max_shares[t][columns],
        known.sectors[t][columns],
        buy_fee_ppb,
        known.resize[t],
    )


@njit(cache=True)
def _taken(rows: FloatArray, columns: IntArray) -> FloatArray:
    taken = np.empty((rows.shape[0], columns.shape[0]))
    for k in range(rows.shape[0]):
        for j in range(columns.shape[0]):
            taken[k, j] = rows[k, columns[j]]
    return taken


def _mean_volume(volume: IntArray, window: int, first: int, stop: int) -> IntArray:
    """Return the mean volume of the ``window`` sessions before each, or of as many as there are."""
    start = max(0, first - window)
    total = np.zeros((stop - start, volume.shape[1]), dtype=np.int64)
    np.cumsum(volume[start : stop - 1], axis=0, out=total[1:])
    rows = np.arange(first, stop)
    begin = np.maximum(rows - window, 0)
    mean: IntArray = total[rows - start] - total[begin - start]
    mean //= np.maximum(rows - begin, 1)[:, None]
    return mean


def _buy_rates(
    exchanges: tuple[Exchange, ...], sessions: list[date], rules: MarketRules
) -> IntArray:
    """Return the rate of all fees of a purchase in each instrument, in 1e-9."""
    rates = {
        exchange: [
            sum(
                fee.rate_ppb for fee in rules.fees(exchange, session, session) if fee.side != "sell"
            )
            for session in sessions
        ]
        for exchange in set(exchanges)
    }
    return np.array([rates[exchange] for exchange in exchanges], dtype=np.int64).T.copy()


@njit(cache=True)
def limit_prices(
    reference: IntArray,
    band: float,
    sign: int,
    ladders: IntArray,
    ladder_of: IntArray,
    lower: IntArray,
    upper: IntArray,
) -> IntArray:
    """Return the limit of an order in every cell; 0 where there is no reference price."""
    prices = np.zeros_like(reference)
    for t in range(reference.shape[0]):
        for i in range(reference.shape[1]):
            if reference[t, i] > 0:
                prices[t, i] = limit_price(
                    reference[t, i], band, sign, ladders[ladder_of[t, i]], lower[t, i], upper[t, i]
                )
    return prices
