"""Thousands of parameter sets, each in one compiled loop over recorded sessions.

Calls the same seven compiled functions as ``execution``; it knows neither engine nor orders as
objects, and gives the same orders and the same equity to the unit (tests/parity).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numba import njit

from trading.allocation.rebalance import limit_price, rebalance
from trading.backtest.runner import actions_by_session, fees_of
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.market import RawPanel
from trading.domain.order import OrderIntent, Side
from trading.domain.rules import MarketRules
from trading.ensemble import combine
from trading.errors import UsageError
from trading.execution.decide import (
    BOUNDARY_OPEN,
    MAX_VIEW_SYMBOLS,
    Policy,
    View,
    Views,
    priors_of,
    regime_scale_of,
)
from trading.execution.engine import BOUNDARY_EXIT
from trading.execution.exits import ExitRule, basis_points, exits
from trading.risk.limits import (
    ACTIVE,
    REDUCING,
    breach,
    cap_weights,
    limit,
    next_state,
    weights_held,
)
from trading.risk.var import name_vars, portfolio_var
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

_MAX_ORDERS_A_DAY = 8
_DECIDED = 0
# Columns of an order row: session row, instrument, sign, quantity, limit, exit rule (0 decided).
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Days:
    """All sessions of a run as arrays; the first axis is the session."""

    votes: FloatArray
    confidence: FloatArray
    screened: IntArray
    tradable: IntArray
    name_var: FloatArray
    volatility: FloatArray
    returns: FloatArray
    window: IntArray
    regime_scale: FloatArray
    prices: IntArray
    limits: IntArray
    orders: IntArray
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
    buy_fee_ppb: IntArray
    resize: IntArray


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
) -> SweepResult:
    """Trade every session from ``first`` to ``last``; the same as ``runner.run`` without records."""
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
    risk, ensemble, ex = policy.risk, policy.allocation.ensemble, policy.exits
    equity, orders, n_orders = _trade(
        days.votes,
        days.confidence,
        priors_of(daily[0].agents, ensemble.agent_weights),
        days.screened,
        days.tradable,
        days.name_var,
        days.volatility,
        days.returns,
        days.window,
        days.regime_scale,
        days.prices,
        days.limits,
        days.orders,
        days.prints,
        days.volume,
        days.ladders,
        days.ladder_of,
        days.fees,
        days.fee_of,
        days.split,
        days.rights,
        days.dividend,
        days.withholding,
        days.gone,
        days.buy_fee_ppb,
        days.resize,
        daily[0].sectors,
        cash,
        (
            ensemble.entry_forecast,
            ensemble.exit_forecast,
            ensemble.min_confidence,
            ensemble.max_entry_var,
            policy.allocation.name_volatility_target,
            risk.max_single_name,
            risk.max_sector,
            risk.max_gross,
            risk.var_level,
            risk.max_portfolio_var,
            risk.max_daily_loss,
            risk.max_drawdown,
            policy.allocation.no_trade_band,
            policy.allocation.cash_buffer,
            policy.orders.stop_collar,
        ),
        (
            risk.drawdown_cooldown_sessions,
            ex.cooldown_sessions,
            basis_points(ex.stop_loss),
            basis_points(ex.trailing_stop),
            basis_points(ex.take_profit),
            round(policy.orders.participation * BASIS_POINTS),
        ),
    )
    return SweepResult(
        sessions=tuple(view.session for view in daily),
        equity=tuple(int(e) for e in equity),
        orders=tuple(_intents(orders[:n_orders], daily, policy)),
        starting_cash=cash,
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
    risk = policy.risk
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
    return _Days(
        votes=np.stack([v.votes for v in daily]),
        confidence=np.stack([v.confidence for v in daily]),
        screened=np.stack([v.screened for v in daily]),
        tradable=np.stack([v.tradable for v in daily]),
        name_var=np.stack(
            [name_vars(v.returns, risk.var_level, risk.var_min_sessions) for v in daily]
        ),
        volatility=np.stack([v.volatility for v in daily]),
        returns=np.concatenate([v.returns for v in daily]),
        window=np.cumsum([0, *(len(v.returns) for v in daily)]),
        regime_scale=np.array([regime_scale_of(policy.allocation, v.regime) for v in daily]),
        prices=np.stack([v.reference for v in daily]),
        limits=np.stack([np.stack([v.lower, v.upper]) for v in daily]),
        orders=np.stack(
            [np.stack([v.buy_limit, v.sell_limit, v.lot, v.max_shares]) for v in daily]
        ),
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
        buy_fee_ppb=np.array([v.buy_fee_ppb for v in daily]),
        resize=np.array(
            [policy.allocation.resize == "daily" or v.new_month for v in daily], dtype=np.bool_
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
        boundary = BOUNDARY_EXIT if rule else BOUNDARY_OPEN
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
            reason=ExitRule(rule).name.lower() if rule else "rebalance",
        )


@njit(cache=True)
def _trade(  # type: ignore[no-untyped-def] # numba infers every type; the caller above is typed
    votes,
    confidence,
    priors,
    screened,
    tradable,
    name_var,
    volatility,
    returns,
    window,
    regime_scale,
    reference,
    price_limits,
    order_terms,
    prints,
    volume,
    ladders,
    ladder_of,
    fees,
    fee_of,
    split,
    rights,
    dividend,
    withholding,
    gone,
    buy_fee_ppb,
    resize,
    sectors,
    cash,
    fractions,
    counts,
):
    """Return ``(equity, orders, number of orders)``; see ``run`` and ``execution.engine``."""
    (
        entry, leave, min_confidence, max_entry_var, volatility_target, max_name, max_sector,
        max_gross, var_level, max_var, max_daily_loss, max_drawdown, band, buffer, collar,
    ) = fractions  # fmt: skip
    cooldown_sessions, cooling_sessions, stop_bps, trailing_bps, profit_bps, share_bps = counts
    n, m = reference.shape
    equity_curve = np.zeros(n, dtype=np.int64)
    found = np.zeros((1024, 6), dtype=np.int64)
    n_found = 0
    held = np.zeros(m, dtype=np.int64)
    cost = np.zeros(m, dtype=np.int64)
    top = np.zeros(m, dtype=np.int64)
    income = np.zeros(m, dtype=np.int64)
    last = np.zeros(m, dtype=np.int64)
    cooling = np.zeros(m, dtype=np.int64)
    exited = np.zeros(m, dtype=np.bool_)
    working = np.zeros((m, _MAX_ORDERS_A_DAY, 5), dtype=np.int64)
    n_working = np.zeros(m, dtype=np.int64)
    peak = cash
    drawn = 0
    for t in range(n):
        for i in range(m):
            if held[i] > 0 and dividend[t, i] > 0:
                net, _ = net_dividend(held[i], dividend[t, i], withholding[t])
                cash += net
                income[i] += held[i] * dividend[t, i]
                top[i] = max(top[i] - dividend[t, i], 0)
            if held[i] > 0 and rights[t, i, 0] != rights[t, i, 1]:
                numerator, denominator = rights[t, i, 0], rights[t, i, 1]
                income[i] += lost_right(cost[i] - income[i], numerator, denominator)
                top[i] = top[i] * denominator // numerator
            if held[i] > 0 and split[t, i, 0] != split[t, i, 1]:
                numerator, denominator = split[t, i, 0], split[t, i, 1]
                held[i], paid = split_shares(held[i], numerator, denominator, reference[t, i])
                cash += paid
                top[i] = top[i] * denominator // numerator
                if held[i] == 0:
                    cost[i] = 0
                    top[i] = 0
                    income[i] = 0
            if held[i] > 0 and gone[t, i] >= 0:
                cash += held[i] * gone[t, i]
                held[i] = 0
                cost[i] = 0
                top[i] = 0
                income[i] = 0
            if reference[t, i] > 0:
                last[i] = reference[t, i]
            n_working[i] = 0
            exited[i] = False
        start_equity = mark(cash, held, last)
        state, peak, drawn = next_state(start_equity, peak, drawn, max_drawdown, cooldown_sessions)
        equity = mark(cash, held, reference[t])
        weight_held = weights_held(held, reference[t], equity)
        _, _, wished, verdicts = combine(
            votes[t], confidence[t], priors, weight_held, screened[t] & (cooling == 0), tradable[t],
            name_var[t], volatility[t], entry, leave, min_confidence, max_entry_var,
            regime_scale[t], volatility_target,
        )  # fmt: skip
        capped, caps = cap_weights(wished, sectors, max_name, max_sector, max_gross)
        expected = portfolio_var(capped, returns[window[t] : window[t + 1]], var_level)
        codes = np.where(caps > 0, caps, verdicts)
        allowed, codes = limit(capped, codes, weight_held, expected, state, max_var)
        _, order, _ = rebalance(
            allowed, codes, held, tradable[t].astype(np.int64), reference[t], order_terms[t, 0],
            order_terms[t, 1], order_terms[t, 2], order_terms[t, 3], equity, cash, band, buffer,
            buy_fee_ppb[t], resize[t],
        )  # fmt: skip
        for sign in (-1, 1):
            for i in range(m):
                if order[i] * sign > 0:
                    price = order_terms[t, 0, i] if sign > 0 else order_terms[t, 1, i]
                    _place(working, n_working, i, sign, abs(order[i]), price)
                    found = _note(found, n_found, t, i, sign, abs(order[i]), price, _DECIDED)
                    n_found += 1
        for k in range(PRINTS_PER_BAR):
            auction = k in (0, PRINTS_PER_BAR - 1)
            for i in range(m):
                price = prints[t, i, k]
                if price <= 0:
                    continue
                before = 0 if auction else prints[t, i, k - 1]
                capacity = capacity_of(share_of_volume(volume[t, i], k), share_bps)
                lower, upper = price_limits[t, 0, i], price_limits[t, 1, i]
                fee = fees[fee_of[t, i]]
                for w in range(n_working[i]):
                    capacity, cash = _match(
                        working, i, w, before, price, capacity, lower, upper, fee, held, cost, top, income,
                        cash,
                    )  # fmt: skip
                last[i] = price
                if held[i] == 0:
                    continue
                top[i] = max(top[i], price)
                rule = exits(
                    held[i], cost[i] - income[i], top[i], price, stop_bps, trailing_bps, profit_bps
                )
                if rule == 0 or k == PRINTS_PER_BAR - 1:
                    continue
                free = held[i]
                for w in range(n_working[i]):
                    if working[i, w, _W_SIGN] < 0:
                        free -= working[i, w, _W_OPEN]
                for w in range(n_working[i]):
                    if working[i, w, _W_SIGN] > 0 or working[i, w, _W_LIMIT] > price:
                        working[i, w, _W_OPEN] = 0
                free = free // order_terms[t, 2, i] * order_terms[t, 2, i]
                if free > 0:
                    exited[i] = True
                    ladder = ladders[ladder_of[t, i]]
                    floor = limit_price(price, collar, -1, ladder, lower, upper)
                    w = _place(working, n_working, i, -1, free, floor)
                    found = _note(found, n_found, t, i, -1, free, floor, rule)
                    n_found += 1
                    capacity, cash = _match(
                        working,
                        i,
                        w,
                        0,
                        price,
                        capacity,
                        lower,
                        upper,
                        fee,
                        held,
                        cost,
                        top,
                        income,
                        cash,
                    )
            if state == ACTIVE and k < PRINTS_PER_BAR - 1:
                now = mark(cash, held, last)
                if breach(now, start_equity, peak, max_daily_loss, max_drawdown) != 0:
                    state = REDUCING
                    for i in range(m):
                        for w in range(n_working[i]):
                            if working[i, w, _W_SIGN] > 0:
                                working[i, w, _W_OPEN] = 0
        for i in range(m):
            cooling[i] = max(cooling[i] - 1, 0)
            if exited[i] and cooling_sessions > 0:
                cooling[i] = cooling_sessions
        equity_curve[t] = mark(cash, held, last)
    return equity_curve, found, n_found


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
    working, i, w, before, price, capacity, lower, upper, fee, held, cost, top, income, cash
):
    """Meet one working order with a print and book what it gets."""
    order = working[i, w]
    sign = order[_W_SIGN]
    shares, paid = fill(
        sign, order[_W_OPEN], order[_W_LIMIT], before, price, capacity, lower, upper
    )
    if shares == 0:
        return capacity, cash
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
    return capacity - shares, cash
