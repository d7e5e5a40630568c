"""What an order list is worth, in exact fractions, and where two accounts of it part.

Nothing is fitted: a peer's equity is what its own fills give under the rules that it is known to
keep, or it is unexplained. Money is in minor units.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np

BILLION = 1_000_000_000
# Columns of a fill, as ``backtest.direct`` orders them; what follows the price are booked fees.
ROW, COLUMN, SIGN, SHARES, PRICE = range(5)


@dataclass(frozen=True)
class Account:
    """What an account begins with and is charged; rates in 1e-9, the tax on sales only."""

    cash: int
    commission_ppb: int
    tax_ppb: int


@dataclass(frozen=True, eq=False)
class Worth:
    """What an order list is worth after every bar.

    ``gross`` is before fees, ``int64 (n_bars,)``; ``charged[k]`` are the fees of the first ``k``
    fills, ``count[t]`` how many fills there were by the end of bar ``t``.
    """

    gross: Any
    charged: tuple[Fraction, ...]
    count: Any

    @property
    def final(self) -> Fraction:
        """The exact equity after the last bar."""
        return int(self.gross[-1]) - self.charged[self.count[-1]]

    def path(self) -> Any:
        """Return the equity of every bar to the precision of ``float64``."""
        fees = np.array([float(total) for total in self.charged])
        return self.gross - fees[self.count]


def fees(fills: Any, account: Account) -> list[tuple[Fraction, Fraction]]:
    """Return the exact (commission, tax) of every fill."""
    return [
        (
            Fraction(shares * price * account.commission_ppb, BILLION),
            Fraction(shares * price * account.tax_ppb if sign < 0 else 0, BILLION),
        )
        for sign, shares, price in fills[:, SIGN : PRICE + 1].tolist()
    ]


def worth(fills: Any, marks: Any, account: Account) -> Worth:
    """Return what ``fills`` are worth at ``marks``, the prices at which a bar values holdings.

    Parameters
    ----------
    fills : ndarray of shape (n_fills, 5 or more)
        Bar, symbol, sign, shares, price, ordered by bar.
    marks : ndarray of shape (n_bars, n_symbols)
        Minor units.

    Raises
    ------
    ValueError
        If the fills are out of order, or sell what is not held at the end of a bar.
    """
    n, m = marks.shape
    if (np.diff(fills[:, ROW]) < 0).any():
        raise ValueError("fills out of order")
    change = np.zeros((n, m), dtype=np.int64)
    paid = np.zeros(n, dtype=np.int64)
    signed = fills[:, SIGN] * fills[:, SHARES]
    np.add.at(change, (fills[:, ROW], fills[:, COLUMN]), signed)
    np.add.at(paid, fills[:, ROW], signed * fills[:, PRICE])
    held = np.cumsum(change, axis=0)
    if (held < 0).any():
        raise ValueError("sold what was not held")
    return Worth(
        gross=account.cash - np.cumsum(paid) + (held * marks).sum(axis=1),
        charged=tuple(accumulate(map(sum, fees(fills, account)), initial=Fraction(0))),
        count=np.searchsorted(fills[:, ROW], np.arange(n), side="right"),
    )


def first_difference(ours: Any, theirs: Any) -> tuple[list[int] | None, list[int] | None] | None:
    """Return the first fills that differ in bar, symbol, side, shares or price; ``None`` if none.

    A fill that one list does not have is ``None``.
    """
    for k in range(max(len(ours), len(theirs))):
        mine, yours = (f[k, : PRICE + 1].tolist() if k < len(f) else None for f in (ours, theirs))
        if mine != yours:
            return mine, yours
    return None


def largest_rounding(fills: Any, account: Account) -> Fraction:
    """Return how far a booked fee (the columns after the price) is from the exact one at most."""
    off = (
        abs(booked - exact)
        for row, charged in zip(fills[:, PRICE + 1 :].tolist(), fees(fills, account), strict=True)
        for booked, exact in zip(row, charged, strict=True)
    )
    return max(off, default=Fraction(0))


def in_units(value: Fraction, minor_per_unit: int) -> str:
    """Return an amount in whole units, to the cent; never ``-0.00``."""
    cents = round(value * 100 / minor_per_unit)
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100:,}.{abs(cents) % 100:02d}"
