"""One rule, one size, orders at the next open: what a strategy does without the portfolio around it.

A wish is taken at the close of a bar and traded as a market order in the opening auction of the
next one, which exists in backtests only. The market's answer is that of every other run: ``fill``
(price limits, participation, halts), ``costs`` and ``book``, in integer minor units. ``run`` is
one compiled loop, ``replay`` the same through ``TradingEngine``, ``sweep`` thousands of pairs of
averages; the policy of the account is in ``backtest.sweep`` and ``backtest.runner``.
"""

import gc
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray, IntArray, SideArray
from trading.domain.decision import TradingState
from trading.domain.instrument import Exchange, Market
from trading.domain.order import Fill, OrderAck, OrderIntent, OrderStatus, OrderUpdate
from trading.errors import OrderStateError, UsageError
from trading.execution.decide import Policy, RiskState
from trading.execution.engine import Accepted, Closes, Submit, TradingEngine, Wish
from trading.simulation.account import Account, book, costs
from trading.simulation.opening import auction, buy_rate, target_of
from trading.strategies.technical import average_sides, running_sums

# Columns of a fill; money in minor units.
ROW, COLUMN, SIGN, SHARES, PRICE, COMMISSION, TAX = range(7)
# Columns of what ``sweep`` says of a run.
FINAL_EQUITY, MAX_DRAWDOWN, SHARPE, ORDERS = range(4)
# The bars are numbered: all that happens to an order happens at no particular time.
_INSTANT = datetime(2000, 1, 1, tzinfo=UTC)
_EXCHANGES = {Market.KRX: Exchange.KOSPI, Market.US: Exchange.NASDAQ}
_BLOCK = 1024
# Fills beside those that a changed wish leads to, before the loop is run again with enough room.
_ROOM = 1024


class Bars(NamedTuple):
    """What was recorded, and the law of it; all of shape ``(n_bars, n_instruments)``.

    Prices are ``int64`` minor units, ``open`` is 0 where nothing traded (no order is met, the
    close is carried). Of ``lower``, ``upper`` (0 where there are no price limits), ``lot`` and
    ``fee_of`` (which of ``fees`` holds) one row stands for all.
    """

    open: IntArray
    close: IntArray
    volume: IntArray
    lower: IntArray
    upper: IntArray
    lot: IntArray
    fees: IntArray
    fee_of: IntArray


class Size(NamedTuple):
    """How much is wished: ``shares``, or for 0 all the cash, counted at the close of the wish.

    ``participation_bps`` is the share of the auction's volume that one account may take.
    """

    shares: int
    participation_bps: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DirectResult:
    """What a run did.

    ``equity`` has one value a bar, in minor units, after its close. ``fills`` has one row a fill:
    bar, instrument, sign, shares, price, commission, tax. ``orders`` counts what was sent,
    ``dropped`` what of it the auction did not fill.
    """

    equity: IntArray
    fills: IntArray
    orders: int
    starting_cash: int
    cash: int


def lawless(open_: IntArray, close: IntArray, volume: IntArray, fees: IntArray) -> Bars:
    """Return bars without price limits and lots, as other backtesters know them."""
    nothing = np.zeros((1, close.shape[1]), dtype=np.int64)
    return Bars(open_, close, volume, nothing, nothing, nothing + 1, fees[None], nothing)


def above(close: IntArray, fast: int, slow: int) -> SideArray:
    """Return the wish to hold each instrument while its fast average is above its slow one."""
    wish = np.empty(close.shape, dtype=np.int8)
    side = np.empty(len(close), dtype=np.int8)
    for i in range(close.shape[1]):
        average_sides(running_sums(np.ascontiguousarray(close[:, i])), fast, slow, side)
        wish[:, i] = side
    return wish


def run(bars: Bars, wish: SideArray, size: Size, *, cash: int) -> DirectResult:
    """Trade ``wish`` in one compiled loop.

    Parameters
    ----------
    wish : ndarray of shape (n_bars, n_instruments)
        1 to hold from the next open on, -1 to hold none, 0 to leave it as it is.
    cash : int
        At the beginning, in minor units.

    Raises
    ------
    UsageError
        If all cash is to go into more than one instrument.
    """
    _check(bars, wish, size)
    room = _ROOM + int(np.count_nonzero(wish[1:] != wish[:-1]))
    while True:
        fills = np.empty((room, 7), dtype=np.int64)
        equity, n_fills, orders, left = _trade(bars, wish, *size, cash, fills)
        if n_fills <= room:
            break
        room = n_fills
    return DirectResult(
        equity=equity, fills=fills[:n_fills], orders=orders, starting_cash=cash, cash=left
    )


def replay(
    bars: Bars, wish: SideArray, size: Size, *, cash: int, policy: Policy, symbols: Sequence[str]
) -> DirectResult:
    """Trade ``wish`` by events through ``TradingEngine``: the same as ``run``, to the unit.

    A bar's ``Closes`` is the market's event; a changed wish follows it as ``Wish``, is answered by
    orders, and these by acceptances and fills at the next open. The days are numbered, not dated.
    """
    _check(bars, wish, size)
    with _no_collection():
        return _Replay(bars, size, cash, policy, symbols).run(wish)


def sweep(
    bars: Bars, pairs: IntArray, size: Size, *, cash: int, periods_per_year: int
) -> FloatArray:
    """Hold each instrument alone while its fast average is above the slow one, for every pair.

    Parameters
    ----------
    pairs : ndarray of shape (n_pairs, 2)
        Fast and slow windows in bars.

    Returns
    -------
    ndarray of shape (n_instruments, n_pairs, 4)
        Final equity (minor units), maximum drawdown, annualized Sharpe ratio (population
        deviation, NaN without variation), and orders sent. No path is kept in memory.
    """
    m, n_pairs = bars.close.shape[1], len(pairs)
    out = np.empty((m, n_pairs, 4))
    for i in range(m):
        open_, close, volume, lower, upper, lot = (_column(field, i) for field in bars[:6])
        fee_of = _column(bars.fee_of, i)
        alone = Bars(open_, close, volume, lower, upper, lot, bars.fees, fee_of)
        _sweep(alone, pairs, size.shares, size.participation_bps, cash, periods_per_year, out[i])
    return out


class _Replay:
    """Carries the engine's orders to the auctions of recorded bars, and the answers back."""

    def __init__(
        self, bars: Bars, size: Size, cash: int, policy: Policy, symbols: Sequence[str]
    ) -> None:
        self._bars = bars
        self._size = size
        self._symbols = symbols
        self._exchange = _EXCHANGES[policy.market]
        self._fees = list(bars.fees)
        self._rates = [int(buy_rate(fees)) for fees in bars.fees]
        # The fees that the auction at hand is billed by; of the engine it knows, it must not know
        # this object: what is held in a circle is only freed by the collector of garbage.
        billed = self._billed = [self._fees[0]]
        self._starting_cash = cash
        self.engine = TradingEngine(
            policy,
            Account(policy.market, cash),
            RiskState(peak=cash, cooldown=0, state=TradingState.ACTIVE),
            lambda exchange, session: billed[0],
        )
        self._fills: list[tuple[int, ...]] = []
        self._orders = 0
        law = (bars.lower, bars.upper, bars.lot, bars.fee_of)
        # The same on all days where each has one row.
        self._always = all(len(field) == 1 for field in law)
        self._laws = [self._law_at(0, i) for i in range(len(symbols))] if self._always else []

    def run(self, wish: SideArray) -> DirectResult:
        handle, symbols = self.engine.handle, self._symbols
        closes = Closes(symbols=symbols, prices=())
        changed = _changed(wish)
        # What was sent at the last close, by instrument; and instruments whose wish is not met.
        sent: dict[int, OrderIntent] = {}
        unmet: set[int] = set()
        targets = [0] * len(symbols)
        last = len(wish) - 1
        for t, prices in enumerate(_rows(self._bars.close)):
            for i, intent in sent.items():
                left = self._auction(t, i, intent)
                targets[i] = self._held(i) + left
            closes.prices = prices
            handle(closes)
            if unmet or t in changed:
                changes = self._wishes(t, wish[t].tolist(), unmet, changed.get(t, ()), targets)
                sent = self._send(t, changes) if t < last else {}
            elif sent:
                sent = {}
        return self._result()

    def _wishes(
        self, t: int, wish: list[int], unmet: set[int], changed: Iterable[int], targets: list[int]
    ) -> list[tuple[int, int]]:
        """Return what the shares of each instrument should change by."""
        changes = []
        for i in sorted(unmet.union(changed)):
            side, held, target = wish[i], self._held(i), targets[i]
            if side < 0:
                target = 0
            elif side > 0 and target == 0:
                target = self._target(t, i, held)
            targets[i] = target
            if target != held:
                changes.append((i, target - held))
            if target != held or (side > 0 and target == 0):
                unmet.add(i)
            else:
                unmet.discard(i)
        return changes

    def _held(self, i: int) -> int:
        held = self.engine.account.positions.get(self._symbols[i])
        return held.quantity if held is not None else 0

    def _law(self, t: int, i: int) -> tuple[int, int, int, int]:
        return self._laws[i] if self._always else self._law_at(t, i)

    def _law_at(self, t: int, i: int) -> tuple[int, int, int, int]:
        """Return price limits, lot, and which of the fees hold."""
        bars = self._bars
        lower, upper = _at(bars.lower, t, i), _at(bars.upper, t, i)
        return lower, upper, _at(bars.lot, t, i), _at(bars.fee_of, t, i)

    def _target(self, t: int, i: int, held: int) -> int:
        _, _, lot, which = self._law(t, i)
        cash, price = self.engine.account.cash, int(self._bars.close[t, i])
        return int(target_of(self._size.shares, held, cash, price, self._rates[which], lot))

    def _send(self, t: int, changes: list[tuple[int, int]]) -> dict[int, OrderIntent]:
        if not changes:
            return {}
        wish = Wish(
            session=date.fromordinal(t + 2),
            changes=[(self._symbols[i], self._exchange, change) for i, change in changes],
        )
        sent = {}
        for (i, _), command in zip(changes, self.engine.handle(wish), strict=True):
            if not isinstance(command, Submit):
                raise OrderStateError(f"주문이 나가지 못함: {command}")
            intent = command.intent
            self._orders += 1
            ack = OrderAck(venue_order_id=str(self._orders), branch="", ts_event=_INSTANT)
            self.engine.handle(Accepted(intent_id=intent.intent_id, ack=ack))
            sent[i] = intent
        return sent

    def _auction(self, t: int, i: int, intent: OrderIntent) -> int:
        """Let one order meet the open; return the change in shares that is still wished."""
        bars, engine, sign = self._bars, self.engine, intent.side.sign
        number = engine.orders[intent.intent_id].venue_order_id
        price = int(bars.open[t, i])
        lower, upper, lot, which = self._law(t, i)
        self._billed[0] = self._fees[which]
        shares, left = auction(
            sign * intent.quantity, price, int(bars.volume[t, i]), lower, upper, lot,
            engine.account.cash, self._rates[which], self._size.participation_bps,
        )  # fmt: skip
        if shares:
            engine.handle(
                Fill(
                    symbol=intent.symbol,
                    side=intent.side,
                    quantity=shares,
                    amount=shares * price,
                    venue_order_id=number,
                    ts_event=_INSTANT,
                    ts_recv=_INSTANT,
                )
            )
            cost = engine.booked[-1].booking
            self._fills.append((t, i, sign, shares, price, cost.commission, cost.tax))
        if shares < intent.quantity:
            engine.handle(
                OrderUpdate(
                    venue_order_id=number,
                    symbol=intent.symbol,
                    status=OrderStatus.EXPIRED,
                    ts_event=_INSTANT,
                    ts_recv=_INSTANT,
                )
            )
        return left

    def _result(self) -> DirectResult:
        fills = np.array(self._fills, dtype=np.int64).reshape(-1, 7)
        return DirectResult(
            equity=equity_of(self._bars.close, fills, self._starting_cash),
            fills=fills,
            orders=self._orders,
            starting_cash=self._starting_cash,
            cash=self.engine.account.cash,
        )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Look for no garbage among records that are all kept until the end of the run."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _rows(values: IntArray) -> Iterator[list[int]]:
    """Return the rows as lists, a block at a time: a million lists at once would keep the
    collector of garbage busy."""
    rows = max(1, _BLOCK // values.shape[1])
    for start in range(0, len(values), rows):
        yield from values[start : start + rows].tolist()


def _changed(wish: SideArray) -> dict[int, list[int]]:
    """Return the instruments whose wish is another than at the bar before, by bar."""
    before = np.vstack((np.zeros((1, wish.shape[1]), dtype=wish.dtype), wish[:-1]))
    rows, columns = np.nonzero(wish != before)
    found: dict[int, list[int]] = {}
    for t, i in zip(rows.tolist(), columns.tolist(), strict=True):
        found.setdefault(t, []).append(i)
    return found


@njit(cache=True)
def equity_of(close: IntArray, fills: IntArray, cash: int) -> IntArray:
    """Return the equity after each bar from the fills of a run."""
    n, m = close.shape
    equity = np.empty(n, dtype=np.int64)
    held = np.zeros(m, dtype=np.int64)
    k = 0
    for t in range(n):
        while k < fills.shape[0] and fills[k, ROW] == t:
            change = fills[k, SIGN] * fills[k, SHARES]
            held[fills[k, COLUMN]] += change
            cash -= change * fills[k, PRICE] + fills[k, COMMISSION] + fills[k, TAX]
            k += 1
        value = 0
        for i in range(m):
            value += held[i] * close[t, i]
        equity[t] = cash + value
    return equity


def _column(field: IntArray, i: int) -> IntArray:
    return np.ascontiguousarray(field[:, i : i + 1])


def _check(bars: Bars, wish: SideArray, size: Size) -> None:
    if wish.shape != bars.close.shape:
        raise UsageError(f"의견의 모양이 봉과 다릅니다: {wish.shape} ≠ {bars.close.shape}")
    if size.shares == 0 and bars.close.shape[1] > 1:
        raise UsageError("현금 전부는 한 종목에만 쓸 수 있습니다.")


@njit(cache=True)
def _at(field: IntArray, t: int, i: int) -> int:
    """Return a field of the law, of which one row may stand for all."""
    return int(field[t if field.shape[0] > 1 else 0, i])


@njit(cache=True)
def _open(
    bars: Bars, t: int, i: int, change: int, share_bps: int, held: int, cost: int, cash: int
) -> tuple[int, int, int, int, int, int, int]:
    """Take one order to its auction: what it got, what of it still waits, and the account after it.

    ``(shares, commission, tax, still wished change, held, cost, cash)``; what cash does not pay
    for is not wished any more.
    """
    price = bars.open[t, i]
    fees = bars.fees[_at(bars.fee_of, t, i)]
    shares, left = auction(
        change, price, bars.volume[t, i], _at(bars.lower, t, i), _at(bars.upper, t, i),
        _at(bars.lot, t, i), cash, buy_rate(fees), share_bps,
    )  # fmt: skip
    if shares == 0:
        return 0, 0, 0, left, held, cost, cash
    sign, amount = (1 if change > 0 else -1), shares * price
    commission, tax = costs(sign, shares, amount, fees)
    held, cost, cash, _ = book(sign, shares, amount, commission + tax, held, cost, cash)
    return shares, commission, tax, left, held, cost, cash


@njit(cache=True)
def _trade(
    bars: Bars, wish: SideArray, shares: int, share_bps: int, cash: int, fills: IntArray
) -> tuple[IntArray, int, int, int]:
    """Write ``fills`` and return ``(equity, number of fills, orders, cash)``.

    Fills that there is no room for are counted: an array that grows inside the loop would cost
    every bar four times as much.

    An instrument is looked at while it is ``open``: its wish has changed, or is not yet what is
    held. Most are not in most bars, which then cost one product.
    """
    n, m = bars.close.shape
    close = bars.close
    equity = np.empty(n, dtype=np.int64)
    n_fills = 0
    orders = 0
    held = np.zeros(m, dtype=np.int64)
    cost = np.zeros(m, dtype=np.int64)
    target = np.zeros(m, dtype=np.int64)
    seen = np.zeros(m, dtype=np.int8)
    is_open = np.zeros(m, dtype=np.bool_)
    n_open = 0
    for t in range(n):
        if n_open > 0:
            for i in range(m):
                if not is_open[i] or target[i] == held[i]:
                    continue
                orders += 1
                change = target[i] - held[i]
                got, commission, tax, left, held[i], cost[i], cash = _open(
                    bars, t, i, change, share_bps, held[i], cost[i], cash
                )
                target[i] = held[i] + left
                if got > 0:
                    if n_fills < fills.shape[0]:
                        fills[n_fills, ROW] = t
                        fills[n_fills, COLUMN] = i
                        fills[n_fills, SIGN] = 1 if change > 0 else -1
                        fills[n_fills, SHARES] = got
                        fills[n_fills, PRICE] = bars.open[t, i]
                        fills[n_fills, COMMISSION] = commission
                        fills[n_fills, TAX] = tax
                    n_fills += 1
        value = 0
        for i in range(m):
            value += held[i] * close[t, i]
        equity[t] = cash + value
        for i in range(m):
            side = wish[t, i]
            if side == seen[i] and not is_open[i]:
                continue
            seen[i] = side
            if side < 0:
                target[i] = 0
            elif side > 0 and target[i] == 0:
                target[i] = _target(bars, t, i, shares, held[i], cash)
            now = target[i] != held[i] or (side > 0 and target[i] == 0)
            if now != is_open[i]:
                n_open += 1 if now else -1
                is_open[i] = now
    return equity, n_fills, orders, cash


@njit(cache=True)
def _target(bars: Bars, t: int, i: int, shares: int, held: int, cash: int) -> int:
    fees = bars.fees[_at(bars.fee_of, t, i)]
    return target_of(shares, held, cash, bars.close[t, i], buy_rate(fees), _at(bars.lot, t, i))


@njit(cache=True)
def _sweep(
    bars: Bars,
    pairs: IntArray,
    shares: int,
    share_bps: int,
    starting_cash: int,
    periods_per_year: int,
    out: FloatArray,
) -> None:
    """Write what became of each pair into ``out``; the bars are of one instrument."""
    n = bars.close.shape[0]
    sums = running_sums(bars.close[:, 0])
    side = np.empty(n, dtype=np.int8)
    close = bars.close[:, 0].copy()
    for p in range(pairs.shape[0]):
        average_sides(sums, pairs[p, 0], pairs[p, 1], side)
        cash, held, cost, target, orders = starting_cash, 0, 0, 0, 0
        before, peak, trough, deepest = float(cash), float(cash), float(cash), 0.0
        total, squares = 0.0, 0.0
        t = 0
        while t < n:
            if target == held == 0 and side[t] <= 0:
                t += 1
                continue
            if target != held:
                orders += 1
                _, _, _, left, held, cost, cash = _open(
                    bars, t, 0, target - held, share_bps, held, cost, cash
                )
                target = held + left
            while True:
                equity = float(cash + held * close[t])
                change = equity / before - 1.0
                total += change
                squares += change * change
                before = equity
                if equity > peak:
                    deepest = max(deepest, 1.0 - trough / peak)
                    peak = trough = equity
                trough = min(trough, equity)
                if target != held or side[t] <= 0 or held == 0 or t == n - 1:
                    break
                t += 1
            if side[t] < 0:
                target = 0
            elif side[t] > 0 and target == 0:
                target = _target(bars, t, 0, shares, held, cash)
            t += 1
        mean = total / n
        variance = squares / n - mean * mean
        out[p, FINAL_EQUITY] = before
        out[p, MAX_DRAWDOWN] = max(deepest, 1.0 - trough / peak)
        out[p, SHARPE] = np.nan
        if variance > 0.0:
            out[p, SHARPE] = mean / math.sqrt(variance) * math.sqrt(periods_per_year)
        out[p, ORDERS] = orders
