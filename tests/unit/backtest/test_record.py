"""The record of a run: complete, to the unit, and the same after JSON."""

import json
from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pytest

from trading.backtest import figures, runner
from trading.backtest.record import dumped, loaded, record_of
from trading.backtest.trials import Count
from trading.domain.actions import ActionKind
from trading.domain.order import Side

# Whole runs: as plain Python they would take minutes.
pytestmark = pytest.mark.compiled_only

CASH = 1_000_000_000
FIRST = date(2003, 6, 2)


def traded(market, *, first, last, cash=CASH):
    """Trade the embedded history by the shipped policy."""
    policy, views = market.views()
    return runner.run(
        views, market.raw, market.actions, market.calendar, market.rules, policy,
        cash=cash, first=first, last=last,
    )  # fmt: skip


def recorded(market, panels, result, like, **changes):
    return record_of(
        result,
        market.raw,
        panels[1],
        market.actions,
        **{
            "strategy": like.strategy,
            "params": like.params,
            "sessions_per_year": like.sessions_per_year,
            "policy_hash": like.policy_hash,
            "evidence": like.evidence,
            "most_charts": 2,
        }
        | changes,
    )


@pytest.fixture(scope="module")
def record(embedded_run):
    """Three years with trades, splits and dividends."""
    return embedded_run


def test_it_comes_back_the_same(record):
    """JSON and back is the same value, and the same bytes again."""
    again = loaded(dumped(record))

    assert again == record
    assert dumped(again) == dumped(record)
    assert again.sessions[0] == FIRST


def test_damage_is_seen(record):
    """A changed figure, a cut file and something else altogether are refused."""
    text = dumped(record)
    body = json.loads(text)
    body["run"]["equity"][-1] += 1
    old = json.loads(text)
    del old["run"]["fills"]

    for damaged in (
        json.dumps(body).encode(),
        json.dumps(old).encode(),
        text[: len(text) // 2],
        b"[]",
        b"",
        b"\xff\xfe",
    ):
        with pytest.raises(ValueError):
            loaded(damaged)


def test_another_version_is_refused(record):
    """What a later version wrote is not read as if it were ours."""
    with pytest.raises(ValueError):
        loaded(dumped(replace(record, version=99)))


def test_the_id_says_what_was_run(record):
    """Strategy, market and dates are in it; other parameters are another run, trials are not."""
    assert record.run_id.startswith("ensemble-us-20030602-20060630-")
    assert len(record.run_id.rsplit("-", 1)[1]) == 8
    assert replace(record, trials=None, robustness={}).run_id == record.run_id
    assert replace(record, params={"window": 21}).run_id != record.run_id


def test_trades_add_up_to_the_profit(record):
    """What all holdings earned is what the account earned, to the unit."""
    assert sum(trade.profit for trade in record.trades) == record.equity[-1] - CASH
    assert sum(trade.costs for trade in record.trades) == sum(
        fill.commission + fill.tax for fill in record.fills
    )
    assert sum(trade.income for trade in record.trades) == record.income
    assert record.income > 0


def test_trades_end_flat_and_never_overlap(record):
    """Of each symbol one holding follows the other; only the last may be open."""
    for symbol in {trade.symbol for trade in record.trades}:
        own = sorted((t for t in record.trades if t.symbol == symbol), key=lambda t: t.entry)
        assert all(t.exit is not None and t.reason for t in own[:-1])
        assert all(a.exit <= b.entry for a, b in pairwise(own))
    rules = {trade.reason for trade in record.trades}
    assert {"stop_loss", "rebalance"} & rules
    assert {trade.agent for trade in record.trades} <= {
        "", "ma_crossover", "rsi", "bollinger_mfi", "momentum"
    }  # fmt: skip


def test_cash_and_holdings_are_the_equity(record, embedded_market):
    """Equity less cash is what the shares were worth at each close, recomputed from the fills."""
    raw = embedded_market.raw
    held = dict.fromkeys(raw.symbols, 0)
    splits = [
        a
        for a in embedded_market.actions
        if a.kind is ActionKind.SPLIT and a.symbol in {f.symbol for f in record.fills}
    ]
    fills = {}
    for fill in record.fills:
        fills.setdefault(fill.session, []).append(fill)

    for session, equity, cash in zip(record.sessions, record.equity, record.cash, strict=True):
        for split in splits:
            if split.ex_date == session:
                held[split.symbol] = held[split.symbol] * split.numerator // split.denominator
        for fill in fills.get(session, ()):
            held[fill.symbol] += fill.side.sign * fill.quantity
        row = raw.row_of(session)
        worth = sum(q * int(raw.close[row, raw.symbols.index(s)]) for s, q in held.items())
        assert equity - cash == worth


def test_the_benchmark_is_all_names_in_equal_parts(record, embedded_panels):
    """The universe's return is the mean of the names' own; matched, it is yesterday's share of it."""
    raw, adjusted = embedded_panels
    row = raw.row_of(record.sessions[100])
    names = raw.tradable[row - 1]
    expected = np.mean(adjusted.close[row, names] / adjusted.close[row - 1, names] - 1.0)

    assert record.universe[100] == pytest.approx(expected, abs=1e-12)
    share = 1.0 - record.cash[99] / record.equity[99]
    assert record.matched_returns()[100] == pytest.approx(share * expected, abs=1e-12)
    assert record.matched_returns()[0] == 0.0
    assert record.index_returns()[100] == pytest.approx(
        adjusted.benchmark[row] / adjusted.benchmark[row - 1] - 1.0, abs=1e-12
    )


def test_prices_are_restated_for_splits(record, embedded_market):
    """Over the AAPL split of 2005-02-28 the line has no jump, and a fill lies within its day."""
    raw = embedded_market.raw
    lines = {line.symbol: line for line in record.prices}
    assert len(lines) == 3
    line = lines["AAPL"]
    at = record.sessions.index(date(2005, 2, 28))

    assert line.scale[at - 1] == pytest.approx(0.5)
    assert line.scale[at] == 1.0
    assert abs(line.close[at] / line.close[at - 1] - 1.0) < 0.05
    for fill in record.fills:
        row, i = raw.row_of(fill.session), raw.symbols.index(fill.symbol)
        assert raw.low[row, i] <= fill.price <= raw.high[row, i]


def test_a_run_without_trades_has_a_record(embedded_market, embedded_panels, record):
    """An account that may buy nothing keeps its cash; what it cannot say is None, never 0."""
    still = traded(embedded_market, cash=10_000, first=FIRST, last=date(2003, 7, 31))
    record = recorded(embedded_market, embedded_panels, still, record)
    found = figures.run_figures(record)

    assert record.fills == () and record.trades == () and record.prices == ()
    assert loaded(dumped(record)) == record
    assert found["total_return"] == 0.0
    for name in ("sharpe", "hit_rate", "payoff_ratio", "mean_trade", "cost_bps", "alpha", "beta"):
        assert found[name] is None, name


def test_one_session_has_a_record(embedded_market, embedded_panels, record):
    """One session: totals, and nothing annual."""
    short = traded(embedded_market, first=FIRST, last=FIRST)
    record = recorded(embedded_market, embedded_panels, short, record)
    found = figures.run_figures(record)

    assert found["returns"] == 1
    assert found["total_return"] == record.equity[0] / CASH - 1.0
    assert found["annual_return"] is None and found["psr"] is None
    assert figures.intervals(record, figures.Sampling()) == {}


def test_figures_are_those_of_their_definitions(record):
    """Turnover, costs, exposure and the benchmark's figures, recomputed from the record."""
    found = figures.run_figures(record)
    per_year = record.sessions_per_year
    years = len(record.sessions) / per_year
    traded = sum(fill.amount for fill in record.fills)
    paid = sum(fill.commission + fill.tax for fill in record.fills)
    apart = record.returns() - record.matched_returns()

    assert found["turnover"] == pytest.approx(traded / 2 / np.mean(record.equity) / years)
    assert found["cost_bps"] == pytest.approx(10_000 * paid / traded)
    assert found["exposure"] == pytest.approx(
        np.mean(1 - np.array(record.cash) / np.array(record.equity))
    )
    assert found["excess_return"] == pytest.approx(per_year * np.mean(apart))
    assert found["tracking_error"] == pytest.approx(np.std(apart, ddof=1) * np.sqrt(per_year))
    assert found["benchmark_total_return"] == pytest.approx(
        np.prod(1 + record.matched_returns()) - 1
    )
    assert found["trades"] == sum(trade.exit is not None for trade in record.trades)
    sold = [fill for fill in record.fills if fill.side is Side.SELL]
    assert sum(fill.realized for fill in sold) != 0


def test_luck_is_allowed_for(record):
    """More trials, less proof: the DSR falls from the PSR of a single trial."""
    one = figures.run_figures(replace(record, trials=Count(raw=1, distinct=1, effective=1.0)))
    many = figures.run_figures(replace(record, trials=Count(raw=99, distinct=50, effective=5.0)))

    assert figures.run_figures(replace(record, trials=None))["deflated_sharpe"] is None
    assert one["deflated_sharpe"] == pytest.approx(one["psr"])
    assert many["deflated_sharpe"] < many["deflated_sharpe_effective"] < many["psr"]


def test_unknown_benchmarks_say_nothing(record):
    """Without a record of the universe nothing is compared; the account's own figures stay."""
    blind = replace(record, universe=(None,) * len(record.sessions))
    found = figures.run_figures(blind)

    assert found["benchmark_total_return"] is None and found["alpha"] is None
    assert found["sharpe"] == figures.run_figures(record)["sharpe"]
    assert "excess_return" not in figures.intervals(blind, figures.Sampling(repetitions=100))


def test_differences_have_a_verdict(record):
    """The same account is the same; one that earns more every day is better, the other worse."""
    returns = record.returns()
    sampling = figures.Sampling(repetitions=200)
    same, better, worse = (
        figures.difference(returns, returns + add, sampling, periods_per_year=252)
        for add in (0.0, -0.001 - 0.0001 * np.abs(returns), 0.001 + 0.0001 * np.abs(returns))
    )

    assert figures.verdict(same) == "same"
    assert figures.verdict(better) == "better"
    assert figures.verdict(worse) == "worse"
    short = figures.difference(returns[:5], returns[:5] - 0.1, sampling, periods_per_year=252)
    assert figures.verdict(short) == "unknown"
