"""What fills, fees and corporate actions do to cash and holdings, in integer minor units.

The compiled functions are the only arithmetic of money: the engine's own books, the local
exchange, the sweep and parity all call them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from trading.domain.account import Portfolio, Position
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.arrays import IntArray
from trading.domain.instrument import Market
from trading.domain.order import Side

# Columns of a fee array (``domain.rules.as_array``).
KIND, SIDE, RATE_PPB, PER_SHARE_PPM, UNIT, ROUNDING, MAXIMUM = range(7)
KIND_TAX = 1
SIDE_BOTH = 0
SIDE_BUY = 1
SIDE_SELL = 2
ROUND_DOWN = 0
ROUND_UP = 1
BILLION = 1_000_000_000


@njit(cache=True)
def costs(sign: int, quantity: int, amount: int, fees: IntArray) -> tuple[int, int]:
    """Return ``(commission, tax)`` of an order that has traded ``quantity`` for ``amount``.

    Rounding applies to the order's cumulative amount, as brokers bill it; the cost of one fill
    is the difference between before and after, so how an order was cut up never matters.
    ``fees`` has one row a fee: kind, side, rate (1e-9), per share (1e-6 minor), unit, rounding
    (0 down, 1 up, 2 half up), maximum (0 none).
    """
    commission = 0
    tax = 0
    wanted = SIDE_BUY if sign > 0 else SIDE_SELL
    for k in range(fees.shape[0]):
        if fees[k, SIDE] != SIDE_BOTH and fees[k, SIDE] != wanted:
            continue
        exact = amount * fees[k, RATE_PPB] + quantity * fees[k, PER_SHARE_PPM] * 1000
        unit = fees[k, UNIT] * BILLION
        if fees[k, ROUNDING] == ROUND_DOWN:
            whole = exact // unit
        elif fees[k, ROUNDING] == ROUND_UP:
            whole = -((-exact) // unit)
        else:
            whole = (exact + unit // 2) // unit
        fee = whole * fees[k, UNIT]
        if fees[k, MAXIMUM] > 0:
            fee = min(fee, fees[k, MAXIMUM])
        if fees[k, KIND] == KIND_TAX:
            tax += fee
        else:
            commission += fee
    return commission, tax


@njit(cache=True)
def book(
    sign: int, quantity: int, amount: int, fee: int, held: int, cost: int, cash: int
) -> tuple[int, int, int, int]:
    """Return ``(held, cost, cash, realized)`` after a fill with its fees and taxes.

    A sale removes cost in proportion, rounded down, and all of it with the last share;
    ``realized`` is proceeds net of fees less that cost (0 on a buy).
    """
    if sign > 0:
        return held + quantity, cost + amount, cash - amount - fee, 0
    removed = cost if quantity >= held else cost * quantity // held
    return held - quantity, cost - removed, cash + amount - fee, amount - fee - removed


@njit(cache=True)
def mark(cash: int, quantity: IntArray, price: IntArray) -> int:
    """Return equity: cash and holdings at ``price``, in minor units."""
    equity = cash
    for i in range(quantity.shape[0]):
        equity += quantity[i] * price[i]
    return equity


@njit(cache=True)
def split_shares(held: int, numerator: int, denominator: int, reference: int) -> tuple[int, int]:
    """Return ``(shares, cash in lieu)`` after a split; fractions are paid at the base price."""
    shares = held * numerator // denominator
    fraction = held * numerator - shares * denominator
    return shares, fraction * reference // denominator


@njit(cache=True)
def net_dividend(held: int, amount: int, withholding_ppb: int) -> tuple[int, int]:
    """Return ``(net, withheld)`` of a cash dividend of ``amount`` a share."""
    gross = held * amount
    withheld = gross * (withholding_ppb // 1000) // 1_000_000
    return gross - withheld, withheld


@njit(cache=True)
def income_kept(income: int, before: int, after: int) -> int:
    """Return the dividends that belong to the shares left of ``before``; a purchase adds none."""
    return income if after >= before else income * after // before


@njit(cache=True)
def lost_right(cost: int, numerator: int, denominator: int) -> int:
    """Return the part of ``cost`` that a rights issue took out of the price."""
    return cost - cost * denominator // numerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """What one fill cost and what it realized, in minor units."""

    commission: int
    tax: int
    realized: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionEffect:
    """What one corporate action did to an account."""

    quantity_before: int
    quantity_after: int
    cash: int
    withheld: int


class Account:
    """Cash and holdings of one market, changed by fills and corporate actions only."""

    def __init__(self, market: Market, cash: int) -> None:
        self.market = market
        self.cash = cash
        self.positions: dict[str, Position] = {}
        # Cumulative (quantity, amount) of each order of the session, for the rounding of fees.
        self._traded: dict[str, tuple[int, int]] = {}

    def apply_fill(
        self,
        order_id: str,
        symbol: str,
        side: Side,
        quantity: int,
        amount: int,
        fees: IntArray,
    ) -> Booking:
        """Book ``quantity`` shares of an order for ``amount`` minor units, and their fees."""
        sign, held = side.sign, self.positions.get(symbol)
        q0, a0 = self._traded.get(order_id, (0, 0))
        c0, t0 = costs(sign, q0, a0, fees) if q0 else (0, 0)
        c1, t1 = costs(sign, q0 + quantity, a0 + amount, fees)
        commission, tax = int(c1 - c0), int(t1 - t0)
        before, paid = (held.quantity, held.cost) if held is not None else (0, 0)
        shares, cost, cash, realized = book(
            sign, quantity, amount, commission + tax, before, paid, self.cash
        )
        self._traded[order_id] = (q0 + quantity, a0 + amount)
        self.cash = int(cash)
        self._hold(symbol, int(shares), int(cost))
        return Booking(commission=commission, tax=tax, realized=int(realized))

    def apply_action(
        self, action: CorporateAction, *, reference: int, withholding_ppb: int
    ) -> ActionEffect | None:
        """Apply an action before the open; ``None`` when nothing is held.

        ``reference`` is the session's base price, already restated for the action.
        """
        held = self.positions.get(action.symbol)
        if held is None:
            return None
        if action.kind is ActionKind.SPLIT:
            shares, cash = split_shares(
                held.quantity, action.numerator, action.denominator, reference
            )
            self.cash += int(cash)
            self._hold(action.symbol, int(shares), held.cost)
            withheld = 0
        elif action.kind is ActionKind.CASH_DIVIDEND:
            shares = held.quantity
            cash, withheld = net_dividend(held.quantity, action.amount, withholding_ppb)
            self.cash += int(cash)
        elif action.kind is ActionKind.RIGHTS:
            shares, cash, withheld = held.quantity, 0, 0
        else:
            shares, withheld = 0, 0
            cash = held.quantity * action.amount
            self.cash += cash
            self._hold(action.symbol, 0, 0)
        return ActionEffect(
            quantity_before=held.quantity,
            quantity_after=int(shares),
            cash=int(cash),
            withheld=int(withheld),
        )

    def adjust(self, *, cash: int = 0, symbol: str = "", quantity: int = 0, price: int = 0) -> None:
        """Book money or shares that came or went without a trade; shares at ``price`` each."""
        self.cash += cash
        if quantity:
            held = self.positions.get(symbol, Position(symbol=symbol, quantity=0, cost=0))
            self._hold(symbol, held.quantity + quantity, max(0, held.cost + quantity * price))

    def end_session(self) -> None:
        """Forget the orders of the day; the next session numbers its own."""
        self._traded.clear()

    def equity(self, prices: Mapping[str, int]) -> int:
        """Return cash and holdings at ``prices`` (every held symbol must have one)."""
        quantity = np.array([p.quantity for p in self.positions.values()], dtype=np.int64)
        price = np.array([prices[s] for s in self.positions], dtype=np.int64)
        return int(mark(self.cash, quantity, price))

    def portfolio(self) -> Portfolio:
        """Return the account as a value."""
        return Portfolio(market=self.market, cash=self.cash, positions=dict(self.positions))

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as JSON values."""
        return {
            "cash": self.cash,
            "positions": {s: [p.quantity, p.cost] for s, p in self.positions.items()},
            "traded": {order: list(t) for order, t in self._traded.items()},
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over a state that ``snapshot`` described."""
        self.cash = snapshot["cash"]
        self.positions = {
            symbol: Position(symbol=symbol, quantity=quantity, cost=cost)
            for symbol, (quantity, cost) in snapshot["positions"].items()
        }
        self._traded = {order: (q, a) for order, (q, a) in snapshot["traded"].items()}

    def _hold(self, symbol: str, quantity: int, cost: int) -> None:
        if quantity:
            self.positions[symbol] = Position(symbol=symbol, quantity=quantity, cost=cost)
        else:
            self.positions.pop(symbol, None)
