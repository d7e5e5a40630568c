"""The record of one decision: everything ``decide`` saw and chose."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum, StrEnum
from typing import overload

from trading.domain.arrays import FloatArray, IntArray
from trading.domain.order import OrderIntent


class Verdict(IntEnum):
    """Why a target is what it is; the names are the codes that users see and docs list.

    ``ALLOWED`` passes a target on; ``CAP_*`` reduced it; the others set it to what is held or 0.
    """

    ALLOWED = 0
    ABSTAIN = 1
    NOT_TRADABLE = 2
    BELOW_ENTRY_FORECAST = 3
    BELOW_MIN_CONFIDENCE = 4
    ENTRY_VAR = 5
    NOT_SCREENED = 6
    EXIT_SIGNAL = 7
    REGIME_BLOCK = 8
    CAP_SINGLE_NAME = 9
    CAP_SECTOR = 10
    CAP_GROSS = 11
    CAP_PORTFOLIO_VAR = 12
    CAP_DRAWDOWN = 13
    DAILY_LOSS = 14
    REDUCING = 15
    HALTED = 16
    WITHIN_BAND = 17
    BELOW_LOT = 18
    NO_CASH = 19
    CAP_ADV = 20
    COOLDOWN = 21
    NO_VOLATILITY = 22
    TIME_STOP = 23
    CAP_EXPOSURE = 24
    WAITING = 25
    NO_EDGE = 26


class TradingState(StrEnum):
    """What the session may do; survives a restart."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One instrument's part of a decision.

    ``votes`` are the standing votes of the agents that did not abstain, in [-1, 1];
    ``weight`` is the wished share of equity after all limits.
    """

    symbol: str
    votes: Mapping[str, float]
    forecast: float
    confidence: float
    weight: float
    target_quantity: int
    verdict: Verdict


class Choices(Sequence[Choice]):
    """The choices of a decision, made one by one when somebody looks.

    A decision over hundreds of names is taken in less time than their records take to build.
    """

    def __init__(
        self,
        symbols: tuple[str, ...],
        agents: tuple[str, ...],
        votes: FloatArray,
        columns: "tuple[FloatArray, FloatArray, FloatArray, IntArray, IntArray]",
    ) -> None:
        self._symbols = symbols
        self._agents = agents
        self._votes = votes
        self._columns = columns

    def __len__(self) -> int:
        return len(self._symbols)

    @overload
    def __getitem__(self, index: int) -> Choice: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Choice]: ...
    def __getitem__(self, index: int | slice) -> "Choice | Sequence[Choice]":
        if isinstance(index, slice):
            return [self._at(i) for i in range(*index.indices(len(self)))]
        return self._at(range(len(self))[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # as a list

    def __repr__(self) -> str:
        return repr(list(self))

    def _at(self, i: int) -> Choice:
        forecast, confidence, weight, target, verdict = self._columns
        return Choice(
            symbol=self._symbols[i],
            votes={
                agent: vote
                for agent, vote in zip(self._agents, self._votes[:, i].tolist(), strict=True)
                if not math.isnan(vote)
            },
            forecast=float(forecast[i]),
            confidence=float(confidence[i]),
            weight=float(weight[i]),
            target_quantity=int(target[i]),
            verdict=Verdict(int(verdict[i])),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitTerms:
    """When a position must go, settled when it is entered; 0 switches a rule off.

    Distances in basis points: of the loss from the average price, of the fall from the highest
    price since entry, of the gain. ``max_sessions`` sells at the open after so many sessions,
    ``cooldown`` is for how many a name that a rule sold is not bought. ``leader`` is the agent
    that led into the position, empty when nobody did; ``credit`` holds the pull of each agent
    that was for it, by which what the position earns is divided.
    """

    leader: str = ""
    stop: int = 0
    trail: int = 0
    profit: int = 0
    max_sessions: int = 0
    cooldown: int = 0
    credit: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An entry that waits for the price to rise ``distance`` minor units above the open.

    ``budget`` is what may be spent, in minor units; above ``ceiling`` basis points over the open
    the move is a spike and nothing is bought.
    """

    symbol: str
    budget: int
    distance: int
    ceiling: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided at one boundary, from which view, and what follows from it.

    ``exposure`` is the factor on all weights; ``allocation`` how an optimizer ended, empty where none
    was asked. ``waiting`` are entries that the engine makes itself when their price comes; ``entries`` are
    the exit terms of everything that may be entered.
    """

    session: date
    boundary: str
    first_bar: date
    view_hash: str
    policy_hash: str
    equity: int
    state: TradingState
    regime: str
    portfolio_var: float
    choices: Sequence[Choice]
    intents: tuple[OrderIntent, ...]
    exposure: float = 1.0
    allocation: str = ""
    waiting: tuple[Waiting, ...] = ()
    entries: Mapping[str, ExitTerms] = field(default_factory=dict)
