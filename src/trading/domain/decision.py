"""The record of one decision: everything ``decide`` saw and chose."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import IntEnum, StrEnum

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided at one boundary, from which view, and what follows from it."""

    session: date
    boundary: str
    first_bar: date
    view_hash: str
    policy_hash: str
    equity: int
    state: TradingState
    regime: str
    portfolio_var: float
    choices: tuple[Choice, ...]
    intents: tuple[OrderIntent, ...]
