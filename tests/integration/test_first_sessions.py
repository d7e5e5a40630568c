"""A fresh real account over the wire: the same decision under narrower limits, then the whole policy."""

from datetime import date

import pytest
from program import EAGER, configure

from trading import bootstrap, demo
from trading.clock import WallClock
from trading.config import Env
from trading.domain.instrument import Market
from trading.live.journal import read_session

FIRST, SECOND = date(2005, 3, 1), date(2005, 3, 2)
CAPS = {"sessions": 1, "max_gross": 0.06, "max_single_name": 0.05, "max_order_share": 0.05}


@pytest.fixture
def installation(home):
    """Return a home whose first real session is capped and whose second is not."""
    execution = {**EAGER["execution"], "us": {"participation": 1.0}, "first_sessions": CAPS}
    configure(home, {**EAGER, "execution": execution})
    return bootstrap.open_home(home, console=False)


def opened(installation, env, run, session):
    """Open a demo's day as one of an account of ``env``, at an exchange that keeps real rules."""
    ledger = bootstrap.open_ledger(installation.home, env, Market.US)
    ledger.append(run.record(WallClock().now()))
    ledger.claim()
    source = bootstrap.open_source(installation)
    return bootstrap._opened(
        installation,
        env,
        run,
        session,
        ledger=ledger,
        source=source,
        terms=bootstrap.recorded_terms(source, None),
        lease=bootstrap._lease(installation.home, f"{env}-{Market.US}"),
        connect=lambda symbols: bootstrap._connect_demo(
            installation, run, Market.US, session, symbols
        ),
    )


@pytest.mark.slow
def test_the_first_sessions_are_small_and_proven_like_any_other(installation):
    """Caps bind while they count, over REST and WebSocket; parity recomputes both days to no difference."""
    request = bootstrap.DemoRequest(start=FIRST, sessions=2, profile="real")
    run = bootstrap.begin_demo(installation, Market.US, request)
    _, calendar = bootstrap.rules_and_calendar(installation.settings, Market.US)
    whole = bootstrap.policy_of(installation.settings, Market.US, calendar)
    policies, summaries = [], []

    with bootstrap.exchange_kept(installation, Market.US):
        for session in (FIRST, SECOND):
            context = opened(installation, Env.REAL, run, session)
            try:
                summaries.append(demo.run_day(context))
                policies.append(context.policy)
            finally:
                bootstrap.close_day(context.key)

    ledger = bootstrap.open_ledger(installation.home, Env.REAL, Market.US, read_only=True)
    try:
        first, second = (read_session(ledger, session) for session in (FIRST, SECOND))
    finally:
        ledger.close()
    bought = [i for i in first.decision.intents if i.side.sign > 0]
    equity = first.decision.equity
    assert bought and first.fills
    assert max(i.quantity * i.limit for i in bought) <= equity * (1.02 * CAPS["max_order_share"])
    assert sum(c.weight for c in first.decision.choices) <= CAPS["max_gross"] + 1e-9
    assert max(c.weight for c in first.decision.choices) <= CAPS["max_single_name"] + 1e-9
    assert sum(c.weight for c in second.decision.choices) > 2 * CAPS["max_gross"]
    assert [p.hash == whole.hash for p in policies] == [False, True]
    assert [r.decision.policy_hash for r in (first, second)] == [p.hash for p in policies]
    assert [s["parity_differences"] for s in summaries] == [0, 0]
    assert first.denied == second.denied == []
    assert not (first.drill_failed or second.drill_failed)


def test_no_other_environment_is_capped(installation):
    """Demo and paper trade the whole policy from the first day: it is what the evidence is about."""
    _, calendar = bootstrap.rules_and_calendar(installation.settings, Market.US)
    whole = bootstrap.policy_of(installation.settings, Market.US, calendar)

    for env in (Env.DEMO, Env.PAPER):
        used = bootstrap.policy_in_force(
            installation.settings, env, Market.US, calendar, None, FIRST
        )
        assert used.hash == whole.hash
