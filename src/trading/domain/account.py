"""What is owned: one portfolio per market and currency, in integer minor units."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trading.domain.instrument import Market


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One holding. ``cost`` is what was paid for it in all, without fees, in minor units.

    Kept as a total rather than an average, so that splits and partial sales never round it away.
    """

    symbol: str
    quantity: int
    cost: int

    @property
    def average_price(self) -> float:
        """Average purchase price in minor units."""
        return self.cost / self.quantity if self.quantity else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """Cash (trade-date basis, unsettled proceeds included) and holdings of one market."""

    market: Market
    cash: int
    positions: Mapping[str, Position] = field(default_factory=dict)

    def quantity(self, symbol: str) -> int:
        """Shares held of ``symbol``; 0 when none."""
        held = self.positions.get(symbol)
        return held.quantity if held is not None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueAccount:
    """The account as the venue reports it.

    ``cash`` on trade-date basis (D+2 for KRX), told to ``cash_step`` minor units;
    ``buying_power`` is the venue's own answer to how much may be spent now.
    """

    cash: int
    buying_power: int
    positions: Mapping[str, Position]
    cash_step: int = 1

    def cash_difference(self, ours: int) -> int:
        """Return how much more cash ``ours`` is; 0 within what the venue does not tell."""
        difference = ours - self.cash
        return 0 if abs(difference) < self.cash_step else difference
