"""The record of a run: what it did and what it was measured against, complete enough for its page.

A record is a value that goes to JSON and comes back the same. Where it lies is
``research.records``'s; its figures are in ``figures``, its page in ``report``.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from trading import measures
from trading.backtest import runner
from trading.backtest.runner import BacktestResult
from trading.backtest.trials import Count
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.instrument import Currency, Market
from trading.domain.market import AdjustedPanel, PriceBasis, RawPanel
from trading.domain.order import Side
from trading.execution.engine import Applied

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# The name of the whole policy, where a strategy is asked for.
ENSEMBLE = "ensemble"
# Raised when an old record can no longer be read by what writes new ones.
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FillLine:
    """One fill as it was booked; money in minor units, ``realized`` net of fees (0 on a buy)."""

    session: date
    symbol: str
    side: Side
    quantity: int
    amount: int
    commission: int
    tax: int
    boundary: str
    reason: str
    realized: int

    @property
    def price(self) -> float:
        """Average price of the fill, in minor units."""
        return self.amount / self.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeLine:
    """A holding from the first share bought to the last one gone.

    ``quantity`` is the most that was held. ``profit`` is what came in less what went out, net of
    all costs, dividends included; while ``exit`` is ``None`` it counts the shares at the last
    close. ``income`` are dividends and cash paid by other corporate actions. ``sessions`` counts
    from the entry to the exit, or to the end of the run. ``reason`` is that of the last sale,
    or the kind of the action that took the shares, "" while it is open; ``agent`` led into it, "" when nobody did.
    """

    symbol: str
    entry: date
    exit: date | None
    quantity: int
    bought: int
    sold: int
    income: int
    costs: int
    profit: int
    sessions: int
    reason: str
    agent: str

    @property
    def fraction(self) -> float:
        """Profit as a fraction of what was paid for the shares."""
        return self.profit / self.bought


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLine:
    """Closes of one symbol, in minor units and in shares of the last session; ``None`` before it
    was listed. ``scale`` restates a price as traded at each session."""

    symbol: str
    close: tuple[float | None, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What makes the history easier than life was, and how it was read.

    ``survivorship`` is the verdict's code, ``survivorship_text`` its Korean sentence. ``replayed``
    counts sessions by what their prints were made of: ``daily``, ``minute`` or ``tick``.
    """

    price_basis: PriceBasis
    survivorship: str
    survivorship_text: str
    are_sectors_of_today: bool
    replayed: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run. Money in minor units; everything a session has one value of each, after its close.

    ``universe`` are the returns of all tradable names in equal parts, ``index`` those of the
    market's index, from the close before; ``None`` where nothing was recorded.
    ``trials`` is how much was tried on this market before this run was shown, itself included.
    ``optimistic_equity`` is the account had every ambiguous bar gone its way, ``None`` when that
    was not computed. ``regimes`` are what was known before each session, "" where nothing was
    decided. ``names`` are those of the symbols that were traded, where the record has them.
    """

    strategy: str
    params: Mapping[str, Any]
    market: Market
    symbols: tuple[str, ...]
    names: Mapping[str, str]
    sessions: tuple[date, ...]
    sessions_per_year: int
    starting_cash: int
    equity: tuple[int, ...]
    cash: tuple[int, ...]
    universe: tuple[float | None, ...]
    index: tuple[float | None, ...]
    index_name: str
    regimes: tuple[str, ...]
    fills: tuple[FillLine, ...]
    trades: tuple[TradeLine, ...]
    prices: tuple[PriceLine, ...]
    income: int
    withheld: int
    slippage: int
    ambiguous_fills: int
    optimistic_equity: tuple[int, ...] | None
    verdicts: Mapping[str, int]
    evidence: Evidence
    policy_hash: str
    decision_hash: str
    orders_hash: str
    orders: int
    trials: Count | None = None
    robustness: Mapping[str, Any] | None = None
    version: int = VERSION

    def name_of(self, symbol: str) -> str:
        """Return a symbol with the name of what it stands for, where that is known."""
        return f"{symbol} {self.names[symbol]}" if symbol in self.names else symbol

    @property
    def currency(self) -> Currency:
        """The currency that the account is kept in."""
        return self.market.currency

    @property
    def run_id(self) -> str:
        """Strategy, market, dates, and a hash of what was asked and what came out."""
        told = [
            self.strategy, dict(self.params), self.market.value, self.symbols, self.starting_cash,
            self.policy_hash, self.decision_hash, self.orders_hash, self.equity[-1],
        ]  # fmt: skip
        text = json.dumps(told, ensure_ascii=False, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        first, last = (f"{day:%Y%m%d}" for day in (self.sessions[0], self.sessions[-1]))
        return f"{self.strategy}-{self.market.value}-{first}-{last}-{digest}"

    def path(self) -> FloatArray:
        """Return the account from its starting cash on, one value more than sessions."""
        return np.array([self.starting_cash, *self.equity], dtype=np.float64)

    def returns(self) -> FloatArray:
        """Return the account's return of each session."""
        return measures.returns_of(self.path())

    def exposure(self) -> FloatArray:
        """Return the share of the account that was in shares after each close."""
        equity = np.array(self.equity, dtype=np.float64)
        return 1.0 - np.array(self.cash, dtype=np.float64) / equity

    def universe_returns(self) -> FloatArray:
        """Return the universe's return of each session, NaN where unknown."""
        return _known(self.universe)

    def index_returns(self) -> FloatArray:
        """Return the index's return of each session, NaN where unknown."""
        return _known(self.index)

    def matched_returns(self) -> FloatArray:
        """Return what the universe earned with as much invested as here at the close before.

        An account in cash earns 0 whatever the universe did, known or not.
        """
        held = np.concatenate(([0.0], self.exposure()))
        matched = measures.exposure_matched(self.universe_returns(), held)
        return np.where(held[:-1] == 0.0, 0.0, matched)


def record_of(
    result: BacktestResult,
    raw: RawPanel,
    adjusted: AdjustedPanel,
    actions: Iterable[CorporateAction],
    *,
    strategy: str,
    params: Mapping[str, Any],
    sessions_per_year: int,
    policy_hash: str,
    evidence: Evidence,
    most_charts: int,
    names: Mapping[str, str] | None = None,
    trials: Count | None = None,
) -> RunRecord:
    """Return the record of a run over both panels of its market.

    ``most_charts`` is for how many of the symbols, the most traded ones, closes are kept.
    """
    rows = np.array([raw.row_of(day) for day in result.sessions])
    fills = tuple(_fills(result))
    intents = [order.intent for day in result.days for order in day.orders]
    decisions = [day.decision for day in result.days if day.decision is not None]
    universe, index = benchmarks(raw, adjusted, rows)
    traded = Counter(fill.symbol for fill in fills)
    charted = sorted(traded, key=lambda symbol: (-traded[symbol], symbol))[:most_charts]
    return RunRecord(
        strategy=strategy,
        params=dict(params),
        market=raw.market,
        symbols=raw.symbols,
        names={s: name for s, name in (names or {}).items() if s in traded},
        sessions=result.sessions,
        sessions_per_year=sessions_per_year,
        starting_cash=result.starting_cash,
        equity=result.equity,
        cash=tuple(day.cash for day in result.days),
        universe=_told(universe),
        index=_told(index),
        index_name=adjusted.benchmark_name,
        regimes=tuple(day.decision.regime if day.decision else "" for day in result.days),
        fills=fills,
        trades=tuple(_trades(result, raw, rows)),
        prices=tuple(_prices(raw, rows, charted, tuple(actions))),
        income=sum(applied.effect.cash for applied in result.applied),
        withheld=sum(applied.effect.withheld for applied in result.applied),
        slippage=result.slippage,
        ambiguous_fills=result.ambiguous_fills,
        optimistic_equity=result.optimistic_equity,
        verdicts=_verdicts(result),
        evidence=evidence,
        policy_hash=policy_hash,
        decision_hash=runner.decision_hash(decisions),
        orders_hash=runner.orders_hash(intents),
        orders=len(intents),
        trials=trials,
    )


def dumped(record: RunRecord) -> bytes:
    """Return a record as JSON, with the hash that ``loaded`` checks."""
    body = _adapter().dump_python(record, mode="json")
    return _line({"sha256": _digest(body), "run": body})


def loaded(text: bytes) -> RunRecord:
    """Return the record that ``dumped`` wrote.

    Raises
    ------
    ValueError
        When it is not whole, or of another version.
    """
    try:
        told = json.loads(text)
        body = told["run"]
        if told["sha256"] != _digest(body):
            raise ValueError("hash")
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    record = _adapter().validate_python(body)
    if record.version != VERSION:
        raise ValueError(f"version {record.version}")
    return record


@cache
def _adapter() -> "TypeAdapter[RunRecord]":
    from pydantic import TypeAdapter

    return TypeAdapter(RunRecord)


def _digest(body: Any) -> str:
    return hashlib.sha256(_line(body)).hexdigest()


def _line(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, sort_keys=True).encode()


def _fills(result: BacktestResult) -> Iterable[FillLine]:
    for day in result.days:
        for booked in day.booked:
            yield FillLine(
                session=day.session,
                symbol=booked.intent.symbol,
                side=booked.intent.side,
                quantity=booked.fill.quantity,
                amount=booked.fill.amount,
                commission=booked.booking.commission,
                tax=booked.booking.tax,
                boundary=booked.intent.boundary,
                reason=booked.intent.reason,
                realized=booked.booking.realized,
            )


def _applied(result: BacktestResult) -> dict[date, list[Applied]]:
    """Return what actions did, by the session that began with it, in order."""
    found: dict[date, list[Applied]] = defaultdict(list)
    for applied in result.applied:
        found[applied.action.ex_date].append(applied)
    return found


@dataclass(slots=True)
class _Holding:
    entry: int
    agent: str
    held: int = 0
    most: int = 0
    bought: int = 0
    sold: int = 0
    income: int = 0
    costs: int = 0
    reason: str = ""


def _trades(result: BacktestResult, raw: RawPanel, rows: IntArray) -> list[TradeLine]:
    """Return the holdings in order of their ends; what is open at the end comes last."""
    found: list[TradeLine] = []
    open_: dict[str, _Holding] = {}

    def close(symbol: str, at: int, reason: str) -> None:
        found.append(_line_of(symbol, open_.pop(symbol), result.sessions, at, reason, 0))

    applied = _applied(result)
    for at, day in enumerate(result.days):
        for one in applied[day.session]:
            holding = open_[one.action.symbol]
            holding.income += one.effect.cash
            holding.held = one.effect.quantity_after
            holding.most = max(holding.most, holding.held)
            if holding.held == 0:
                close(one.action.symbol, at, one.action.kind.value)
        for booked in day.booked:
            symbol, side = booked.intent.symbol, booked.intent.side
            if symbol not in open_:
                entries = day.decision.entries if day.decision is not None else {}
                leader = entries[symbol].leader if symbol in entries else ""
                open_[symbol] = _Holding(entry=at, agent=leader)
            holding = open_[symbol]
            holding.held += side.sign * booked.fill.quantity
            holding.most = max(holding.most, holding.held)
            holding.costs += booked.booking.commission + booked.booking.tax
            if side is Side.BUY:
                holding.bought += booked.fill.amount
            else:
                holding.sold += booked.fill.amount
            if holding.held == 0:
                close(symbol, at, booked.intent.reason)
    last = len(result.sessions) - 1
    for symbol, holding in sorted(open_.items()):
        value = holding.held * int(raw.close[rows[-1], raw.columns[symbol]])
        found.append(_line_of(symbol, holding, result.sessions, last, "", value))
    return found


def _line_of(
    symbol: str, holding: _Holding, sessions: Sequence[date], at: int, reason: str, value: int
) -> TradeLine:
    return TradeLine(
        symbol=symbol,
        entry=sessions[holding.entry],
        exit=None if holding.held else sessions[at],
        quantity=holding.most,
        bought=holding.bought,
        sold=holding.sold,
        income=holding.income,
        costs=holding.costs,
        profit=holding.sold + holding.income + value - holding.bought - holding.costs,
        sessions=at - holding.entry,
        reason=reason,
        agent=holding.agent,
    )


def benchmarks(
    raw: RawPanel, adjusted: AdjustedPanel, rows: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return the returns of the universe and of the index at ``rows``, NaN where unknown.

    A name counts for a session if it could be traded on the session before; over a halt it
    earns nothing, and what it earned meanwhile when it trades again. ``raw`` may be longer.
    """
    n = len(adjusted.sessions)
    seen = np.where(np.isfinite(adjusted.close), np.arange(n)[:, None], 0)
    last = np.maximum.accumulate(seen, axis=0)
    close = np.take_along_axis(adjusted.close, last, axis=0)
    returns = np.full(close.shape, np.nan)
    returns[1:] = close[1:] / close[:-1] - 1.0
    counts = np.zeros(close.shape, dtype=bool)
    counts[1:] = raw.tradable[: n - 1] & np.isfinite(returns[1:])
    names = counts.sum(axis=1)
    total = np.where(counts, returns, 0.0).sum(axis=1)
    universe = np.where(names > 0, total / np.maximum(names, 1), np.nan)
    index = np.full(n, np.nan)
    index[1:] = adjusted.benchmark[1:] / adjusted.benchmark[:-1] - 1.0
    return universe[rows], index[rows]


def _prices(
    raw: RawPanel, rows: IntArray, symbols: Sequence[str], actions: Sequence[CorporateAction]
) -> Iterable[PriceLine]:
    days = raw.sessions[rows]
    for symbol in symbols:
        scale = np.ones(len(rows))
        for action in actions:
            ex_date = np.datetime64(action.ex_date, "D")
            if action.symbol == symbol and action.kind is ActionKind.SPLIT and ex_date <= days[-1]:
                scale[days < ex_date] *= action.denominator / action.numerator
        close = raw.close[rows, raw.columns[symbol]] * scale
        yield PriceLine(
            symbol=symbol,
            close=tuple(float(price) if price > 0 else None for price in close),
            scale=tuple(scale.tolist()),
        )


def _verdicts(result: BacktestResult) -> dict[str, int]:
    """Return how often each verdict fell, the most frequent first."""
    counted = Counter(
        choice.verdict
        for day in result.days
        if day.decision is not None
        for choice in day.decision.choices
    )
    return {verdict.name: count for verdict, count in counted.most_common()}


def _told(values: FloatArray) -> tuple[float | None, ...]:
    return tuple(map(measures.known, values.tolist()))


def _known(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
