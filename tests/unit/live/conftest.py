"""A recorded session that was traded in this process and written to a ledger."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from trading.backtest import runner
from trading.clock import ManualClock
from trading.domain.decision import TradingState
from trading.domain.order import OrderAck, OrderStatus
from trading.execution.decide import RiskState
from trading.execution.engine import TradingEngine
from trading.live.journal import Evidence, Journal, read_session
from trading.live.parity import history_hashes
from trading.simulation.account import Account
from trading.simulation.matching import Matcher
from trading.store.ledger import MemoryLedger

CASH = 1_000_000_000
# Before this open the eager ensemble buys AAPL, IBM and MSFT; the AAPL stop sells in the session.
SESSION = date(2005, 5, 27)


@dataclass(kw_only=True)
class Traded:
    """A session, its ledger, and what is needed to trade it again."""

    ledger: Any
    journal: Any
    engine: Any
    result: Any
    start: Any
    view: Any
    history: Any
    bars: Any
    neighbours: Any

    @property
    def recorded(self):
        """Return what the ledger says now."""
        return read_session(self.ledger, SESSION)


@pytest.fixture
def traded(embedded_market):
    """Trade one session with an ensemble that enters on any agreement and stops early."""
    shipped = embedded_market.policy
    ensemble = shipped.allocation.ensemble.model_copy(
        update={"entry_forecast": 0.0, "min_confidence": 0.0}
    )
    policy, views = embedded_market.views(
        allocation=shipped.allocation.model_copy(update={"ensemble": ensemble}),
        exits=shipped.exits.model_copy(update={"stop_loss": 0.01}),
    )
    raw = embedded_market.raw
    row = raw.row_of(SESSION)
    engine = TradingEngine(
        policy,
        Account(policy.market, CASH),
        RiskState(peak=CASH, cooldown=0, state=TradingState.ACTIVE),
        runner.fees_of(embedded_market.rules, embedded_market.calendar),
    )
    opened = engine.snapshot()
    view = views.at(row)
    start = runner.session_start(
        view, raw, row, (), embedded_market.rules, engine,
        *embedded_market.calendar.open_close(SESSION),
    )  # fmt: skip
    instants = runner.daily_instants(raw, row, view, start)
    result = runner.run_session(engine, Matcher(1_000), start, view, instants)

    def bar(symbol, at):
        i = raw.symbols.index(symbol)
        return tuple(
            int(getattr(raw, name)[at, i]) for name in ("open", "high", "low", "close", "volume")
        )

    listed = [s for i, s in enumerate(raw.symbols) if raw.tradable[row, i]]
    traded = Traded(
        ledger=MemoryLedger(),
        journal=None,
        engine=engine,
        result=result,
        start=start,
        view=view,
        history=history_hashes(raw, row, view.symbols),
        bars={s: bar(s, row) for s in listed},
        neighbours={s: [bar(s, row - 1), bar(s, row + 1)] for s in listed},
    )
    traded.journal = Journal(traded.ledger, SESSION, ManualClock(start.open_ts))
    _write(traded, opened)
    return traded


def _write(traded, opened):
    """Write the session as the live driver does."""
    journal, result = traded.journal, traded.result
    journal.opened(opened)
    journal.decided(result.decision, Evidence(history=traded.history, untradable=["FB"]))
    for order in result.orders:
        journal.intends(order.intent, highest_order_id="0")
        ack = _ack(order, traded.start.open_ts)
        journal.accepted(order.intent.intent_id, ack)
    filled = {}
    for booked in result.booked:
        key = booked.intent.intent_id
        filled[key] = filled.get(key, 0) + booked.fill.quantity
        assert journal.filled(booked, filled[key])
    for order in result.orders:
        if order.status is OrderStatus.EXPIRED:
            journal.moved(order.intent.intent_id, OrderStatus.EXPIRED)
    journal.observed(traded.bars)


def _ack(order, ts):
    """Return the acceptance that gave an order its number."""
    return OrderAck(venue_order_id=order.venue_order_id, branch=order.branch, ts_event=ts)
