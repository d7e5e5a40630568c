"""Parameters as they are typed, and the settings that have them."""

import pytest

from trading.config import load_settings
from trading.errors import UsageError
from trading.research.parameters import grid, key_of, objective, objectives, with_params
from trading.strategies.base import ExitRules


@pytest.fixture(scope="module")
def strategies(tmp_path_factory):
    """Return the shipped settings."""
    return load_settings(tmp_path_factory.mktemp("home")).strategies


def test_a_grid_is_every_combination_in_the_order_typed():
    """Numbers become numbers, words stay words; nothing is one empty set."""
    assert grid(["fast=5, 10", "kind=sma"]) == [
        {"fast": 5, "kind": "sma"},
        {"fast": 10, "kind": "sma"},
    ]
    assert grid(["k=0.5,nan"]) == [{"k": 0.5}, {"k": "nan"}]
    assert grid([]) == [{}]


@pytest.mark.parametrize("wrong", ["fast", "fast=", "=5", "fast=5,", "fast=5,5"])
def test_what_is_no_grid_is_refused(wrong):
    """Missing parts and the same value twice."""
    with pytest.raises(UsageError):
        grid([wrong])
    with pytest.raises(UsageError, match="두 번"):
        grid(["fast=5", "fast=6"])


def test_other_parameters_of_one_strategy(strategies):
    """Only that block changes; exit rules begin with those of everybody."""
    everybody = ExitRules(stop_loss=0.1)
    made = with_params(strategies, "ma_crossover", {"fast": 7, "exits.max_sessions": 5}, everybody)

    assert (made.ma_crossover.fast, made.ma_crossover.slow) == (7, strategies.ma_crossover.slow)
    assert made.ma_crossover.exits == ExitRules(stop_loss=0.1, max_sessions=5)
    assert made.rsi is strategies.rsi
    assert with_params(strategies, "ma_crossover", {}, everybody) == strategies


def test_the_ensemble_names_the_agent_first(strategies):
    """``ma_crossover.fast``, also for exit rules; a name without one is refused."""
    made = with_params(
        strategies,
        "ensemble",
        {"ma_crossover.fast": 7, "rsi.exits.stop_loss": 0.05},
        ExitRules(),
    )

    assert made.ma_crossover.fast == 7
    assert made.rsi.exits == ExitRules(stop_loss=0.05)
    with pytest.raises(UsageError, match=r"전략\.이름"):
        with_params(strategies, "ensemble", {"fast": 7}, ExitRules())


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"fastt": 5}, "없는 매개변수입니다: fastt"),
        ({"exits.stop": 0.1}, "없는 매개변수입니다: exits.stop"),
        ({"fast": "x"}, "쓸 수 없는 값입니다: fast=x"),
        ({"fast": 40, "slow": 20}, "fast=40, slow=20 .*slow 보다 작아야"),
    ],
)
def test_what_a_strategy_cannot_have_is_named(strategies, params, sentence):
    """The name, the value, or why they do not go together."""
    with pytest.raises(UsageError, match=sentence):
        with_params(strategies, "ma_crossover", params, ExitRules())


def test_the_same_parameters_have_one_key():
    """In whatever order."""
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1, "b": 3})


def test_objectives_are_known_words():
    """Several by commas; unknown ones and repetitions are refused."""
    assert objectives("sharpe, max_drawdown") == ("sharpe", "max_drawdown")
    for wrong in ("sharp", "", "sharpe,sharpe"):
        with pytest.raises(UsageError):
            objectives(wrong)
    assert objective("calmar") == "calmar"
    with pytest.raises(UsageError, match="하나만"):
        objective("sharpe,calmar")
