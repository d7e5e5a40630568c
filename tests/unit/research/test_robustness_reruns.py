"""A backtest of the embedded history, traded again under other conditions."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from typer.testing import CliRunner

from trading import bootstrap
from trading.backtest.settings import RobustnessSettings
from trading.cli import app
from trading.domain.instrument import Currency, Market
from trading.research import robustness, runs
from trading.research.history import Scope, load_history
from trading.research.trader import Trader
from trading.risk.scenarios import CrisisWindow

SETTINGS = RobustnessSettings(
    cost_multiples=(0, 1, 4),
    break_even_reruns=3,
    delays=(0, 2),
    capital_multiples=(1, 1000),
    crises=(CrisisWindow(name="2006년 5월", first=date(2006, 5, 5), last=date(2006, 6, 13)),),
)
SCOPE = Scope(
    market=Market.US,
    symbols=("AAPL", "IBM", "MSFT"),
    first=date(2005, 6, 1),
    last=date(2006, 12, 29),
)


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """Return an installation of its own, with fewer reruns."""
    installation = bootstrap.open_home(tmp_path_factory.mktemp("home"))
    settings = installation.settings
    settings.research = settings.research.model_copy(update={"robustness": SETTINGS})
    return installation


@pytest.fixture(scope="module")
def result(installation):
    """Return the backtest of MA crossover with everything asked."""
    return runs.backtest(installation, "ma_crossover", SCOPE, is_robustness_asked=True)


def test_the_same_conditions_are_the_same_run(result):
    """Costs times one, no delay and the same capital end where the run itself did."""
    found = result["robustness"]

    assert found["costs"][1]["final_equity"] == result["final_equity"]
    assert found["delays"][0]["final_equity"] == result["final_equity"]
    assert found["capacity"]["points"][0]["final_equity"] == result["final_equity"]
    assert found["costs"][0]["annual_return"] > found["costs"][2]["annual_return"]
    assert result["orders"] > 0


def test_stretches_make_up_the_run(result):
    """Every session has one regime, and the crisis is one of the run's."""
    found = result["robustness"]
    grown = 1.0
    for one in found["regimes"]:
        grown *= 1.0 + one["total_return"]

    assert sum(one["sessions"] for one in found["regimes"]) == result["sessions"]
    assert grown - 1.0 == pytest.approx(result["metrics"]["total_return"])
    assert [one["name"] for one in found["crises"]] == ["2006년 5월"]
    assert found["crises"][0]["sessions"] == 27


def test_break_even_is_confirmed_by_a_rerun(installation, result):
    """At the extra cost that reruns found, a run of its own ends with what it says is left."""
    found = result["robustness"]["break_even"]
    cash = found["cash"]
    profit = result["final_equity"] - result["starting_cash"]

    assert cash["extra_bps"] == pytest.approx(profit / found["traded"] * 10_000)
    history = load_history(installation, SCOPE)
    trader = Trader.of(installation, history, "ma_crossover")
    dearer = replace(
        trader, rules=trader.rules.costing(extra_ppb=round(cash["rerun_bps"] * 100_000))
    )
    made = dearer.trade({})
    assert cash["left"] == pytest.approx(made.equity[-1] / result["starting_cash"] - 1)
    assert profit > 0.1 * result["starting_cash"]
    assert abs(cash["left"]) < 0.002


def test_what_was_forgotten_is_found_again(installation):
    """A trader that let go of its ground says the same when it is asked again."""
    trader = Trader.of(installation, load_history(installation, SCOPE), "ma_crossover")
    strategies = trader.settings_of({})
    before = trader.evaluation_of(strategies)

    trader.forget()

    again = trader.evaluation_of(strategies)
    np.testing.assert_array_equal(again.votes, before.votes)
    np.testing.assert_array_equal(again.confidence, before.confidence)


def test_it_is_plain_json_and_korean(result):
    """No NaN leaves it, and every figure has its line."""
    found = result["robustness"]

    json.dumps(found, allow_nan=False)
    text = runs.text(result)
    assert set(found) == {"regimes", "crises", "costs", "break_even", "delays", "capacity"}
    for word in ("국면", "2006년 5월", "비용을 바꾸면", "손익분기", "늦게 판단하면", "수용 규모"):
        assert word in text
    assert len(robustness.lines(found, Currency.USD)) >= 8


def test_a_run_without_trades_says_so(installation):
    """Where nothing was ever bought there is no cost to bear and no capacity."""
    scope = replace(SCOPE, symbols=("IBM",), first=date(2006, 12, 1))

    result = runs.backtest(installation, "momentum", scope, is_robustness_asked=True)

    found = result["robustness"]
    assert result["orders"] == 0
    assert found["break_even"]["cash"]["extra_bps"] is None
    assert found["capacity"]["capital"] is None
    assert found["capacity"]["points"][0]["filled"] is None
    assert "거래가 없어" in runs.text(result)


def test_the_command_asks_for_it(home):
    """``trading backtest --robustness --json`` has the key, and without the option it has not."""
    asked = ["--root", str(home), "backtest", "rsi", "--symbols", "IBM,MSFT", "--from",
             "2012-11-01", "--to", "2012-11-30", "--json"]  # fmt: skip

    plain, told = (CliRunner().invoke(app, [*asked, *more]) for more in ([], ["--robustness"]))

    assert (plain.exit_code, told.exit_code) == (0, 0)
    assert "robustness" not in json.loads(plain.stdout)
    found = json.loads(told.stdout)["robustness"]
    assert [one["multiple"] for one in found["costs"]] == [0, 1, 2, 4, 8]
    assert [one["sessions"] for one in found["delays"]] == [0, 1, 2, 3, 4, 5]
    assert len(found["capacity"]["points"]) == 4
    assert found["crises"] == []
