"""Folds follow each other, choices are the best of the past, and one account trades them through."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from trading.backtest import sweep
from trading.backtest.settings import Scheme
from trading.backtest.walkforward import (
    Fold,
    Stretch,
    best_of,
    chained,
    folds,
    proven_sessions,
    value_of,
)
from trading.errors import UsageError
from trading.measures import max_drawdown, sharpe
from trading.strategies.base import ExitRules

# Whole runs: as plain Python they would take minutes.
pytestmark = pytest.mark.compiled_only


def test_folds_follow_each_other_to_the_last_session():
    """Anchored ranges begin on the first session, rolling ones are equally long; purged between."""
    anchored = folds(100, scheme=Scheme.ANCHORED, train=40, test=25, purge=5)
    rolling = folds(100, scheme=Scheme.ROLLING, train=40, test=25, purge=5)

    assert anchored == [
        Fold(train=(0, 40), test=(45, 70)),
        Fold(train=(0, 65), test=(70, 95)),
        Fold(train=(0, 90), test=(95, 100)),
    ]
    assert [fold.train for fold in rolling] == [(0, 40), (25, 65), (50, 90)]
    assert [fold.test for fold in rolling] == [fold.test for fold in anchored]


@pytest.mark.parametrize("sessions", [0, 1, 44, 45])
def test_without_a_session_to_test_on_it_says_so(sessions):
    """What is too short is refused with its length."""
    with pytest.raises(UsageError, match=f"{sessions}거래일이라"):
        folds(sessions, scheme=Scheme.ANCHORED, train=40, test=25, purge=5)

    assert len(folds(46, scheme=Scheme.ANCHORED, train=40, test=25, purge=5)) == 1


def test_more_history_never_changes_a_fold_that_is_over():
    """The folds of a longer record begin with those of a shorter one."""
    for scheme in Scheme:
        whole = folds(300, scheme=scheme, train=60, test=30, purge=3)
        for count in range(len(whole)):
            cut = folds(whole[count].test[1], scheme=scheme, train=60, test=30, purge=3)
            assert cut == whole[: count + 1]


def test_objectives_are_the_measures(embedded_panels):
    """Each is the measure of its name; an account that never moved is worth nothing known."""
    _, adjusted = embedded_panels
    close = adjusted.close[1000:1500, 0]
    returns = close[1:] / close[:-1] - 1.0

    assert value_of("sharpe", close, per_year=252) == sharpe(returns, periods_per_year=252)
    assert value_of("max_drawdown", close, per_year=252) == max_drawdown(close)
    assert value_of("total_return", close, per_year=252) == close[-1] / close[0] - 1.0
    for dead in (np.full(50, 100_000), np.array([100_000]), np.array([100, 0, 0, 0])):
        assert math.isnan(value_of("max_drawdown", dead, per_year=252))


def test_the_first_of_equals_is_chosen_and_unknown_is_never_better():
    """Less drawdown is better; nothing known leaves the first."""
    assert best_of("sharpe", [math.nan, 0.5, 0.7, 0.7]) == 2
    assert best_of("max_drawdown", [math.nan, 0.5, 0.3, 0.3]) == 2
    assert best_of("sharpe", [math.nan, -math.inf, math.nan]) == 0


def traded(market, evaluation, exits, first_row, last_row):
    """Return the sweep of an evaluation under its agents' own exit rules."""
    policy, views = replace_evaluation(market, evaluation)
    return sweep.run(
        views,
        market.raw,
        market.actions,
        market.calendar,
        market.rules,
        replace(policy, agent_exits=exits),
        cash=100_000_0000,
        first=market.raw.sessions[first_row].item(),
        last=market.raw.sessions[last_row].item(),
    )


def replace_evaluation(market, evaluation):
    return replace(market, evaluation=evaluation).views()


def test_a_chain_of_the_same_parameters_is_no_chain(embedded_market):
    """The same evaluation in three stretches trades as it does in one, to the unit."""
    whole = embedded_market.evaluation
    evaluation, exits = chained(
        whole,
        [
            Stretch.of(whole, {}, first, last)
            for first, last in ((1300, 1339), (1340, 1379), (1380, 1420))
        ],
    )

    assert (evaluation.agents, exits) == (whole.agents, {})
    np.testing.assert_array_equal(evaluation.votes[1299:1420], whole.votes[1299:1420])
    np.testing.assert_array_equal(evaluation.weights[1299:1420], whole.weights[1299:1420])
    assert traded(embedded_market, evaluation, {}, 1300, 1420) == traded(
        embedded_market, whole, {}, 1300, 1420
    )


def test_other_exit_rules_buy_as_an_agent_of_their_own(embedded_market):
    """Until the rules change the account is the one of the first rules; holdings are carried over."""
    whole = embedded_market.evaluation
    loose = {agent: ExitRules() for agent in whole.agents}
    tight = {agent: ExitRules(stop_loss=0.01, cooldown_sessions=3) for agent in whole.agents}
    evaluation, exits = chained(
        whole,
        [Stretch.of(whole, loose, 1300, 1399), Stretch.of(whole, tight, 1400, 1600)],
    )
    made = traded(embedded_market, evaluation, exits, 1300, 1600)
    first = traded(embedded_market, whole, loose, 1300, 1600)

    assert set(evaluation.agents) == {
        name for agent in whole.agents for name in (agent, f"{agent}#1")
    }
    assert exits == {**loose, **{f"{agent}#1": rules for agent, rules in tight.items()}}
    assert made.equity[:100] == first.equity[:100]
    assert made.equity != first.equity
    # The rules themselves are what differs: under equal ones the split columns change nothing.
    equal = dict.fromkeys(exits, ExitRules())
    assert traded(embedded_market, evaluation, equal, 1300, 1600) == first


def keep(folder, name, **changes):
    """Write a kept walk-forward."""
    body = {
        "strategy": "ensemble",
        "policy_hash": "abc",
        "sessions": ["2005-01-03"] * 800,
        "folds": [{"params": {}}],
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({**body, **changes}), encoding="utf-8")


def test_only_a_walk_forward_of_this_very_policy_proves_it(tmp_path):
    """Another policy, one strategy, chosen parameters or a torn file count for nothing."""
    folder = tmp_path / "kept"
    assert proven_sessions(folder, "abc") == 0

    keep(folder, "other", policy_hash="abd", sessions=["2005-01-03"] * 900)
    keep(folder, "single", strategy="rsi", sessions=["2005-01-03"] * 900)
    keep(folder, "chosen", folds=[{"params": {"rsi.window": 5}}], sessions=["2005-01-03"] * 900)
    (folder / "torn.json").write_text('{"strategy": "ensem', encoding="utf-8")
    (folder / "list.json").write_text("[1]", encoding="utf-8")
    assert proven_sessions(folder, "abc") == 0

    keep(folder, "short", sessions=["2005-01-03"] * 10)
    keep(folder, "good")
    assert proven_sessions(folder, "abc") == 800
