"""What today's holdings would have lost in recorded crises.

Nothing is modelled: each name moves as it did, one that was not listed as its sector did then, and
one without such a sector is left out and its weight shown. Losses to expect are ``risk.var``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.domain.arrays import BoolArray, DateArray, FloatArray, IntArray


class CrisisWindow(BaseModel):
    """A recorded crisis: the sessions whose returns are replayed, first and last included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    first: date
    last: date

    @model_validator(mode="after")
    def _is_forward(self) -> "CrisisWindow":
        if self.last < self.first:
            raise ValueError(f"{self.name}: last 가 first 보다 앞섭니다")
        return self


class ScenarioSettings(BaseModel):
    """Which crises are replayed (``risk.yaml: scenarios``).

    A name that was not listed moves as the mean of the names of its sector that were, if there
    are ``min_proxy_names`` of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # From the first falling session to the low of the S&P 500, which KOSPI reached within weeks:
    # Lehman's filing to November, the downgrade of the US to October, the peak of February to
    # March. 2024: the three sessions in which KOSPI went from 2,770.69 to 2,441.55.
    windows: tuple[CrisisWindow, ...] = (
        CrisisWindow(name="2008 금융위기", first=date(2008, 9, 15), last=date(2008, 11, 20)),
        CrisisWindow(
            name="2011 미국 신용등급 강등", first=date(2011, 8, 1), last=date(2011, 10, 4)
        ),
        CrisisWindow(name="2020 코로나19", first=date(2020, 2, 20), last=date(2020, 3, 23)),
        CrisisWindow(name="2024-08-05 엔 캐리 청산", first=date(2024, 8, 1), last=date(2024, 8, 5)),
    )
    min_proxy_names: Annotated[int, Field(ge=1)] = 3


class Basis(StrEnum):
    """Where the returns of a name in a scenario come from."""

    OWN = "own"
    PROXY = "proxy"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameScenario:
    """One holding in one scenario; ``contribution`` is its profit as a fraction of equity."""

    symbol: str
    weight: float
    basis: Basis
    contribution: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenario:
    """What a crisis would do to the holdings. Fractions of today's equity, losses positive.

    ``path`` is the value of the account after each session of ``sessions``, 1 before the first.
    ``loss`` is the one at the end, ``worst_day`` the largest of one session (of the value before
    it) and ``max_drawdown`` the deepest fall from the highest value so far. ``own``, ``proxy`` and
    ``left_out`` are the weights by basis; what is left out counts as unmoved. A window that the
    record does not cover is not ``is_covered``: its path is empty and its numbers are 0.
    """

    name: str
    is_covered: bool
    sessions: DateArray
    path: FloatArray
    loss: float
    worst_day: float
    worst_session: date | None
    max_drawdown: float
    own: float
    proxy: float
    left_out: float
    holdings: tuple[NameScenario, ...]


def replay(
    weights: FloatArray,
    symbols: Sequence[str],
    sectors: IntArray,
    returns: FloatArray,
    sessions: DateArray,
    settings: ScenarioSettings | None = None,
) -> tuple[Scenario, ...]:
    """Return what each crisis of ``settings`` would do to today's ``weights``.

    Parameters
    ----------
    weights : ndarray of shape (n_instruments,)
        Shares of equity; the rest is cash and does not move.
    symbols, sectors
        One entry an instrument; sector -1 where no source names one.
    returns : ndarray of shape (n_sessions, n_instruments)
        Recorded simple returns of the universe, not only of what is held; NaN where a name was
        halted, not yet listed or gone.
    sessions : ndarray of shape (n_sessions,)
        Of the rows, rising.

    Returns
    -------
    tuple of Scenario
        In the order of the windows.

    Notes
    -----
    Holdings are kept, not rebalanced: a name is worth its weight times its compounded returns, so
    that contributions add up to the loss. A name moves on its own record when it has returns in
    the window and one before or on its first session; a halt between them is no move, nor is what
    follows a delisting. The proxy of a sector is the equally weighted mean, each session, of its
    names that had a return then and a record of their own. Sectors are today's.
    """
    settings = ScenarioSettings() if settings is None else settings
    days = sessions.astype("datetime64[D]")
    return tuple(
        _replay(window, weights, symbols, sectors, returns, days, settings.min_proxy_names)
        for window in settings.windows
    )


def _replay(
    window: CrisisWindow,
    weights: FloatArray,
    symbols: Sequence[str],
    sectors: IntArray,
    returns: FloatArray,
    days: DateArray,
    min_names: int,
) -> Scenario:
    first, stop = np.searchsorted(days, [np.datetime64(window.first), np.datetime64(window.last)])
    stop += stop < len(days) and days[stop] == np.datetime64(window.last)
    held = np.flatnonzero(weights)
    # A record that begins or ends inside shows less than it was; the first return needs a close
    # before it.
    is_covered = bool(0 < first < stop and days[-1] >= np.datetime64(window.last))
    inside = returns[first:stop]
    listed = np.logical_and(
        np.isfinite(returns[: first + 1]).any(axis=0), np.isfinite(inside).any(axis=0)
    )
    moves = np.zeros((len(inside), len(held)))
    bases = []
    for column, i in enumerate(held):
        basis, move = _moves_of(int(i), inside, listed, sectors, min_names)
        bases.append(basis if is_covered else Basis.LEFT_OUT)
        moves[:, column] = move
    if not is_covered:
        moves = moves[:0]
    # Value of each holding after each session, less what it was: summed name by name, in order.
    gains = (np.cumprod(1.0 + moves, axis=0) - 1.0) * weights[held]
    path = 1.0 + (np.cumsum(gains, axis=1)[:, -1] if len(held) else np.zeros(len(moves)))
    whole = np.concatenate([[1.0], path])
    daily = 1.0 - whole[1:] / whole[:-1]
    worst = int(np.argmax(daily)) if len(daily) else 0
    final = gains[-1] if len(gains) else np.zeros(len(held))
    names = tuple(
        NameScenario(
            symbol=symbols[i], weight=float(weights[i]), basis=basis, contribution=float(gain)
        )
        for i, basis, gain in zip(held.tolist(), bases, final, strict=True)
    )
    return Scenario(
        name=window.name,
        is_covered=is_covered,
        sessions=days[first:stop] if is_covered else days[:0],
        path=path,
        loss=1.0 - float(whole[-1]),
        worst_day=max(float(daily[worst]), 0.0) if len(daily) else 0.0,
        worst_session=days[first + worst].astype(date) if len(daily) else None,
        max_drawdown=float(np.max(1.0 - whole / np.maximum.accumulate(whole))),
        own=_weight_of(names, Basis.OWN),
        proxy=_weight_of(names, Basis.PROXY),
        left_out=_weight_of(names, Basis.LEFT_OUT),
        holdings=names,
    )


def _moves_of(
    i: int, inside: FloatArray, listed: BoolArray, sectors: IntArray, min_names: int
) -> tuple[Basis, FloatArray]:
    """Return where the returns of instrument ``i`` come from, and they, with no move for NaN."""
    if listed[i]:
        return Basis.OWN, np.nan_to_num(inside[:, i], nan=0.0)
    peers = np.flatnonzero(listed & (sectors == sectors[i])) if sectors[i] >= 0 else np.empty(0)
    if len(peers) < min_names:
        return Basis.LEFT_OUT, np.zeros(len(inside))
    theirs = inside[:, peers.astype(np.int64)]
    known = np.isfinite(theirs)
    count = known.sum(axis=1)
    total = np.cumsum(np.where(known, theirs, 0.0), axis=1)[:, -1]
    return Basis.PROXY, total / np.maximum(count, 1)


def _weight_of(names: Sequence[NameScenario], basis: Basis) -> float:
    return sum(name.weight for name in names if name.basis is basis)
