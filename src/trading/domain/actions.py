"""Corporate actions as dated facts."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class ActionKind(StrEnum):
    """What happens before the open of the ex-date."""

    SPLIT = "split"
    RIGHTS = "rights"
    CASH_DIVIDEND = "cash_dividend"
    DELISTING = "delisting"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorporateAction:
    """One action on one instrument, effective before the open of ``ex_date``.

    A split turns ``denominator`` old shares into ``numerator`` new ones (2:1 is 2, 1; a
    reverse split or capital reduction 1:10 is 1, 10; a bonus issue of one for two is 3, 2).
    A rights issue lowers the base price from ``numerator`` to ``denominator`` and moves neither
    shares nor cash: what the right is worth is lost to a holder who does nothing.
    A dividend pays ``amount`` minor units per old share, gross.
    A delisting closes what is held at ``amount``, the last recorded price.
    ``inferred`` marks facts derived from raw/adjusted pairs rather than named by a source.
    """

    symbol: str
    ex_date: date
    kind: ActionKind
    numerator: int = 1
    denominator: int = 1
    amount: int = 0
    source: str = ""
    inferred: bool = False

    def ex_price(self, price: int) -> int:
        """Return what ``price`` of the evening before is worth on the ex-date; never below 1."""
        if self.kind in (ActionKind.SPLIT, ActionKind.RIGHTS):
            return max(price * self.denominator // self.numerator, 1)
        if self.kind is ActionKind.CASH_DIVIDEND:
            return max(price - self.amount, 1)
        return price


_ORDER = (
    ActionKind.CASH_DIVIDEND,
    ActionKind.RIGHTS,
    ActionKind.SPLIT,
    ActionKind.DELISTING,
)


def in_effect_order(action: CorporateAction) -> tuple[date, int, str]:
    """Return the sort key of actions as they take effect.

    Dividends and rights belong to the old shares, before the split of the same morning; a
    delisting is last.
    """
    return action.ex_date, _ORDER.index(action.kind), action.symbol
