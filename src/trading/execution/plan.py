"""From the votes of one morning to orders, compiled: the numbers behind ``decide``.

``combine → size → caps → exposure → limit → rebalance``, then the entries that wait for a price.
``decide`` wraps it in a record; ``backtest.sweep`` calls it in its loop. Sizes that look at all
members together come from ``allocation.optimize`` between ``choose`` and ``place``. Order-level
checks are ``risk.guards``.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from trading.allocation.rebalance import rebalance
from trading.allocation.rounding import no_trade_width
from trading.allocation.sizing import size
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.decision import Verdict
from trading.ensemble import combine
from trading.execution.exits import BASIS_POINTS, exit_terms
from trading.risk.exposure import exposure, portfolio_volatility
from trading.risk.limits import ACTIVE, cap_weights, limit, weights_held
from trading.risk.var import limit_var, portfolio_outcomes, portfolio_vars

_NOT_TRADABLE = int(Verdict.NOT_TRADABLE)
_NO_VOLATILITY = int(Verdict.NO_VOLATILITY)
_NO_EDGE = int(Verdict.NO_EDGE)
_NOT_SCREENED = int(Verdict.NOT_SCREENED)
_CAP_EXPOSURE = int(Verdict.CAP_EXPOSURE)
_CAP_PORTFOLIO_VAR = int(Verdict.CAP_PORTFOLIO_VAR)
_COOLDOWN = int(Verdict.COOLDOWN)
_WAITING = int(Verdict.WAITING)


class Numbers(NamedTuple):
    """The policy as compiled functions know it; see the settings of the same names.

    ``annual`` is the square root of the sessions of a year.
    """

    entry_forecast: float
    exit_forecast: float
    min_confidence: float
    max_entry_var: float
    sizing: int
    volatility_target: float
    atr_risk: float
    atr_multiple: float
    kelly_fraction: float
    max_single_name: float
    max_sector: float
    max_gross: float
    var_level: float
    garch_alpha: float
    garch_beta: float
    max_portfolio_var: float
    var_min_sessions: int
    annual: float
    exposure_target: float
    exposure_half_life: float
    exposure_band: float
    exposure_max_rise: float
    trade_cost_bps: float
    risk_aversion: float
    no_trade_band: float
    cash_buffer: float


class Morning(NamedTuple):
    """What is known of one session before its open; arrays have one entry an instrument.

    ``votes``, ``confidence`` and ``triggers`` are ``(n_agents, n_instruments)``, ``weights``,
    ``trigger_confidence`` and ``ceilings`` ``(n_agents,)``, ``returns`` ``(n_sessions, n_instruments)``; prices
    are minor units, ``expected`` and ``volatility`` annual; ``var_champion`` is the VaR method in
    force (``risk.var.METHODS``).
    """

    votes: FloatArray
    confidence: FloatArray
    weights: FloatArray
    triggers: FloatArray
    trigger_confidence: FloatArray
    ceilings: FloatArray
    screened: BoolArray
    tradable: BoolArray
    name_var: FloatArray
    volatility: FloatArray
    atr: FloatArray
    expected: FloatArray
    expected_error: FloatArray
    returns: FloatArray
    regime_scale: float
    var_champion: int
    reference: IntArray
    buy_limit: IntArray
    sell_limit: IntArray
    lot: IntArray
    max_shares: IntArray
    sectors: IntArray
    buy_fee_ppb: int
    resize: bool


class Plan(NamedTuple):
    """What should be held and ordered; arrays have one entry an instrument.

    ``wished`` is what sizing asks for, before any cap; ``order`` is positive to buy;
    ``expected_loss`` is the VaR before ``exposure`` scales it. ``exits`` has the columns of ``execution.exits.exit_terms`` for
    what would be entered now. ``budget`` (minor units), ``distance`` (minor units above the open)
    and ``ceiling`` (basis points above it) describe an entry that waits for a price; 0 for none.
    """

    forecast: FloatArray
    agreement: FloatArray
    leader: IntArray
    wished: FloatArray
    weights: FloatArray
    target: IntArray
    order: IntArray
    verdicts: IntArray
    expected_loss: float
    exposure: float
    exits: IntArray
    budget: IntArray
    distance: IntArray
    ceiling: IntArray


class Chosen(NamedTuple):
    """Who should be held, before anybody says how much; one entry an instrument."""

    equity: int
    held: FloatArray
    screened: BoolArray
    forecast: FloatArray
    agreement: FloatArray
    leader: IntArray
    members: BoolArray
    verdicts: IntArray


class Account(NamedTuple):
    """What the plan must know of the account, beside its shares.

    ``state`` is ``risk.limits.ACTIVE``, ``REDUCING`` or ``HALTED``, ``exposure`` the factor of
    the decision before.
    """

    cash: int
    peak: int
    exposure: float
    state: int


@njit(cache=True)
def plan(
    morning: Morning,
    quantity: IntArray,
    cooling: BoolArray,
    expired: BoolArray,
    account: Account,
    rules: FloatArray,
    ladder: FloatArray,
    numbers: Numbers,
) -> Plan:
    """Return the plan of one boundary, with positions sized one by one.

    Parameters
    ----------
    morning : Morning
        What is known.
    quantity : ndarray of shape (n_instruments,)
        Shares held.
    cooling, expired : ndarray of shape (n_instruments,)
        Names that may not be bought again yet, and that have been held long enough.
    rules : ndarray of shape (n_agents + 1, n_rules)
        Exit rules of each agent, and of nobody; see ``execution.exits.rule_rows``.
    ladder : ndarray of shape (n_steps, 2)
        Drawdowns and the exposure left from each on; see ``risk.exposure``.
    """
    chosen = choose(morning, quantity, cooling, expired, account.cash, numbers)
    wished = _sized(morning, chosen.members, numbers) * _scale(morning)
    return place(morning, chosen, wished, quantity, expired, account, rules, ladder, numbers)


@njit(cache=True)
def choose(
    morning: Morning,
    quantity: IntArray,
    cooling: BoolArray,
    expired: BoolArray,
    cash: int,
    numbers: Numbers,
) -> Chosen:
    """Return who should be held; parameters as in ``plan``."""
    n = quantity.shape[0]
    equity = cash
    for i in range(n):
        equity += quantity[i] * morning.reference[i]
    held = weights_held(quantity, morning.reference, equity)
    screened = morning.screened & ~cooling
    forecast, agreement, leader, members, verdicts = _combined(
        morning.votes, morning.confidence, morning, held, screened, expired, numbers
    )
    for i in range(n):
        if cooling[i] and verdicts[i] == _NOT_SCREENED:
            verdicts[i] = _COOLDOWN
    return Chosen(equity, held, screened, forecast, agreement, leader, members, verdicts)


@njit(cache=True)
def _combined(
    votes: FloatArray,
    confidence: FloatArray,
    morning: Morning,
    held: FloatArray,
    screened: BoolArray,
    expired: BoolArray,
    numbers: Numbers,
) -> tuple[FloatArray, FloatArray, IntArray, BoolArray, IntArray]:
    return combine(
        votes,
        confidence,
        morning.weights,
        held,
        screened,
        morning.tradable,
        expired,
        morning.name_var,
        numbers.entry_forecast,
        numbers.exit_forecast,
        numbers.min_confidence,
        numbers.max_entry_var,
        morning.regime_scale,
    )


@njit(cache=True)
def place(
    morning: Morning,
    chosen: Chosen,
    wished: FloatArray,
    quantity: IntArray,
    expired: BoolArray,
    account: Account,
    rules: FloatArray,
    ladder: FloatArray,
    numbers: Numbers,
) -> Plan:
    """Return the plan that follows from ``wished`` shares of equity of the members.

    One that is NaN could not be sized: what is held of it is kept.
    """
    n = quantity.shape[0]
    wished, verdicts = wished.copy(), chosen.verdicts.copy()
    equity, held = chosen.equity, chosen.held
    for i in range(n):
        if chosen.members[i] and not wished[i] > 0.0:
            is_known = wished[i] == 0.0 and morning.volatility[i] > 0.0
            verdicts[i] = _NO_EDGE if is_known else _NO_VOLATILITY
        if verdicts[i] == _NO_VOLATILITY or verdicts[i] == _NOT_TRADABLE:
            wished[i] = held[i]
    capped, codes = cap_weights(
        wished, morning.sectors, numbers.max_single_name, numbers.max_sector, numbers.max_gross
    )
    codes = np.where(codes > 0, codes, verdicts)
    expected_loss = limit_var(
        portfolio_vars(
            capped, morning.returns, numbers.var_level, numbers.garch_alpha, numbers.garch_beta
        ),
        morning.var_champion,
    )
    factor = exposure(
        account.exposure,
        numbers.annual * _volatility(capped, morning.returns, numbers),
        max(0.0, 1.0 - equity / account.peak) if account.peak > 0 else 0.0,
        expected_loss,
        numbers.exposure_target,
        numbers.max_portfolio_var,
        ladder,
        numbers.exposure_band,
        numbers.exposure_max_rise,
    )
    if factor < 1.0:
        cause = _CAP_PORTFOLIO_VAR if expected_loss > numbers.max_portfolio_var else _CAP_EXPOSURE
        for i in range(n):
            if capped[i] > 0.0 and verdicts[i] != _NOT_TRADABLE:
                capped[i] *= factor
                codes[i] = cause
    allowed, codes = limit(
        capped, codes, held, expected_loss * factor, account.state, numbers.max_portfolio_var
    )
    target, order, codes = rebalance(
        allowed,
        codes,
        quantity,
        morning.tradable.astype(np.int64),
        morning.reference,
        morning.buy_limit,
        morning.lot,
        morning.max_shares,
        morning.sectors,
        no_trade_width(allowed, np.full(n, numbers.trade_cost_bps), numbers.risk_aversion),
        equity,
        account.cash,
        numbers.max_single_name,
        numbers.max_sector,
        numbers.max_gross,
        numbers.no_trade_band,
        numbers.cash_buffer,
        morning.buy_fee_ppb,
        morning.resize,
    )
    forecast, agreement = chosen.forecast.copy(), chosen.agreement.copy()
    leader = chosen.leader.copy()
    budget = np.zeros(n, dtype=np.int64)
    distance = np.zeros(n, dtype=np.int64)
    ceiling = np.zeros(n, dtype=np.int64)
    nearest = _nearest(morning)
    if account.state == ACTIVE and (nearest < math.inf).any():
        _arm(
            morning, chosen, expired, nearest, allowed, target, factor, expected_loss * factor,
            numbers, forecast, agreement, leader, codes, budget, distance, ceiling,
        )  # fmt: skip
    exits = exit_terms(rules, leader, morning.atr)
    return Plan(
        forecast,
        agreement,
        leader,
        wished,
        allowed,
        target,
        order,
        codes,
        expected_loss,
        factor,
        exits,
        budget,
        distance,
        ceiling,
    )


@njit(cache=True)
def _scale(morning: Morning) -> float:
    return morning.regime_scale if morning.regime_scale > 0.0 else 1.0


@njit(cache=True)
def _volatility(weights: FloatArray, returns: FloatArray, numbers: Numbers) -> float:
    outcomes = portfolio_outcomes(weights, returns)
    return portfolio_volatility(outcomes, numbers.exposure_half_life, numbers.var_min_sessions)


@njit(cache=True)
def _sized(morning: Morning, members: BoolArray, numbers: Numbers) -> FloatArray:
    """Return the wished weights of positions sized one by one; an optimizer's names by volatility."""
    return size(
        numbers.sizing,
        members,
        morning.volatility,
        morning.atr,
        morning.expected,
        morning.expected_error,
        numbers.volatility_target,
        numbers.atr_risk,
        numbers.atr_multiple,
        numbers.kelly_fraction,
    )


@njit(cache=True)
def _nearest(morning: Morning) -> FloatArray:
    """Return each name's nearest trigger of an agent that counts; infinite where none waits."""
    n_agents, n = morning.triggers.shape
    nearest = np.full(n, math.inf)
    for i in range(n):
        for k in range(n_agents):
            if morning.weights[k] > 0.0 and 0.0 < morning.triggers[k, i] < nearest[i]:
                nearest[i] = morning.triggers[k, i]
    return nearest


@njit(cache=True)
def _arm(
    morning: Morning,
    chosen: Chosen,
    expired: BoolArray,
    nearest: FloatArray,
    allowed: FloatArray,
    target: IntArray,
    factor: float,
    expected_loss: float,
    numbers: Numbers,
    forecast: FloatArray,
    agreement: FloatArray,
    leader: IntArray,
    codes: IntArray,
    budget: IntArray,
    distance: IntArray,
    ceiling: IntArray,
) -> None:
    """Let names wait for their nearest trigger that would be entered if it had fired.

    They get what room the caps leave beside ``allowed``, and beside what of ``target`` cannot be
    sold or is left alone, in the order of the columns. Of the VaR limit each takes its own VaR:
    nothing is counted on to offset anything.
    """
    n_agents, n = morning.triggers.shape
    votes = morning.votes.copy()
    confidence = morning.confidence.copy()
    for k in range(n_agents):
        for i in range(n):
            if 0.0 < morning.triggers[k, i] <= nearest[i]:
                votes[k, i] = 1.0
                confidence[k, i] = morning.trigger_confidence[k]
    forecast_if, agreement_if, leader_if, members, _ = _combined(
        votes, confidence, morning, chosen.held, chosen.screened, expired, numbers
    )
    wished = _sized(morning, members, numbers) * _scale(morning) * factor
    weights = np.maximum(allowed, weights_held(target, morning.reference, chosen.equity))
    gross = weights.sum()
    for i in range(n):
        if nearest[i] == math.inf or not members[i] or chosen.held[i] > 0.0 or allowed[i] > 0.0:
            continue
        room = min(wished[i], numbers.max_single_name, numbers.max_gross - gross)
        if morning.sectors[i] >= 0:
            sector = 0.0
            for j in range(n):
                if morning.sectors[j] == morning.sectors[i]:
                    sector += weights[j]
            room = min(room, numbers.max_sector - sector)
        if morning.name_var[i] > 0.0:
            room = min(room, (numbers.max_portfolio_var - expected_loss) / morning.name_var[i])
        if int(room * chosen.equity) <= 0:
            continue
        weights[i] = room
        gross += room
        expected_loss += room * max(morning.name_var[i], 0.0)
        for k in range(n_agents - 1, -1, -1):
            if morning.weights[k] > 0.0 and morning.triggers[k, i] == nearest[i]:
                ceiling[i] = int(morning.ceilings[k] * BASIS_POINTS + 0.5)
        budget[i] = int(room * chosen.equity)
        distance[i] = max(1, math.ceil(nearest[i] * morning.reference[i]))
        forecast[i], agreement[i], leader[i] = forecast_if[i], agreement_if[i], leader_if[i]
        codes[i] = _WAITING
