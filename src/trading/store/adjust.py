"""Corporate actions found in prices, and what they do to prices: factors and returns.

The panels that decisions are made on are built in ``panels``; what an action does to an account
is ``simulation.account``'s.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction
from functools import cache
from itertools import groupby, pairwise
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.actions import ActionKind, CorporateAction, in_effect_order
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.market import PriceBasis
from trading.errors import DataError
from trading.log import get_logger
from trading.store import schema

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from trading.domain.rules import MarketRules

log = get_logger(__name__)

# Small ratios: p/q with both up to 5, and n:1 or 1:n up to 100. The smallest is 5:4, so the
# 11 % step of MSFT's special dividend of 2004-11-15 is no "10:9 split".
_SMALL_TERM = 5
_WHOLE_RATIO = 100
# No rights issue takes more than this out of a price.
_LARGEST_RIGHT = 2.5
# A base price that rises by less was set anew; one that rises by more belongs to fewer shares.
_REDUCTION = 0.75
# Relative error of a vendor's factor that is given with all its digits.
_FLOAT_NOISE = 1e-9
# Prices of a few won tell no ratio better; a larger error would make any ratio possible.
_WORST_ERROR = 0.1


class DividendBase(StrEnum):
    """Which close a vendor divided a dividend by when it made the adjusted series."""

    EX_CLOSE = "ex_close"  # factor 1 + D / close of the ex-date (CRSP, Quandl WIKI)
    PREVIOUS_CLOSE = "previous_close"  # factor 1 / (1 - D / previous close) (Yahoo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """What a vendor's adjusted close stands for: a declared property, never a guess.

    Parameters
    ----------
    dividends : DividendBase or None
        How cash dividends are in it; ``None`` when they are not.
    adj_unit : float, default=0.0
        To what the adjusted close was rounded, in units of the currency; 0 when it keeps all
        digits. A step smaller than the rounding error of both neighbors is noise.
    lasting : int, default=1
        On how many traded rows before and after a step the factor must stand still. More than 1
        where raw and adjusted closes disagree on single days.
    split_tolerance : float, default=0.005
        How near to a small ratio a step is a split.
    min_step : float, default=0.0
        Smaller steps are noise, as a fraction.
    most_a_year : int, optional
        A symbol with more actions within 365 days has raw and adjusted closes of different
        series: none of its steps counts.
    """

    dividends: DividendBase | None = DividendBase.EX_CLOSE
    adj_unit: float = 0.0
    lasting: int = 1
    split_tolerance: float = 0.005
    min_step: float = 0.0
    most_a_year: int | None = None


# All digits, dividends included (Quandl WIKI, CRSP).
WIKI = Vendor()
# Whole won, adjusted for splits, bonus and rights issues and capital reductions, not for cash
# dividends. Raw and adjusted closes come from different feeds that differ by a tick now and then.
KOREAN_VENDOR = Vendor(
    dividends=None,
    adj_unit=1.0,
    lasting=5,
    split_tolerance=0.003,
    min_step=0.01,
    most_a_year=3,
)
# KIS answers raw and adjusted closes of one series.
KIS_KRX = Vendor(dividends=None, adj_unit=1.0, split_tolerance=0.003, min_step=0.001)
KIS_US = Vendor(dividends=None, adj_unit=0.0001, split_tolerance=0.003, min_step=0.001)


def infer_actions(
    data: "pd.DataFrame | pa.Table",
    *,
    minor_per_unit: int,
    vendor: Vendor = WIKI,
    known_on: date | None = None,
    source: str = "",
) -> list[CorporateAction]:
    """Return the actions that explain a vendor's adjusted closes, by symbol and ex-date.

    A step of ``adj_close / close`` near a small ratio is a split or bonus issue. Any other step
    is a cash dividend where the vendor adjusts for dividends. Where it does not, the base price
    was set anew with the shares unchanged: a rights issue (a bonus issue of less than one for
    four cannot be told from one), or a new listing after a merger or spin-off. Only a fall below
    3/4, or one that the shares outstanding follow, is a capital reduction. After a reduction the
    vendor's factor holds the first auction's move, too; the shares, where known, do not.

    Parameters
    ----------
    data : DataFrame or Table
        ``symbol, session, close`` (raw, minor units), ``volume`` and ``adj_close`` (units; rows
        without one are left out); ``shares`` outstanding where known. In any order, one row a
        symbol and session.
    minor_per_unit : int
        Minor units in one unit of the currency.
    vendor : Vendor
        What its adjusted close stands for.
    known_on : date, optional
        The session on whose morning a vendor that adjusts to the day gave the closes: where the
        adjusted close of the session before is not the raw one, an action takes effect on it.
    source : str
        Written into each action.
    """
    rows = _Rows.of(data, "close", "adj_close", "volume")
    if known_on is not None:
        rows = rows.until_the_morning(known_on, minor_per_unit)
    close = rows.values["close"]
    found = []
    for i, step, error in _steps(rows, minor_per_unit, vendor):
        amount = 0
        if vendor.dividends is None:
            exact = _simplest(step * (1 - error), step * (1 + error))
            explained = _explained(rows, i, exact, vendor.split_tolerance)
        elif (ratio := _small_ratio(step, vendor.split_tolerance)) is not None:
            explained = ActionKind.SPLIT, ratio
        else:
            if vendor.dividends is DividendBase.EX_CLOSE:
                amount = round(close[i] * (step - 1))
            else:
                amount = round(close[i - 1] * (1 - 1 / step))
            explained = (ActionKind.CASH_DIVIDEND, Fraction(1)) if amount > 0 else None
        if explained is not None:
            found.append(rows.action(i, *explained, amount, source))
    return found if vendor.most_a_year is None else _plausible(found, vendor.most_a_year)


def actions_from_base(
    data: "pd.DataFrame | pa.Table", *, source: str = ""
) -> list[CorporateAction]:
    """Return the actions that explain official base prices, by symbol and ex-date.

    ``data`` has ``symbol, session, close, base`` and, where known, ``shares``: raw closes, and the
    price from which the session's change was counted. A base price other than the close before is
    an action, as in ``infer_actions`` of a vendor that leaves out dividends.
    """
    rows = _Rows.of(data, "close", "base")
    close, base = rows.values["close"], rows.values["base"]
    moved = rows.follows & (base[1:] > 0) & (base[1:] != close[:-1])
    found = []
    for i in (np.flatnonzero(moved) + 1).tolist():
        exact = Fraction(int(close[i - 1]), int(base[i]))
        explained = _explained(rows, i, exact, KOREAN_VENDOR.split_tolerance)
        if explained is not None:
            found.append(rows.action(i, *explained, 0, source))
    return found


def factors(
    data: "pd.DataFrame | pa.Table",
    actions: Iterable[CorporateAction],
    *,
    known_on: date | None = None,
) -> "pd.DataFrame":
    """Return what each ex-date does to prices and shares: the factors apart from the raw prices.

    A close as adjusted on day ``t`` is the raw close times every ``price`` of an ex-date from
    the first bar to ``t``: factors multiply forward, so a later action rewrites nothing.

    Parameters
    ----------
    data : DataFrame or Table
        ``symbol, session, close``: raw closes, in any order.
    actions : iterable of CorporateAction
        What happened to them.
    known_on : date, optional
        Leaves out what takes effect later.

    Returns
    -------
    DataFrame
        ``symbol, ex_date`` (the session on which the actions take effect), ``previous`` (the
        close before), ``base`` (what it is worth on the ex-date), ``shares`` (new for one old),
        ``price`` (previous / base without rounding; of splits, rights and cash dividends).
    """
    import pandas as pd

    rows = _Rows.of(data, "close")
    close = rows.values["close"]
    table: dict[int, tuple[str, date, int, int, float, float]] = {}
    for i, action in rows.placed(actions, known_on):
        previous = int(close[i - 1])
        *_, base, shares, price = table.get(i, (previous, 1.0, 1.0))
        ratio = action.numerator / action.denominator
        if action.kind is ActionKind.CASH_DIVIDEND:
            price *= base / action.ex_price(base)
        else:
            price *= ratio
        if action.kind is ActionKind.SPLIT:
            shares *= ratio
        base = action.ex_price(base)
        table[i] = rows.symbol(i), rows.day(i), previous, base, shares, price
    frame = pd.DataFrame(
        [table[i] for i in sorted(table)],
        columns=["symbol", "ex_date", "previous", "base", "shares", "price"],
    )
    frame["ex_date"] = pd.to_datetime(frame["ex_date"])
    return frame


def total_return(
    data: "pd.DataFrame | pa.Table",
    actions: Iterable[CorporateAction],
    *,
    rules: "MarketRules | None" = None,
    known_on: date | None = None,
) -> "pd.DataFrame":
    """Return what one unit of money became in the hands of a holder who does nothing.

    ``(close x shares + dividends) / close before``, multiplied from each symbol's first bar.
    Splits and cash dividends count; the worth of a right is lost, as it is in an account.

    Parameters
    ----------
    data : DataFrame or Table
        ``symbol, session, close, basis``, in any order.
    rules : MarketRules, optional
        Whose withholding of the day makes ``net``; without it ``net`` is ``gross``.
    known_on : date, optional
        Leaves out rows and actions of later days.

    Returns
    -------
    DataFrame
        ``symbol, session, gross, net``, sorted; 1 on the first bar.

    Raises
    ------
    DataError
        On vendor-adjusted rows: dividends were paid on prices that were traded.
    """
    import pandas as pd

    rows = _Rows.of(data, "close", raw_only=True, last=known_on)
    close = rows.values["close"].astype(np.float64)
    shares = np.ones(len(close))
    paid = {name: np.zeros(len(close)) for name in ("gross", "net")}
    for i, action in rows.placed(actions, known_on):
        if action.kind is ActionKind.CASH_DIVIDEND:
            kept = 1.0 if rules is None else 1 - rules.dividend_withholding_ppb(rows.day(i)) / 1e9
            paid["gross"][i] += shares[i] * action.amount
            paid["net"][i] += shares[i] * action.amount * kept
        elif action.kind is ActionKind.SPLIT:
            shares[i] *= action.numerator / action.denominator
    frame = pd.DataFrame({"symbol": rows.names[rows.code], "session": rows.session})
    for name, dividends in paid.items():
        growth = np.ones(len(close))
        growth[1:][rows.follows] = ((close * shares + dividends)[1:] / close[:-1])[rows.follows]
        for start, end in rows.spans():
            np.cumprod(growth[start:end], out=growth[start:end])
        frame[name] = growth
    return frame


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Bars sorted by symbol and session; ``follows[i]``: row ``i + 1`` is of the same symbol."""

    names: "np.ndarray"
    code: IntArray
    session: "np.ndarray"
    values: dict[str, "np.ndarray"]
    follows: BoolArray

    @classmethod
    def of(
        cls,
        data: "pd.DataFrame | pa.Table",
        *columns: str,
        raw_only: bool = False,
        last: date | None = None,
    ) -> "_Rows":
        import pyarrow as pa

        frame = data if not isinstance(data, pa.Table) else data.to_pandas(date_as_object=False)
        for name in columns:
            least = 0 if name == "volume" else 1e-9
            frame = frame.loc[(frame[name] >= least) & (frame[name] < np.inf)]
        if last is not None:
            frame = frame.loc[frame["session"] <= np.datetime64(last)]
        if raw_only and bool((frame["basis"] != PriceBasis.RAW.value).any()):
            raise DataError("공급자가 수정한 가격으로는 배당을 포함한 수익을 계산할 수 없음")
        names, code = np.unique(frame["symbol"].to_numpy(dtype=str), return_inverse=True)
        session = frame["session"].to_numpy().astype("datetime64[D]")
        values = {name: frame[name].to_numpy() for name in columns}
        values["shares"] = np.zeros(len(frame), dtype=np.int64)
        if "shares" in frame:
            values["shares"] = frame["shares"].fillna(0).to_numpy(dtype=np.int64)
        order = np.lexsort((session, code))
        code, session = code[order].astype(np.int64), session[order]
        follows = code[1:] == code[:-1]
        if bool((follows & (session[1:] == session[:-1])).any()):
            raise DataError("한 종목의 같은 날에 행이 여럿 있음")
        return cls(
            names=names,
            code=code,
            session=session,
            values={name: column[order] for name, column in values.items()},
            follows=follows,
        )

    def until_the_morning(self, on: date, minor_per_unit: int) -> "_Rows":
        """Return the rows and, after each that is of the last session, its worth on a morning."""
        if len(self.session) == 0 or schema.day(self.session.max()) >= on:
            return self
        last = np.flatnonzero(self.session == self.session.max())
        after = last + 1
        values = {
            name: np.insert(column, after, column[last]) for name, column in self.values.items()
        }
        code = np.insert(self.code, after, self.code[last])
        added = after + np.arange(len(after))
        values["close"] = values["close"].astype(np.float64)
        values["close"][added] = values["adj_close"][added] * minor_per_unit
        values["volume"][added] = 1
        return _Rows(
            names=self.names,
            code=code,
            session=np.insert(self.session, after, np.datetime64(on, "D")),
            values=values,
            follows=code[1:] == code[:-1],
        )

    def action(
        self, row: int, kind: ActionKind, ratio: Fraction, amount: int, source: str
    ) -> CorporateAction:
        return CorporateAction(
            symbol=self.symbol(row),
            ex_date=self.day(row),
            kind=kind,
            numerator=ratio.numerator,
            denominator=ratio.denominator,
            amount=amount,
            source=source,
            inferred=True,
        )

    def symbol(self, row: int) -> str:
        return str(self.names[self.code[row]])

    def day(self, row: int) -> date:
        return schema.day(self.session[row])

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield where the rows of each symbol begin and end."""
        cuts = [0, *(np.flatnonzero(~self.follows) + 1).tolist(), len(self.code)]
        return pairwise(cuts) if len(self.code) else iter(())

    def placed(
        self, actions: Iterable[CorporateAction], known_on: date | None
    ) -> Iterator[tuple[int, CorporateAction]]:
        """Yield each action that moves a price with the first row on or after its ex-date.

        Left out: what comes before a symbol's second row or after its last one.
        """
        starts = {str(self.names[self.code[a]]): (a, b) for a, b in self.spans()}
        for action in sorted(actions, key=in_effect_order):
            if action.symbol not in starts or action.kind is ActionKind.DELISTING:
                continue
            if known_on is not None and action.ex_date > known_on:
                continue
            start, end = starts[action.symbol]
            day = np.datetime64(action.ex_date, "D")
            row = start + int(np.searchsorted(self.session[start:end], day))
            if start < row < end:
                yield row, action


def _steps(rows: _Rows, minor_per_unit: int, vendor: Vendor) -> Iterator[tuple[int, float, float]]:
    """Yield ``(row, step, its relative error)`` wherever the vendor's factor moves for good."""
    adjusted = rows.values["adj_close"].astype(np.float64)
    level = np.log(adjusted / (rows.values["close"] / minor_per_unit))
    error = vendor.adj_unit / adjusted + _FLOAT_NOISE / 2
    smallest = float(np.log1p(vendor.min_step))
    # A price of a day without a trade is nobody's: the step is between the trades around it.
    traded = np.flatnonzero(rows.values["volume"] > 0)
    code = rows.code[traded]
    known, doubt = level[traded], error[traded]
    moved = np.abs(np.diff(known)) > np.maximum(doubt[1:] + doubt[:-1], smallest)
    n = vendor.lasting
    for k in (np.flatnonzero(moved & (code[1:] == code[:-1])) + 1).tolist():
        before, after = known[max(k - n, 0) : k], known[k : k + n]
        if (
            len(before) < n
            or len(after) < n
            or code[max(k - n, 0)] != code[min(k + n, len(code)) - 1]
        ):
            continue
        step = float(np.median(after) - np.median(before))
        gap = after.min() - before.max() if step > 0 else before.min() - after.max()
        if gap < abs(step) / 2 or abs(step) < smallest:
            continue
        row = int(traded[k])
        while row - 1 > traded[k - 1] and abs(level[row - 1] - known[k]) < abs(step) / 2:
            row -= 1
        yield row, float(np.exp(step)), min(float(doubt[k - 1] + doubt[k]), _WORST_ERROR)


def _plausible(found: Sequence[CorporateAction], most_a_year: int) -> list[CorporateAction]:
    """Return the actions of symbols that have no more than so many within a year."""
    kept = []
    for symbol, group in groupby(found, key=lambda action: action.symbol):
        actions = list(group)
        if any(
            late.ex_date - early.ex_date < timedelta(days=365)
            for early, late in zip(actions, actions[most_a_year:], strict=False)
        ):
            log.warning("원주가와 수정주가가 다른 계열이라 권리를 찾지 않음", symbol=symbol)
        else:
            kept += actions
    return kept


def _explained(
    rows: _Rows, row: int, step: Fraction, tolerance: float
) -> tuple[ActionKind, Fraction] | None:
    """Return what moved a base price by ``step``, where dividends move none."""
    small = _small_ratio(float(step), tolerance)
    if small is not None:
        return ActionKind.SPLIT, small
    if step > _LARGEST_RIGHT:
        log.warning(
            "설명할 수 없는 기준가 변동", symbol=rows.symbol(row), session=rows.day(row), step=step
        )
        return None
    if step > 1:
        return ActionKind.RIGHTS, step
    before, after = (int(rows.values["shares"][at]) for at in (row - 1, row))
    if before > 0 and after > 0:
        if after >= before:
            return ActionKind.RIGHTS, step
        left = after / before
        return ActionKind.SPLIT, _simplest(left * 0.999, left * 1.001)
    return (ActionKind.SPLIT if step < _REDUCTION else ActionKind.RIGHTS), step


def _small_ratio(step: float, tolerance: float) -> Fraction | None:
    """Return the small ratio that ``step`` is near."""
    ratios, values = _small_ratios()
    nearest = int(np.argmin(np.abs(values / step - 1)))
    return ratios[nearest] if abs(values[nearest] / step - 1) <= tolerance else None


@cache
def _small_ratios() -> tuple[list[Fraction], FloatArray]:
    terms = {
        Fraction(p, q)
        for p in range(1, _SMALL_TERM + 1)
        for q in range(1, _SMALL_TERM + 1)
        if p != q and gcd(p, q) == 1
    }
    terms |= {Fraction(n, 1) for n in range(2, _WHOLE_RATIO + 1)}
    terms |= {Fraction(1, n) for n in range(2, _WHOLE_RATIO + 1)}
    ratios = sorted(terms)
    return ratios, np.array([float(ratio) for ratio in ratios])


def _simplest(low: float, high: float) -> Fraction:
    """Return the fraction with the smallest terms between two positive numbers."""
    whole = int(low)
    if whole + 1 <= high or whole == low:
        return Fraction(whole if whole == low else whole + 1)
    return whole + 1 / _simplest(1 / (high - whole), 1 / (low - whole))
