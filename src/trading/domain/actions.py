"""Corporate actions as dated facts."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class ActionKind(StrEnum):
    """What happens before the open of the ex-date."""

    SPLIT = "split"
    CASH_DIVIDEND = "cash_dividend"
    DELISTING = "delisting"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorporateAction:
    """One action on one instrument, effective before the open of ``ex_date``.

    A split turns ``denominator`` old shares into ``numerator`` new ones (2:1 is 2, 1; a
    reverse split 1:10 is 1, 10). A dividend pays ``amount`` minor units per old share, gross.
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


_ORDER = (ActionKind.CASH_DIVIDEND, ActionKind.SPLIT, ActionKind.DELISTING)


def in_effect_order(action: CorporateAction) -> tuple[date, int, str]:
    """Return the sort key of actions as they take effect.

    A dividend is paid per old share, before the split of the same morning; a delisting is last.
    """
    return action.ex_date, _ORDER.index(action.kind), action.symbol
