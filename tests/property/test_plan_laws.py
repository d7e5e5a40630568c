"""Laws of the compiled plan on any morning, whatever of it is not known."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.allocation.sizing import SizingMethod
from trading.execution.exits import N_TERMS
from trading.execution.plan import Account, Morning, plan
from trading.risk.limits import ACTIVE, HALTED, REDUCING

FEE_PPB = 2_500_000
SIZINGS = [method for method in SizingMethod if method.optimized is None]
UNKNOWN = st.sampled_from([math.nan, math.inf, 0.0])


def mostly(usual, *others):
    """Return a strategy that draws ``usual`` eleven times in twelve."""
    return st.integers(0, 11).flatmap(lambda k: usual if k else st.one_of(*others))


def always(usual, *others):
    """Return ``usual``, where a law would else be empty most of the time."""
    return usual


def morning_of(draw, n, n_agents, some, *, sessions):
    """Return a morning of ``n`` names of which any part may be missing."""

    def column(values, size=n, dtype=np.float64):
        return np.array(draw(st.lists(values, min_size=size, max_size=size)), dtype=dtype)

    def table(values, rows):
        return column(values, rows * n).reshape(rows, n)

    def known(low, high):
        return some(st.floats(low, high), UNKNOWN)

    nothing, yes = st.just(math.nan), some(st.just(True), st.just(False))
    reference = column(some(st.integers(100, 900_000), st.just(0)), dtype=np.int64)
    # One view of the whole market, so that some names are worth buying and some are not.
    mood = draw(st.sampled_from([0.2, 0.8, 1.0]))
    return Morning(
        votes=table(some(st.floats(mood - 0.2, mood), nothing, st.floats(-1.0, 1.0)), n_agents),
        confidence=table(st.floats(0.01, 0.99), n_agents),
        weights=column(some(st.floats(0.5, 2.0), st.just(0.0)), n_agents),
        triggers=table(st.one_of(nothing, st.floats(-0.01, 0.1)), n_agents),
        trigger_confidence=column(st.floats(0.01, 0.99), n_agents),
        ceilings=column(st.floats(0.0, 0.2), n_agents),
        screened=column(yes, dtype=np.bool_),
        tradable=column(yes, dtype=np.bool_) & (reference > 0),
        name_var=column(known(-0.01, 0.2)),
        volatility=column(known(0.01, 2.0)),
        atr=column(known(0.001, 0.3)),
        expected=column(some(st.floats(-0.1, 2.0), nothing)),
        expected_error=column(some(st.floats(0.0, 1.0), nothing)),
        returns=table(some(st.floats(-0.03, 0.03), nothing, st.floats(-0.9, 0.9)), sessions),
        regime_scale=draw(st.sampled_from([1.0, 0.5, 0.0])),
        var_champion=draw(st.integers(-1, 3)),
        reference=reference,
        buy_limit=reference + reference // 50,
        sell_limit=reference - reference // 50,
        lot=column(st.sampled_from([1, 10]), dtype=np.int64),
        max_shares=column(some(st.integers(100, 500_000), st.integers(0, 20)), dtype=np.int64),
        sectors=column(st.integers(-1, 1), dtype=np.int64),
        buy_fee_ppb=FEE_PPB,
        resize=draw(st.booleans()),
    )


def planned(market, draw, some=mostly, *, n=None):
    """Return (morning, quantity, account, numbers, plan) of a drawn morning."""
    n = draw(st.integers(0, 5)) if n is None else n
    n_agents = draw(st.integers(1, 3))
    morning = morning_of(draw, n, n_agents, some, sessions=draw(st.sampled_from([3, 1, 0])))
    held = some(st.just(0), st.integers(1, 5_000))
    quantity = np.array(draw(st.lists(held, min_size=n, max_size=n)), dtype=np.int64)
    flags = st.lists(some(st.just(False), st.just(True)), min_size=n, max_size=n)
    cooling, expired = (np.array(draw(flags), dtype=np.bool_) for _ in range(2))
    account = Account(
        cash=draw(some(st.integers(10**8, 10**11), st.integers(-(10**9), 10**5))),
        peak=draw(st.sampled_from([0, 10**9, 10**11])),
        exposure=draw(st.sampled_from([1.0, 0.9, 0.3, 0.0])),
        state=draw(some(st.just(ACTIVE), st.just(REDUCING), st.just(HALTED))),
    )
    numbers = market.policy.numbers._replace(
        entry_forecast=draw(st.sampled_from([-1.0, 0.3])),
        min_confidence=draw(st.sampled_from([0.0, 0.6])),
        max_entry_var=1.0,
        sizing=int(draw(st.sampled_from(SIZINGS))),
        volatility_target=draw(st.sampled_from([0.03, 0.5])),
        max_single_name=draw(st.sampled_from([0.1, 0.5])),
        max_sector=draw(st.sampled_from([0.2, 1.0])),
        max_gross=draw(st.sampled_from([0.3, 1.0])),
        max_portfolio_var=draw(st.sampled_from([0.01, 0.5])),
        no_trade_band=draw(st.sampled_from([0.0, 0.02])),
        var_min_sessions=2,
    )
    rules = market.policy.rules(tuple(str(k) for k in range(n_agents)))
    ladder = market.policy.risk.exposure.ladder
    found = plan(morning, quantity, cooling, expired, account, rules, ladder, numbers)
    return morning, quantity, cooling, account, numbers, found


@settings(max_examples=150)
@given(data=st.data())
def test_whatever_is_not_known(embedded_market, data):
    """Nothing short, unpaid, over a cap, untradable or forbidden is ordered, and all is a number."""
    morning, quantity, cooling, account, numbers, found = planned(embedded_market, data.draw)
    reference, order, target = morning.reference, found.order, found.target
    equity = account.cash + int((quantity * reference).sum())
    bought = order > 0

    for values in (found.forecast, found.agreement, found.wished, found.weights):
        assert np.isfinite(values).all()
    assert math.isfinite(found.expected_loss)
    assert 0.0 <= found.exposure <= 1.0
    assert (found.weights >= 0.0).all()
    assert (found.exits >= 0).all()
    assert found.exits.shape == (len(quantity), N_TERMS)
    assert (target == quantity + order).all()
    assert (target >= 0).all()
    assert not order[~morning.tradable].any()
    assert not (bought & (quantity == 0) & (~morning.screened | cooling)).any()
    assert (np.abs(order) <= morning.max_shares).all()
    paid = sum(
        int(k) * (int(p) + int(p) * FEE_PPB // 10**9 + 1)
        for k, p in zip(order, morning.buy_limit, strict=True)
        if k > 0
    )
    assert paid <= max(account.cash, 0)
    if account.state != ACTIVE:
        assert not bought.any()
        assert not found.budget.any()
    if account.state == HALTED:
        assert not order.any()
    # A purchase never leads above a cap, whatever was held before.
    value = target * reference
    assert (value[bought] <= numbers.max_single_name * equity).all()
    for sector in set(morning.sectors[bought].tolist()) - {-1}:
        assert value[morning.sectors == sector].sum() <= numbers.max_sector * equity
    if bought.any():
        assert value.sum() <= numbers.max_gross * equity


@settings(max_examples=150)
@given(data=st.data())
def test_what_waits(embedded_market, data):
    """Only what is neither held nor ordered, within all that the caps leave beside the weights."""
    n = data.draw(st.integers(1, 5))
    morning, quantity, _, account, numbers, found = planned(embedded_market, data.draw, always, n=n)
    waits = found.budget > 0
    equity = account.cash + int((quantity * morning.reference).sum())

    assert (found.budget >= 0).all()
    assert not (waits & ((quantity > 0) | (found.order > 0) | ~morning.tradable)).any()
    assert (found.distance[waits] > 0).all()
    armed = (morning.triggers > 0.0) & (morning.weights[:, None] > 0.0)
    nearest = np.min(np.where(armed, morning.triggers, math.inf), axis=0)
    for i in np.flatnonzero(waits):
        assert found.distance[i] == max(1, math.ceil(nearest[i] * morning.reference[i]))
        assert found.budget[i] <= numbers.max_single_name * equity
    if waits.any():
        planned_weight = found.weights + found.budget / equity
        held = quantity * morning.reference / equity
        assert planned_weight.sum() <= max(numbers.max_gross, held.sum()) + 1e-9
        for sector in set(morning.sectors[waits].tolist()) - {-1}:
            inside = morning.sectors == sector
            assert planned_weight[inside].sum() <= numbers.max_sector + 1e-9
