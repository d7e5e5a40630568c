"""A finished session computed again from the lake and compared with what really happened.

Same view and books must give the same decision, orders and fills. Every difference is named:
what the session saw against what the lake says now, then decision, orders, fills.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from trading.backtest.runner import SessionResult
from trading.domain.decision import Decision
from trading.domain.market import RawPanel
from trading.domain.order import Order, OrderStatus
from trading.domain.wording import STATE_TEXT
from trading.execution.bars import Ohlcv
from trading.live.journal import RecordedSession

_FIELDS = ("open", "high", "low", "close", "volume")


class DifferenceKind(StrEnum):
    """What a difference is."""

    BAR_SHIFTED = "bar_shifted"
    BAR_CHANGED = "bar_changed"
    BAR_MISSING = "bar_missing"
    HISTORY_CHANGED = "history_changed"
    POLICY_CHANGED = "policy_changed"
    PRICES_POLLED = "prices_polled"
    PRICES_UNSEEN = "prices_unseen"
    TRADED_BY_HAND = "traded_by_hand"
    OPERATOR = "operator"
    DECISION = "decision"
    ORDER_MISSING = "order_missing"
    ORDER_EXTRA = "order_extra"
    ORDER_CHANGED = "order_changed"
    ORDER_REFUSED = "order_refused"
    FILL_DROPPED = "fill_dropped"
    FILL_EXTRA = "fill_extra"
    FILL_CHANGED = "fill_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityDifference:
    """One difference; ``explained`` is false when nothing found can have caused it."""

    kind: DifferenceKind
    symbol: str
    detail: str
    explained: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """The verdict on one session: ``orders`` compared and what differed.

    ``ambiguous_fills`` is what the unknown order inside its bars decided, as computed again.
    """

    session: str
    orders: int
    differences: tuple[ParityDifference, ...]
    ambiguous_fills: int = 0

    @property
    def unexplained(self) -> int:
        """Differences without a cause."""
        return sum(not d.explained for d in self.differences)


def history_hashes(raw: RawPanel, row: int, symbols: Sequence[str]) -> dict[str, str]:
    """Return a fingerprint of each symbol's bars before ``row``, for the record of a decision."""
    hashes = {}
    for symbol in symbols:
        i = raw.columns[symbol]
        digest = hashlib.sha256()
        for name in (*_FIELDS, "reference"):
            digest.update(np.ascontiguousarray(getattr(raw, name)[:row, i]).tobytes())
        hashes[symbol] = digest.hexdigest()[:16]
    return hashes


def compare(
    recorded: RecordedSession,
    again: SessionResult,
    *,
    history: Mapping[str, str],
    lake_bars: Mapping[str, Ohlcv],
    neighbour_bars: Mapping[str, Sequence[Ohlcv]],
    with_volume: bool,
) -> ParityReport:
    """Compare what the ledger recorded with ``again``, the session computed from the lake.

    Parameters
    ----------
    history : mapping of symbol to fingerprint
        ``history_hashes`` of the lake as it is now.
    lake_bars : mapping of symbol to bar
        The session's daily bars in the lake.
    neighbour_bars : mapping of symbol to bars
        The bars of the sessions before and after, to recognise a shifted one.
    with_volume : bool
        Whether volumes must be equal too; intraday bars leave out after-hours trades.
    """
    found = [
        *_data_differences(recorded, lake_bars, neighbour_bars, with_volume=with_volume),
        *_history_differences(recorded, history),
        *_policy_differences(recorded.decision, again.decision),
    ]
    # A changed bar of one name moves the weights and cash of every other.
    explained = bool(found)
    decided = _decision_differences(recorded.decision, again.decision, explained=explained)
    causes = _causes(recorded, again)
    explained = explained or bool(causes)
    ordered = _order_differences(recorded, again, explained=explained)
    filled = _fill_differences(recorded, again, explained=explained)
    if ordered or filled:
        found += causes
    return ParityReport(
        session=str(recorded.session),
        orders=len(recorded.orders),
        differences=(*found, *decided, *ordered, *filled),
        ambiguous_fills=again.ambiguous_fills,
    )


def _data_differences(
    recorded: RecordedSession,
    lake_bars: Mapping[str, Ohlcv],
    neighbour_bars: Mapping[str, Sequence[Ohlcv]],
    *,
    with_volume: bool,
) -> list[ParityDifference]:
    width = len(_FIELDS) if with_volume else len(_FIELDS) - 1
    found = []
    for symbol, seen in sorted(recorded.observed.items()):
        if symbol in recorded.evidence.untradable:
            continue
        now = lake_bars.get(symbol)
        if now is None:
            kind, detail = DifferenceKind.BAR_MISSING, "레이크에 이 세션의 봉이 없음"
        elif now[:width] == seen[:width] or (
            (recorded.polled or not recorded.saw_open)
            and _holds(now, seen, with_volume=with_volume)
        ):
            continue
        elif any(now[:width] == other[:width] for other in neighbour_bars.get(symbol, ())):
            kind, detail = DifferenceKind.BAR_SHIFTED, "레이크의 봉이 이웃 세션의 것과 같음"
        else:
            changed = [
                f"{name} {seen[k]:,} → {now[k]:,}"
                for k, name in enumerate(_FIELDS[:width])
                if seen[k] != now[k]
            ]
            kind, detail = DifferenceKind.BAR_CHANGED, ", ".join(changed)
        found.append(ParityDifference(kind=kind, symbol=symbol, detail=detail))
    return found


def _holds(whole: Ohlcv, part: Ohlcv, *, with_volume: bool) -> bool:
    """Return whether a bar can be what was seen of it by a session that came late."""
    _, high, low, close, volume = whole
    inside = low <= part[2] and part[1] <= high and part[3] == close
    return inside and (part[4] <= volume or not with_volume)


def _history_differences(
    recorded: RecordedSession, history: Mapping[str, str]
) -> list[ParityDifference]:
    return [
        ParityDifference(
            kind=DifferenceKind.HISTORY_CHANGED,
            symbol=symbol,
            detail="결정 이전의 봉이 그때와 다름",
        )
        for symbol, then in sorted(recorded.evidence.history.items())
        if history.get(symbol) != then
    ]


def _policy_differences(then: Decision | None, now: Decision | None) -> list[ParityDifference]:
    if then is None or now is None or then.policy_hash == now.policy_hash:
        return []
    return [
        ParityDifference(
            kind=DifferenceKind.POLICY_CHANGED,
            symbol="",
            detail=f"정책 {then.policy_hash} → {now.policy_hash}",
        )
    ]


def _causes(recorded: RecordedSession, again: SessionResult) -> list[ParityDifference]:
    """Return what changes orders and fills of a session, but no decision of its morning."""
    causes = []
    traded = {order.intent.symbol for order in again.orders} - set(recorded.evidence.untradable)
    if recorded.saw_open:
        # A stop needs a print: one of which none came was not watched.
        causes += [
            ParityDifference(
                kind=DifferenceKind.PRICES_UNSEEN,
                symbol=symbol,
                detail="이 종목의 체결이 하루 내내 하나도 오지 않음",
            )
            for symbol in sorted(traded - recorded.observed.keys())
        ]
    if recorded.polled:
        kind, detail = (
            DifferenceKind.PRICES_POLLED,
            "실시간 시세가 없는 계좌: 개장 뒤에 주문하고 현재가를 물어 거래함",
        )
        causes.append(ParityDifference(kind=kind, symbol="", detail=detail))
    for order in recorded.manual.values():
        causes.append(
            ParityDifference(
                kind=DifferenceKind.TRADED_BY_HAND,
                symbol=order.intent.symbol,
                detail=f"손으로 낸 주문 {order.venue_order_id}",
            )
        )
    for word in recorded.words:
        if not word.is_before_decision:
            detail = f"운영자의 말 {word.ts:%H:%M:%S} UTC: {STATE_TEXT[word.state]}"
            kind = DifferenceKind.OPERATOR
            causes.append(ParityDifference(kind=kind, symbol="", detail=detail))
    return causes


def _decision_differences(
    then: Decision | None, now: Decision | None, *, explained: bool
) -> list[ParityDifference]:
    before = {c.symbol: (c.target_quantity, c.verdict.name) for c in then.choices} if then else {}
    after = {c.symbol: (c.target_quantity, c.verdict.name) for c in now.choices} if now else {}
    return [
        ParityDifference(
            kind=DifferenceKind.DECISION,
            symbol=symbol,
            detail=f"목표 {before.get(symbol)} → {after.get(symbol)}",
            explained=explained,
        )
        for symbol in sorted({*before, *after})
        if before.get(symbol) != after.get(symbol)
    ]


def _order_differences(
    recorded: RecordedSession, again: SessionResult, *, explained: bool
) -> list[ParityDifference]:
    ours = {k: o for k, o in recorded.orders.items() if o.status is not OrderStatus.DENIED}
    theirs = {o.intent.intent_id: o for o in again.orders if o.status is not OrderStatus.DENIED}
    denied = {intent.intent_id: code for intent, code in recorded.denied}
    refused = _refused_symbols(recorded, again)
    found = []
    for intent_id in sorted({*ours, *theirs}):
        one, other = ours.get(intent_id), theirs.get(intent_id)
        symbol = (one or other).intent.symbol  # type: ignore[union-attr] # one of them is there
        if one is None and intent_id in denied:
            # A guard saw then what nobody can compute again: a frozen share, an old price.
            found.append(
                ParityDifference(
                    kind=DifferenceKind.ORDER_REFUSED, symbol=symbol, detail=denied[intent_id]
                )
            )
            continue
        if one is None:
            kind, detail = DifferenceKind.ORDER_MISSING, f"{intent_id}: 냈어야 할 주문이 없음"
        elif other is None:
            kind, detail = DifferenceKind.ORDER_EXTRA, f"{intent_id}: 다시 계산하면 없는 주문"
        elif one.status is OrderStatus.REJECTED:
            found.append(
                ParityDifference(
                    kind=DifferenceKind.ORDER_REFUSED, symbol=symbol, detail=one.reason
                )
            )
            continue
        elif _terms(one) != _terms(other):
            kind = DifferenceKind.ORDER_CHANGED
            detail = f"{intent_id}: {_terms(one)} → {_terms(other)}"
        else:
            continue
        found.append(
            ParityDifference(
                kind=kind, symbol=symbol, detail=detail, explained=explained or symbol in refused
            )
        )
    return found


def _refused_symbols(recorded: RecordedSession, again: SessionResult) -> set[str]:
    """Return the names of which an order left only when computed again: the rest is another story.

    A stop that was refused is sent again, and a purchase that was refused has no stop.
    """
    ids = {key for key, order in recorded.orders.items() if order.status is OrderStatus.REJECTED}
    ids |= {intent.intent_id for intent, _ in recorded.denied}
    return {
        order.intent.symbol
        for order in again.orders
        if order.intent.intent_id in ids and order.status is not OrderStatus.DENIED
    }


def _fill_differences(
    recorded: RecordedSession, again: SessionResult, *, explained: bool
) -> list[ParityDifference]:
    ours: dict[str, tuple[int, int]] = {}
    for fill in recorded.fills:
        q, a = ours.get(fill.intent_id, (0, 0))
        ours[fill.intent_id] = (q + fill.fill.quantity, a + fill.fill.amount)
    theirs: dict[str, tuple[int, int]] = {}
    for booked in again.booked:
        q, a = theirs.get(booked.intent.intent_id, (0, 0))
        theirs[booked.intent.intent_id] = (q + booked.fill.quantity, a + booked.fill.amount)
    refused = {k for k, o in recorded.orders.items() if o.status is OrderStatus.REJECTED}
    refused_symbols = _refused_symbols(recorded, again)
    found = []
    for intent_id in sorted({*ours, *theirs} - refused):
        one, other = ours.get(intent_id, (0, 0)), theirs.get(intent_id, (0, 0))
        if one == other:
            continue
        symbol = intent_id.split(":")[-2]
        if intent_id not in recorded.orders:
            continue
        if one[0] < other[0]:
            kind = DifferenceKind.FILL_DROPPED
        elif one[0] > other[0]:
            kind = DifferenceKind.FILL_EXTRA
        else:
            kind = DifferenceKind.FILL_CHANGED
        found.append(
            ParityDifference(
                kind=kind,
                symbol=symbol,
                detail=f"{intent_id}: {one[0]:,}주 {one[1]:,} / {other[0]:,}주 {other[1]:,}",
                explained=explained or symbol in refused_symbols,
            )
        )
    return found


def _terms(order: Order) -> tuple[str, int, int]:
    return (order.intent.side, order.intent.quantity, order.intent.limit)
