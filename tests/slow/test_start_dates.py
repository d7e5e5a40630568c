"""Where a demo may begin: start dates drawn by seed over the embedded history, and KRX replays."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from trading.backtest import runner
from trading.domain.instrument import Market

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]
SEED, STARTS, SESSIONS = 20, 20, 3


def test_how_many_starts_trade(record_property, capsys, embedded_panels):
    """Of 20 start dates, this many trade within three sessions with the shipped thresholds.

    By the technical agents alone: a model would have to be trained for each date.
    """
    from trading.bootstrap import policy_of
    from trading.config import load_settings
    from trading.domain.rules import shipped_rules
    from trading.execution.decide import Views
    from trading.sessions import SessionCalendar
    from trading.strategies.evaluation import evaluate

    raw, adjusted = embedded_panels
    settings = load_settings(CHECKOUT)
    calendar, rules = SessionCalendar(Market.US), shipped_rules(Market.US)
    policy = policy_of(settings, Market.US, calendar)
    evaluation = evaluate(
        adjusted,
        raw,
        features=settings.features,
        strategies=settings.strategies,
        agents=("ma_crossover", "rsi", "bollinger_mfi", "momentum"),
    ).evaluation
    views = Views(evaluation, raw, rules, policy)
    warmup = settings.app.demo.warmup_sessions[Market.US]
    rng = np.random.default_rng(SEED)
    rows = sorted(rng.choice(np.arange(warmup, len(raw.sessions) - SESSIONS), STARTS, False))

    orders = {}
    for row in rows:
        first, last = (raw.sessions[r].astype(date) for r in (row, row + SESSIONS - 1))
        result = runner.run(
            views, raw, (), calendar, rules, policy, cash=1_000_000_000, first=first, last=last
        )
        orders[str(first)] = sum(len(day.orders) for day in result.days)
        assert result.cash_difference == 0

    trading = sum(count > 0 for count in orders.values())
    record_property("starts_that_trade", trading)
    with capsys.disabled():
        print(f"\n{trading}/{STARTS} start dates trade within {SESSIONS} sessions: {orders}")  # noqa: T201
    assert trading > 0


@pytest.mark.parametrize(("start", "sessions"), [("2024-01-08", 3), ("2025-09-08", 1)])
def test_krx_replays(shared_data, home, start, sessions):
    """Recorded KRX days and minutes end with orders and without any difference."""
    words = [
        *("demo", "--market", "krx", "--dataset", str(shared_data), "--start", start),
        *("--sessions", str(sessions), "--no-prefect", "--json"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "trading.cli", "--root", str(home), *words],
        capture_output=True,
        text=True,
        timeout=1200,
        cwd=home,
    )

    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["sessions"] == sessions
    assert body["orders"] > 0
    assert body["parity"] == {"orders": body["orders"], "differences": 0, "unexplained": 0}
    assert body["cash_difference"] == 0
