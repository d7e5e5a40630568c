"""How a history is cut into what is fitted on and what is tested, in every combination."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trading.domain.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Positions to fit on, and to test on."""

    train: IntArray
    test: IntArray


def combinatorial_splits(
    n_sessions: int, *, groups: int, tested: int, horizon: int, embargo: int
) -> list[Split]:
    """Return every way to test ``tested`` of ``groups`` and to fit on the rest, purged.

    Parameters
    ----------
    n_sessions : int
        Cut into ``groups`` of consecutive sessions, as equal as it comes out.
    horizon : int
        Sessions that a label looks ahead: what is known of session ``t`` only at ``t + horizon``.
        Training sessions whose labels overlap those of a tested session are left out.
    embargo : int
        Further sessions left out after each tested group.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning. Wiley, chapters 7
       and 12.
    """
    if not 1 <= tested < groups <= n_sessions or horizon < 0 or embargo < 0:
        raise ValueError(
            f"need 1 <= tested < groups <= sessions and no negative gaps, "
            f"got {tested}, {groups}, {n_sessions}, {horizon}, {embargo}"
        )
    parts = np.array_split(np.arange(n_sessions), groups)
    splits = []
    for chosen in itertools.combinations(range(groups), tested):
        is_free = np.ones(n_sessions, dtype=np.bool_)
        for g in chosen:
            first, last = int(parts[g][0]), int(parts[g][-1])
            is_free[max(0, first - horizon) : last + horizon + embargo + 1] = False
        splits.append(
            Split(
                train=np.flatnonzero(is_free),
                test=np.concatenate([parts[g] for g in chosen]),
            )
        )
    return splits


def recombined(
    n_sessions: int, splits: Sequence[Split], returns: Sequence[FloatArray]
) -> FloatArray:
    """Return the whole paths that the tests of ``combinatorial_splits`` make together.

    ``returns`` has the returns of each split at its ``test``. Shape ``(n_paths, n_sessions)``: the
    k-th test of each group is part of path k, so every test is used once. The paths share most of
    their training: their dispersion says how much the outcome hangs on the choice of the training
    sessions, not how probable it is, and it is no substitute for sessions.
    """
    tests = sum(len(split.test) for split in splits)
    paths = np.full((tests // n_sessions, n_sessions), np.nan)
    told = np.zeros(n_sessions, dtype=np.int64)
    for split, found in zip(splits, returns, strict=True):
        paths[told[split.test], split.test] = found
        told[split.test] += 1
    return paths
