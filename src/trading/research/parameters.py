"""Parameters of a strategy as they are typed, and the settings that have them."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from pydantic import ValidationError

from trading.backtest.record import ENSEMBLE
from trading.backtest.settings import Objective
from trading.errors import UsageError
from trading.research.history import agents_of
from trading.strategies.base import AgentSettings, ExitRules
from trading.strategies.catalog import AGENTS, StrategySettings

Params = Mapping[str, Any]
_EXITS = "exits."


def grid(params: Sequence[str]) -> list[dict[str, Any]]:
    """Return every combination of ``name=value,value``; one empty set when none is given.

    Raises
    ------
    UsageError
        If one is not of that form, or has the same name or value twice.
    """
    values: dict[str, list[Any]] = {}
    for text in params:
        name, _, listed = text.partition("=")
        name, chosen = name.strip(), [_value(v.strip()) for v in listed.split(",")]
        if not name or "" in chosen:
            raise UsageError(f"매개변수는 이름=값,값 꼴로 주십시오: {text}")
        if name in values or len({repr(v) for v in chosen}) < len(chosen):
            raise UsageError(f"같은 매개변수나 값이 두 번 있습니다: {text}")
        values[name] = chosen
    return [
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())
    ]


def with_params(
    strategies: StrategySettings, strategy: str, params: Params, exits: ExitRules
) -> StrategySettings:
    """Return the settings with other parameters of one strategy, validated as on load.

    ``exits.stop_loss`` names a parameter of its exit rules; a strategy without its own begins
    with ``exits``, those of everybody. The ensemble's are named ``ma_crossover.fast``.

    Raises
    ------
    UsageError
        If there is no such strategy or parameter, or it cannot have that value.
    """
    agents_of(strategy, strategies)
    of_agent: dict[str, dict[str, Any]] = {}
    for name, value in params.items():
        agent, _, own = name.partition(".") if strategy == ENSEMBLE else (strategy, "", name)
        if agent not in AGENTS:
            raise UsageError(
                f"{strategy}에 없는 매개변수입니다: {name} (전략.이름으로 적습니다: ma_crossover.fast)"
            )
        of_agent.setdefault(agent, {})[own] = value
    return strategies.model_copy(
        update={
            agent: _block(strategies.of(agent), agent, own, exits)
            for agent, own in of_agent.items()
        }
    )


def _block(settings: AgentSettings, agent: str, params: Params, exits: ExitRules) -> AgentSettings:
    body = settings.model_dump()
    block = {**body, **{k: v for k, v in params.items() if not k.startswith(_EXITS)}}
    rules = {k.removeprefix(_EXITS): v for k, v in params.items() if k.startswith(_EXITS)}
    if rules:
        block["exits"] = {**(body["exits"] or exits.model_dump()), **rules}
    try:
        return type(settings).model_validate(block)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ExitRules.model_fields if name.startswith(_EXITS) else body
            raise UsageError(
                f"{agent}에 없는 매개변수입니다: {name} (있는 것: {', '.join(known)})"
            ) from None
        if not name:
            told = ", ".join(f"{k}={v}" for k, v in params.items())
            reason = first.get("ctx", {}).get("error", first["msg"])
            raise UsageError(f"{agent}에 쓸 수 없는 조합입니다: {told} ({reason})") from None
        raise UsageError(f"쓸 수 없는 값입니다: {name}={params.get(name)}") from None


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    return text


def key_of(params: Params) -> str:
    """Return the same text for the same parameters, in whatever order they were named."""
    return json.dumps(dict(params), sort_keys=True, default=str)


def objectives(text: str) -> tuple[Objective, ...]:
    """Return the objectives named in ``text``, separated by commas; ``UsageError`` for others."""
    known = get_args(Objective)
    named = [part.strip() for part in text.split(",")]
    if unknown := [name for name in named if name not in known]:
        raise UsageError(f"없는 기준입니다: {', '.join(unknown)} (있는 것: {', '.join(known)})")
    if len(set(named)) < len(named):
        raise UsageError(f"같은 기준이 두 번 있습니다: {text}")
    return tuple(cast("list[Objective]", named))


def objective(text: str) -> Objective:
    """Return the one objective named in ``text``."""
    named = objectives(text)
    if len(named) > 1:
        raise UsageError(f"기준은 하나만 주십시오: {text}")
    return named[0]
