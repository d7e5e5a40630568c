"""Which strategies are found, and what is said of a file that is none."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import trading.strategies
from trading.config import load_settings
from trading.errors import ConfigError
from trading.strategies import catalog, evaluation, technical

CHECKOUT = Path(__file__).parents[3]
IMPORTS = "from trading.strategies.base import Agent, AgentSettings, Family\n"
AGENT = "Agent(name={!r}, family=Family.TECHNICAL, settings=AgentSettings, votes=print)"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return a way to put a module beside the shipped ones."""
    path = [*trading.strategies.__path__, str(tmp_path)]
    monkeypatch.setattr(trading.strategies, "__path__", path)

    def write(text, name="own_one"):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, f"trading.strategies.{name}", raising=False)

    yield write
    for name in [n for n in sys.modules if n.startswith("trading.strategies.own_")]:
        del sys.modules[name]


def test_a_new_file_takes_part(own):
    """Ordered by family, then by name: beside the other technical ones."""
    own(IMPORTS + f"AGENTS = ({AGENT.format('aroon')},)\n")

    assert list(catalog.find_agents())[:2] == ["aroon", "bollinger_mfi"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def (", "own_one.py 를 읽지 못했습니다: SyntaxError"),
        ("import no_such_module", "own_one.py 를 읽지 못했습니다: ModuleNotFoundError"),
        (IMPORTS + f"AGENTS = {AGENT.format('aroon')}", "own_one.py 의 AGENTS 는 Agent 의 튜플"),
        (IMPORTS + "AGENTS = (Agent,)", "own_one.py 의 AGENTS 는 Agent 의 튜플"),
        (IMPORTS + f"AGENTS = ({AGENT.format('rsi')},)", "이름이 겹칩니다: rsi$"),
        (IMPORTS + f"AGENTS = ({AGENT.format('screener')},)", "쓸 수 없습니다: screener$"),
        (IMPORTS + f"AGENTS = ({AGENT.format('exits')},)", "쓸 수 없습니다: exits$"),
        (IMPORTS + f"AGENTS = ({AGENT.format('my-own')},)", "쓸 수 없습니다: my-own$"),
        (IMPORTS + f"AGENTS = ({AGENT.format('_own')},)", "쓸 수 없습니다: _own$"),
    ],
)
def test_a_file_that_is_no_strategy_is_named(own, text, told):
    """In Korean, with the file or the name that is wrong, and nothing else."""
    own(text)

    with pytest.raises(ConfigError, match=told):
        catalog.find_agents()


@pytest.mark.parametrize(
    ("votes", "told"),
    [
        (lambda inputs, _: np.full(inputs.bars.shape, 1.5), "-1에서 1까지여야 합니다: 1.5"),
        (lambda inputs, _: np.full(inputs.bars.shape, -np.inf), "-1에서 1까지여야 합니다: -inf"),
        (lambda inputs, _: np.ones(inputs.bars.shape[1]), "rsi 의 값은 모양이"),
    ],
)
def test_views_that_break_their_promise(embedded_panels, monkeypatch, votes, told):
    """One row for all sessions, or a view of more than all, is no view."""
    raw, adjusted = embedded_panels
    (rsi,) = (agent for agent in technical.AGENTS if agent.name == "rsi")
    monkeypatch.setattr(evaluation, "AGENTS", {"rsi": replace(rsi, votes=votes)})
    settings = load_settings(CHECKOUT)

    with pytest.raises(ConfigError, match=told):
        evaluation.evaluate(
            adjusted.until(60), raw, features=settings.features, strategies=settings.strategies,
            agents=["rsi"],
        )  # fmt: skip
