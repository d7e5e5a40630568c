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
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.market import RawPanel
from trading.domain.order import OrderIntent, Side
from trading.domain.rules import MarketRules
from trading.errors import UsageError
from trading.execution.decide import BOUNDARY_OPEN, MAX_VIEW_SYMBOLS, Policy, View, Views
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
from trading.execution.orders import buy_fee, entry_order
from trading.execution.plan import Account, Morning, Numbers, plan
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
from trading.simulation.slippage import Rates, slipped

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
    """All sessions of a run as arrays; the first axis is the session.

    The fields up to ``resize`` are those of ``Morning`` stacked; ``returns`` are laid end to end,
    session ``t`` has rows ``window[t]`` to ``window[t + 1]``.
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
    window: IntArray
    regime_scale: FloatArray
    var_champion: IntArray
    reference: IntArray
    buy_limit: IntArray
    sell_limit: IntArray
    lot: IntArray
    max_shares: IntArray
    sectors: IntArray
    buy_fee_ppb: IntArray
    resize: BoolArray
    lower: IntArray
    upper: IntArray
    prints: IntArray
    volume: IntArray
    ladders: IntArray
    ladder_of: IntArray
    fees: IntArray
    fee_of: IntArray
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
    if len(raw.symbols) > MAX_VIEW_SYMBOLS:
        raise UsageError(f"한 번에 {MAX_VIEW_SYMBOLS}종목까지 시험할 수 있습니다.")
    rows = [
        row
        for row in range(1, len(raw.sessions))
        if first <= raw.sessions[row].astype(date) <= last
    ]
    if not rows:
        raise UsageError(f"{first}부터 {last}까지 거래할 수 있는 기록이 없습니다.")
    daily = [views.at(row) for row in rows]
    days = _days(daily, raw, rows, actions, calendar, rules, policy)
    equity, orders, n_orders, ambiguous, slippage = _trade(
        days,
        cash,
        policy.rules(daily[0].agents),
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
        sessions=tuple(view.session for view in daily),
        equity=tuple(int(e) for e in equity),
        orders=tuple(_intents(orders[:n_orders], daily, policy)),
        starting_cash=cash,
        ambiguous_fills=int(ambiguous),
        slippage=int(slippage),
    )


def _days(
    daily: list[View],
    raw: RawPanel,
    rows: list[int],
    actions: Iterable[CorporateAction],
    calendar: SessionCalendar,
    rules: MarketRules,
    policy: Policy,
) -> _Days:
    """Stack the views, so that the loop sees exactly what ``decide`` would have seen."""
    n, m = len(daily), len(raw.symbols)
    ladders, ladder_of = rules.ladder_arrays(raw.exchanges, raw.sessions[rows])
    split = np.ones((n, m, 2), dtype=np.int64)
    rights = np.ones((n, m, 2), dtype=np.int64)
    dividend = np.zeros((n, m), dtype=np.int64)
    gone = np.full((n, m), -1, dtype=np.int64)
    by_session = actions_by_session(actions)
    for t, view in enumerate(daily):
        for action in by_session.get(view.session, ()):
            i = raw.symbols.index(action.symbol)
            if action.kind is ActionKind.SPLIT:
                split[t, i] = action.numerator, action.denominator
            elif action.kind is ActionKind.RIGHTS:
                rights[t, i] = action.numerator, action.denominator
            elif action.kind is ActionKind.CASH_DIVIDEND:
                dividend[t, i] += action.amount
            else:
                gone[t, i] = action.amount
    prints = np.stack([raw.open, raw.low, raw.high, raw.close], axis=2)[rows]
    prints[~raw.tradable[rows]] = 0
    fees, fee_of = _fees(daily, raw, calendar, rules)
    mornings = [view.morning for view in daily]
    stacked = {
        name: np.stack([getattr(morning, name) for morning in mornings])
        for name in Morning._fields
        if name not in ("returns", "ceilings")
    }
    return _Days(
        **stacked,
        ceilings=mornings[0].ceilings,
        returns=np.concatenate([morning.returns for morning in mornings]),
        window=np.cumsum([0, *(len(morning.returns) for morning in mornings)]),
        lower=np.stack([view.lower for view in daily]),
        upper=np.stack([view.upper for view in daily]),
        prints=prints,
        volume=raw.volume[rows],
        ladders=ladders,
        ladder_of=ladder_of,
        fees=fees,
        fee_of=fee_of,
        split=split,
        rights=rights,
        dividend=dividend,
        withholding=np.array([rules.dividend_withholding_ppb(v.session) for v in daily]),
        gone=gone,
        scales=np.stack(
            [runner.scales_of(v, raw, row, policy) for v, row in zip(daily, rows, strict=True)]
        ),
    )


def _fees(
    daily: list[View], raw: RawPanel, calendar: SessionCalendar, rules: MarketRules
) -> tuple[IntArray, IntArray]:
    """Return the distinct fee arrays, padded with fees of nothing, and which one applies when."""
    lookup = fees_of(rules, calendar)
    distinct: dict[bytes, tuple[int, IntArray]] = {}
    which = np.zeros((len(daily), len(raw.symbols)), dtype=np.int64)
    for t, view in enumerate(daily):
        for i, exchange in enumerate(raw.exchanges):
            fees = lookup(exchange, view.session)
            number, _ = distinct.setdefault(fees.tobytes(), (len(distinct), fees))
            which[t, i] = number
    widest = max(len(fees) for _, fees in distinct.values())
    padded = np.zeros((len(distinct), widest, 7), dtype=np.int64)
    padded[:, :, 4] = 1
    for number, fees in distinct.values():
        padded[number, : len(fees)] = fees
    return padded, which


def _intents(orders: IntArray, daily: list[View], policy: Policy) -> Iterable[OrderIntent]:
    for row, column, sign, quantity, price, rule in orders.tolist():
        view = daily[row]
        side = Side.BUY if sign > 0 else Side.SELL
        if rule == _DECIDED:
            boundary, reason = BOUNDARY_OPEN, "rebalance"
        elif rule == _TRIGGERED:
            boundary, reason = BOUNDARY_TRIGGER, REASON_TRIGGER
        else:
            boundary, reason = BOUNDARY_EXIT, ExitRule(rule).name.lower()
        symbol = view.symbols[column]
        yield OrderIntent(
            intent_id=f"{policy.market}:{view.session}:{boundary}:{symbol}:{side}",
            session=view.session,
            boundary=boundary,
            symbol=symbol,
            exchange=view.exchanges[column],
            side=side,
            quantity=quantity,
            limit=price,
            reason=reason,
        )


@njit(cache=True)
def _morning(days: _Days, t: int) -> Morning:
    return Morning(
        days.votes[t],
        days.confidence[t],
        days.weights[t],
        days.triggers[t],
        days.trigger_confidence[t],
        days.ceilings,
        days.screened[t],
        days.tradable[t],
        days.name_var[t],
        days.volatility[t],
        days.atr[t],
        days.expected[t],
        days.expected_error[t],
        days.returns[days.window[t] : days.window[t + 1]],
        days.regime_scale[t],
        days.var_champion[t],
        days.reference[t],
        days.buy_limit[t],
        days.sell_limit[t],
        days.lot[t],
        days.max_shares[t],
        days.sectors[t],
        days.buy_fee_ppb[t],
        days.resize[t],
    )


@njit(cache=True)
def _trade(
    days: _Days,
    cash: int,
    rules: FloatArray,
    rungs: FloatArray,
    numbers: Numbers,
    limits: _Limits,
) -> tuple[IntArray, IntArray, int, int, int]:
    """Return ``(equity, orders, number of orders, ambiguous fills, slippage)``; see ``run``."""
    n, m = days.reference.shape
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
    for i in range(m):
        terms[i] = unled
    for t in range(n):
        reference = days.reference[t]
        for i in range(m):
            if held[i] > 0 and days.dividend[t, i] > 0:
                net, _ = net_dividend(held[i], days.dividend[t, i], days.withholding[t])
                cash += net
                income[i] += held[i] * days.dividend[t, i]
                top[i] = max(top[i] - days.dividend[t, i], 0)
            if held[i] > 0 and days.rights[t, i, 0] != days.rights[t, i, 1]:
                numerator, denominator = days.rights[t, i, 0], days.rights[t, i, 1]
                income[i] += lost_right(cost[i] - income[i], numerator, denominator)
                top[i] = top[i] * denominator // numerator
            if held[i] > 0 and days.split[t, i, 0] != days.split[t, i, 1]:
                numerator, denominator = days.split[t, i, 0], days.split[t, i, 1]
                held[i], paid = split_shares(held[i], numerator, denominator, reference[i])
                cash += paid
                top[i] = top[i] * denominator // numerator
                if held[i] == 0:
                    cost[i], top[i], income[i] = 0, 0, 0
            if held[i] > 0 and days.gone[t, i] >= 0:
                cash += held[i] * days.gone[t, i]
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
        planned = plan(
            _morning(days, t), held, cooling > 0, expired, Account(cash, peak, factor, state),
            rules, rungs, numbers,
        )  # fmt: skip
        factor = planned.exposure
        order = planned.order
        waiting = planned.budget > 0
        for sign in (-1, 1):
            for i in range(m):
                if order[i] * sign > 0:
                    price = days.buy_limit[t, i] if sign > 0 else days.sell_limit[t, i]
                    _place(working, n_working, i, sign, abs(order[i]), price)
                    found = _note(found, n_found, t, i, sign, abs(order[i]), price, _DECIDED)
                    n_found += 1
        for k in range(PRINTS_PER_BAR):
            auction = k in (0, PRINTS_PER_BAR - 1)
            for i in range(m):
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
                lower, upper = days.lower[t, i], days.upper[t, i]
                fee = days.fees[days.fee_of[t, i]]
                ladder = days.ladders[days.ladder_of[t, i]]
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
                    terms[i] = planned.exits[i]
                last[i] = price
                if opened[i] == 0:
                    opened[i] = price
                placed = -1
                if held[i] == 0:
                    above = price - opened[i]
                    is_due = waiting[i] and above >= planned.distance[i]
                    is_spike = above * BASIS_POINTS > opened[i] * planned.ceiling[i]
                    if not is_due or is_spike or k == PRINTS_PER_BAR - 1:
                        continue
                    waiting[i] = False
                    free_cash = cash
                    for j in range(m):
                        for w in range(n_working[j]):
                            if working[j, w, _W_SIGN] > 0:
                                unit = working[j, w, _W_LIMIT]
                                unit += buy_fee(unit, days.buy_fee_ppb[t])
                                free_cash -= working[j, w, _W_OPEN] * unit
                    ceiling, shares = entry_order(
                        price, planned.budget[i], free_cash, limits.collar, numbers.cash_buffer,
                        days.buy_fee_ppb[t], days.lot[t, i], days.max_shares[t, i],
                        ladder, lower, upper,
                    )  # fmt: skip
                    if shares <= 0:
                        continue
                    placed = _place(working, n_working, i, 1, shares, ceiling)
                    found = _note(found, n_found, t, i, 1, shares, ceiling, _TRIGGERED)
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
                    free = free // days.lot[t, i] * days.lot[t, i]
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
                    terms[i] = planned.exits[i]
            if state == ACTIVE and k < PRINTS_PER_BAR - 1:
                now = mark(cash, held, last)
                if breach(now, start_equity, peak, limits.max_daily_loss, limits.max_drawdown) != 0:
                    state = REDUCING
                    waiting[:] = False
                    for i in range(m):
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
