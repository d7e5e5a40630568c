"""Thousands of parameter sets, each in one compiled loop over recorded sessions.

Calls the same compiled functions as ``execution``; it knows neither engine nor orders as
objects, and gives the same orders and the same equity to the unit (tests/parity).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
from numba import njit

from trading.allocation.rebalance import limit_price
from trading.backtest import runner
from trading.backtest.runner import actions_by_session, fees_of
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.market import RawPanel
from trading.domain.order import OrderIntent, Side
from trading.domain.rules import MarketRules
from trading.execution.decide import BOUNDARY_OPEN, Policy, Views
from trading.execution.engine import BOUNDARY_EXIT, BOUNDARY_TRIGGER, REASON_TRIGGER
from trading.execution.exits import (
    COOLDOWN,
    MAX_SESSIONS,
    N_TERMS,
    PROFIT,
    STOP,
    TRAIL,
    ExitRule,
    exit_terms,
    exits,
)
from trading.execution.mornings import Mornings, Window, columns_of, morning_of
from trading.execution.orders import buy_fee, entry_order
from trading.execution.plan import Account, Numbers, plan
from trading.risk.limits import ACTIVE, REDUCING, breach, next_state
from trading.sessions import SessionCalendar
from trading.simulation.account import (
    book,
    costs,
    income_kept,
    lost_right,
    mark,
    net_dividend,
    split_shares,
)
from trading.simulation.matching import BASIS_POINTS, capacity_of, fill
from trading.simulation.paths import PRINTS_PER_BAR, share_of_volume
from trading.simulation.slippage import Rates, impact_scales, slipped

_LOSSES = int(ExitRule.STOP_LOSS), int(ExitRule.TRAILING_STOP)
_PROFIT = int(ExitRule.TAKE_PROFIT)
_MAX_ORDERS_A_DAY = 8
_DECIDED, _TRIGGERED = 0, -1
# Columns of an order row: session row, instrument, sign, quantity, limit, and the exit rule that
# sold, or one of the two above.
_ROW, _COLUMN, _SIGN, _QUANTITY, _LIMIT, _RULE = range(6)
# Columns of a working order: sign, open quantity, limit, traded quantity, traded amount.
_W_SIGN, _W_OPEN, _W_LIMIT, _W_TRADED, _W_AMOUNT = range(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """Equity after each session, in minor units, and every order in decision order."""

    sessions: tuple[date, ...]
    equity: tuple[int, ...]
    orders: tuple[OrderIntent, ...]
    starting_cash: int
    ambiguous_fills: int
    slippage: int


class _Days(NamedTuple):
    """What happened in the sessions of a run; the first axis is the session, then the instrument.

    ``action_of`` says which row of ``split``, ``rights``, ``dividend`` and ``gone`` is a
    session's: the first is that of all sessions without an action.
    """

    prints: IntArray
    volume: IntArray
    fees: IntArray
    fee_of: IntArray
    action_of: IntArray
    split: IntArray
    rights: IntArray
    dividend: IntArray
    withholding: IntArray
    gone: IntArray
    scales: FloatArray


class _Limits(NamedTuple):
    """What the loop needs of the policy beside ``Numbers``."""

    max_daily_loss: float
    max_drawdown: float
    collar: float
    cooldown_sessions: int
    share_bps: int
    slippage: Rates
    favourable: bool


def run(
    views: Views,
    raw: RawPanel,
    actions: Iterable[CorporateAction],
    calendar: SessionCalendar,
    rules: MarketRules,
    policy: Policy,
    *,
    cash: int,
    first: date,
    last: date,
    favourable: bool = False,
) -> SweepResult:
    """Trade every session from ``first`` to ``last``; the same as ``runner.run`` without records.

    Sizes that need an optimizer are no compiled loop: ``runner.run`` itself makes those.
    """
    if policy.allocation.sizing.method.optimized is not None:
        made = runner.run(
            views, raw, actions, calendar, rules, policy,
            cash=cash, first=first, last=last, favourable=favourable,
        )  # fmt: skip
        return SweepResult(
            sessions=made.sessions,
            equity=made.equity,
            orders=tuple(order.intent for day in made.days for order in day.orders),
            starting_cash=cash,
            ambiguous_fills=made.ambiguous_fills,
            slippage=made.slippage,
        )
    rows = runner.traded_rows(raw, first, last)
    known = views.between(rows.start, rows.stop)
    equity, orders, n_orders, ambiguous, slippage = _trade(
        known,
        _days(known, raw, actions, calendar, rules, policy),
        views.window,
        cash,
        policy.rules(views.agents),
        policy.risk.exposure.ladder,
        policy.numbers,
        _Limits(
            max_daily_loss=policy.risk.max_daily_loss,
            max_drawdown=policy.risk.max_drawdown,
            collar=policy.orders.stop_collar,
            cooldown_sessions=policy.risk.drawdown_cooldown_sessions,
            share_bps=round(policy.orders.participation * BASIS_POINTS),
            slippage=policy.orders.slippage.rates,
            favourable=favourable,
        ),
    )
    return SweepResult(
        sessions=tuple(raw.sessions[rows.start : rows.stop].tolist()),
        equity=tuple(equity.tolist()),
        orders=tuple(_intents(orders[:n_orders], raw, rows.start, policy)),
        starting_cash=cash,
        ambiguous_fills=int(ambiguous),
        slippage=int(slippage),
    )


def _days(
    known: Mornings,
    raw: RawPanel,
    actions: Iterable[CorporateAction],
    calendar: SessionCalendar,
    rules: MarketRules,
    policy: Policy,
) -> _Days:
    n, m = known.reference.shape
    today = slice(known.first_row, known.first_row + n)
    sessions = raw.sessions[today].tolist()
    groups = actions_by_session(actions)
    action_of = np.zeros(n, dtype=np.int64)
    acted = [t for t, session in enumerate(sessions) if session in groups]
    action_of[acted] = np.arange(1, len(acted) + 1)
    split = np.ones((len(acted) + 1, m, 2), dtype=np.int64)
    rights = np.ones_like(split)
    dividend = np.zeros((len(acted) + 1, m), dtype=np.int64)
    gone = np.full_like(dividend, -1)
    for t in acted:
        row = action_of[t]
        for action in groups[sessions[t]]:
            i = raw.columns.get(action.symbol)
            if i is None:
                # Of a name that is not traded here: nobody holds it, as in the engine's books.
                continue
            if action.kind is ActionKind.SPLIT:
                split[row, i] = action.numerator, action.denominator
            elif action.kind is ActionKind.RIGHTS:
                rights[row, i] = action.numerator, action.denominator
            elif action.kind is ActionKind.CASH_DIVIDEND:
                dividend[row, i] += action.amount
            else:
                gone[row, i] = action.amount
    prints = np.stack([raw.open[today], raw.low[today], raw.high[today], raw.close[today]], axis=2)
    prints[~raw.tradable[today]] = 0
    fees, fee_of = _fees(sessions, raw, calendar, rules)
    return _Days(
        prints=prints,
        volume=np.ascontiguousarray(raw.volume[today]),
        fees=fees,
        fee_of=fee_of,
        action_of=action_of,
        split=split,
        rights=rights,
        dividend=dividend,
        withholding=np.array([rules.dividend_withholding_ppb(day) for day in sessions]),
        gone=gone,
        scales=impact_scales(
            policy.orders.slippage.impact,
            known.volatility,
            policy.sessions_per_year,
            known.volume,
        ),
    )


def _fees(
    sessions: list[date], raw: RawPanel, calendar: SessionCalendar, rules: MarketRules
) -> tuple[IntArray, IntArray]:
    """Return the distinct fee arrays, padded with fees of nothing, and which one applies when."""
    lookup = fees_of(rules, calendar)
    distinct: dict[bytes, tuple[int, IntArray]] = {}
    which = np.zeros((len(sessions), len(raw.symbols)), dtype=np.int64)
    for exchange in dict.fromkeys(raw.exchanges):
        columns = [i for i, one in enumerate(raw.exchanges) if one is exchange]
        for t, session in enumerate(sessions):
            fees = lookup(exchange, session)
            which[t, columns], _ = distinct.setdefault(fees.tobytes(), (len(distinct), fees))
    widest = max(len(fees) for _, fees in distinct.values())
    padded = np.zeros((len(distinct), widest, 7), dtype=np.int64)
    padded[:, :, 4] = 1
    for number, fees in distinct.values():
        padded[number, : len(fees)] = fees
    return padded, which


def _intents(
    orders: IntArray, raw: RawPanel, first_row: int, policy: Policy
) -> Iterable[OrderIntent]:
    sessions = raw.sessions.tolist()
    for row, column, sign, quantity, price, rule in orders.tolist():
        session, symbol = sessions[first_row + row], raw.symbols[column]
        side = Side.BUY if sign > 0 else Side.SELL
        if rule == _DECIDED:
            boundary, reason = BOUNDARY_OPEN, "rebalance"
        elif rule == _TRIGGERED:
            boundary, reason = BOUNDARY_TRIGGER, REASON_TRIGGER
        else:
            boundary, reason = BOUNDARY_EXIT, ExitRule(rule).name.lower()
        yield OrderIntent(
            intent_id=f"{policy.market}:{session}:{boundary}:{symbol}:{side}",
            session=session,
            boundary=boundary,
            symbol=symbol,
            exchange=raw.exchanges[column],
            side=side,
            quantity=quantity,
            limit=price,
            reason=reason,
        )


@njit(cache=True)
def _trade(
    known: Mornings,
    days: _Days,
    window: Window,
    cash: int,
    rules: FloatArray,
    rungs: FloatArray,
    numbers: Numbers,
    limits: _Limits,
) -> tuple[IntArray, IntArray, int, int, int]:
    """Return ``(equity, orders, number of orders, ambiguous fills, slippage)``; see ``run``."""
    n, m = known.reference.shape
    equity_curve = np.zeros(n, dtype=np.int64)
    found = np.zeros((1024, 6), dtype=np.int64)
    n_found = 0
    held = np.zeros(m, dtype=np.int64)
    cost = np.zeros(m, dtype=np.int64)
    top = np.zeros(m, dtype=np.int64)
    income = np.zeros(m, dtype=np.int64)
    last = np.zeros(m, dtype=np.int64)
    cooling = np.zeros(m, dtype=np.int64)
    exited = np.full(m, -1, dtype=np.int64)
    age = np.zeros(m, dtype=np.int64)
    unled = exit_terms(rules, np.array([-1]), np.array([np.nan]))[0]
    terms = np.zeros((m, N_TERMS), dtype=np.int64)
    opened = np.zeros(m, dtype=np.int64)
    working = np.zeros((m, _MAX_ORDERS_A_DAY, 5), dtype=np.int64)
    n_working = np.zeros(m, dtype=np.int64)
    # Bars whose extremes are exchanged, and names bought at an extreme of the bar that is running.
    exchanged = np.zeros(m, dtype=np.bool_)
    entered = np.zeros(m, dtype=np.bool_)
    ambiguous, slippage = 0, 0
    peak = cash
    drawn = 0
    factor = 1.0
    # What the plan of the day wants of each name; only those that the view shows have a say.
    order = np.zeros(m, dtype=np.int64)
    budget = np.zeros(m, dtype=np.int64)
    distance = np.zeros(m, dtype=np.int64)
    ceiling = np.zeros(m, dtype=np.int64)
    entry_terms = np.zeros((m, N_TERMS), dtype=np.int64)
    for i in range(m):
        terms[i] = unled
    for t in range(n):
        reference = known.reference[t]
        columns = columns_of(known, t, held > 0)
        row = days.action_of[t]
        for i in range(m):
            if held[i] > 0 and days.dividend[row, i] > 0:
                net, _ = net_dividend(held[i], days.dividend[row, i], days.withholding[t])
                cash += net
                income[i] += held[i] * days.dividend[row, i]
                top[i] = max(top[i] - days.dividend[row, i], 0)
            if held[i] > 0 and days.rights[row, i, 0] != days.rights[row, i, 1]:
                numerator, denominator = days.rights[row, i, 0], days.rights[row, i, 1]
                income[i] += lost_right(cost[i] - income[i], numerator, denominator)
                top[i] = top[i] * denominator // numerator
            if held[i] > 0 and days.split[row, i, 0] != days.split[row, i, 1]:
                numerator, denominator = days.split[row, i, 0], days.split[row, i, 1]
                held[i], paid = split_shares(held[i], numerator, denominator, reference[i])
                cash += paid
                top[i] = top[i] * denominator // numerator
                if held[i] == 0:
                    cost[i], top[i], income[i] = 0, 0, 0
            if held[i] > 0 and days.gone[row, i] >= 0:
                cash += held[i] * days.gone[row, i]
                held[i], cost[i], top[i], income[i] = 0, 0, 0, 0
            if held[i] == 0:
                terms[i] = unled
                age[i] = 0
            else:
                age[i] += 1
            if reference[i] > 0:
                last[i] = reference[i]
            n_working[i] = 0
            exited[i] = -1
            opened[i] = 0
        start_equity = mark(cash, held, last)
        state, peak, drawn = next_state(
            start_equity, peak, drawn, limits.max_drawdown, limits.cooldown_sessions
        )
        expired = (held > 0) & (terms[:, MAX_SESSIONS] > 0) & (age >= terms[:, MAX_SESSIONS])
        for i in range(m):
            if expired[i]:
                exited[i] = terms[i, COOLDOWN]
        morning = morning_of(known, t, columns, window)
        buy_fee_ppb = morning.buy_fee_ppb
        planned = plan(
            morning, held[columns], cooling[columns] > 0, expired[columns],
            Account(cash, peak, factor, state), rules, rungs, numbers,
        )  # fmt: skip
        factor = planned.exposure
        for j, i in enumerate(columns):
            order[i] = planned.order[j]
            budget[i] = planned.budget[j]
            distance[i] = planned.distance[j]
            ceiling[i] = planned.ceiling[j]
            entry_terms[i] = planned.exits[j]
        for sign in (-1, 1):
            for i in columns:
                if order[i] * sign > 0:
                    price = known.buy_limit[t, i] if sign > 0 else known.sell_limit[t, i]
                    _place(working, n_working, i, sign, abs(order[i]), price)
                    found = _note(found, n_found, t, i, sign, abs(order[i]), price, _DECIDED)
                    n_found += 1
        for k in range(PRINTS_PER_BAR):
            auction = k in (0, PRINTS_PER_BAR - 1)
            for i in columns:
                price = days.prints[t, i, k]
                if price <= 0:
                    continue
                low, high = days.prints[t, i, 1], days.prints[t, i, 2]
                before = 0 if auction else days.prints[t, i, k - 1]
                if auction or low == high:
                    exchanged[i], entered[i] = False, False
                elif k == 1 and held[i] > 0:
                    at_low, at_high = _rules_at(
                        held[i], cost[i] - income[i], top[i], low, high, terms[i]
                    )
                    if at_low in _LOSSES and at_high == _PROFIT:
                        ambiguous += 1
                        exchanged[i] = limits.favourable
                if exchanged[i]:
                    price = high if k == 1 else low
                    before = before if k == 1 else high
                capacity = capacity_of(share_of_volume(days.volume[t, i], k), limits.share_bps)
                lower, upper = known.lower[t, i], known.upper[t, i]
                fee = days.fees[days.fee_of[t, i]]
                ladder = known.ladders[known.ladder_of[t, i]]
                owned = held[i]
                for w in range(n_working[i]):
                    shares = held[i]
                    capacity, cash, more = _match(
                        working, i, w, before, price, capacity, lower, upper, fee, held, cost, top,
                        income, cash, auction, limits.slippage, days.scales[t, i], ladder,
                    )  # fmt: skip
                    slippage += more
                    entered[i] |= held[i] > shares and not auction and low != high
                if owned == 0 and held[i] > 0:
                    terms[i] = entry_terms[i]
                last[i] = price
                if opened[i] == 0:
                    opened[i] = price
                placed = -1
                if held[i] == 0:
                    above = price - opened[i]
                    is_due = budget[i] > 0 and above >= distance[i]
                    is_spike = above * BASIS_POINTS > opened[i] * ceiling[i]
                    if not is_due or is_spike or k == PRINTS_PER_BAR - 1:
                        continue
                    budgeted, budget[i] = budget[i], 0
                    free_cash = cash
                    for j in columns:
                        for w in range(n_working[j]):
                            if working[j, w, _W_SIGN] > 0:
                                unit = working[j, w, _W_LIMIT]
                                unit += buy_fee(unit, buy_fee_ppb)
                                free_cash -= working[j, w, _W_OPEN] * unit
                    price_limit, shares = entry_order(
                        price, budgeted, free_cash, limits.collar, numbers.cash_buffer,
                        buy_fee_ppb, known.lot[t, i], known.max_shares[t, i],
                        ladder, lower, upper,
                    )  # fmt: skip
                    if shares <= 0:
                        continue
                    placed = _place(working, n_working, i, 1, shares, price_limit)
                    found = _note(found, n_found, t, i, 1, shares, price_limit, _TRIGGERED)
                    n_found += 1
                else:
                    top[i] = max(top[i], price)
                    rule = exits(
                        held[i], cost[i] - income[i], top[i], price, terms[i, STOP],
                        terms[i, TRAIL], terms[i, PROFIT],
                    )  # fmt: skip
                    if rule == 0 or k == PRINTS_PER_BAR - 1:
                        continue
                    free = held[i]
                    for w in range(n_working[i]):
                        if working[i, w, _W_SIGN] < 0:
                            free -= working[i, w, _W_OPEN]
                    for w in range(n_working[i]):
                        if working[i, w, _W_SIGN] > 0 or working[i, w, _W_LIMIT] > price:
                            working[i, w, _W_OPEN] = 0
                    free = free // known.lot[t, i] * known.lot[t, i]
                    if free <= 0:
                        continue
                    exited[i] = terms[i, COOLDOWN]
                    ambiguous += entered[i]
                    floor = limit_price(price, limits.collar, -1, ladder, lower, upper)
                    placed = _place(working, n_working, i, -1, free, floor)
                    found = _note(found, n_found, t, i, -1, free, floor, rule)
                    n_found += 1
                owned = held[i]
                capacity, cash, more = _match(
                    working, i, placed, 0, price, capacity, lower, upper, fee, held, cost, top,
                    income, cash, auction, limits.slippage, days.scales[t, i], ladder,
                )  # fmt: skip
                slippage += more
                entered[i] |= held[i] > owned and not auction and low != high
                if owned == 0 and held[i] > 0:
                    terms[i] = entry_terms[i]
            if state == ACTIVE and k < PRINTS_PER_BAR - 1:
                now = mark(cash, held, last)
                if breach(now, start_equity, peak, limits.max_daily_loss, limits.max_drawdown) != 0:
                    state = REDUCING
                    budget[:] = 0
                    for i in columns:
                        for w in range(n_working[i]):
                            if working[i, w, _W_SIGN] > 0:
                                working[i, w, _W_OPEN] = 0
        for i in range(m):
            cooling[i] = max(cooling[i] - 1, 0)
            if exited[i] > 0:
                cooling[i] = exited[i]
        equity_curve[t] = mark(cash, held, last)
    return equity_curve, found, n_found, ambiguous, slippage


@njit(cache=True)
def _rules_at(held, cost, top, low, high, terms):  # type: ignore[no-untyped-def] # as above
    """Return the rules that the extremes of a bar would sell a holding by."""
    return (
        exits(held, cost, max(top, low), low, terms[STOP], terms[TRAIL], terms[PROFIT]),
        exits(held, cost, max(top, high), high, terms[STOP], terms[TRAIL], terms[PROFIT]),
    )


@njit(cache=True)
def _place(working, n_working, i, sign, quantity, price):  # type: ignore[no-untyped-def] # as above
    w = n_working[i]
    working[i, w] = 0
    working[i, w, _W_SIGN] = sign
    working[i, w, _W_OPEN] = quantity
    working[i, w, _W_LIMIT] = price
    n_working[i] += 1
    return w


@njit(cache=True)
def _note(found, n_found, t, i, sign, quantity, price, rule):  # type: ignore[no-untyped-def] # as above
    if n_found == found.shape[0]:
        found = np.concatenate((found, np.zeros_like(found)))
    found[n_found, _ROW] = t
    found[n_found, _COLUMN] = i
    found[n_found, _SIGN] = sign
    found[n_found, _QUANTITY] = quantity
    found[n_found, _LIMIT] = price
    found[n_found, _RULE] = rule
    return found


@njit(cache=True)
def _match(  # type: ignore[no-untyped-def] # as above
    working, i, w, before, price, capacity, lower, upper, fee, held, cost, top, income, cash,
    auction, rates, scale, ladder,
):  # fmt: skip
    """Meet one working order with a print and book what it gets.

    Returns what is left of the print, the cash, and what slippage cost.
    """
    order = working[i, w]
    sign = order[_W_SIGN]
    shares, paid = fill(
        sign, order[_W_OPEN], order[_W_LIMIT], before, price, capacity, lower, upper
    )
    if shares == 0:
        return capacity, cash, 0
    met = paid
    paid = slipped(
        sign, met, order[_W_TRADED] + shares, order[_W_LIMIT], auction, rates, scale, ladder,
        lower, upper,
    )  # fmt: skip
    amount = shares * paid
    c0, t0 = 0, 0
    if order[_W_TRADED] > 0:
        c0, t0 = costs(sign, order[_W_TRADED], order[_W_AMOUNT], fee)
    order[_W_TRADED] += shares
    order[_W_AMOUNT] += amount
    order[_W_OPEN] -= shares
    c1, t1 = costs(sign, order[_W_TRADED], order[_W_AMOUNT], fee)
    owned = held[i]
    held[i], cost[i], cash, _ = book(
        sign, shares, amount, c1 - c0 + t1 - t0, held[i], cost[i], cash
    )
    income[i] = income_kept(income[i], owned, held[i])
    if held[i] == 0:
        top[i] = 0
    elif sign > 0:
        top[i] = max(top[i], amount // shares)
    return capacity - shares, cash, abs(paid - met) * shares
