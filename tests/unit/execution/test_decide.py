"""The one decision on recorded sessions: hand-checked choices, limits, purity."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from trading.allocation.sizing import SizingMethod
from trading.domain.account import Portfolio, Position
from trading.domain.decision import TradingState, Verdict
from trading.domain.instrument import Market
from trading.domain.market import RawPanel
from trading.domain.order import Side
from trading.execution.decide import (
    RiskState,
    Views,
    decide,
    regime_scale_of,
)
from trading.execution.mornings import MAX_VIEW_SYMBOLS

# The mornings of thirteen years: minutes of plain Python.
pytestmark = pytest.mark.compiled_only

CASH = 1_000_000_000
ACTIVE = RiskState(peak=CASH, cooldown=0, state=TradingState.ACTIVE)
# The technical agents agree on AAPL before this open (seen in a run of the shipped policy).
ENTRY = date(2005, 5, 27)


@pytest.fixture
def entry(embedded_market):
    """Return (policy, view) of a session with a purchase."""
    policy, views = embedded_market.views()
    return policy, views.at(embedded_market.raw.row_of(ENTRY))


def portfolio(**quantity):
    """Return a portfolio with these shares."""
    held = {s: Position(symbol=s, quantity=q, cost=q) for s, q in quantity.items()}
    return Portfolio(market=Market.US, cash=CASH, positions=held)


def other(view, **arrays):
    """Return the view with other arrays of its morning."""
    return replace(view, morning=view.morning._replace(**arrays))


def choice(decision, symbol):
    """Return one instrument's part of a decision."""
    return next(c for c in decision.choices if c.symbol == symbol)


def test_a_purchase(entry, embedded_market):
    """AAPL is wished at its volatility, capped at a tenth of equity, in whole shares on the tick."""
    policy, view = entry
    raw, row = embedded_market.raw, embedded_market.raw.row_of(ENTRY)
    i = raw.symbols.index("AAPL")
    reference = int(raw.reference[row, i])

    decision = decide(view, portfolio(), policy, ACTIVE)

    (intent,) = decision.intents
    bought = choice(decision, "AAPL")
    wished = min(0.03 / view.morning.volatility[i], 0.10)
    assert bought.weight == pytest.approx(wished)
    assert intent.quantity == bought.target_quantity == int(wished * CASH / reference)
    # $40.74 the day before; two per cent above, down to the cent.
    assert reference == 407_400
    assert intent.limit == 415_500
    assert (intent.side, intent.symbol, intent.reason) == (Side.BUY, "AAPL", "rebalance")
    assert intent.intent_id == "us:2005-05-27:open:AAPL:buy"
    assert decision.equity == CASH
    assert decision.first_bar == date(2000, 3, 1)
    assert choice(decision, "FB").verdict is Verdict.NOT_TRADABLE


def test_same_view_same_decision(entry, embedded_market):
    """Taken twice, or from views built anew, it is the same to the last field."""
    policy, view = entry
    again = embedded_market.views()[1].at(embedded_market.raw.row_of(ENTRY))

    first, second = (decide(v, portfolio(IBM=5), policy, ACTIVE) for v in (view, again))

    assert first == second
    assert first.view_hash == again.hash


def test_the_future_changes_nothing(entry, embedded_market):
    """Without the rows after the session, and without the session's own bar, nothing differs."""
    policy, view = entry
    raw, row = embedded_market.raw, embedded_market.raw.row_of(ENTRY)
    blank = {}
    for name in ("open", "high", "low", "close", "volume", "tradable"):
        blank[name] = getattr(raw, name)[: row + 1].copy()
        blank[name][row] = 0
    cut = replace(
        raw, sessions=raw.sessions[: row + 1], reference=raw.reference[: row + 1], **blank
    )
    views = Views(embedded_market.evaluation, cut, embedded_market.rules, policy)

    assert views.at(row).hash == view.hash
    assert decide(views.at(row), portfolio(), policy, ACTIVE) == decide(
        view, portfolio(), policy, ACTIVE
    )


@pytest.mark.parametrize("state", [TradingState.REDUCING, TradingState.HALTED])
def test_nothing_is_bought_in_a_restricted_state(entry, state):
    """The wish is named after the state that refused it."""
    policy, view = entry

    decision = decide(view, portfolio(), policy, replace(ACTIVE, state=state))

    assert decision.intents == ()
    assert choice(decision, "AAPL").verdict.name == state.name
    assert decision.state is state


def test_exits_go_on_while_reducing_but_not_when_halted(entry):
    """MSFT has fallen from favour: it may be sold in REDUCING and stays in HALTED."""
    policy, view = entry
    view = other(view, votes=np.full_like(view.morning.votes, -1.0))
    held = portfolio(MSFT=100)

    reducing = decide(view, held, policy, replace(ACTIVE, state=TradingState.REDUCING))
    halted = decide(view, held, policy, replace(ACTIVE, state=TradingState.HALTED))

    assert [(i.side, i.quantity) for i in reducing.intents] == [(Side.SELL, 100)]
    assert choice(reducing, "MSFT").verdict is Verdict.EXIT_SIGNAL
    assert halted.intents == ()
    assert choice(halted, "MSFT").target_quantity == 100


def test_sales_come_before_purchases(entry):
    """Held names without favour are listed first, whatever their column."""
    policy, view = entry
    votes = view.morning.votes.copy()
    votes[:, view.columns["MSFT"]] = -1.0
    votes[:, view.columns["IBM"]] = -1.0

    decision = decide(other(view, votes=votes), portfolio(MSFT=9, IBM=9), policy, ACTIVE)

    assert [(i.side, i.symbol) for i in decision.intents] == [
        (Side.SELL, "IBM"), (Side.SELL, "MSFT"), (Side.BUY, "AAPL"),
    ]  # fmt: skip


def test_cooling_names_are_not_bought(entry):
    """What an exit rule sold waits out its sessions."""
    policy, view = entry

    decision = decide(view, portfolio(), policy, replace(ACTIVE, cooling=(("AAPL", 1),)))
    over = decide(view, portfolio(), policy, replace(ACTIVE, cooling=(("AAPL", 0),)))

    assert choice(decision, "AAPL").verdict is Verdict.COOLDOWN
    assert decision.intents == ()
    assert len(over.intents) == 1


def test_untradable_names(embedded_market):
    """What the venue takes no orders for is not asked for."""
    policy, views = embedded_market.views()

    view = views.at(embedded_market.raw.row_of(ENTRY), untradable=("AAPL",))

    decision = decide(view, portfolio(), policy, ACTIVE)
    assert choice(decision, "AAPL").verdict is Verdict.NOT_TRADABLE
    assert decision.intents == ()


def test_portfolio_var_is_kept(entry):
    """With a limit of 0.05 % a day the same wish shrinks to that loss."""
    policy, view = entry
    risk = policy.risk.model_copy(update={"max_portfolio_var": 0.0005})

    wide = decide(view, portfolio(), policy, ACTIVE)
    tight = decide(view, portfolio(), replace(policy, risk=risk), ACTIVE)

    assert tight.portfolio_var == wide.portfolio_var > 0.0005
    assert choice(tight, "AAPL").verdict is Verdict.CAP_PORTFOLIO_VAR
    assert choice(tight, "AAPL").weight == pytest.approx(
        choice(wide, "AAPL").weight * 0.0005 / wide.portfolio_var
    )
    assert tight.policy_hash != wide.policy_hash


def test_the_view_knows_its_hash(entry):
    """Any changed number makes another view."""
    _, view = entry

    changed = view.morning.reference.copy()
    changed[0] += 1

    assert other(view, reference=changed).hash != view.hash
    assert replace(view, regime="other").hash != view.hash
    assert replace(view).hash == view.hash


def test_new_months(embedded_market):
    """The first session of a month is the day to resize."""
    views, raw = embedded_market.views()[1], embedded_market.raw

    months = [views.at(row).morning.resize for row in range(1000, 1063)]

    expected = raw.sessions.astype("datetime64[M]")
    assert months == list(expected[1000:1063] != expected[999:1062])
    assert sum(months) == 3


def test_a_universe_wider_than_a_feed(embedded_market):
    """Of more than forty names only the screened and the held are looked at."""
    raw, times = embedded_market.raw, 9
    wide = {
        name: np.tile(getattr(raw, name), times)
        for name in ("open", "high", "low", "close", "reference", "volume", "tradable")
    }
    symbols = tuple(f"{s}{k}" for k in range(times) for s in raw.symbols)
    panel = RawPanel(
        market=raw.market, basis=raw.basis, symbols=symbols, exchanges=raw.exchanges * times,
        sessions=raw.sessions, **wide,
    )  # fmt: skip
    e = embedded_market.evaluation
    row = raw.row_of(ENTRY)
    screened = np.zeros((len(e.screened), len(symbols)), dtype=np.bool_)
    screened[row - 1, [3, 40]] = True
    evaluation = replace(
        e, screened=screened, votes=np.tile(e.votes, times), confidence=np.tile(e.confidence, times),
        volatility=np.tile(e.volatility, times), returns=np.tile(e.returns, times),
        triggers=np.tile(e.triggers, times), atr=np.tile(e.atr, times),
        expected=np.tile(e.expected, times), expected_error=np.tile(e.expected_error, times),
        sectors=np.tile(np.arange(len(symbols)), (len(screened), 1)),
        market_values=np.tile(e.market_values, times),
    )  # fmt: skip
    views = Views(evaluation, panel, embedded_market.rules, embedded_market.policy)

    view = views.at(row, held=(symbols[11],))

    assert len(symbols) > MAX_VIEW_SYMBOLS
    assert view.symbols == (symbols[3], symbols[11], symbols[40])
    assert list(view.morning.sectors) == [3, 11, 40]
    assert view.morning.votes.shape == (len(e.agents), 3)


def test_regimes(embedded_market):
    """A regime that the configuration leaves out counts 1."""
    allocation = embedded_market.policy.allocation

    def acting(action):
        ensemble = allocation.ensemble.model_copy(update={"regime_action": action})
        return allocation.model_copy(update={"ensemble": ensemble})

    assert [regime_scale_of(acting("scale"), r) for r in ("turbulent", "calm", "new")] == [
        0.5,
        1,
        1,
    ]
    assert [regime_scale_of(acting("off"), r) for r in ("turbulent", "calm")] == [1, 1]
    assert [regime_scale_of(acting("block_new"), r) for r in ("turbulent", "calm")] == [0, 1]


@pytest.mark.parametrize("is_known", [True, False])
def test_what_an_optimizer_cannot_size_is_kept(embedded_market, is_known):
    """No history is no reason to sell what is held, and no edge is claimed where none was looked for."""
    shipped = embedded_market.policy.allocation
    policy, views = embedded_market.views(
        allocation=shipped.model_copy(
            update={
                "sizing": shipped.sizing.model_copy(
                    update={"method": SizingMethod.MINIMUM_VARIANCE}
                ),
                "resize": "daily",
            }
        )
    )
    view = views.at(embedded_market.raw.row_of(ENTRY))
    history = view.history.copy()
    if not is_known:
        history[:, view.columns["IBM"]] = np.nan
    votes = np.where(np.isnan(view.morning.votes), np.nan, 1.0)
    view = replace(other(view, votes=votes), history=history)

    decision = decide(view, portfolio(IBM=100), policy, ACTIVE)

    held = choice(decision, "IBM")
    assert decision.allocation == "solved"
    assert choice(decision, "AAPL").target_quantity > 0
    if is_known:
        assert held.verdict is not Verdict.NO_VOLATILITY
        assert held.target_quantity > 100
    else:
        assert (held.verdict, held.target_quantity) == (Verdict.NO_VOLATILITY, 100)


@pytest.mark.parametrize("value", [1e9, np.nan])
def test_market_values_reach_the_equilibrium(embedded_market, value):
    """Without views the market is held, to the caps; one value that is not known stops it."""
    shipped = embedded_market.policy.allocation
    policy, views = embedded_market.views(
        allocation=shipped.model_copy(
            update={
                "sizing": shipped.sizing.model_copy(
                    update={"method": SizingMethod.BLACK_LITTERMAN}
                ),
                "resize": "daily",
            }
        )
    )
    view = views.at(embedded_market.raw.row_of(ENTRY))
    worth = np.full(len(view.symbols), 1e9)
    worth[view.columns["IBM"]] = value
    view = replace(
        other(
            view,
            votes=np.where(np.isnan(view.morning.votes), np.nan, 1.0),
            expected=np.full(len(worth), np.nan),
        ),
        market_values=worth,
    )

    decision = decide(view, portfolio(IBM=100), policy, ACTIVE)

    bought = {c.symbol for c in decision.choices if c.weight > 0.0}
    if np.isnan(value):
        assert decision.allocation == "no_market_values"
        assert bought == {"IBM"}
        assert choice(decision, "IBM").target_quantity == 100
    else:
        assert decision.allocation == "solved"
        assert bought == {"AAPL", "IBM", "MSFT"}
