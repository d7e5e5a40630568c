"""Which calls the local exchange answers from the record, and which with KIS's empty answer."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trading.domain.instrument import Market
from trading.exchange import domestic_quotes, overseas_quotes
from trading.wire.endpoints import BY_PATH, KRX_BOOK, US_BOOK, Endpoint, Profile

_NAMES = {Market.KRX: "국내 주식", Market.US: "미국 주식"}
# No order book was ever recorded: all its levels are blank.
_EMPTY = frozenset(
    {
        *domestic_quotes.UNRECORDED,
        *overseas_quotes.UNRECORDED,
        KRX_BOOK.name,
        US_BOOK.name,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The calls of one market: those with recorded content, and those without."""

    market: Market
    recorded: tuple[Endpoint, ...]
    empty: tuple[Endpoint, ...]


def coverage(market: Market) -> Coverage:
    """Return what the exchange of ``market`` answers."""
    calls = [call for call in BY_PATH.values() if call.name.startswith(f"{market}_")]
    return Coverage(
        market=market,
        recorded=tuple(call for call in calls if call.name not in _EMPTY),
        empty=tuple(call for call in calls if call.name in _EMPTY),
    )


def as_json(found: Iterable[Coverage]) -> dict[str, Any]:
    """Return the lists as JSON values, by market."""
    return {
        one.market.value: {
            "recorded": [_call(call) for call in one.recorded],
            "empty": [_call(call) for call in one.empty],
        }
        for one in found
    }


def text(found: Iterable[Coverage]) -> str:
    """Return the lists for people."""
    lines = []
    for one in found:
        for title, calls in (
            ("기록된 내용으로 응답", one.recorded),
            ("기록이 없어 한국투자증권의 빈 응답", one.empty),
        ):
            lines.append(f"{_NAMES[one.market]} · {title}: {len(calls)}개")
            lines += [f"  {call.title}{_mark(call)}" for call in calls]
    lines.append("* 실전투자에만 있는 기능")
    return "\n".join(lines)


def _mark(call: Endpoint) -> str:
    return "" if call.is_offered(Profile.PAPER) else " *"


def _call(call: Endpoint) -> dict[str, Any]:
    return {
        "name": call.name,
        "title": call.title,
        "path": call.path,
        "on_paper": call.is_offered(Profile.PAPER),
    }
