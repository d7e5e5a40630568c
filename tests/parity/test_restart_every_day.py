"""A new process every morning, with what the last one wrote, trades as one that never stopped."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

from trading.backtest import runner
from trading.config import load_settings
from trading.domain.decision import TradingState, Verdict
from trading.execution.decide import RiskState, Views
from trading.execution.engine import TradingEngine
from trading.live.journal import decision_body, decision_from
from trading.simulation.account import Account
from trading.simulation.matching import BASIS_POINTS, Matcher
from trading.strategies.evaluation import evaluate

CHECKOUT = Path(__file__).resolve().parents[2]
CASH = 1_000_000_000
FIRST, LAST = date(2004, 9, 1), date(2005, 9, 30)


def test_what_is_written_is_enough(embedded_market, embedded_panels):
    """Exposure, exit terms, ages, cooldowns and waits: the same decisions and orders, day by day.

    What the account earned from each voter adds up to what its sales realized, to the unit.
    """
    market, (raw, adjusted) = embedded_market, embedded_panels
    settings, base = load_settings(CHECKOUT), market.policy
    evaluation = evaluate(
        adjusted.until(raw.row_of(LAST)), raw,
        features=settings.features, strategies=settings.strategies,
        agents=("volatility_breakout", "ma_crossover", "rsi"),
    ).evaluation  # fmt: skip
    allocation = base.allocation
    policy = replace(
        base,
        allocation=allocation.model_copy(
            update={
                "ensemble": allocation.ensemble.model_copy(
                    update={"entry_forecast": 0.0, "min_confidence": 0.0, "max_entry_var": 1.0}
                ),
                "sizing": allocation.sizing.model_copy(update={"volatility_target": 0.5}),
                "resize": "daily",
                "no_trade_band": 0.001,
            }
        ),
        risk=base.risk.model_copy(
            update={
                "max_single_name": 0.3,
                "guards": base.risk.guards.model_copy(update={"max_order_share": 1.0}),
            }
        ),
        exits=base.exits.model_copy(
            update={"stop_loss": 0.04, "trailing_atr": 2.0, "max_sessions": 30}
        ),
    )
    views = Views(evaluation, raw, market.rules, policy)
    fees = runner.fees_of(market.rules, market.calendar)
    by_session = runner.actions_by_session(market.actions)
    whole = runner.run(
        views, raw, market.actions, market.calendar, market.rules, policy,
        cash=CASH, first=FIRST, last=LAST,
    )  # fmt: skip
    matcher = Matcher(round(policy.orders.participation * BASIS_POINTS))
    written, realized = "", 0

    for day in whole.days:
        fresh = RiskState(peak=CASH, cooldown=0, state=TradingState.ACTIVE)
        engine = TradingEngine(policy, Account(policy.market, CASH), fresh, fees)
        if written:
            engine.restore(json.loads(written))
        row = raw.row_of(day.session)
        view = views.at(row, held=engine.account.positions)
        start = runner.session_start(
            view, raw, row, by_session.get(day.session, ()), market.rules, engine,
            *market.calendar.open_close(day.session),
        )  # fmt: skip
        again = runner.run_session(
            engine, matcher, start, view, runner.daily_instants(raw, row, view, start)
        )

        assert again.decision == day.decision
        assert [o.intent for o in again.orders] == [o.intent for o in day.orders]
        assert again.equity == day.equity
        assert decision_from(json.loads(json.dumps(decision_body(day.decision)))) == day.decision
        written = json.dumps(engine.snapshot())
        realized += sum(booked.booking.realized for booked in again.booked)
        assert sum(engine.attributed.values()) == realized

    factors = [day.decision.exposure for day in whole.days]
    verdicts = {c.verdict for day in whole.days for c in day.decision.choices}
    assert min(factors) < max(factors)
    assert {Verdict.TIME_STOP, Verdict.COOLDOWN, Verdict.WAITING} <= verdicts
    assert len(engine.attributed) > 2
