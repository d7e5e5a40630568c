"""The trading environment: one name, flat or holding, with the fills and costs of every backtest.

A decision at the close of a bar is a market order in the opening auction of the next one, as in
``backtest.direct``: the same auction, the same fees, the same books. What is learned on it is in
``reinforcement``, how in ``dqn``.
"""

from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, DateArray, FloatArray, IntArray
from trading.domain.instrument import Exchange, Market
from trading.domain.market import AdjustedPanel
from trading.domain.rules import MarketRules, as_array
from trading.models.dqn import Layers, SingleArray, answer, widest
from trading.sessions import SessionCalendar
from trading.simulation.account import book, costs
from trading.simulation.opening import auction, buy_rate, target_of

if TYPE_CHECKING:
    import gymnasium

FLAT, HOLD = 0, 1
# What an observation tells of the account after the features: how much of it is in the name, and
# what that has gained since it was bought, as a logarithm.
ACCOUNT = 2
# Columns of a segment.
COLUMN, FIRST, LAST = range(3)
# Columns of a lane's account and of where it is.
HELD, COST, CASH, TARGET, ROW, STOP, NAME, ENDS = range(8)
# Taxes of a Korean sale add up to the same on both boards, so one listing stands for all.
_LISTED = {Market.KRX: Exchange.KOSPI, Market.US: Exchange.NASDAQ}


class Account(NamedTuple):
    """What an account begins with, in minor units, and its share of an auction's volume."""

    cash: int
    participation_bps: int


class Tape(NamedTuple):
    """What was recorded, and the law of it.

    ``features`` has shape ``(n_sessions, n_instruments, n_features)``, the rest ``(n_sessions,
    n_instruments)``. Prices are minor units: ``open`` is 0 where nothing traded, ``close`` is
    carried. ``fees`` holds tables of fees, ``fee_of`` of shape ``(n_sessions,)`` which one binds.
    """

    features: SingleArray
    open: IntArray
    close: IntArray
    volume: IntArray
    lower: IntArray
    upper: IntArray
    lot: IntArray
    fees: IntArray
    fee_of: IntArray


def tape(
    panel: AdjustedPanel, features: SingleArray, rules: MarketRules, *, first: int = 0
) -> Tape:
    """Return a panel as its law sees it, from row ``first`` on, which ``features`` begin with.

    Adjusted prices stand for what was traded, so that a split on the way is no loss; whole lots,
    price limits and fees then bind on them, which is exact until a name's first corporate action
    and off by less than a lot and a tick after it.
    """
    close = _carried(panel.close)
    # What an adjusted panel has for the base price of a session: yesterday's close.
    reference = np.vstack((np.zeros_like(close[:1]), close[:-1]))
    kept, sessions = slice(first, None), panel.sessions[first:]
    listed = (_LISTED[panel.market],) * len(panel.symbols)
    lower, upper = rules.limit_arrays(listed, reference[kept], sessions)
    fees, fee_of = fee_tables(rules, listed[0], sessions)
    return Tape(
        features=features,
        open=_whole(np.where(panel.tradable, panel.open, np.nan)[kept]),
        close=close[kept],
        volume=_whole(panel.volume[kept]),
        lower=lower,
        upper=upper,
        lot=rules.lot_arrays(listed, close[kept], sessions),
        fees=fees,
        fee_of=fee_of,
    )


def fee_tables(
    rules: MarketRules, exchange: Exchange, sessions: DateArray
) -> tuple[IntArray, IntArray]:
    """Return all tables of fees that held, and which of them held on each of ``sessions``."""
    days: list[date] = sessions.astype("datetime64[D]").tolist()
    settles = SessionCalendar(rules.market, rules)
    known: dict[bytes, int] = {}
    tables: list[IntArray] = []
    which: list[int] = []
    for day in days:
        table = as_array(rules.fees(exchange, day, rules.settlement_date(day, settles)))
        at = known.setdefault(table.tobytes(), len(known))
        if at == len(tables):
            tables.append(table)
        which.append(at)
    return np.stack(tables), np.array(which, dtype=np.int64)


def segments(usable: BoolArray, *, least: int = 3) -> IntArray:
    """Return the longest runs of usable cells, rows of ``(column, first, last)``.

    Those of fewer than ``least`` rows are left out: a decision on row ``t`` is paid for on ``t + 1``
    and has earned on ``t + 2``.
    """
    edges = np.diff(np.pad(usable.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    column, first = np.nonzero(edges.T == 1)
    _, after = np.nonzero(edges.T == -1)
    found = np.column_stack([column, first, after - 1]).astype(np.int64)
    return found[found[:, LAST] - found[:, FIRST] + 1 >= least]


class Trading:
    """Many accounts side by side, each in one name; an ``Environment`` of ``dqn``.

    Action 1 is to hold all that the account pays for, 0 to hold nothing. A reward is the logarithm
    of what the account grew by, between the open that the decision was traded at and the next. An
    account is worth what a sale at that open would leave of it, all costs taken off: a purchase
    pays for its sale at once, so that rewards add up to the net growth wherever an episode ends, and
    holding for ever is not cheaper than it is. At the end of a segment the episode is ``terminated``;
    one that only reaches its length is ``truncated``.

    Parameters
    ----------
    runs : ndarray of shape (n_segments, 3)
        Where episodes may be, as ``segments`` returns them.
    lanes : int
        Accounts at a time.
    length : int
        Most decisions of an episode.
    unit : float, default=1
        Growth that a reward of 1 stands for.
    """

    actions = 2

    def __init__(
        self,
        tape: Tape,
        runs: IntArray,
        account: Account,
        *,
        lanes: int,
        length: int,
        unit: float = 1.0,
    ) -> None:
        self.tape = tape
        self.lanes = lanes
        self.observation_size = tape.features.shape[2] + ACCOUNT
        self._runs = runs
        self._decisions = runs[:, LAST] - runs[:, FIRST] - 1
        self._until = np.cumsum(self._decisions)
        self._length = length
        self._account = account
        self._unit = unit
        self.accounts = np.zeros((lanes, 8), dtype=np.int64)
        self._observation = np.zeros((lanes, self.observation_size), dtype=np.float32)
        self._reward = np.zeros(lanes)
        self._terminated = np.zeros(lanes, dtype=np.bool_)
        self._truncated = np.zeros(lanes, dtype=np.bool_)

    def reset(self, rng: np.random.Generator) -> SingleArray:
        """Begin an episode in every lane: each decision of the segments is as likely the first."""
        return self.renew(np.ones(self.lanes, dtype=np.bool_), rng)

    def renew(self, done: BoolArray, rng: np.random.Generator) -> SingleArray:
        """Begin another episode in the lanes that are ``done``."""
        at = rng.integers(self._until[-1], size=self.lanes)
        run = np.searchsorted(self._until, at, side="right")
        back = self._until[run] - at
        last = self._runs[run, LAST] - 2
        self.place(done, self._runs[run, COLUMN], last - back + 1, last)
        return self._observation

    def place(self, lanes: BoolArray, name: IntArray, first: IntArray, last: IntArray) -> None:
        """Begin in ``lanes`` at row ``first`` of ``name``; its segment's last decision is ``last``."""
        stop = np.minimum(first + self._length - 1, last)
        zero = np.zeros(self.lanes, dtype=np.int64)
        begun = np.column_stack(
            [zero, zero, zero + self._account.cash, zero, first, stop, name, stop == last]
        )
        self.accounts[lanes] = begun[lanes]
        _observe(self.tape, self.accounts, lanes, self._observation)

    def step(self, actions: IntArray) -> tuple[SingleArray, FloatArray, BoolArray, BoolArray]:
        """Trade one session in every lane; see ``dqn.Environment``."""
        _step(
            self.tape, self.accounts, actions, self._account.participation_bps, self._unit,
            self._reward, self._terminated, self._truncated, self._observation,
        )  # fmt: skip
        return self._observation, self._reward, self._terminated, self._truncated


def follow(
    tape: Tape, runs: IntArray, account: Account, layers: Layers
) -> tuple[FloatArray, FloatArray]:
    """Let an account in each segment do what a network thinks best.

    Returns
    -------
    advantage, growth : ndarray of shape (n_sessions, n_instruments)
        By how much the value of holding exceeds that of not holding, and the logarithm of what the
        decision earned net of costs, as a reward of ``Trading``. NaN where nothing was decided, or
        not yet earned.
    """
    weights, biases = (tuple(part) for part in zip(*layers, strict=True))
    advantage, growth = (np.full(tape.close.shape, np.nan) for _ in range(2))
    _follow(tape, runs, account, weights, biases, advantage, growth)
    return advantage, growth


def gymnasium_env(trading: Trading) -> "gymnasium.Env[Any, Any]":
    """Return the one lane of ``trading`` as Gymnasium's environments are."""
    import gymnasium

    if trading.lanes != 1:
        raise ValueError(f"one lane is needed, got {trading.lanes}")

    class TradingEnv(gymnasium.Env[Any, Any]):
        """One account in one name; ``reset`` draws the name and the session."""

        metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

        def __init__(self) -> None:
            size = (trading.observation_size,)
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, size, np.float32)
            self.action_space = gymnasium.spaces.Discrete(trading.actions)

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[SingleArray, dict[str, Any]]:
            super().reset(seed=seed)
            return trading.reset(self.np_random)[0].copy(), {}

        def step(self, action: Any) -> tuple[SingleArray, float, bool, bool, dict[str, Any]]:
            seen, reward, ends, cut = trading.step(np.array([action], dtype=np.int64))
            return seen[0].copy(), float(reward[0]), bool(ends[0]), bool(cut[0]), {}

    return TradingEnv()


def _whole(values: FloatArray) -> IntArray:
    return np.rint(np.nan_to_num(values, nan=0.0)).astype(np.int64)


def _carried(close: FloatArray) -> IntArray:
    known = np.where(np.isfinite(close), np.arange(len(close))[:, None], 0)
    np.maximum.accumulate(known, axis=0, out=known)
    return _whole(np.take_along_axis(close, known, axis=0))


@njit(cache=True)
def wish(tape: Tape, account: IntArray, action: int) -> None:
    """Set what an account wants to hold after the close of its row, as in ``backtest.direct``."""
    if action == FLAT:
        account[TARGET] = 0
    elif account[TARGET] == 0:
        t, i = account[ROW], account[NAME]
        rate = buy_rate(tape.fees[tape.fee_of[t]])
        account[TARGET] = target_of(
            0, account[HELD], account[CASH], tape.close[t, i], rate, tape.lot[t, i]
        )


@njit(cache=True)
def trade(tape: Tape, account: IntArray, share_bps: int) -> None:
    """Go to the next row and trade at its open what is wished there."""
    account[ROW] += 1
    change = account[TARGET] - account[HELD]
    if change == 0:
        return
    t, i = account[ROW], account[NAME]
    price, fees = tape.open[t, i], tape.fees[tape.fee_of[t]]
    shares, left = auction(
        change, price, tape.volume[t, i], tape.lower[t, i], tape.upper[t, i], tape.lot[t, i],
        account[CASH], buy_rate(fees), share_bps,
    )  # fmt: skip
    if shares > 0:
        sign = 1 if change > 0 else -1
        commission, tax = costs(sign, shares, shares * price, fees)
        held, cost, cash, _ = book(
            sign, shares, shares * price, commission + tax,
            account[HELD], account[COST], account[CASH],
        )  # fmt: skip
        account[HELD], account[COST], account[CASH] = held, cost, cash
    account[TARGET] = account[HELD] + left


@njit(cache=True)
def told(tape: Tape, account: IntArray, observation: SingleArray) -> None:
    """Write what can be known of a name and of the account in it at the close of its row."""
    t, i = account[ROW], account[NAME]
    k = tape.features.shape[2]
    for f in range(k):
        observation[f] = tape.features[t, i, f]
    value = account[HELD] * tape.close[t, i]
    observation[k] = value / (value + account[CASH]) if value > 0 else 0.0
    observation[k + 1] = np.log(value / account[COST]) if value > 0 and account[COST] > 0 else 0.0


@njit(cache=True)
def _worth(tape: Tape, account: IntArray, t: int) -> int:
    """Return what would be left if all were sold at the open of row ``t``; over a halt at the close."""
    if account[HELD] == 0:
        return int(account[CASH])
    price = tape.open[t, account[NAME]]
    if price == 0:
        price = tape.close[t, account[NAME]]
    amount = account[HELD] * price
    commission, tax = costs(-1, account[HELD], amount, tape.fees[tape.fee_of[t]])
    return int(account[CASH] + amount - commission - tax)


@njit(cache=True)
def _step(
    tape: Tape, accounts: IntArray, actions: IntArray, share_bps: int, unit: float,
    reward: FloatArray, terminated: BoolArray, truncated: BoolArray, observation: SingleArray,
) -> None:  # fmt: skip
    for lane in range(len(accounts)):
        account = accounts[lane]
        wish(tape, account, actions[lane])
        before = _worth(tape, account, account[ROW] + 1)
        trade(tape, account, share_bps)
        # Decided on the row before this one.
        is_last = account[ROW] > account[STOP]
        terminated[lane] = is_last and account[ENDS] == 1
        truncated[lane] = is_last and account[ENDS] == 0
        reward[lane] = np.log(_worth(tape, account, account[ROW] + 1) / before) / unit
        told(tape, account, observation[lane])


@njit(cache=True)
def _observe(tape: Tape, accounts: IntArray, lanes: BoolArray, observation: SingleArray) -> None:
    for lane in range(len(accounts)):
        if lanes[lane]:
            told(tape, accounts[lane], observation[lane])


@njit(cache=True)
def _follow(
    tape: Tape, runs: IntArray, begin: Account, weights: Any, biases: Any,
    advantage: FloatArray, growth: FloatArray,
) -> None:  # fmt: skip
    account = np.zeros(8, dtype=np.int64)
    observation = np.zeros(tape.features.shape[2] + ACCOUNT, dtype=np.float32)
    scratch = np.empty((2, widest(weights)), dtype=np.float32)
    for r in range(len(runs)):
        i, first, last = runs[r, COLUMN], runs[r, FIRST], runs[r, LAST]
        account[:] = 0
        account[CASH], account[ROW], account[NAME] = begin.cash, first, i
        before = 0
        for t in range(first, last + 1):
            told(tape, account, observation)
            value = answer(observation, weights, biases, scratch)
            advantage[t, i] = value[HOLD] - value[FLAT]
            if t == last:
                break
            wish(tape, account, HOLD if advantage[t, i] > 0.0 else FLAT)
            now = _worth(tape, account, t + 1)
            if t > first:
                growth[t - 1, i] = np.log(now / before)
            before = now
            trade(tape, account, begin.participation_bps)
