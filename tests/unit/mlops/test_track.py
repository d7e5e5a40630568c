"""What an account earns that follows the forecasts of a walk-forward."""

from dataclasses import fields, replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from trading import measures
from trading.backtest import runner
from trading.backtest.record import Evidence, record_of
from trading.config import load_settings
from trading.execution.decide import Views
from trading.features.labels import forward_returns
from trading.mlops import track as tracks
from trading.mlops.track import Venue, trade_forecasts
from trading.models.validation import WalkForward
from trading.risk.scenarios import CrisisWindow

pytestmark = pytest.mark.compiled_only
FIRST, LAST, STRIDE = 900, 1500, 5


@pytest.fixture(scope="module")
def settings():
    """Return the shipped settings."""
    return load_settings(Path(__file__).parents[3])


@pytest.fixture(scope="module")
def venue(embedded_market, embedded_panels, settings):
    """Return the embedded history to 2006-12-01 with the shipped policy."""
    return Venue(
        raw=embedded_market.raw,
        adjusted=embedded_panels[1].until(1700),
        actions=embedded_market.actions,
        calendar=embedded_market.calendar,
        rules=embedded_market.rules,
        policy=embedded_market.policy,
        strategies=settings.strategies,
        features=settings.features,
        cash=1_000_000_000,
        crises=(CrisisWindow(name="2005년 봄", first=date(2005, 3, 1), last=date(2005, 4, 29)),),
    )


@pytest.fixture(scope="module")
def oracle(venue, settings):
    """Return a walk-forward that knows the labels: what it forecasts comes true."""
    labels = forward_returns(venue.adjusted, settings.models.horizon_sessions)
    rows, columns = np.nonzero(np.isfinite(labels.excess))
    asked = (rows >= FIRST) & (rows <= LAST) & (rows % STRIDE == 0)
    row, column = rows[asked], columns[asked]
    forecast = labels.excess[row, column]
    told = {
        "row": row,
        "column": column,
        "forecast": forecast,
        "rank_ic": 1.0,
        "rank_ic_t": 9.0,
        "forecast_scale": float(forecast.std()),
    }
    # What else a walk-forward measures is no part of what is traded.
    return WalkForward(**{field.name: np.nan for field in fields(WalkForward)} | told)


@pytest.fixture(scope="module")
def traded(venue, oracle, settings):
    """Return the oracle's track."""
    return trade_forecasts(venue, oracle, "forest", settings.models)


def test_who_knows_the_future_beats_the_universe(traded):
    """The oracle's account is ahead of its benchmark, as much invested in all names alike."""
    assert measures.sharpe(traded.active, periods_per_year=252) > 1.5
    assert traded.break_even_bps > 50.0
    assert traded.exposure.max() > 0.02
    assert traded.turnover > 0.0


def test_the_account_is_the_one_that_a_backtest_trades(venue, oracle, settings, traded):
    """Returns, exposure-matched benchmark and exposure are those of the same run's record."""
    evaluation = tracks._evaluation(venue, oracle, "forest", settings.models)
    policy = replace(venue.policy, agent_exits=venue.strategies.exits())
    first, last = (traded.sessions[at].astype(date) for at in (0, -1))
    result = runner.run(
        Views(evaluation, venue.raw, venue.rules, policy), venue.raw, venue.actions,
        venue.calendar, venue.rules, policy, cash=venue.cash, first=first, last=last,
    )  # fmt: skip
    record = record_of(
        result, venue.raw, venue.adjusted, venue.actions, strategy="forest", params={},
        sessions_per_year=venue.policy.sessions_per_year, policy_hash="", most_charts=0,
        evidence=Evidence(
            price_basis=venue.raw.basis, survivorship="biased", survivorship_text="",
            are_sectors_of_today=True, replayed={},
        ),
    )  # fmt: skip

    np.testing.assert_array_equal(traded.net, record.returns())
    np.testing.assert_array_equal(traded.exposure, record.exposure())
    np.testing.assert_array_equal(traded.benchmark, record.matched_returns())
    assert traded.turnover * record.path().mean() * len(
        traded.sessions
    ) / traded.sessions_per_year == pytest.approx(sum(fill.amount for fill in record.fills))


def test_costs_and_delay_take_something(traded):
    """Twice the fees leave less; the day's delay is another account of the same forecasts."""
    net, doubled, delayed = (
        float(np.prod(1.0 + returns)) for returns in (traded.net, traded.doubled, traded.delayed)
    )

    assert doubled < net
    assert delayed != net
    assert [one.name for one in traded.stretches] == ["2005년 봄"]
    assert traded.capacity > traded.capital


def test_the_account_begins_after_the_first_forecast(venue, oracle, traded):
    """Nothing is traded before something was forecast, nor after the last horizon."""
    assert venue.adjusted.sessions[FIRST] < traded.sessions[0]
    assert traded.sessions[0] == venue.adjusted.sessions[int(oracle.row.min()) + 1]
    assert traded.sessions[-1] == venue.adjusted.sessions[int(oracle.row.max()) + 20]


def test_a_forecast_stands_until_the_next_one(oracle, settings):
    """Between two forecasts the last one holds; after its horizon the voice abstains."""
    votes = tracks._votes(oracle, (1700, 5), settings.models)
    row, last = int(oracle.row.min()), int(oracle.row.max())

    np.testing.assert_array_equal(votes[row], votes[row + STRIDE - 1])
    assert np.isnan(votes[:row]).all()
    assert np.isfinite(votes[last + 19]).any()
    assert np.isnan(votes[last + 20]).all()


def test_tomorrow_changes_nothing_today(venue, oracle, settings, traded):
    """Forecasts of later rows leave the account before them as it was."""
    half = int(np.median(oracle.row))
    kept = oracle.row <= half
    cut = replace(
        oracle, row=oracle.row[kept], column=oracle.column[kept], forecast=oracle.forecast[kept]
    )

    short = trade_forecasts(venue, cut, "forest", settings.models)

    same = traded.sessions <= venue.adjusted.sessions[int(cut.row.max())]
    np.testing.assert_array_equal(short.net[: same.sum()], traded.net[same])
