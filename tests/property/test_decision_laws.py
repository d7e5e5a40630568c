"""Laws of the decision on any recorded session, portfolio and state."""

from dataclasses import fields, replace
from datetime import date

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.allocation.rebalance import rebalance
from trading.domain.account import Portfolio, Position
from trading.domain.decision import TradingState, Verdict
from trading.domain.instrument import Market
from trading.domain.order import Side
from trading.execution.decide import RiskState, Views, decide

ROWS = st.integers(1, 1699)
HOLDINGS = st.fixed_dictionaries(
    {s: st.integers(0, 3_000) for s in ("AAPL", "IBM", "MSFT", "GOOG")}
)
CASH = st.integers(0, 20_000_000_000)
STATES = st.sampled_from(list(TradingState))
# The shipped thresholds rarely trade; a law must be tried where there are orders.
EAGER = {"entry_forecast": -1.0, "exit_forecast": 0.0, "min_confidence": 0.0, "max_entry_var": 1.0}


def decided(market, row, holdings, cash, state, *, eager=True, resize="daily"):
    """Return (view, portfolio, decision, policy)."""
    allocation = market.policy.allocation
    ensemble = allocation.ensemble.model_copy(update=EAGER if eager else {})
    policy, views = market.views(
        allocation=allocation.model_copy(update={"ensemble": ensemble, "resize": resize})
    )
    portfolio = Portfolio(
        market=Market.US,
        cash=cash,
        positions={s: Position(symbol=s, quantity=q, cost=q) for s, q in holdings.items() if q},
    )
    risk = RiskState(peak=1, cooldown=0, state=state)
    view = views.at(row, held=portfolio.positions)
    return view, portfolio, decide(view, portfolio, policy, risk), policy


@settings(max_examples=80, deadline=None)
@given(row=ROWS, holdings=HOLDINGS, cash=CASH, state=STATES, eager=st.booleans())
def test_intents_are_legal(embedded_market, row, holdings, cash, state, eager):
    """On tick and lot, never short, within cash, volume and state; sales first; ids unique."""
    view, portfolio, decision, policy = decided(
        embedded_market, row, holdings, cash, state, eager=eager
    )
    rules = embedded_market.rules
    raw = embedded_market.raw
    spent = 0

    for intent in decision.intents:
        i = view.columns[intent.symbol]
        assert intent.quantity > 0
        assert rules.is_on_tick(intent.exchange, intent.limit, view.session)
        assert intent.quantity <= max(int(view.morning.max_shares[i]), 0)
        assert raw.tradable[row - 1, raw.symbols.index(intent.symbol)]
        distance = (intent.limit - int(view.morning.reference[i])) * intent.side.sign
        band = policy.orders.entry_band if intent.side is Side.BUY else policy.orders.exit_band
        assert 0 <= distance <= band * view.morning.reference[i] + 100
        if intent.side is Side.SELL:
            assert intent.quantity <= portfolio.quantity(intent.symbol)
        else:
            spent += intent.quantity * intent.limit * (1 + view.morning.buy_fee_ppb / 1e9)
    assert spent <= max(cash, 0)
    sides = [intent.side for intent in decision.intents]
    assert sides == sorted(sides, key=[Side.SELL, Side.BUY].index)
    assert len({i.intent_id for i in decision.intents}) == len(decision.intents)
    if state is TradingState.HALTED:
        assert decision.intents == ()
    if state is TradingState.REDUCING:
        assert Side.BUY not in sides


@settings(max_examples=40, deadline=None)
@given(row=ROWS, holdings=HOLDINGS, cash=CASH, state=STATES)
def test_targets_are_what_the_orders_make(embedded_market, row, holdings, cash, state):
    """Held plus ordered is the target; weights are kept under every cap; the books add up."""
    view, portfolio, decision, policy = decided(embedded_market, row, holdings, cash, state)
    ordered = {i.symbol: i.quantity * i.side.sign for i in decision.intents}

    for choice in decision.choices:
        assert choice.target_quantity == (
            portfolio.quantity(choice.symbol) + ordered.get(choice.symbol, 0)
        )
        assert choice.verdict in Verdict
        if state is TradingState.ACTIVE:
            assert choice.weight <= policy.risk.max_single_name + 1e-12
    assert decision.equity == cash + sum(
        q * int(view.morning.reference[view.columns[s]]) for s, q in holdings.items()
    )


@settings(max_examples=25, deadline=None)
@given(row=ROWS, holdings=HOLDINGS, cash=CASH, state=STATES)
def test_taken_twice_and_without_a_future(embedded_market, row, holdings, cash, state):
    """The same decision from the same panel, and from one that ends with this morning."""
    view, portfolio, decision, policy = decided(embedded_market, row, holdings, cash, state)
    raw, e = embedded_market.raw, embedded_market.evaluation
    names = ("sessions", "open", "high", "low", "close", "reference", "volume", "tradable")
    cut = replace(raw, **{n: getattr(raw, n)[: row + 1] for n in names})
    past = replace(
        e,
        **{
            f.name: getattr(e, f.name)[:row]
            for f in fields(e)
            if isinstance(getattr(e, f.name), np.ndarray) and f.name != "ceilings"
        },
    )
    views = Views(past, cut, embedded_market.rules, policy)
    risk = RiskState(peak=1, cooldown=0, state=state)

    assert decide(view, portfolio, policy, risk) == decision
    assert decide(views.at(row, held=portfolio.positions), portfolio, policy, risk) == decision


@settings(max_examples=150)
@given(data=st.data(), resize=st.booleans())
def test_rebalance(data, resize):
    """Whole lots, no short, never more than the cash with fees, no step over the volume."""
    n = data.draw(st.integers(1, 6))

    def column(low, high):
        return np.array(data.draw(st.lists(st.integers(low, high), min_size=n, max_size=n)))

    lot = np.array(data.draw(st.lists(st.sampled_from([1, 10]), min_size=n, max_size=n)))
    held = column(0, 500)
    reference = column(100, 900_000)
    buy_limit = reference + reference // 50
    equity = int((held * reference).sum()) + data.draw(st.integers(1, 10**10))
    cash = data.draw(st.integers(0, 10**10))
    volume = column(0, 5_000)
    weights = column(0, 400) / 1000.0

    target, order, codes = rebalance(
        weights, column(0, 21), held, column(0, 1), reference, buy_limit, lot, volume,
        column(-1, 2), np.zeros(n), equity, cash, 0.5, 0.7, 1.0, 0.02, 0.01, 2_500_000, resize,
    )  # fmt: skip

    buys = np.maximum(order, 0)
    assert (order % lot == 0).all()
    assert (target == held + order).all()
    assert (target >= 0).all()
    assert (np.abs(order) <= volume).all()
    paid = int((buys * buy_limit).sum())
    assert paid + paid * 25 // 10_000 + n <= cash or not buys.any()
    assert all(0 <= code <= 21 for code in codes)


def test_the_laws_were_tried(embedded_market):
    """The eager policy does order, so the laws above are not empty."""
    row = embedded_market.raw.row_of(date(2005, 5, 27))
    holdings = {"AAPL": 0, "IBM": 900, "MSFT": 10, "GOOG": 0}

    *_, decision, _ = decided(embedded_market, row, holdings, 10**9, TradingState.ACTIVE)

    assert {i.side for i in decision.intents} == {Side.BUY, Side.SELL}
