"""What every engine is given and what it gives back, as files both environments can read.

Prices travel as integer minor units; the engines of others see the decimal number that they
stand for. Nothing here knows the package or an engine.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

BILLION = 1_000_000_000
# Sides of an order in ``Answer.orders``, whose columns are these.
ROW, COLUMN, SIGN, SHARES = range(4)


@dataclass(frozen=True)
class Rule:
    """When to hold.

    ``above``: while the fast average is above the slow one. ``crossing``: since the fast one
    crossed above the slow one, until it crosses below. ``recross``: since Wilder's RSI came back
    above ``lower``, until it comes back below ``upper``.
    """

    kind: Literal["above", "crossing", "recross"]
    fast: int = 0
    slow: int = 0
    window: int = 0
    lower: float = 0.0
    upper: float = 0.0


@dataclass(frozen=True, eq=False)
class Case:
    """A market, a rule, and an account; arrays of shape ``(n_bars, n_symbols)``.

    A wish of the close is traded at the next open, ``quantity`` shares at a time. ``cash`` is in
    whole units of money, the rates in 1e-9 of the amount; the tax is on sales only.
    """

    symbols: tuple[str, ...]
    times: Any
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any
    minor_per_unit: int
    rule: Rule
    quantity: int
    cash: int
    commission_ppb: int
    tax_ppb: int

    @property
    def commission(self) -> float:
        """The commission as a fraction of the amount."""
        return self.commission_ppb / BILLION

    @property
    def tax(self) -> float:
        """The tax on sales as a fraction of the amount."""
        return self.tax_ppb / BILLION

    @cached_property
    def prices(self) -> Mapping[str, Any]:
        """Open, high, low and close as the decimal prices that were quoted, ``float64``."""
        names = ("open", "high", "low", "close")
        return {name: getattr(self, name) / self.minor_per_unit for name in names}

    def first(self, count: int) -> "Case":
        """Return the first symbols only."""
        grids = ("open", "high", "low", "close", "volume")
        return replace(
            self,
            symbols=self.symbols[:count],
            **{name: getattr(self, name)[:, :count] for name in grids},
        )

    def save(self, path: Path) -> None:
        """Write everything into one file."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays["rule"] = json.dumps(asdict(self.rule))
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Case":
        """Read what ``save`` wrote."""
        with np.load(path) as stored:
            found: Mapping[str, Any] = {name: stored[name] for name in stored.files}
        scalars = ("minor_per_unit", "quantity", "cash", "commission_ppb", "tax_ppb")
        return cls(
            **{
                **found,
                **{name: int(found[name]) for name in scalars},
                "symbols": tuple(str(symbol) for symbol in found["symbols"]),
                "rule": Rule(**json.loads(str(found["rule"]))),
            }
        )


@dataclass(frozen=True, eq=False)
class Answer:
    """What an engine did: its fills, and its own account of what it was worth.

    ``orders`` has one row a fill: bar, symbol, sign, shares, by bar and symbol; ``prices`` are
    the engine's. ``equity`` has one value a bar, as the engine itself reports it.
    """

    orders: Any
    prices: Any
    equity: Any

    @classmethod
    def of(cls, rows: Any, prices: Any, equity: Any) -> "Answer":
        """Return the answer with its fills in order."""
        orders = np.asarray(rows, dtype=np.int64).reshape(-1, 4)
        order = np.lexsort((orders[:, COLUMN], orders[:, ROW]))
        return cls(
            orders=orders[order],
            prices=np.asarray(prices, dtype=np.float64).reshape(-1)[order],
            equity=np.asarray(equity, dtype=np.float64),
        )

    def save(self, path: Path) -> None:
        """Write everything into one file."""
        np.savez(path, orders=self.orders, prices=self.prices, equity=self.equity)

    @classmethod
    def load(cls, path: Path) -> "Answer":
        """Read what ``save`` wrote."""
        with np.load(path) as stored:
            return cls(orders=stored["orders"], prices=stored["prices"], equity=stored["equity"])
